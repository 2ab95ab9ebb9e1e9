"""`milepost edit WALK`: notes, cuts, other names, secrets out; and a report of what a recording tells."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wizard_steps.errors import UsageError
from wizard_steps.model import counted

if TYPE_CHECKING:
    from wizard_steps.recording.journal import Walk
    from wizard_steps.walks.texts import Draft

EXAMPLES = """\
examples:
  milepost edit WALK --note serve "The third line is the one to read."
  milepost edit WALK --ask serve "TP x PP is 32 and there are 16 GPUs. What would you try?"
  milepost edit WALK --report
  milepost edit WALK --placeholders -o clean-walk
  milepost edit WALK --rename dgx07=node-1 --rename 10.4.0.7=10.0.0.1 --in-place
  milepost edit WALK --cut smi:1 --cut-after serve -o short-walk
"""


def add(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "edit",
        help="edit a recording: notes, cuts, other names, placeholders; see what it reveals",
        description="Notes are added to the walk as it is, while it is being recorded too. Every other edit "
        "writes a new walk (-o) or replaces the old one (--in-place). A walk with a known secret in it is "
        "not saved, nor one that would replay differently.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("walk", type=Path, metavar="WALK")
    pair = ("STEP", "TEXT")
    parser.add_argument(
        "--note", nargs=2, action="append", default=[], metavar=pair, help="shown next to a step"
    )
    parser.add_argument(
        "--ask",
        nargs=2,
        action="append",
        default=[],
        metavar=pair,
        help="question shown before the cause of a failed gate",
    )
    parser.add_argument("--attempt", type=int, default=0, help="the notes belong to this attempt alone")
    parser.add_argument("--author", default="", help="who writes the notes")
    parser.add_argument("--title", help="what the walk is about, in a few words")
    parser.add_argument("--about", help="what the walk teaches, or where it comes from")
    parser.add_argument(
        "--cut", action="append", default=[], metavar="STEP:N", help="leave out an attempt at a step"
    )
    parser.add_argument("--cut-after", metavar="STEP", help="end the walk after the last verdict on a step")
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="a node, a host, an address, any word",
    )
    parser.add_argument("--rename-user", action="append", default=[], metavar="OLD=NEW", help="an account")
    parser.add_argument(
        "--placeholders",
        action="store_true",
        help="neutral names for all machines, addresses, accounts, GPUs",
    )
    parser.add_argument("--redact", action="store_true", help="take known secrets out")
    parser.add_argument(
        "--report", action="store_true", help="what was taken out, and what the walk still reveals"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="write the edited walk here")
    parser.add_argument("--in-place", action="store_true", help="replace the walk")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from wizard_steps.recording.journal import load
    from wizard_steps.recording.redact import Redactor
    from wizard_steps.walks import identify
    from wizard_steps.walks.texts import draft

    if args.output and args.in_place:
        raise UsageError("-o and --in-place both say where the edited walk goes: give one of them")
    walk = load(args.walk)
    redactor = Redactor.from_environment()
    edits = any((args.cut, args.cut_after, args.rename, args.rename_user, args.placeholders, args.redact))
    edits = edits or args.title is not None or args.about is not None
    if edits and not args.output and not args.in_place:
        raise UsageError("where to? Give -o FOLDER for a new walk, or --in-place")
    if not edits and not (args.note or args.ask or args.report or args.output):
        raise UsageError(f"{args.walk}: nothing to do; see `milepost edit --help`")
    notes = _notes(args, walk)
    item = draft(walk)
    if edits or args.output:
        item = _edited(item, notes, args)
        _save(item, walk, args)
    else:
        _append(args.walk, notes)
        item = draft(load(args.walk))
    if args.report:
        print("\n".join(identify.report(item, redactor)))
    return 0


def _notes(args: argparse.Namespace, walk: Walk) -> list[Any]:
    from wizard_steps.recording import events as ev
    from wizard_steps.recording import notes

    first = walk.events[0]
    steps = [step for step, _ in first.steps] if isinstance(first, ev.WalkStarted) else []
    made = []
    for step, text in (*args.note, *args.ask):
        if step not in steps:
            raise UsageError(f"{step}: the walk has no such step. It has {', '.join(steps)}")
        kind: notes.NoteKind = "ask" if [step, text] in args.ask else "note"
        made.append(notes.now(step, text, kind, args.attempt, args.author))
    return made


def _append(folder: Path, made: list[Any]) -> None:
    from wizard_steps.errors import WalkError
    from wizard_steps.recording import notes
    from wizard_steps.recording.redact import Redactor

    redactor = Redactor.from_environment()
    for note in made:
        if redactor.text(note.text) != note.text:
            raise WalkError("a note has a secret in it; nothing was written")
    for note in made:
        notes.append(folder, note)
    if made:
        print(f"{folder}: {counted(len(made), 'note')} added")


def _edited(item: Draft, made: list[Any], args: argparse.Namespace) -> Draft:
    """The edits in an order in which none undoes another: shorten, take out, rename, then say."""
    from msgspec.structs import replace

    from wizard_steps.recording.redact import Redactor
    from wizard_steps.walks import cut, identify, rename
    from wizard_steps.walks.redacting import redact
    from wizard_steps.walks.texts import Draft

    for what in args.cut:
        step, _, number = what.partition(":")
        if not number.isdigit():
            raise UsageError(f"--cut {what}: write STEP:N, for example smi:1")
        item = cut.attempt(item, step, int(number))
    if args.cut_after:
        item = cut.after(item, args.cut_after)
    if args.redact:
        item = redact(item, Redactor.from_environment())
    renames = [rename.of_name(*_pair("--rename", text)) for text in args.rename]
    renames += [rename.Rename("user", *_pair("--rename-user", text)) for text in args.rename_user]
    item = rename.rename(item, renames, f"renamed {counted(len(renames), 'name')}")
    if args.placeholders:
        item = rename.rename(
            item, identify.placeholders(item), "placeholders for names, addresses and accounts"
        )
    meta = item.walk.meta
    meta = replace(meta, title=meta.title if args.title is None else args.title)
    meta = replace(meta, note=meta.note if args.about is None else args.about)
    walk = replace(item.walk, meta=meta, notes=(*item.walk.notes, *made))
    return Draft(walk, item.evidence, item.said)


def _pair(option: str, text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals:
        raise UsageError(f"{option} {text}: write OLD=NEW")
    return old, new


def _save(item: Draft, before: Walk, args: argparse.Namespace) -> None:
    from wizard_steps.recording.redact import Redactor
    from wizard_steps.walks import save

    redactor = Redactor.from_environment()
    save.refuse_secrets(item, redactor)
    if args.rename or args.placeholders:
        item = asyncio.run(save.with_new_fingerprints(item))
    unsure = asyncio.run(save.refuse_drift(before, item.walk))
    if args.in_place:
        save.save_in_place(item, redactor)
    else:
        save.save(item, args.output, redactor)
    for line in (*item.said, unsure):
        if line:
            print(f"{args.walk}: {line}")
    print(f"{args.output or args.walk}: saved")
