"""`milepost export WALK --to FORMAT`: a recording for players, browsers, wikis, slides and shells."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.cli.door import outside
from tui.cli.files import write_text
from wizard_steps.errors import UsageError
from wizard_steps.recording.safe import safe

if TYPE_CHECKING:
    from wizard_steps.recording.journal import Walk

FORMATS = ("asciicast", "html", "markdown", "svg", "sh")
EXAMPLES = """\
examples:
  milepost export WALK --to html -o walk.html         one page: side by side, searchable, offline
  milepost export WALK --to asciicast -o walk.cast    for asciinema; milestones are markers
  milepost export WALK --to markdown                  for a wiki or an issue, on standard output
  milepost export WALK --to svg -o pictures/          one picture a milestone
  milepost export WALK --to svg --step serve -o serve.svg
  milepost export WALK --to sh -o commands.sh         the commands, to go on without the wizard
"""


def add(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "export",
        help="export a recording: asciicast, HTML, Markdown, SVG, shell script",
        description="A walk with a known secret in it is not exported.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("walk", type=Path, metavar="WALK")
    parser.add_argument("--to", choices=FORMATS, required=True)
    parser.add_argument("--step", default="", help="svg: this milestone only")
    parser.add_argument("--kept", action="store_true", help="svg: the screen's own pictures of passed gates")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to (a folder for svg); default: standard output",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from wizard_steps.recording.journal import load
    from wizard_steps.recording.redact import Redactor
    from wizard_steps.walks.save import refuse_secrets
    from wizard_steps.walks.shipped import find
    from wizard_steps.walks.texts import draft

    walk = load(find(args.walk))
    refuse_secrets(draft(walk), Redactor.from_environment())
    if args.to == "svg":
        return _svg(walk, args)
    _write(args.output, _text(walk, args.to))
    return 0


def _text(walk: Walk, form: str) -> str:
    if form == "asciicast":
        from tui.cli.export_cast import cast

        return cast(walk)
    if form == "html":
        from wizard_steps.walks.export_html import html

        return html(walk)
    if form == "markdown":
        from wizard_steps.walks.export_md import markdown

        return markdown(walk)
    from wizard_steps.walks.export_sh import script

    return script(walk)


def _svg(walk: Walk, args: argparse.Namespace) -> int:
    from tui.cli.export_svg import kept, pictures

    found = kept(walk.folder) if args.kept else pictures(walk, args.step)
    if not found:
        what = "the screen kept no pictures of it" if args.kept else f"it has no step {args.step!r}"
        raise UsageError(f"{args.walk}: nothing to draw: {what}")
    if args.step and not args.kept:
        _write(args.output, list(found.values())[-1])
        return 0
    if args.output is None:
        raise UsageError(
            "--to svg makes one file a milestone: give a folder with -o, or one milestone with --step"
        )
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{args.output}: cannot be made: {error.strerror or error}") from None
    for name, text in found.items():
        _write(args.output / name, text)
    return 0


def _write(path: Path | None, text: str) -> None:
    if path is None:
        outside(sys.stdout).write(safe(text))
        return
    write_text(path, text)
    print(f"{path}: written")
