"""While a step takes its time: how much is done, which phase, how long it took before, what the footer names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.widgets import Markdown

from tests.helpers.tui_fakes import until
from tests.tui.test_parts import walked
from tui.app import present
from tui.app.amount import Amount, amount_of
from tui.app.context import Context, actions
from tui.app.phase import PhaseWatch
from tui.app.waiting import waiting
from tui.widgets.panes import InfoPanel
from wizard_steps.model import Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.spool import MemorySpool
from wizard_steps.recording.state import State, fold
from wizard_steps.walks.typical import summed, usual


@pytest.mark.parametrize(
    ("line", "amount"),
    [
        (
            "weights: 12.300 of 141.000 GB, 45.2 MB/s, 2847 s left",
            Amount(12.3 / 141, "12.3 of 141 GB, 45.2 MB/s"),
        ),
        (
            "model.safetensors:  45%|####5     | 2.49G/4.98G [00:50<01:02, 44.1MB/s]",
            Amount(0.5, "2.49 of 4.98 GB, 44.1 MB/s"),
        ),
        ("Loading safetensors checkpoint shards:  20% Completed | 1/5 [00:01<00:05,  1.2s/it]", Amount(0.2)),
        ("Capturing CUDA graphs (PIECEWISE): 100%|##########| 67/67 [00:03<00:00]", Amount(1.0)),
        ("12.30 GB received, 340 MB/s", Amount(None, "12.30 GB received, 340 MB/s")),
        ("Memory 62 % used", None),
        ("0.0/16.0 GPU", None),
        ("Usage: 0B/1.2GiB object_store_memory", None),
        ("disk 9 of 8 GB", None),
    ],
)
def test_an_amount_is_read_where_a_line_has_one(line: str, amount: Amount | None) -> None:
    assert amount_of(line) == amount


@given(st.text(max_size=200) | st.from_regex(r"[\d.]{1,30} ?(of|/|%) ?[\d.]{1,30} ?[KMG]?B?(/s)?"))
def test_no_line_is_too_much_for_it(line: str) -> None:
    found = amount_of(line)
    assert found is None or found.share is None or 0 <= found.share <= 1


def test_a_bar_stands_in_its_phase() -> None:
    words = "".join(text for text, _ in waiting("serve", "loading weights", Amount(0.5, "2 of 4 GB"), 200))
    assert "✓ connecting" in words
    assert "● loading weights  ━━━━━━━━──────── 50%  2 of 4 GB  ○ compiling" in words
    few = "".join(text for text, _ in waiting("serve", "loading weights", Amount(0.5), 40))
    assert few == "● loading weights  ━━━─── 50%  "
    some = "".join(text for text, _ in waiting("serve", "loading weights", Amount(0.5, "2 of 4 GB"), 70))
    assert some.startswith("● loading weights  stage 3 of 6  ━━━━━━━━─")
    # Of what is known nothing is cut while the bar can be shorter.
    words = Amount(0.42, "5.3 of 12.6 GB, 112 MB/s")
    for width in (45, 51, 60, 80):
        fits = "".join(text for text, _ in waiting("weights", "fetching", words, width)).rstrip()
        assert "5.3 of 12.6 GB, 112 MB/s" in fits
        assert len(fits) <= width
    assert waiting("reach", "", None, 80) == []


def test_a_new_phase_begins_without_the_bar_of_the_old_one() -> None:
    spool = MemorySpool()
    watch = PhaseWatch(spool)

    def after(text: bytes) -> Amount | None:
        start, end = spool.append("a.log", text)
        events.append(ev.Output(1, 1, "a", start, end))
        runs = list(fold(walked(*events)).runs.values())
        watch.phase("serve", 1, runs)
        return watch.amount(runs)

    events: list[ev.AnyEvent] = []
    # A bar is drawn anew after a carriage return: no line has ended yet.
    assert after(b"Loading safetensors checkpoint shards:  20% Completed | 1/5\r") == Amount(0.2)
    assert after(b"Loading safetensors checkpoint shards:  80% Completed | 4/5\r") == Amount(0.8)
    assert after(b"torch.compile took 12 s\n") is None


def test_usual_times_come_from_passes_that_did_the_work(tmp_path: Path) -> None:
    def walk(seconds: float, key: str, passed: bool = True) -> State:
        more = ev.CommandStarted(1, 2, "serve", "a", key, "x", 0, "b.log", mutates=key == "launch")
        begun = walked()[:2]
        return fold([*begun, more, ev.Judged(seconds, "serve", 1, Verdict(passed, "x"))])

    states = [walk(130, "launch"), walk(242, "launch"), walk(500, "launch", False), walk(4, "look")]
    assert summed(states)["serve"].words == "2m10s to 4m02s in 2 earlier walks"
    assert "it took 2m10s to 4m02s" in present.heading(
        fold(walked()).step("serve"), 9, summed(states)["serve"].words
    )
    assert summed([walk(4, "look")]) == {}
    assert usual(tmp_path / "nowhere" / "walk", "demo", False) == {}
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "events.jsonl").write_text("{")
    assert usual(tmp_path / "walk", "demo", False) == {}


def test_the_footer_names_what_fits_here() -> None:
    assert actions(Context("compare", records=True)) == (
        "info",
        "fold",
        "copy",
        "steps",
        "note",
        "help",
        "ask_quit",
    )
    assert actions(Context("log", many=True))[:4] == ("info", "nodes", "find", "wrap")
    at_gate = actions(Context("checks", gate=True, place=True))
    assert at_gate[0] == "go_on"
    assert actions(Context("checks", paused=True, place=True))[0] == "info"
    assert actions(Context("compare", over=True, passed=True))[0] == "app.handover"


class Prose(App[None]):
    def compose(self) -> ComposeResult:
        yield InfoPanel(id="info")


async def test_prose_that_changes_while_it_is_drawn_ends_no_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off in the midst of mounting, Textual ended the app without a word."""
    drawn: list[str] = []
    update = Markdown.update
    app = Prose()

    def updating(self: Markdown, text: str) -> Any:
        drawn.append(text)
        return update(self, text)

    monkeypatch.setattr(Markdown, "update", updating)
    async with app.run_test():
        panel = app.query_one(InfoPanel)
        panel.want("a", {"Why": "first"})
        await until(None, lambda: drawn)
        for number in range(20):
            panel.want("b", {"Why": f"step {number}"})
        await until(None, lambda: "step 19" in drawn[-1] and not panel._drawing)
        # Those in between were never begun.
        assert len(drawn) == 2
        assert app.is_running
    assert app.return_code is None or app.return_code == 0
