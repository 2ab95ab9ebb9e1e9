"""Parameters as transformers counts them: what a node prints is checked, and sizes of files go first."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.real import vllm_env
from tui.cli.main import main
from wizard_steps.advisor.counted import Counted, read, with_count
from wizard_steps.advisor.shape import parse_config
from wizard_steps.node.program import program

MODEL = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2,
         "num_attention_heads": 2, "hidden_size": 128, "intermediate_size": 256, "vocab_size": 1000,
         "max_position_embeddings": 4096, "dtype": "bfloat16"}  # fmt: skip
NEW = {**MODEL, "model_type": "of_next_year", "architectures": ["NextYearForCausalLM"]}
FOUND = Counted(parameters=500_000, transformers="5.19.0")


def test_the_last_object_of_the_output_counts() -> None:
    text = 'A profile that prints\n{"parameters": 500000, "transformers": "5.19.0"}\n\n'
    assert read(text) == FOUND


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Killed",
        "{}",
        '{"parameters": -5}',
        '{"parameters": 1e99}',
        '{"parameters": "many"}',
        "[1]",
        "null",
    ],
)
def test_what_is_no_count_is_a_problem(text: str) -> None:
    found = read(text)
    assert found.parameters == 0
    assert found.problem


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    found = read(text)
    assert bool(found.parameters) != bool(found.problem)


def test_an_unknown_architecture_gets_its_weights() -> None:
    shape = with_count(parse_config(NEW), FOUND, "a", NEW)
    assert not shape.known
    assert shape.weight_bytes == 1_000_000
    assert shape.weights_from == "500,000 parameters (transformers 5.19.0 on a, without weights)"


def test_sizes_of_files_go_first() -> None:
    shape = with_count(parse_config(MODEL, weight_bytes=7, weights_from="files"), FOUND, "a", MODEL)
    assert shape.weight_bytes == 7
    assert "500,000 parameters" in shape.notes[-1]


def test_a_quantised_checkpoint_gets_no_size() -> None:
    config = {**NEW, "text_config": {**NEW, "quantization_config": {"quant_method": "fp8"}}}
    shape = with_count(parse_config(NEW), FOUND, "a", config)
    assert shape.weight_bytes == 0
    assert "quantised" in shape.notes[-1]


def test_a_problem_is_a_note() -> None:
    shape = with_count(parse_config(NEW), Counted(problem="transformers 4.2 has no Next"), "a", NEW)
    assert shape.weight_bytes == 0
    assert "transformers 4.2 has no Next" in shape.notes[-1]


def test_the_command_line_needs_a_cluster_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MODEL))
    assert main(["advise", str(tmp_path), "--gpus", "1", "--count"]) == 2
    assert "--cluster" in capsys.readouterr().err


@pytest.mark.real_vllm
@pytest.mark.long
def test_real_transformers_counts_llama_and_says_what_it_does_not_have() -> None:
    python = vllm_env.venv() / "bin/python"
    if not python.exists():
        pytest.skip("needs the environment with vLLM: python -m tests.real.vllm_env")

    def counted(config: dict[str, object]) -> Counted:
        words = [str(python), "-I", "-c", program("count_parameters.py"), json.dumps(config)]
        return read(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    llama = counted(MODEL)
    assert llama.parameters * 2 == pytest.approx(parse_config(MODEL).weight_bytes, rel=0.01)
    assert "has no NextYearForCausalLM" in counted(NEW).problem
    assert counted({**MODEL, "num_attention_heads": "two"}).problem
