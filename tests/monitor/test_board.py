"""What `milepost top` knows: from samples to rates, rows and complaints; a cut connection is opened again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER
from tests.helpers.waiting import soon
from tui.cli.main import main
from wizard_steps.cluster.file import parse
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.monitor import board as boards
from wizard_steps.monitor import watch as watching
from wizard_steps.monitor.export import DASHBOARD, SCRAPE, files
from wizard_steps.node.sample import read

GPU = "gpu {n}, GPU-{n}, {use}, 70000, 81559, 500.1, 61, 1755, {reasons}\n"


def text(at: int, tokens: int = 0, gpus: int = 8, use: str = "90", reasons: str = "0x4") -> str:
    cards = "".join(GPU.format(n=n, use=use, reasons=reasons) for n in range(gpus))
    page = (
        'api vllm:num_requests_running{engine="0"} 3.0\napi vllm:kv_cache_usage_perc{engine="0"} 0.5\n'
        f'api vllm:generation_tokens_total{{engine="0"}} {tokens}\n'
        f'api vllm:time_to_first_token_seconds_sum{{engine="0"}} {tokens / 1000}\n'
        f'api vllm:time_to_first_token_seconds_count{{engine="0"}} {tokens / 100}\n'
    )
    return f"at {at}\n{cards}memory 1048576 kB\n{page}"


def board() -> boards.Board:
    return boards.new(parse(CLUSTER))


def test_two_samples_make_a_speed() -> None:
    it = board()
    it.take("a", read(text(100, 1000))[0], 1.0)
    assert it.engines[0].generated is None
    it.take("a", read(text(102, 1500))[0], 3.0)
    assert it.engines[0].generated == 250.0
    assert it.engines[0].first_token_ms == pytest.approx(100.0)
    assert it.complaints() == ["b: no answer yet"]
    it.take("b", read(text(102))[0], 3.0)
    assert it.healthy
    assert "250.0" in boards.as_text(it, 3.5)
    assert boards.as_json(it, 3.5)["healthy"] is True


def test_both_tables_fit_eighty_columns() -> None:
    """Less the margins and a scroll bar."""
    it = board()
    it.take("a", read(text(100, 0))[0], 1.0)
    it.take("a", read(text(101, 123456, use="100"))[0], 2.0)
    table, engines = boards.as_text(it, 2.0).split("\n\n")[1:3]
    assert max(map(len, table.splitlines()[1:9])) <= 76, table
    assert max(map(len, engines.splitlines())) <= 78, engines


def test_what_is_wrong_is_said() -> None:
    it = board()
    it.take("a", read("at 1\n")[0], 1.0)
    it.take("b", read(text(1, gpus=7, reasons="0x40"))[0], 1.0)
    said = it.complaints()
    assert "b: 7 of 8 GPUs answer" in said
    assert "b: GPU 6: too hot" in said
    assert "a: /metrics does not answer: does vLLM run?" in said
    it.lost("b", "The connection broke.")
    assert "b: The connection broke." in it.complaints()
    assert any(state == "old" for state, _, node in boards.gpu_rows(it, 60.0) if node == "b")


def test_requests_of_monitors_are_no_news() -> None:
    it = board()
    it.log("a", '"GET /metrics HTTP/1.1" 200\nERROR something\n"GET /health HTTP/1.1" 200\n')
    assert list(it.lines) == ["a: ERROR something"]


@given(st.text(), st.floats(0, 1e9))
def test_no_sample_makes_it_fail(words: str, now: float) -> None:
    it = board()
    for found in read(f"at 1\n{words}\nat 2\ngpu {words}\napi {words}\n"):
        it.take("a", found, now)
    json.dumps(boards.as_json(it, now))
    boards.as_text(it, now)


class Cut:
    """A transport whose connection breaks after the first sample of each try."""

    def __init__(self) -> None:
        self.tries = 0

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if cmd.key == "log":
            yield Chunk(b"INFO one\nINFO tw")
            yield Chunk(b"o\n")
            await asyncio.sleep(60)
        self.tries += 1
        half = text(self.tries, self.tries * 100).encode()
        yield Chunk(half[:50])
        yield Chunk(half[50:] + b"at ")
        yield Exit(-1, "lost", "The connection to it broke.")

    async def close(self) -> None:
        pass


async def test_a_cut_connection_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_FIRST", 0.01)
    it, transport = board(), Cut()
    watch = watching.Watch(parse(CLUSTER), transport, it)
    await watching.once(watch, 30)
    assert transport.tries >= 3
    assert it.nodes["a"].previous is not None
    assert list(it.lines) == ["a: INFO one", "a: INFO two"]
    assert it.nodes["a"].problem == "The connection to it broke.", "who looks once is promised nothing"
    watch.goes_on = True
    task = asyncio.create_task(watch.run())
    await soon(lambda: "The connection to it broke. Again in" in it.nodes["a"].problem, "the next try")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_row_has_the_first_sentence_and_the_complaints_have_all() -> None:
    it = board()
    why = "No answer from a (10.0.0.1) port 22 within 15 s. To see it by hand: ssh -F config root@a"
    it.lost("a", why)
    (row,) = [cells for _, cells, node in boards.gpu_rows(it, 0.0) if node == "a"]
    assert row == ("a", "-", "No answer from a (10.0.0.1) port 22 within 15 s.")
    assert f"a: {why}" in it.complaints()


def test_the_files_for_prometheus_and_grafana_are_written_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = tmp_path / "c.toml"
    cluster.write_text(CLUSTER)
    assert main(["top", str(cluster), "--export", str(tmp_path / "out")]) == 0
    assert main(["top", str(cluster), "--export", str(tmp_path / "out")]) == 2
    assert "dcgm-exporter (port 9400)" in capsys.readouterr().out
    made = json.loads((tmp_path / "out" / DASHBOARD).read_text())
    rows = [panel["title"] for panel in made["panels"] if panel["type"] == "row"]
    assert "without dcgm-exporter" in rows[1]
    panels = [panel for panel in made["panels"] if panel["type"] == "timeseries"]
    assert len(panels) == 12
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in made["panels"]]
    assert len(set(places)) == len(places), "no two panels in one place"


def test_prometheus_reads_what_is_written_whatever_the_names() -> None:
    yaml = pytest.importorskip("yaml")
    cluster = parse(
        CLUSTER.replace('host = "gpu-b"', 'host = "fd00::2"').replace('fabric_ip = "10.0.0.2"', "")
    )
    made = yaml.safe_load(files(cluster)[SCRAPE])
    jobs = {job["job_name"]: job["static_configs"] for job in made["scrape_configs"]}
    assert jobs["vllm"] == [{"targets": ["10.0.0.1:8000"], "labels": {"node": "a"}}]
    assert jobs["gpus"][1]["targets"] == ["[fd00::2]:9400"]
