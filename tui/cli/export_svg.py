"""Milestones of a recording as SVG pictures: what the wizard's screen kept, else drawn from the recording."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tui.app.text import ROW_STATES, STEP_STATES, safe
from wizard_steps.model import Comparison, Verdict, counted
from wizard_steps.recording.journal import Walk
from wizard_steps.walks.story import Chapter, Shot, about, story

_WIDTH = 110
#: A picture with more lines than this can be read by nobody.
_LINES = 46
_STYLES = {"good": "green", "bad": "bold red", "warning": "yellow", "quiet": "dim", "accent": "cyan"}


def pictures(walk: Walk, step: str = "") -> dict[str, str]:
    """SVG by file name, one an attempt at a milestone; of one milestone if it is named."""
    return {
        f"{c.number:02d}-{c.step}{f'-{c.attempt}' if c.attempt > 1 else ''}.svg": picture(walk, c)
        for c in story(walk)
        if step in ("", c.step)
    }


def picture(walk: Walk, chapter: Chapter) -> str:
    """One milestone: what it is a recording of, the verdict, expected beside real, the facts."""
    console = Console(
        record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    symbol, word, tone = STEP_STATES.get(chapter.status, ("·", chapter.status, "quiet"))
    name, when = about(walk)[0]
    lines = [Text(f"{name} {when} on {safe(walk.meta.machine)}", "dim"), Text()]
    head = Text(f"{chapter.number}. {safe(chapter.heading)}  ", "bold")
    lines.append(head.append(f"{symbol} {word}", _STYLES[tone]).append(f"  {chapter.seconds:.1f} s", "dim"))
    if chapter.verdict:
        lines.append(Text(safe(chapter.verdict.summary)))
    lines.append(Text())
    body = [*_compared(chapter), *(_checks(chapter.verdict) if chapter.verdict else [])]
    notes = [Text(f"note: {safe(note)}", "cyan") for note in chapter.notes]
    room = _LINES - len(lines) - len(notes)
    if len(body) > room:
        gone = len(body) - room + 1
        body = [*body[: room // 2], Text(f"[... {gone} lines ...]", "dim"), *body[-(room - room // 2 - 1) :]]
    for line in (*lines, *body, *notes):
        console.print(line, no_wrap=line not in notes, overflow="ellipsis", crop=True)
    # A fixed id makes the same recording give the same picture.
    return console.export_svg(
        title=f"milepost: {safe(walk.meta.title or walk.folder.name)}", unique_id="milepost"
    )


def _compared(chapter: Chapter) -> list[Text]:
    comparisons = {(c.node, c.key): c for c in chapter.verdict.comparisons} if chapter.verdict else {}
    lines: list[Text] = []
    for shot in chapter.shots:
        comparison = comparisons.get((shot.node, shot.key))
        if shot.quiet and comparison is None:
            continue
        lines.append(_command(shot))
        lines += (
            _rows(shot.compared(comparison))
            if comparison
            else [Text(safe(x)) for x in shot.output.splitlines()]
        )
        lines.append(Text())
    return lines


def _command(shot: Shot) -> Text:
    first, *rest = shot.command.splitlines() or [""]
    more = f"  (and {counted(len(rest), 'more line')})" if rest else ""
    return Text(f"{safe(shot.node)}$ ", "dim").append(safe(first) + more, "bold")


def _rows(comparison: Comparison) -> list[Text]:
    half = (_WIDTH - 6) // 2
    lines = []
    for row in comparison.rows:
        symbol, _, tone = ROW_STATES[row.state]
        left, right = safe(row.expected)[:half], safe(row.real)[:half]
        style = _STYLES[tone]
        lines.append(Text(f"{symbol} ", style).append(f"{left:<{half}} │ ").append(right, style))
    return lines


#: A check's symbol, its style and its place in the list.
_MARKS = {"failed": ("✗ ", "bold red", 0), "warning": ("! ", "yellow", 1), "ok": ("✓ ", "green", 2)}


def _checks(verdict: Verdict) -> list[Text]:
    lines = []
    for check in sorted(verdict.checks, key=lambda c: _MARKS[c.state][2]):
        mark, style, _ = _MARKS[check.state]
        where = f" on {check.node}" if check.node else ""
        lines.append(Text(mark, style).append(safe(f"{check.name}{where}: {check.found}")))
        if check.state != "ok":
            lines += [
                Text(f"    {label} {safe(text)}", "yellow")
                for label, text in (("wanted", check.wanted), ("try", check.hint))
                if text
            ]
    return lines


def kept(folder: Path) -> dict[str, str]:
    """The pictures that the wizard's screen took of passed gates."""
    from wizard_steps.walks.texts import evidence

    return {name: text for name, text in evidence(folder).items() if name.endswith(".svg")}
