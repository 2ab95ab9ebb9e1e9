"""`milepost pack`: everything that nodes without internet need, in one folder."""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wizard_steps.errors import UsageError

if TYPE_CHECKING:
    from wizard_steps.cluster.file import Cluster
    from wizard_steps.facts.node import NodeAnswer
    from wizard_steps.pack.target import PackTarget

_FORMS = {"python": r"3\.[0-9]{1,2}", "machine": r"[a-z0-9_]{1,20}", "glibc": r"2\.[0-9]{1,2}"}


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "pack",
        help="put all that nodes without internet need into one folder: packages or image, model, checksums",
        description="Run it on a machine with internet. Bare metal: downloads vLLM, Ray and all they need as "
        "wheels for the nodes' Python and machine, locked with hashes. Docker: saves the image. Then name "
        "the folder in the cluster file, [install] from, and walk: it is copied to the nodes over SSH and "
        "verified there. Each node is asked over SSH what it is (read-only); where this machine cannot "
        "reach them, say it with --python, --machine, --glibc. Not packed: Python itself, drivers, Docker.",
    )
    parser.add_argument("cluster", nargs="?", type=Path, default=Path("milepost.toml"))
    parser.add_argument("-o", "--output", type=Path, default=Path("kit"), metavar="DIR", help="default: kit")
    parser.add_argument(
        "--model",
        action="store_true",
        help="the model as well: of the hub (HF_TOKEN), or a folder of this machine",
    )
    parser.add_argument("--python", metavar="3.X", help="of the nodes; with all three given none is asked")
    parser.add_argument("--machine", help="of the nodes, `uname -m`")
    parser.add_argument("--glibc", metavar="2.X", help="oldest of the nodes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from wizard_steps.cluster.file import load
    from wizard_steps.cluster.flags import parse, value
    from wizard_steps.pack.make import make

    cluster = load(args.cluster)
    for name, form in _FORMS.items():
        if (given := getattr(args, name)) is not None and not re.fullmatch(form, given):
            raise UsageError(f"--{name} {given!r}: not of the form {form}")
    revision = value(parse(cluster.serve.extra_flags), "--revision") or "main"
    try:
        kit = make(cluster, _target(cluster, args), args.output, args.model, revision)
    except OSError as error:
        raise UsageError(f"{error.filename or args.output}: {error.strerror or error}") from None
    print(f"{args.output}: {len(kit.files)} files, {kit.size / 1e9:.3f} GB. In the cluster file:")
    print(f'  [install]\n  from = "{args.output}"')
    if kit.model and kit.model.revision:
        print('  [env]\n  HF_HUB_OFFLINE = "1"')
    return 0


def _target(cluster: Cluster, args: argparse.Namespace) -> PackTarget:
    """What was given; the rest is asked of the nodes."""
    from wizard_steps.node.places import place_of
    from wizard_steps.pack import target

    contained = place_of(cluster, {}).contained
    needed = ("machine",) if contained else tuple(_FORMS)
    given = {name: getattr(args, name) or "" for name in _FORMS}
    found = target.PackTarget(**given)
    if not all(given[name] for name in needed):
        asked = target.of_nodes(asyncio.run(_asked(cluster)), contained)
        found = target.PackTarget(**{name: given[name] or getattr(asked, name) for name in _FORMS})
        nodes = ", ".join(node.name for node in cluster.node_list)
        kind = "" if contained else f", Python {found.python}, glibc {found.glibc} or newer"
        print(f"{nodes}: {found.machine}{kind}", flush=True)
    if not contained:
        target.check(found, cluster.serve.vllm_version, UsageError)
    return found


async def _asked(cluster: Cluster) -> dict[str, NodeAnswer]:
    """What each node says it is; nobody is asked for host keys or passwords."""
    from wizard_steps.facts.gather import ask
    from wizard_steps.model import Cmd
    from wizard_steps.node.kit import kind
    from wizard_steps.transport.over_ssh import cleaned

    transport, cmd = cleaned(cluster), Cmd("kind", kind(cluster))
    try:
        nodes = cluster.node_list
        answers = await asyncio.gather(*(ask(transport, node, cmd) for node in nodes))
        return {node.name: answer for node, answer in zip(nodes, answers, strict=True)}
    finally:
        await transport.close()
