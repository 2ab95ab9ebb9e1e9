"""The fold over walks of many runs: a value as before, without a copy of everything for each event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.recording import events as ev
from wizard_steps.recording.runs import Runs
from wizard_steps.recording.state import fold


@given(st.lists(st.tuples(st.integers(1, 400), st.integers()), max_size=80))
def test_runs_behave_like_a_dict_and_old_copies_stay(changes: list[tuple[int, int]]) -> None:
    runs: Runs[int] = Runs()
    plain: dict[int, int] = {}
    copies = []
    for number, value in changes:
        copies.append((runs, dict(plain)))
        runs = runs.plus(number, value)
        plain[number] = value
    assert runs == plain
    assert len(runs) == len(plain)
    assert sorted(runs.items()) == sorted(plain.items())
    assert all(old == was and len(old) == len(was) for old, was in copies)


def test_consecutive_runs_come_in_their_order() -> None:
    runs: Runs[int] = Runs()
    for number in range(1, 300):
        runs = runs.plus(number, number)
    assert list(runs.values()) == list(range(1, 300))
    with pytest.raises(KeyError):
        runs[300]


def events(runs: int, pieces: int) -> list[ev.AnyEvent]:
    made: list[ev.AnyEvent] = [ev.WalkStarted(0.0, "p", (("reach", "r"),)), ev.StepStarted(0.0, "reach", 1)]
    for n in range(1, runs + 1):
        made.append(ev.CommandStarted(1.0, n, "reach", f"n{n}", "k", "true", 0, f"{n}.log"))
    for piece in range(pieces):
        made += [ev.Output(2.0, n, f"n{n}", piece, piece + 1) for n in range(1, runs + 1)]
    made += [ev.CommandEnded(3.0, n, f"n{n}", 0, "exit", 1.0, 3.0) for n in range(1, runs + 1)]
    return made


def test_a_change_copies_one_part_and_shares_the_others() -> None:
    runs: Runs[int] = Runs()
    for number in range(1, 5001):
        runs = runs.plus(number, number)
    changed = runs.plus(2500, 0)
    copied = [at for at, part in changed._parts.items() if part is not runs._parts[at]]
    assert copied == [2500 // 64]
    assert max(len(part) for part in runs._parts.values()) == 64


def test_the_fold_is_pure() -> None:
    many = events(70, 3)
    half = fold(many[:150])
    before = dict(half.runs)
    assert fold(many[150:], half) == fold(many)
    assert dict(half.runs) == before
