"""Nodes x milestones: how every node does at every step, the nodes in trouble first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from tui.app.present import NodeMark, named, node_marks, short_title
from tui.app.text import STEP_STATES, cut, safe
from wizard_steps.model import WIZARD, Check
from wizard_steps.recording.state import State, StepState

#: Columns of a node's name at most, and of one step.
_NAME, _STEP = 20, 3
_TROUBLE = {"failed": 0, "warning": 1}
_TONES = {"failed": "bold $text-error", "warning": "bold $text-warning"}
#: The name of the row of the milestones themselves.
MILESTONE = "all"
#: A node that a milestone has nothing to do on: neither to do nor passed.
_NO_PART = "·"


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One node: its state at each step, in the walk's order ("" where it has no part), and what is wrong
    with it in words."""

    name: str
    states: tuple[str, ...]
    note: str


def rows(state: State) -> list[MatrixRow]:
    """A row a node. Nodes with a failed check come first, then those with warnings."""
    names: dict[str, None] = {}
    by_step: list[dict[str, NodeMark]] = []
    for step in state.steps:
        marks = {mark.name: mark for mark in node_marks(state, step.id)} if step.attempt else {}
        by_step.append(marks)
        names |= dict.fromkeys(marks)
    notes = _notes(state)
    found = [
        MatrixRow(
            name,
            tuple(_state(step, marks, name) for step, marks in zip(state.steps, by_step, strict=True)),
            notes.get(name, ""),
        )
        for name in names
    ]
    return sorted(found, key=_worst)


def _state(step: StepState, marks: dict[str, NodeMark], name: str) -> str:
    if step.attempt and name not in marks:
        return ""
    return marks[name].state if name in marks else "pending"


def _worst(row: MatrixRow) -> int:
    return min((_TROUBLE.get(one, 2) for one in row.states), default=2)


def _notes(state: State) -> dict[str, str]:
    """By node the first failed check of the latest step that has one, else its last warning."""
    notes: dict[str, str] = {}
    names = [str(n.get("name") or n.get("host")) for n in state.cluster.get("nodes", ())]
    for wanted in ("warning", "failed"):
        for step in state.steps:
            for check in reversed(step.verdict.checks if step.verdict else ()):
                if check.state == wanted:
                    notes |= dict.fromkeys(named(check, names), _said(check))
    return notes


def _said(check: Check) -> str:
    return f"{check.name}: {check.found}"


def whole(state: State) -> MatrixRow:
    """The milestones themselves: a total may be wrong though every node is right."""
    note = ""
    for step in state.steps:
        if step.verdict is not None and not step.verdict.passed:
            total = next((check for check in step.verdict.failures if not check.node), None)
            note = (
                f"{_said(total)}, wanted {total.wanted}" if total and total.wanted else step.verdict.summary
            )
    return MatrixRow(MILESTONE, tuple(step.status for step in state.steps), note)


#: Orders of the rows: the key that changes it goes round.
SORTS = ("trouble first", "by name", "as in the file")


def ordered(found: list[MatrixRow], state: State, sort: str) -> list[MatrixRow]:
    """The rows of ``rows`` in one of SORTS."""
    if sort == "by name":
        return sorted(found, key=lambda row: row.name)
    if sort == "as in the file":
        names = [str(n.get("name") or n.get("host")) for n in state.cluster.get("nodes", ())]
        place = {name: number for number, name in enumerate(names)}
        return sorted(found, key=lambda row: place.get(row.name, len(place)))
    return found


def counts(found: Sequence[MatrixRow]) -> str:
    """``nodes 256   ✓ 253  ! 2  ✗ 1``: each node once, by the worst that happened on it. The
    wizard's own machine is no node."""
    worst = [_worst(row) for row in found if row.name != WIZARD.name]
    return f"nodes {len(worst)}   ✓ {worst.count(2)}  ! {worst.count(1)}  ✗ {worst.count(0)}"


def head(state: State, width: int) -> Content:
    """The numbers of the steps over their columns, and how each of them did as a whole."""
    numbers = "".join(f"{number:>{_STEP}}" for number in range(1, len(state.steps) + 1))
    return Content.assemble((f"{'node':<{width}}{numbers}\n", "bold"), line(whole(state), width))


def name_width(found: Sequence[MatrixRow]) -> int:
    return min(_NAME, max((len(row.name) for row in found), default=4)) + 1


def line(row: MatrixRow, width: int) -> Content:
    """``n017   ✓  ✗  ○   GPUs: GPU 3 says ERR!``"""
    signs = [
        (f"{STEP_STATES[one][0] if one else _NO_PART:>{_STEP}}", _TONES.get(one, "")) for one in row.states
    ]
    # Not dim: on the highlighted row dim words have too little contrast to be read.
    note = f"  {safe(row.note)}" if row.note else ""
    return Content.assemble(f"{cut(safe(row.name), width - 1):<{width}}", *signs, note)


def words(row: MatrixRow) -> str:
    """What a filter looks at: name, words of the states, note."""
    states = (STEP_STATES[one][1] for one in dict.fromkeys(row.states) if one)
    return " ".join([row.name, *states, row.note]).lower()


def steps_line(state: State) -> str:
    """Which number is which step."""
    return "  ".join(
        f"{number} {safe(short_title(step.id, step.title))}" for number, step in enumerate(state.steps, 1)
    )
