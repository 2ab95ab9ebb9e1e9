"""A recording as Markdown, for a wiki or an issue."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wizard_steps.model import Check, Comparison
from wizard_steps.recording.journal import Walk
from wizard_steps.walks.story import Chapter, Shot, about, cut_lines, story

_LINES = 60


def markdown(walk: Walk) -> str:
    """GitHub-flavoured Markdown. Long outputs are cut in the middle."""
    lines = [f"# {_line(walk.meta.title or walk.folder.name)}", ""]
    lines += [f"- **{name}**: {_line(value)}" for name, value in about(walk)]
    lines += [""] + [f"> {_line(note.text)}" for note in walk.notes if not note.step and note.kind == "note"]
    chapters = story(walk)
    lines += ["", "| # | milestone | verdict | seconds |", "|--:|---|---|--:|"]
    for c in chapters:
        said = c.verdict.summary if c.verdict else ""
        lines.append(f"| {c.number} | {_cell(c.heading)} | {_mark(c)}: {_cell(said)} | {c.seconds:.1f} |")
    for chapter in chapters:
        lines += ["", *_chapter(chapter)]
    return "\n".join(lines) + "\n"


def _mark(chapter: Chapter) -> str:
    return {"passed": "✅ passed", "warning": "⚠️ passed with warnings", "failed": "❌ failed"}.get(
        chapter.status, chapter.status
    )


def _chapter(chapter: Chapter) -> Iterator[str]:
    yield f"## {chapter.number}. {_line(chapter.heading)}"
    yield ""
    verdict = chapter.verdict
    yield f"**{_mark(chapter)}** after {chapter.seconds:.1f} s" + (
        f": {_line(verdict.summary)}" if verdict else ""
    )
    yield ""
    for text in chapter.notes:
        yield from (f"> {_line(line)}" for line in text.splitlines())
        yield ""
    for question, answer in chapter.asked:
        yield f"- {_line(question.text)} **{_line(answer)}**"
    for shot in chapter.shots:
        if not shot.quiet or (verdict and not verdict.passed):
            yield from _shot(shot)
    if verdict:
        yield from (_check(check) for check in verdict.checks)
        yield ""
        for comparison in verdict.comparisons:
            yield from _missing(comparison)
    for question_text in chapter.questions:
        yield f"> **Question:** {_line(question_text)}"
        yield ""
    if chapter.answer:
        yield f"Answer at the gate: {_code(chapter.answer)}"


def _shot(shot: Shot) -> Iterator[str]:
    yield f"On **{_line(shot.node)}**" + (
        f", {shot.uses} times over {shot.seconds:.0f} s" if shot.uses > 1 else ""
    )
    yield ""
    yield from _fence(shot.command, "sh")
    output = cut_lines(shot.output, _LINES)
    if output.strip():
        yield from _fence(output, "text")
    if shot.ending:
        yield f"_{_line(shot.ending)}_"
        yield ""


_MARKS = {"ok": "✅", "warning": "⚠️", "failed": "❌"}


def _check(check: Check) -> str:
    where = f" on {_line(check.node)}" if check.node else ""
    text = f"- {_MARKS[check.state]} {_line(check.name)}{where}: {_line(check.found)}"
    if check.state != "ok":
        text += f"; wanted: {_line(check.wanted)}" if check.wanted else ""
        text += f"; **try:** {_line(check.hint)}" if check.hint else ""
    return text


def _missing(comparison: Comparison) -> Iterator[str]:
    if comparison.missing:
        yield f"Expected from {_code(comparison.key)} on **{_line(comparison.node)}** and not found:"
        yield ""
        yield from _fence("\n".join(row.expected for row in comparison.missing), "text")


def _fence(text: str, kind: str) -> list[str]:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{kind}", text, fence, ""]


def _line(text: str) -> str:
    """Plain words on one line: no markup of a host's output takes effect."""
    words = " ".join(text.split()).replace("&", "&amp;")
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~!$+=-])", r"\\\1", words)
    # A bare address would become a link, and a number at the edge a list.
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", escaped.replace("://", ":&#47;/").replace("www.", "www&#46;"))


def _code(text: str) -> str:
    """A code span: its fence is longer than any run of backticks in it, for nothing else ends it."""
    words = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall(r"`+", words)), default=0) + 1)
    return f"{fence} {words} {fence}" if "`" in words else f"`{words or ' '}`"


def _cell(text: str) -> str:
    return _line(text)
