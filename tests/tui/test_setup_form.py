"""The set-up form: choices, the word on TP x PP while a person types, and what stands in the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import Input

from tests.helpers.tui_fakes import plain, toy_cluster, until
from tui.app.app import MilepostApp
from tui.app.form import NodeForm, cluster_of, empty, form_of, save
from tui.app.split import split_line
from tui.screens.setup import SetupScreen
from tui.screens.setup_widgets import Choice, NodeRow, SplitLine
from wizard_steps.advisor.here import known
from wizard_steps.advisor.plan import Box, ParallelTopology, placement
from wizard_steps.advisor.sits import sits, whole
from wizard_steps.cluster.file import load
from wizard_steps.errors import UsageError

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


def says(
    tp: object, pp: object, gpus: tuple[object, ...] = (8, 8), model: str = "org/model"
) -> tuple[str, str]:
    form = form_of(toy_cluster())
    form.nodes = [NodeForm(f"m{n}", "worker" if n else "head", str(count)) for n, count in enumerate(gpus)]
    form.values |= {
        "serve.tensor_parallel": str(tp),
        "serve.pipeline_parallel": str(pp),
        "serve.model": model,
    }
    found = split_line(form)
    return found.grade, found.text


@pytest.mark.parametrize(
    ("tp", "pp", "gpus", "grade", "text"),
    [
        (8, 2, (8, 8), "good", "TP 8 inside each machine, PP 2 across the 2 machines: 16 of 16 GPUs."),
        (4, 4, (8, 8), "good", "TP 4 inside each machine, 4 stages across the 2 machines: 16 of 16 GPUs."),
        (1, 1, (1,), "good", "One GPU of m0: 1 of 1 GPU."),
        (1, 1, (8, 8), "good", "Enough when the model fits one GPU; TP 8, PP 2 takes 16."),
        (8, 1, (8, 8), "good", "TP 8 inside m0: 8 of 16 GPUs. Enough when the model fits there;"),
        (2, 4, (8, 8), "good", "4 stages of TP 2 inside m0, where TP alone is mostly faster"),
        (16, 1, (8, 8), "bad", "every layer would wait for the network. Try TP 8, PP 2: 16 of 16 GPUs."),
        (8, 4, (8, 8), "bad", "TP 8 x PP 4 needs 32 GPUs, the machines have 16. Try TP 8, PP 2"),
        (8, 2, (8, 4), "bad", "TP 8 x PP 2 needs 16 GPUs, the machines have 12. Try TP 4, PP 3: 12 of 12"),
        (3, 1, (8,), "doubt", "TP 3 divides the attention heads of few models"),
        ("", 1, (8,), "bad", "TP is an integer, 1 or more."),
        (1, "two", (8,), "bad", "PP is an integer, 1 or more."),
        (1, 0, (8,), "bad", "PP is an integer, 1 or more."),
        (1, 1, (8, ""), "bad", "How many GPUs has m1? A number from 1 to 1024."),
        (1, 1, (8, 4097), "bad", "How many GPUs has m1?"),
        (999999, 999999, (8,), "bad", "the machines have 8"),
    ],
)
def test_it_says_how_the_pair_sits(
    tp: object, pp: object, gpus: tuple[object, ...], grade: str, text: str
) -> None:
    found, words = says(tp, pp, gpus)
    assert text in words
    assert found == grade


def test_flags_of_the_form_count(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    form = form_of(toy_cluster())
    form.nodes = [NodeForm("h", "head", "8")]
    form.values |= {
        "serve.tensor_parallel": "2",
        "serve.pipeline_parallel": "1",
        "serve.model": str(tmp_path),
    }
    for flags, text in (
        ("", "Enough when the model fits there"),
        ("--max-model-len 128k", "It does not fit on GPUs of 80 GB"),
        ("--cpu-offload-gb 40", "Its memory is not judged: --cpu-offload-gb changes it; rehearse it."),
        ("--cpu-offload-gb 4 -q fp8", "--cpu-offload-gb and --quantization change it; rehearse it."),
        ("--cpu-offload-gb 40 'an open quote", "Enough when the model fits there"),
    ):
        form.values["serve.extra_flags"] = flags
        assert text in split_line(form).text


def test_the_head_comes_first_as_vllm_ranks_it() -> None:
    form = form_of(toy_cluster())
    form.nodes = [NodeForm("w", "worker", "8"), NodeForm("h", "head", "8")]
    form.values["serve.tensor_parallel"] = "8"
    assert split_line(form).text.startswith("TP 8 inside h:")


@pytest.mark.parametrize("gpus", [(8, 8), (8, 4), (6, 6), (7, 7), (1,), (12, 8, 4), (4,) * 9])
def test_a_proposed_pair_keeps_every_stage_inside_a_machine(gpus: tuple[int, ...]) -> None:
    boxes = tuple(Box(f"m{n}", count) for n, count in enumerate(gpus))
    found = whole(boxes)
    assert found is not None
    stages = placement(ParallelTopology(boxes, 0), *found)
    assert all(len({box for box, _ in stage}) == 1 for stage in stages)
    assert found[0] * found[1] <= sum(gpus)
    assert sits(boxes, *found).grade == "good"


def test_the_model_is_read_where_this_machine_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    grade, words = says(5, 1, model=str(tmp_path))
    assert grade == "bad"
    assert "64 attention heads cannot be divided by TP 5. Try TP 8, PP 2" in words
    cache = tmp_path / "hub" / "models--org--name" / "snapshots" / "abc"
    cache.mkdir(parents=True)
    (cache / "config.json").write_text(json.dumps(LLAMA))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert known("org/name").shape is not None
    assert known("org/other").shape is None


@pytest.mark.parametrize(
    "model", ["", "/", "/dev/zero", "../../x", "~", "a/b/c", "/proc/self/mem", "\x00/x", "x" * 5000]
)
def test_a_model_that_is_nowhere_is_no_error(model: str) -> None:
    assert known(model).shape is None
    assert says(8, 2, model=model)[0] == "good"


@pytest.mark.parametrize(
    ("model", "gigabytes"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", 140),
        ("Qwen/Qwen2.5-0.5B", 1),
        ("mistralai/Mixtral-8x7B-v0.1", 112),
        ("Qwen/Qwen3-235B-A22B-FP8", 235),
        ("org/Llama-70b-AWQ", 35),
        ("deepseek-ai/DeepSeek-V3", 0),
        ("org/Model-3Beta", 0),
    ],
)
def test_a_name_tells_a_size(model: str, gigabytes: int) -> None:
    assert known(model).weight_bytes == gigabytes * 1e9


def test_weights_that_leave_no_room_are_said() -> None:
    grade, words = says(1, 1, model="org/m-70B")
    assert grade == "doubt"
    assert "The weights are 140 GB (by its name, 16 bits each)." in words
    assert words.endswith("TP 4, PP 1 leaves room.")
    assert says(8, 2, model="org/m-2000B")[1].endswith("or a quantised model.")
    assert "140 GB (by its name, 16 bits each), 8.75 GB a GPU" in says(8, 2, model="org/m-70B")[1]


def test_the_choices_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "milepost.toml"
    cluster = toy_cluster()
    form = form_of(cluster)
    assert (form.values["serve.api_key"], form.values["ray.auth"]) == ("false", "off")
    saved = save(cluster_of(form, cluster), path)
    assert (saved.serve.api_key, saved.ray.auth) == (False, "off")
    assert "api_key" not in path.read_text()
    form.values |= {"serve.api_key": "true", "ray.auth": "token"}
    saved = save(cluster_of(form, cluster), path)
    assert (saved.serve.api_key, saved.ray.auth) == (True, "token")
    assert load(path) == saved
    form.values["serve.api_key"] = "planted-key"
    with pytest.raises(UsageError, match=r"serve\.api_key"):
        cluster_of(form, cluster)


async def test_typing_changes_the_words_and_they_stay_in_sight(tmp_path: Path) -> None:
    app = MilepostApp(None, tmp_path / "milepost.toml")
    async with app.run_test(size=(80, 24)) as pilot:
        line = app.screen.query_one(SplitLine)
        await until(pilot, lambda: app.focused is not None)
        app.screen.set_focus(app.screen.query_one("#f-serve-tensor-parallel", Input))
        await pilot.press("end", "backspace", *"16")
        await until(pilot, lambda: "Try TP 8, PP 2: 16 of 16 GPUs." in plain(app))
        assert line.has_class("-bad")
        await pilot.press("end", "backspace", "backspace", "8")
        app.screen.query_one("#f-serve-pipeline-parallel", Input).value = "2"
        await until(pilot, lambda: "PP 2 across the" in plain(app))
        assert not line.has_class("-bad")
        app.screen.query_one(NodeRow).query_one(".gpus", Input).value = "4"
        await until(pilot, lambda: "needs 16 GPUs, the machines have 12" in plain(app))


async def test_a_choice_is_changed_by_a_key(tmp_path: Path) -> None:
    path = tmp_path / "milepost.toml"
    app = MilepostApp(None, path, engine_factory=lambda *_: pytest.fail("no walk here"))
    async with app.run_test(size=(80, 40)) as pilot:
        key = app.screen.query_one("#f-serve-api-key", Choice)
        assert "‹ not asked for ›" in plain(app)
        await until(pilot, lambda: app.focused is not None)
        app.screen.set_focus(key)
        for wanted in ("true", "false", "true"):
            await pilot.press("enter")
            await until(pilot, lambda wanted=wanted: key.value == wanted)
        assert "clients must give one: you are asked for it" in plain(app)
        token = app.screen.query_one("#f-ray-auth", Choice)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: token.value == "token")
        app.screen.action_save()  # type: ignore[attr-defined]
        assert (load(path).serve.api_key, load(path).ray.auth) == (True, "token")


async def test_the_path_decides_which_fields_are_asked(tmp_path: Path) -> None:
    app = MilepostApp(None, tmp_path / "milepost.toml", engine_factory=lambda *_: pytest.fail("no walk here"))
    async with app.run_test(size=(80, 50)) as pilot:
        kind = app.screen.query_one("#f-path", Choice)
        assert "Environment" in plain(app)
        assert "GPU flags" not in plain(app)
        await until(pilot, lambda: app.focused is not None)
        app.screen.set_focus(kind)
        await pilot.press("enter")
        await until(pilot, lambda: "GPU flags" in plain(app))
        assert "Environment" not in plain(app)
        app.screen.query_one("#f-docker-image", Input).value = "acme/vllm:1"
        app.screen.query_one("#f-docker-gpu-flags", Input).value = "--device nvidia.com/gpu=all"
        send = app.screen.query_one("#f-docker-send-image", Choice)
        app.screen.set_focus(send)
        await pilot.press("enter")
        await until(pilot, lambda: send.value == "true")
        assert isinstance(app.screen, SetupScreen)
        made = cluster_of(app.screen.form(), empty())
        assert (made.path, made.docker.image, made.docker.send_image) == ("docker", "acme/vllm:1", True)
        assert made.docker.gpu_flags == ("--device", "nvidia.com/gpu=all")
