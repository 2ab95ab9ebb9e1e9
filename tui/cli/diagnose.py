"""``milepost diagnose``: what went wrong in any pasted or recorded output, of one node or of many."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.cli.paint import show
from wizard_steps.errors import UsageError

if TYPE_CHECKING:
    from wizard_steps.diagnose import Examined, Source

EXAMPLES = """\
examples:
  milepost diagnose serve.log                     one output
  milepost diagnose head.log worker=worker.log    several nodes: the first failure over all of them
  milepost diagnose /tmp/ray/session_latest/logs  a folder, or an archive (.tar.gz, .zip) of logs
  milepost diagnose milepost-walks/NAME           a recorded walk or its bundle: also what its gates found
  milepost diagnose --from milepost.toml          fetch the logs of all nodes over SSH (read-only)
  ssh node dmesg | milepost diagnose node=-       a dash reads standard input

gzip, xz, bzip2, zstd, UTF-16, JSON of journald, Docker or Loki, web pages and terminal recordings are read.
exit status: 0 nothing found, 1 something found, 2 nothing to read or a file cannot be read
"""


def add(subparsers: Any) -> None:
    """Add the command to an argparse subparsers object."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "diagnose",
        help="find the first failure in any output: which node, which line, what to try",
        description="Reads output of ssh, Docker, Ray, NCCL or vLLM and names the first failure in it. "
        "Changes nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="[NODE=]FILE",
        help="files, folders or archives, - for standard input (the default); NODE= says which node wrote it",
    )
    parser.add_argument(
        "--from", dest="cluster", metavar="FILE", help="fetch the logs of the nodes of this cluster file"
    )
    parser.add_argument(
        "--explain", action="store_true", help="show why: context, rule, and the rules that were ruled out"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from wizard_steps.diagnose import as_json, as_text
    from wizard_steps.diagnose.explain import in_cluster
    from wizard_steps.diagnose.gates import failed, state_of

    if args.cluster and args.files:
        raise UsageError("--from fetches the logs itself: name files, or a cluster file, not both")
    files = [_shipped(name) for name in args.files]
    state = state_of(files[0]) if len(files) == 1 else None
    if args.cluster:
        examined, cluster = _fetched(args.cluster)
    else:
        examined, cluster = _read(files), state.cluster if state else {}
    found = [in_cluster(one, cluster) for one in examined.findings] if cluster else examined.findings
    # A gate may fail on a number, without any message that a rule could know.
    if gates := failed(state) if state else []:
        found = [one for one in found if one.kind in ("cause", "effect")] + gates
    if args.json:
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    if not examined.text:
        print("milepost: nothing to read: the input is empty", file=sys.stderr)
        return 2
    if not args.json:
        show(as_text(found, explain=args.explain))
    return 1 if any(finding.kind != "hint" for finding in found) else 0


def _shipped(word: str) -> str:
    """The same word, or the folder of the recording that comes with milepost under that name."""
    from wizard_steps.walks.shipped import find

    node, equals, name = word.rpartition("=")
    return f"{node}{equals}{find(Path(name))}" if name and not Path(word).exists() else word


def _read(names: list[str]) -> Examined:
    from wizard_steps.diagnose import examine_streams
    from wizard_steps.diagnose.inputs import streams

    if not names and sys.stdin.isatty():
        raise UsageError("nothing to read: name a file, or paste the output through standard input")
    try:
        return examine_streams(streams(names or ["-"]))
    except OSError as error:
        raise UsageError(f"{error.filename or 'input'}: cannot be read: {error.strerror or error}") from None


def _fetched(path: str) -> tuple[Examined, Mapping[str, Any]]:
    """The logs of all nodes, and the cluster file. Raises UsageError when no node answers."""
    from msgspec import to_builtins

    from wizard_steps.cluster.file import load
    from wizard_steps.diagnose import examine

    cluster = load(Path(path))
    sources, problems = asyncio.run(_collect(cluster))
    for node, problem in problems.items():
        print(f"{node}: {problem}", file=sys.stderr)
    if len(problems) == len(cluster.node_list) and all(source.name.endswith(":ssh") for source in sources):
        print("No node could be asked; what follows is about that.", file=sys.stderr)
    print(f"{len(sources)} logs of {len(cluster.node_list)} nodes", file=sys.stderr)
    return examine(sources), to_builtins(cluster)


async def _collect(cluster: Any) -> tuple[list[Source], dict[str, str]]:
    from wizard_steps.facts.logs import collect
    from wizard_steps.transport.over_ssh import cleaned

    transport = cleaned(cluster)
    try:
        return await collect(transport, cluster)
    finally:
        await transport.close()
