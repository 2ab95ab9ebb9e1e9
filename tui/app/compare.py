"""Expected beside real, as lines to draw: the judged comparison, or what there is while the step runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tui.app.pattern import human, near
from tui.app.text import described, safe
from wizard_steps.engine.engine import Engine
from wizard_steps.engine.expect import with_between
from wizard_steps.engine.expected import Expected
from wizard_steps.engine.runner import WHOLE
from wizard_steps.engine.step import Known
from wizard_steps.model import WIZARD, Comparison, Node, Result, Row
from wizard_steps.recording.spool import Spool
from wizard_steps.recording.state import Run, State
from wizard_steps.walks.known import document

#: While a step runs, at most this much of the end of an output is compared (bytes).
_LIVE_BYTES = 48 * 1024
#: Runs of lines nobody has to compare are folded from this many on.
_FOLD = 6
#: A near miss is looked for among this many lines.
_STRETCH = 60


@dataclass(frozen=True, slots=True)
class CompareLine:
    """``state`` is a row state; near: an expected line and the real one that is nearly it; titles: over the
    columns; or command, fold or note for lines that stand across both columns."""

    state: str
    left: str = ""
    right: str = ""
    kind: str = ""


def compare_lines(
    engine: Engine, state: State, step_id: str, node_name: str, spool: Spool, folded: bool = True
) -> list[CompareLine]:
    """The lines of the side by side view of one step on one node."""
    judged = state.step(step_id).verdict
    elsewhere: dict[str, None] = {}
    if judged is not None:
        comparisons: Iterable[Comparison] = (c for c in judged.comparisons if c.node == node_name)
        elsewhere = dict.fromkeys(c.node for c in judged.comparisons)
    else:
        comparisons = _live(engine, state, step_id, node_name, spool)
    runs = {run.key: run for run in state.runs_of(step_id, node_name)}
    lines: list[CompareLine] = []
    for comparison in comparisons:
        if lines:
            lines.append(CompareLine("note"))
        run = runs.get(comparison.key)
        if run is not None:
            shown = _command_lines(run)
            lines += [
                CompareLine("note", f"# {text}") if described(text) else CompareLine("command", text)
                for text in shown
            ]
            comparison = _whole(comparison, run, spool) if judged is not None else comparison
        lines.append(CompareLine("titles", "expected", f"{safe(node_name)} says"))
        lines += _rows(comparison.rows, awaited=judged is None, folded=folded)
    return lines or [CompareLine("note", _nothing(judged is not None, bool(runs), list(elsewhere)))]


def _whole(comparison: Comparison, run: Run, spool: Spool) -> Comparison:
    """With the lines that a "..." passed over: a recorded verdict does not hold them a second time."""
    start, end = run.start or 0, run.end or 0
    if end - start > WHOLE:
        return comparison
    return with_between(comparison, spool.read(run.spool, start, end).decode("utf-8", "replace").splitlines())


def _command_lines(run: Run) -> list[str]:
    """A command of two lines as two; of a longer one only the first is shown."""
    lines = (run.show or run.text).strip().splitlines()
    return [safe(line) for line in lines] if len(lines) == 2 else [command_line(run)]


def command_line(run: Run) -> str:
    """The command of a run as a person would type it, on one line."""
    lines = (run.show or run.text).strip().splitlines() or [run.key]
    return safe(lines[0]) + (f"  (and {len(lines) - 1} more lines: see the log)" if len(lines) > 1 else "")


def _nothing(judged: bool, ran: bool, elsewhere: Sequence[str]) -> str:
    if not judged:
        return "Waiting for output to compare." if ran else "Nothing has run on this node yet."
    names = ", ".join(map(safe, elsewhere[:3])) + (" …" if len(elsewhere) > 3 else "")
    where = f" Compared lines are on {names}: [ and ] change the node." if names else ""
    return (
        f"No line is compared on this node.{where} The log (2) shows what ran, the checks (3) what was found."
    )


def _live(engine: Engine, state: State, step_id: str, node_name: str, spool: Spool) -> list[Comparison]:
    """What has come so far against what is expected; nothing is judged by it."""
    step = next((s for s in engine.plan if s.id == step_id), None)
    node = next((n for n in (*engine.cluster.node_list, WIZARD) if n.name == node_name), None)
    expected = document(state, step_id, step)
    if step is None or node is None or expected is None:
        return []
    variables = step.variables(Known(engine.cluster, state.facts), node)
    latest = {run.key: run for run in state.runs_of(step_id, node_name)}
    keys = _keys(expected, node, latest)
    found = []
    for key in keys:
        comparison = expected.compare(_so_far(latest.get(key), node, key, spool), variables)
        if comparison is not None:
            found.append(comparison)
    return found


def _keys(expected: Expected, node: Node, ran: Iterable[str]) -> list[str]:
    """What is compared on a node, in the order of the file: of a family (``pair-*``), and of what not every
    walk does, that which has run."""
    found: list[str] = []
    for block in expected.blocks:
        if expected.block(block.key, node):
            found += [key for key in ran if block.fits(key, node)] or [block.key] * block.required
    return list(dict.fromkeys(found))


def _so_far(run: Run | None, node: Node, key: str, spool: Spool) -> Result:
    text = ""
    if run is not None and run.end is not None:
        start = max(run.start or 0, run.end - _LIVE_BYTES)
        text = spool.read(run.spool, start, run.end).decode("utf-8", "replace")
    return Result(node=node, key=key, text=text, code=0)


def _paired(rows: Sequence[Row]) -> list[Row | tuple[Row, Row]]:
    """A missing line together with the real one that is nearly it, between two matched ones."""
    found: list[Row | tuple[Row, Row]] = []
    stretch: list[Row] = []
    for row in (*rows, None):
        if row is not None and row.state in ("missing", "unexpected", "between") and len(stretch) < _STRETCH:
            stretch.append(row)
            continue
        found += _pairs(stretch)
        stretch = []
        found += [row] if row is not None else []
    return found


def _pairs(stretch: Sequence[Row]) -> list[Row | tuple[Row, Row]]:
    reals = [row for row in stretch if row.state != "missing"]
    pairs: dict[int, Row] = {}
    for row in stretch:
        if row.state == "missing" and reals:
            at = near(human(row.expected, row.kind), [real.real for real in reals])
            if at is not None:
                pairs[id(reals.pop(at))] = row
    taken = {id(row) for row in pairs.values()}
    return [(pairs[id(row)], row) if id(row) in pairs else row for row in stretch if id(row) not in taken]


def _rows(rows: Sequence[Row], awaited: bool, folded: bool) -> list[CompareLine]:
    lines: list[CompareLine] = []
    loose: list[CompareLine] = []
    for item in _paired(rows):
        if isinstance(item, tuple):
            wanted, real = item
            shown = human(safe(wanted.expected), wanted.kind)
            lines += [*_fold(loose, folded), CompareLine("near", shown, safe(real.real), wanted.kind)]
            loose = []
            continue
        row = item
        state = "awaited" if awaited and row.state == "missing" else row.state
        state = "between" if awaited and state == "unexpected" else state
        line = CompareLine(state, human(safe(row.expected), row.kind), safe(row.real), row.kind)
        if state == "between":
            loose.append(line)
            continue
        lines += [*_fold(loose, folded), line]
        loose = []
    return lines + _fold(loose, folded)


def _fold(loose: list[CompareLine], folded: bool) -> list[CompareLine]:
    if not folded or len(loose) < _FOLD:
        return loose
    note = f"{len(loose) - 4} more lines between; x shows them"
    return [*loose[:2], CompareLine("fold", note), *loose[-2:]]
