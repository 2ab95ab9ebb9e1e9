"""vLLM's own numbers, read back from its log, go before any estimate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.cli.main import main
from wizard_steps.advisor.overhead import GIB
from wizard_steps.advisor.rehearsed import read

#: vLLM 0.23 on an H100, Qwen3-30B-A3B with dummy weights.
LOG = """INFO gpu_model_runner.py:5187] Model loading took 56.88 GiB memory and 2.5 seconds
INFO gpu_worker.py:480] Available KV cache memory: 11.87 GiB
INFO kv_cache_utils.py:1744] GPU KV cache size: 129,680 tokens
"""
UNKNOWN = {"model_type": "brand_new", "num_hidden_layers": 48, "num_attention_heads": 32,
           "num_key_value_heads": 4, "hidden_size": 2048, "max_position_embeddings": 32768}  # fmt: skip


def test_a_log_makes_an_unknown_model_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(UNKNOWN))
    log = tmp_path / "serve.log"
    log.write_text(LOG)
    assert main(["advise", str(tmp_path), "--gpus", "1", "--log", str(log), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["sources"]["weights"] == "vLLM's own log, serve.log"
    assert data["model"]["weight_bytes"] == int(56.88 * GIB)
    assert data["model"]["kv_bytes_per_token"] == pytest.approx(98304, rel=0.001)
    assert data["model"]["known"] is False


def test_a_refusal_names_the_longest_request() -> None:
    said = read(
        "Model loading took 64.67 GiB\n... the estimated maximum model length is 106032. Try increasing"
    )
    assert (said.longest, said.workers) == (106032, 1)


def test_workers_are_added() -> None:
    said = read("Model loading took 1.5 GiB memory\n" * 4)
    assert (said.workers, said.weights) == (4, 6 * GIB)


def test_another_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(UNKNOWN))
    (tmp_path / "x.log").write_text("nothing")
    for name, words in (("x.log", "not the log of a vLLM"), ("absent.log", "cannot be read")):
        assert main(["advise", str(tmp_path), "--gpus", "1", "--log", str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err


@given(st.text(max_size=200))
def test_any_text_as_a_log(text: str) -> None:
    assert read(text).weights >= 0
