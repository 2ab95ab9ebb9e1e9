"""A recording as one HTML file: expected beside real, searchable, offline, readable without scripts too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from wizard_steps.model import Check, Comparison, Row
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.state import State, fold
from wizard_steps.walks.html_parts import CSS, JS
from wizard_steps.walks.known import document
from wizard_steps.walks.story import Chapter, Shot, about, cut_lines, story

#: Symbol and word of a row: a state is never told by colour alone.
_ROWS = {
    "matched": ("=", "matched"),
    "missing": ("!", "missing"),
    "unexpected": ("+", "unexpected"),
    "between": ("·", "between"),
    "optional": ("?", "optional, not there"),
}
#: A long table of lines that nobody compares is folded.
_FOLD = 8
_LINES = 2000


def html(walk: Walk) -> str:
    """The whole page as text. Everything that comes from the recording is escaped."""
    chapters, state = story(walk), fold(walk.events)
    title = f"milepost: {walk.meta.title or walk.folder.name}"
    body = "".join(part for chapter in chapters for part in _chapter(chapter, state))
    facts = "".join(f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in about(walk))
    intro = "".join(f'<p class="note">{escape(n.text)}</p>' for n in walk.notes if not n.step)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><dl>{facts}</dl>{intro}</header>
<nav aria-label="Milestones"><ol>{"".join(map(_link, chapters))}</ol></nav>
<div id="bar" role="search"><label>Search <input id="q" type="search" autocomplete="off"></label>
<button id="prev" type="button">Previous</button><button id="next" type="button">Next</button>
<output id="hits" aria-live="polite"></output></div>
<main>{body}</main>
<script>{JS}</script>
</body>
</html>
"""


def _id(chapter: Chapter) -> str:
    return f"{chapter.step}-{chapter.attempt}"


def _mark(chapter: Chapter) -> str:
    return {"passed": "✓ passed", "warning": "! passed with warnings", "failed": "✗ failed"}.get(
        chapter.status, chapter.status
    )


def _link(chapter: Chapter) -> str:
    return (
        f'<li class="{escape(chapter.status)}" value="{chapter.number}"><a href="#{escape(_id(chapter))}">'
        f"{escape(chapter.heading)}</a> <small>{escape(_mark(chapter))}</small></li>"
    )


def _chapter(chapter: Chapter, state: State) -> Iterator[str]:
    verdict = chapter.verdict
    yield f'<section id="{escape(_id(chapter))}" class="{escape(chapter.status)}">'
    yield f"<h2>{chapter.number}. {escape(chapter.heading)}</h2>"
    summary = escape(verdict.summary) if verdict else ""
    yield f'<p class="verdict"><b>{escape(_mark(chapter))}</b> after {chapter.seconds:.1f} s. {summary}</p>'
    yield _why(chapter.step, state)
    for note in chapter.notes:
        yield f'<p class="note">{escape(note)}</p>'
    for question, answer in chapter.asked:
        yield f'<p class="asked">{escape(question.text)} <b>{escape(answer)}</b></p>'
    failed = verdict is not None and not verdict.passed
    for question_text in chapter.questions:
        yield f'<details class="ask"><summary>{escape(question_text)}</summary>'
        yield from _checks(verdict.checks if verdict else ())
        yield "</details>"
    if verdict and not (failed and chapter.questions):
        yield from _checks(verdict.checks)
    compared = {(c.node, c.key): c for c in verdict.comparisons} if verdict else {}
    for shot in chapter.shots:
        yield from _shot(shot, compared.get((shot.node, shot.key)), failed)
    if chapter.answer:
        yield f'<p class="asked">At the gate: <b>{escape(chapter.answer)}</b></p>'
    yield "</section>"


def _why(step: str, state: State) -> str:
    found = document(state, step)
    sections = found.sections if found is not None else {}
    parts = "".join(
        f"<h3>{escape(name)}</h3><p>{escape(text)}</p>"
        for name, text in sections.items()
        if name in ("Why", "What happens", "If it fails")
    )
    if not parts:
        return ""
    return f'<details class="why"><summary>Why, what happens, if it fails</summary>{parts}</details>'


#: A check's words, its class and its place in the table.
_MARKS = {"failed": ("✗ failed", "bad", 0), "warning": ("! warning", "warn", 1), "ok": ("✓ ok", "ok", 2)}


def _checks(checks: Iterable[Check]) -> Iterator[str]:
    rows = []
    for check in sorted(checks, key=lambda c: _MARKS[c.state][2]):
        mark, kind, _ = _MARKS[check.state]
        hint = f"<br><b>try:</b> {escape(check.hint)}" if check.hint and check.state != "ok" else ""
        wanted = f"<br>wanted: {escape(check.wanted)}" if check.wanted and check.state != "ok" else ""
        rows.append(
            f'<tr class="{kind}"><td>{mark}</td><td>{escape(check.name)}</td>'
            f"<td>{escape(check.node)}</td><td>{escape(check.found)}{wanted}{hint}</td></tr>"
        )
    if rows:
        yield '<table class="checks"><tr><th>fact<th>what<th>node<th>found</tr>' + "".join(rows) + "</table>"


def _shot(shot: Shot, comparison: Comparison | None, opened: bool) -> Iterator[str]:
    polls = f", {shot.uses} times" if shot.uses > 1 else ""
    ending = f" · {escape(shot.ending)}" if shot.ending else ""
    show = " open" if comparison is not None or (opened and not shot.quiet) else ""
    yield f'<details class="shot"{show}><summary><b>{escape(shot.node)}</b> {escape(shot.key)} '
    yield f"<small>{shot.seconds:.1f} s{polls}{ending}</small></summary>"
    yield f'<pre class="cmd">{escape(shot.command)}</pre>'
    if comparison is not None:
        yield from _compare(shot.compared(comparison))
        full = escape(cut_lines(shot.output, _LINES))
        yield f"<details><summary>full output</summary><pre>{full}</pre></details>"
    elif shot.output.strip():
        yield f"<pre>{escape(cut_lines(shot.output, _LINES))}</pre>"
    yield "</details>"


def _compare(comparison: Comparison) -> Iterator[str]:
    yield '<table class="sides"><tr><th><th>expected<th>real</tr>'
    loose: list[Row] = []
    for row in comparison.rows:
        if row.state == "between":
            loose.append(row)
            continue
        yield from _fold(loose)
        loose = []
        yield _row(row)
    yield from _fold(loose)
    yield "</table>"


def _fold(rows: list[Row]) -> Iterator[str]:
    if len(rows) < _FOLD:
        yield from map(_row, rows)
        return
    yield from map(_row, rows[:2])
    inner = "\n".join(escape(row.real) for row in rows[2:-2])
    yield f'<tr class="between"><td>·<td><td><details><summary>{len(rows) - 4} more lines</summary>'
    yield f"<pre>{inner}</pre></details></tr>"
    yield from map(_row, rows[-2:])


def _row(row: Row) -> str:
    symbol, word = _ROWS[row.state]
    kind = f" <small>({escape(row.kind)})</small>" if row.expected and row.kind != "literal" else ""
    return (
        f'<tr class="{row.state}"><td title="{word}">{symbol}<td><code>{escape(row.expected)}</code>{kind}'
        f"<td><code>{escape(row.real)}</code></tr>"
    )
