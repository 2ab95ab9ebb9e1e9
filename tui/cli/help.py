"""`milepost help [TOPIC]`: the reference, in the tool itself."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tui.cli.door import outside
from wizard_steps.errors import UsageError

#: The same files are linked from the README.
FOLDER = Path(__file__).resolve().parents[1] / "help"
WIDTH = 100


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "help",
        help="reference: the cluster file, exit status, what to do at each gate, how to extend",
        description="Prints a topic of the reference; without one, the list of topics.",
    )
    parser.add_argument("topic", nargs="?", help="a topic; without one they are listed")
    parser.add_argument("name", nargs="?", help="cluster-file: a field; troubleshooting: a milestone")
    parser.add_argument("--json", action="store_true", help="cluster-file: print the JSON schema")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.json and args.topic != "cluster-file":
        raise UsageError("--json goes with `milepost help cluster-file`")
    if args.topic is None:
        text = _list()
    elif args.topic == "cluster-file":
        text = cluster_file(args.name or "", args.json)
    elif args.topic == "sources":
        from wizard_steps.learn.claims import listing

        text = listing()
    elif args.topic == "troubleshooting":
        text = troubleshooting(args.name or "")
    else:
        text = _page(args.topic)
    show(text)
    return 0


def show(text: str) -> None:
    """Print Markdown: drawn on a terminal, as it is elsewhere."""
    if not sys.stdout.isatty():
        print(text.rstrip())
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(file=outside(sys.stdout))
    console.print(Markdown(text), width=min(console.width, WIDTH))


def topics() -> dict[str, str]:
    """Topic -> its title."""
    made = {
        "cluster-file": "Every field of milepost.toml: type, default, meaning, example",
        "sources": "What the texts say of vLLM and Ray: version and source of each claim",
        "troubleshooting": "What usually goes wrong at each milestone, and what to try",
    }
    for path in sorted(FOLDER.glob("*.md")):
        made[path.stem] = path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
    return made


def _list() -> str:
    width = max(map(len, topics()))
    lines = [f"    {name:<{width}}  {title}" for name, title in topics().items()]
    return "\n".join(["Topics. Print one with `milepost help TOPIC`:", "", *lines])


def _page(topic: str) -> str:
    if topic not in topics():
        raise UsageError(f"{topic}: no such topic. There are: {', '.join(topics())}")
    return (FOLDER / f"{topic}.md").read_text(encoding="utf-8")


def cluster_file(name: str = "", as_json: bool = False) -> str:
    """The reference of the cluster file; of one field, or of one table, if it is named."""
    from wizard_steps.cluster import reference

    if as_json:
        return json.dumps(reference.json_schema(), indent=2)
    chosen = [doc for doc in reference.fields() if _named(doc.path, name)]
    if not chosen:
        close = reference.nearest(name)
        raise UsageError(f"{name}: no such field.{f' Did you mean {close}?' if close else ''}")
    head = "" if name else (FOLDER / "cluster-file.intro").read_text(encoding="utf-8")
    return head + "\n".join(line for doc in chosen for line in _field(doc))


def _named(path: str, name: str) -> bool:
    plain = path.replace("[]", "")
    return name in ("", path, plain) or plain.startswith(name.replace("[]", "") + ".")


def _field(doc: Any) -> Iterator[str]:
    state = "required" if doc.required else f"default: {doc.default or 'none'}"
    yield f"**{doc.path}** ({doc.type}; {state})"
    yield ""
    yield textwrap.fill(doc.meaning, WIDTH)
    if doc.example:
        yield ""
        yield f"    {doc.path.rpartition('.')[2]} = {doc.example}"
    yield ""


def troubleshooting(milestone: str = "") -> str:
    """What the expected texts say of failures, milestone by milestone."""
    from wizard_steps.engine.expected import SNAPSHOTS, load
    from wizard_steps.engine.prose import filled

    names = sorted(path.stem for path in (SNAPSHOTS / "expected").glob("*.md"))
    if milestone and milestone not in names:
        raise UsageError(f"{milestone}: no such milestone. There are: {', '.join(names)}")
    lines = ["# What to do when a gate fails", ""]
    for name in [milestone] if milestone else names:
        # No cluster is known here: {{venv}} reads VENV.
        text = filled(load(name), {})
        if advice := text.sections.get("If it fails", ""):
            lines += [f"## {name}: {text.title}", "", advice.strip(), ""]
    return "\n".join(lines)
