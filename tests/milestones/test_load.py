"""The numbers of a load, and what two recordings of it say of each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers.case_runner import Case
from tests.helpers.mutated import outputs
from tui.cli.load import changed
from tui.cli.main import main
from wizard_steps.cluster.file import parse
from wizard_steps.milestones.load_numbers import concurrency_of, numbers
from wizard_steps.node import sample

CASES = Path(__file__).parents[1] / "cases" / "load"
TEXTS = sorted({one["text"] for path in CASES.glob("*.toml") for one in Case(path).data["result"]})


def test_vllms_own_result_is_read() -> None:
    text = next(text for text in TEXTS if "Serving Benchmark Result" in text)
    found = numbers(text)
    assert found is not None
    assert (found.requests, found.failed, found.output_tokens_per_second) == (8, 0, 197.99)
    assert (found.median_ttft_ms, found.p99_tpot_ms, found.p99_itl_ms) == (91.47, 6.55, 13.97)


@given(outputs(TEXTS))
@example("requests: 0\nfailed: 2\nerror: 2\n")
def test_no_output_makes_a_reader_fail(text: str) -> None:
    found = numbers(text)
    assert found is None or found.line
    for one in sample.read(text):
        assert one.at >= 0


@given(st.text(max_size=12))
def test_keys(key: str) -> None:
    assert concurrency_of(key) is None or key.split("-")[1].isdigit()
    assert concurrency_of("bench-32") == 32
    assert concurrency_of("watched") is None


def test_the_command_line_goes_before_the_file() -> None:
    cluster = parse("[[nodes]]\nhost = 'a'\nrole = 'head'\ngpus = 1\n[load]\nsoak = 60\n")
    assert changed(cluster, None, None) == cluster
    assert changed(cluster, (1, 2), 0).load.concurrency == (1, 2)
    assert changed(cluster, (1, 2), 0).load.soak == 0


def test_what_is_no_list_and_no_time_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--concurrency=0"], ["--concurrency=1,x"], ["--soak=9d"], ["--soak=-1"]):
        with pytest.raises(SystemExit) as error:
            main(["load", "x.toml", *words])
        assert error.value.code == 2
        assert "is not a" in capsys.readouterr().err
