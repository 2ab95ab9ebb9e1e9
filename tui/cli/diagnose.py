"""``milepost diagnose``: what went wrong in any pasted or recorded output, of one node or of many."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, BinaryIO

from wizard_steps.errors import UsageError

EXAMPLES = """\
examples:
  milepost diagnose serve.log                     one output
  milepost diagnose head.log worker=worker.log    several nodes: the first failure over all of them
  vllm serve ... 2>&1 | tee serve.log; milepost diagnose serve.log
  ssh node dmesg | milepost diagnose node=-       a dash reads standard input

exit status: 0 nothing found, 1 something found, 2 a file cannot be read
"""


def add(subparsers: Any) -> None:
    """Add the command to an argparse subparsers object."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "diagnose",
        help="find the first failure in any output: which node, which line, what to try",
        description="Reads output of ssh, Docker, Ray, NCCL or vLLM and names the first failure in it. "
        "Runs nothing and changes nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="[NODE=]FILE",
        help="files to read, - for standard input (the default); NODE= says whose output it is",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from wizard_steps.diagnose import as_json, as_text, diagnose_streams

    names: list[str] = args.files or ["-"]
    if args.files == [] and sys.stdin.isatty():
        raise UsageError("nothing to read: name a file, or paste the output through standard input")
    found = diagnose_streams([_source(name) for name in names])
    if args.json:
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(as_text(found)))
    return 1 if found else 0


def _source(name: str) -> Any:
    """The source and how to open it. Every file is checked before the first one is read."""
    from wizard_steps.diagnose import Source

    node, path = _split(name)
    if path == "-":
        return Source("-", "", node), _stdin
    file = Path(path)
    if file.is_dir():
        raise UsageError(f"{path}: is a folder; name the files in it")
    try:
        with file.open("rb"):
            pass
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    return Source(path, "", node), lambda: file.open("rb")


def _split(name: str) -> tuple[str, str]:
    """``NODE=FILE``, unless a file of that whole name is there."""
    node, found, path = name.partition("=")
    if not found or not node or "/" in node or Path(name).exists():
        return "", name
    return node, path


def _stdin() -> BinaryIO:
    return sys.stdin.buffer
