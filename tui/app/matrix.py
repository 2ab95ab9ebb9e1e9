"""Nodes x milestones: how every node does at every step, the nodes in trouble first. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from tui.app.present import NodeMark, node_marks, short_title
from tui.app.text import STEP_STATES, cut, safe
from wizard_steps.recording.state import State

#: Columns of a node's name at most, and of one step.
_NAME, _STEP = 20, 3
_TROUBLE = {"failed": 0, "warning": 1}


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One node: its state at each step, in the walk's order, and what is wrong with it in words."""

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
            tuple(marks[name].state if name in marks else "pending" for marks in by_step),
            notes.get(name, ""),
        )
        for name in names
    ]
    return sorted(found, key=lambda row: min((_TROUBLE.get(one, 2) for one in row.states), default=2))


def _notes(state: State) -> dict[str, str]:
    """By node the first failed check of the latest step that has one, else its last warning."""
    notes: dict[str, str] = {}
    for wanted in ("warning", "failed"):
        for step in state.steps:
            for check in reversed(step.verdict.checks if step.verdict else ()):
                if check.state == wanted and check.node:
                    notes[check.node] = f"{check.name}: {check.found}"
    return notes


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


def counts(found: list[MatrixRow]) -> str:
    """``nodes 256   ✓ 253  ! 2  ✗ 1``: each node once, by the worst that happened on it."""
    worst = [min((_TROUBLE.get(one, 2) for one in row.states), default=2) for row in found]
    return f"nodes {len(found)}   ✓ {worst.count(2)}  ! {worst.count(1)}  ✗ {worst.count(0)}"


def head(state: State, width: int) -> Text:
    """The numbers of the steps over their columns."""
    numbers = "".join(f"{number:>{_STEP}}" for number in range(1, len(state.steps) + 1))
    return Text(f"{'node':<{width}}{numbers}", "bold")


def name_width(found: list[MatrixRow]) -> int:
    return min(_NAME, max((len(row.name) for row in found), default=4)) + 1


def line(row: MatrixRow, width: int) -> Text:
    """``n017   ✓  ✗  ○   GPUs: GPU 3 says ERR!``"""
    signs = "".join(f"{STEP_STATES[one][0]:>{_STEP}}" for one in row.states)
    text = Text(f"{cut(safe(row.name), width - 1):<{width}}{signs}")
    # Not dim: on the highlighted row dim words have too little contrast to be read.
    return text.append(f"  {safe(row.note)}") if row.note else text


def words(row: MatrixRow) -> str:
    """What a filter looks at: name, words of the states, note."""
    return " ".join([row.name, *(STEP_STATES[one][1] for one in dict.fromkeys(row.states)), row.note]).lower()


def steps_line(state: State) -> str:
    """Which number is which step."""
    return "  ".join(
        f"{number} {safe(short_title(step.id, step.title))}" for number, step in enumerate(state.steps, 1)
    )
