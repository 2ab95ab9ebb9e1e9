"""A recorded verdict does not hold the lines that a "..." passed over; screens and pages put them back."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER, Case, CaseTransport
from tests.helpers.engine_help import Script
from tui.app.compare import compare_lines
from wizard_steps.cluster.file import parse
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.engine import Engine
from wizard_steps.engine.expect import compare, parse_line, with_between, without_between
from wizard_steps.milestones.smi import Smi
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import MemoryJournal, load
from wizard_steps.recording.state import fold
from wizard_steps.walks.shipped import find

LINE = st.sampled_from(["a", "b", "c", "  b", "", "...", "x (optional)", "? (glob)"])


@given(st.lists(LINE, max_size=12), st.lists(st.sampled_from(["a", "b", "c", "", " x "]), max_size=30))
def test_what_is_left_out_is_put_back_as_it_was(expected: list[str], real: list[str]) -> None:
    full = compare("k", "n", [parse_line(line) for line in expected], real)
    small = without_between(full)
    assert not any(row.state == "between" for row in small.rows)
    assert with_between(small, real) == full
    # A recording of before holds them already.
    assert with_between(full, real) == full


async def test_a_walk_records_them_once_and_the_screen_shows_them_all() -> None:
    case = Case(Path(__file__).parents[1] / "cases" / "smi" / "eight-and-eight.toml")
    journal, clock = MemoryJournal(), ZeroClock()
    transport = CaseTransport(case.data["result"], 1.0, clock)
    engine = Engine([Smi()], parse(CLUSTER), transport, Script(), clock, journal)
    await engine.walk()
    judged = next(event for event in journal.events if isinstance(event, ev.Judged))
    states = {row.state for comparison in judged.verdict.comparisons for row in comparison.rows}
    assert states == {"matched"}
    assert len(msgspec.json.encode(judged)) < 2000
    lines = compare_lines(engine, fold(journal.events), "smi", "a", journal.spool, folded=False)
    shown = [line.right for line in lines if line.state in ("matched", "between")]
    printed = journal.spool.read("a.smi.smi.log").decode().splitlines()
    assert shown == [line.rstrip() for line in printed if line.strip()]
    assert len(shown) > 20


def test_what_an_old_recording_holds_is_read_and_shown_once() -> None:
    walk = load(find(Path("h100-single")))
    judged = next(e for e in walk.events if isinstance(e, ev.Judged) and e.step == "smi")
    (comparison,) = judged.verdict.comparisons
    assert any(row.state == "between" for row in comparison.rows)
    (run,) = fold(walk.events).runs_of("smi")
    lines = walk.read(run.spool, run.start or 0, run.end or 0).decode().splitlines()
    assert len(lines) > 10
    assert with_between(comparison, lines) == comparison
