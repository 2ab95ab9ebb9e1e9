"""A recording as one HTML file: expected beside real, searchable, offline, readable without scripts too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from msgspec import Struct

from wizard_steps.model import Check, Comparison, Row
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.state import State, fold
from wizard_steps.walks.known import document
from wizard_steps.walks.story import Chapter, Shot, about, cut_lines, story

PAGE = Path(__file__).parent / "page"
#: Symbol and word of a row: a state is never told by colour alone.
_ROWS = {
    "matched": ("=", "matched"),
    "missing": ("!", "missing"),
    "unexpected": ("+", "unexpected"),
    "between": ("·", "between"),
    "optional": ("?", "optional, not there"),
}
#: A check's words, its class and its place in the table.
_MARKS = {"failed": ("✗ failed", "bad", 0), "warning": ("! warning", "warn", 1), "ok": ("✓ ok", "ok", 2)}
_STATUS = {"passed": "✓ passed", "warning": "! passed with warnings", "failed": "✗ failed"}
#: A long table of lines that nobody compares is folded, but for this many at both ends.
_FOLD, _ENDS = 8, 2
_LINES = 2000


class TablePart(Struct, frozen=True):
    """Rows of a comparison: some shown, then some folded."""

    shown: tuple[Row, ...]
    folded: tuple[Row, ...] = ()


def html(walk: Walk) -> str:
    """The whole page as text. Everything that comes from the recording is escaped."""
    chapters, state = story(walk), fold(walk.events)
    page = Environment(loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined)
    page.filters["cut"] = partial(cut_lines, most=_LINES)
    return page.get_template("walk.html").render(
        title=f"milepost: {walk.meta.title or walk.folder.name}",
        about=about(walk),
        intro=[note.text for note in walk.notes if not note.step],
        chapters=[_chapter(chapter, state) for chapter in chapters],
        rows=_ROWS,
        marks=_MARKS,
        style=(PAGE / "walk.css").read_text(encoding="utf-8"),
        script=(PAGE / "walk.js").read_text(encoding="utf-8"),
    )


def _chapter(chapter: Chapter, state: State) -> dict[str, Any]:
    """What the template shows of a chapter."""
    verdict = chapter.verdict
    failed = verdict is not None and not verdict.passed
    compared = {(c.node, c.key): c for c in verdict.comparisons} if verdict else {}
    checks: Iterable[Check] = verdict.checks if verdict else ()
    return {
        "chapter": chapter,
        "id": f"{chapter.step}-{chapter.attempt}",
        "mark": _STATUS.get(chapter.status, chapter.status),
        "why": _why(chapter.step, state),
        "failed": failed,
        "checks": sorted(checks, key=lambda check: _MARKS[check.state][2]),
        "shots": [_shot(shot, compared.get((shot.node, shot.key)), failed) for shot in chapter.shots],
    }


def _why(step: str, state: State) -> list[tuple[str, str]]:
    found = document(state, step)
    sections = found.sections if found is not None else {}
    return [(name, sections[name]) for name in sections if name in ("Why", "What happens", "If it fails")]


def _shot(
    shot: Shot, comparison: Comparison | None, failed: bool
) -> tuple[Shot, list[TablePart] | None, bool]:
    """A command, its table where it was compared, and whether it is shown open."""
    if comparison is None:
        return shot, None, failed and not shot.quiet
    return shot, list(_parts(shot.compared(comparison).rows)), True


def _parts(rows: Iterable[Row]) -> Iterator[TablePart]:
    loose: list[Row] = []
    for row in rows:
        if row.state == "between":
            loose.append(row)
            continue
        yield from _folded(loose)
        yield TablePart((row,))
        loose = []
    yield from _folded(loose)


def _folded(rows: list[Row]) -> Iterator[TablePart]:
    if len(rows) < _FOLD:
        yield TablePart(tuple(rows))
        return
    yield TablePart(tuple(rows[:_ENDS]), tuple(rows[_ENDS:-_ENDS]))
    yield TablePart(tuple(rows[-_ENDS:]))
