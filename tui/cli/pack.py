"""`milepost pack`: everything that nodes without internet need, in one folder."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from wizard_steps.errors import UsageError


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "pack",
        help="put all that nodes without internet need into one folder: packages or image, model, checksums",
        description="Run it on a machine with internet. Bare metal: downloads vLLM, Ray and all they need as "
        "wheels for the nodes' Python and machine, locked with hashes. Docker: saves the image. Then name "
        "the folder in the cluster file, [install] from, and walk: it is copied to the nodes over SSH and "
        "verified there. Not packed: Python itself, drivers, Docker.",
    )
    parser.add_argument("cluster", nargs="?", type=Path, default=Path("milepost.toml"))
    parser.add_argument("-o", "--output", type=Path, default=Path("kit"), metavar="DIR", help="default: kit")
    parser.add_argument(
        "--model", action="store_true", help="the model as well (HF_TOKEN of the environment)"
    )
    parser.add_argument("--python", default="3.12", metavar="3.X", help="of the nodes (default: 3.12)")
    parser.add_argument("--machine", default="x86_64", help="of the nodes, `uname -m` (default: x86_64)")
    parser.add_argument("--glibc", default="2.35", metavar="2.X", help="oldest of the nodes (default: 2.35)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from wizard_steps.cluster.file import load
    from wizard_steps.cluster.flags import parse
    from wizard_steps.pack.make import make
    from wizard_steps.pack.wheels import PackTarget

    cluster = load(args.cluster)
    for name, value, form in (
        ("--python", args.python, r"3\.[0-9]{1,2}"),
        ("--glibc", args.glibc, r"2\.[0-9]{1,2}"),
        ("--machine", args.machine, r"[a-z0-9_]{1,20}"),
    ):
        if not re.fullmatch(form, value):
            raise UsageError(f"{name} {value!r}: not of the form {form}")
    if args.model and cluster.serve.model.startswith(("/", "~", ".")):
        raise UsageError(
            f"--model: serve.model is a folder ({cluster.serve.model}): copy it to the nodes yourself"
        )
    flags = parse(cluster.serve.extra_flags)
    revision = next((flag.value for flag in flags if flag.name == "--revision"), "") or "main"
    try:
        kit = make(
            cluster, PackTarget(args.python, args.machine, args.glibc), args.output, args.model, revision
        )
    except OSError as error:
        raise UsageError(f"{error.filename or args.output}: {error.strerror or error}") from None
    print(f"{args.output}: {len(kit.files)} files, {kit.size / 1e9:.3f} GB. In the cluster file:")
    print(f'  [install]\n  from = "{args.output}"')
    if kit.model:
        print('  [env]\n  HF_HUB_OFFLINE = "1"')
    return 0
