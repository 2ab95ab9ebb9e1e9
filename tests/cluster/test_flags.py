"""Words for `vllm serve`: read as vLLM reads them, refused where they contradict the cluster file."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.cluster import flags, versions
from wizard_steps.cluster.file import parse as parse_file
from wizard_steps.cluster.flags import Flag, parse, value, without
from wizard_steps.errors import UsageError

CLUSTER = (
    '[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 8\n[serve]\ntensor_parallel = 4\npipeline_parallel = 2\n'
)


def check(*words: str) -> None:
    parse_file(f"{CLUSTER}extra_flags = {json.dumps(list(words))}\n")


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--tensor-parallel-size", "8"], "--tensor-parallel-size", "8"),
        (["--tensor_parallel_size=8"], "--tensor-parallel-size", "8"),
        (["--tensor-parallel_size=8"], "--tensor-parallel-size", "8"),
        (["-tp", "8"], "--tensor-parallel-size", "8"),
        (["-tp=8"], "--tensor-parallel-size", "8"),
        (["-t", "8"], "--tensor-parallel-size", "8"),
        (["--tensor-par", "8"], "--tensor-parallel-size", "8"),
        (["-n2"], "--nnodes", "2"),
        (["-r", "1"], "--node-rank", "1"),
        (["-q", "fp8"], "--quantization", "fp8"),
        (["-O3"], "--optimization-level", "3"),
        (["-O=3"], "--optimization-level", "3"),
        (["--device-memory-utilization", "0.5"], "--gpu-memory-utilization", "0.5"),
        (["--not-a-flag-of-vllm", "x"], "--not-a-flag-of-vllm", "x"),
        (["--seed", "-1"], "--seed", "-1"),
    ],
)
def test_a_flag_by_any_of_its_spellings(words: list[str], name: str, value: str) -> None:
    (flag,) = parse(words)
    assert (flag.name, flag.value) == (name, value)


def test_dots_json_switches_and_stray_words() -> None:
    flags = parse(
        shlex.split(
            "--compilation-config.mode 3 -cc.pass_config.fuse=true --no-enable-prefix-caching stray "
            """--lora-modules a=1 b=2 --enforce-eager --hf-overrides '{"a": {"b": 1}}'"""
        )
    )
    assert flags == [
        Flag(0, "--compilation-config.mode", "--compilation-config", ("mode",), ("3",)),
        Flag(2, "-cc.pass_config.fuse", "--compilation-config", ("pass_config", "fuse"), ("true",)),
        Flag(3, "--no-enable-prefix-caching", "--enable-prefix-caching", off=True),
        Flag(4, "stray", "", values=("stray",)),
        Flag(5, "--lora-modules", "--lora-modules", values=("a=1", "b=2")),
        Flag(8, "--enforce-eager", "--enforce-eager"),
        Flag(9, "--hf-overrides", "--hf-overrides", values=('{"a": {"b": 1}}',)),
    ]
    assert flags[1].tree == {"pass_config": {"fuse": True}}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--tensor-parallel-size=16"], "serve.tensor_parallel"),
        (["-tp", "16"], "--tensor-parallel-size) is the field serve.tensor_parallel"),
        (["--tensor_parallel_size", "16"], "serve.tensor_parallel"),
        (["-pp=2"], "serve.pipeline_parallel"),
        (["--port", "9000"], "serve.port"),
        (["--host=::"], "serve.host"),
        (["--served_model_name", "x"], "serve.served_model_name"),
        (["--model=x"], "serve.model"),
        (["--distributed-executor-backend", "mp"], "serve.executor"),
        (["-n", "2"], "milepost counts the nodes"),
        (["--node_rank=1"], "its own rank"),
        (["--headless"], "without an API server"),
        (["--master-addr", "10.0.0.1"], "fabric_ip of the head"),
        (["--data-parallel-size=2"], "serve.data_parallel"),
        (["-dp", "2"], "serve.data_parallel"),
        (["-dpl", "1"], "--data-parallel-size-local"),
        (["--enable-expert-parallel"], "serve.expert_parallel"),
        (["-ep"], "serve.expert_parallel"),
        (["-dcp", "2"], "serve.decode_context_parallel"),
        (["--config", "flags.yaml"], "cannot see what that file says"),
        (["--uds=/tmp/s"], "Unix socket"),
        (["--ssl-keyfile=x"], "needs --ssl-certfile"),
        (["--ssl-cert-reqs=2"], "asks clients for a certificate"),
        (["-pcp", "2"], "TP x PP"),
        (["stray"], "one model"),
        (["--max-model-len 4096"], "as two words"),
        (["--enable-eplb"], "serve.expert_parallel = true"),
        (["--enable-return-routed-experts"], "pipeline parallelism (serve.pipeline_parallel = 2)"),
    ],
)
def test_what_contradicts_is_refused_with_the_field_or_the_reason(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=r"toml:8: serve.extra_flags\[0\]: ") as refused:
        check(*words)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["--api-key", "s"], ["--api_key=s"], ["--api-k", "s"], ["--hf-token", "s"], ["--hf_token=s"],
        ["--kv-transfer-config", '{"kv_connector_extra_config": {"password": "s"}}'],
        ["--kv-transfer-config.kv_connector_extra_config.api_key", "s"],
        ["--model-loader-extra-config", '{"aws_secret_access_key": "s"}'],
        ["--hf-overrides", '[{"x": {"authToken": "s"}}]'],
        ["--chat-template", "hf_abcdefghijklmnopqrstuvwxyz"],
    ],
)  # fmt: skip
def test_secrets_are_refused_by_any_spelling_and_never_repeated(words: list[str]) -> None:
    with pytest.raises(UsageError, match="secret") as refused:
        check(*words)
    assert "hf_abc" not in str(refused.value)
    assert '"s"' not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["--max-model-len", "4096", "--gpu-memory-utilization=0.9", "--enforce-eager", "--seed", "-1"],
        ["--max-num-batched-tokens=8192", "--return-tokens-as-token-ids", "--tokens-only"],
        ["--hf-overrides", '{"eos_token": "</s>", "bos_token_id": 1}'],
        ["--enable-eplb", "--no-enable-eplb"],
        ["--compilation-config.mode", "3", "-O2", "--lora-modules", "a=/x", "b=/y"],
    ],
)
def test_what_does_not_contradict_is_accepted(words: list[str]) -> None:
    check(*words)


@given(
    st.lists(st.one_of(st.text(max_size=12), st.sampled_from(["--x", "-tp", "--a.b", "=", "-O", "--", "-"])))
)
def test_any_words_are_parsed(words: list[str]) -> None:
    flags = parse(words)
    assert sum(1 for flag in flags if flag.place < len(words)) == len(flags)
    for flag in flags:
        assert flag.tree is not None or flag.value in ("null", "")


def test_of_a_repeated_flag_the_last_counts_as_in_vllm() -> None:
    words = ["--revision", "main", "--max_model_len=8k", "--revisio", "abc123"]
    assert value(parse(words), "--revision") == "abc123"
    assert value(parse(words), "--dtype") == ""


def test_a_flag_is_taken_out_with_its_values_however_it_is_spelt() -> None:
    assert without([], "--seed") == []
    words = ["--seed", "1", "-asc", "2", "--api_server_count=3", "--api-server-c", "4", "--enforce-eager"]
    assert without(words, "--api-server-count") == ["--seed", "1", "--enforce-eager"]


def of(version: str, *words: str, more: str = "") -> None:
    head = CLUSTER.replace("pipeline_parallel = 2", f"pipeline_parallel = {1 if more else 2}")
    parse_file(f'{head}vllm_version = "{version}"\n{more}\nextra_flags = {json.dumps(list(words))}\n')


@pytest.mark.parametrize(
    ("version", "flag", "words"),
    [
        ("0.32.0", "--watchdog_config={}", "came with vLLM 0.33.0, and serve.vllm_version is 0.32.0"),
        ("0.8.2", "--kv-cache-memory-bytes=1", "came with vLLM 0.10.2"),
        ("0.33.0", "--guided_decoding_backend=auto", "is gone since vLLM 0.12.0"),
        ("0.33.0", "--swap-space=4", "is gone since vLLM"),
        ("0.11.0+cu128", "--num-scheduler-steps", "is gone since vLLM 0.10.1"),
        ("0.14.1", "--mm-encoder-only", "came after vLLM 0.14.1, with 0.16.0 at the latest"),
        ("0.8.0", "-asc=1", "came with vLLM 0.9.1"),
    ],
)
def test_a_flag_of_another_release_is_refused_with_the_release(version: str, flag: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        of(version, flag)


@pytest.mark.parametrize(
    ("version", "flag"),
    [
        ("0.33.0", "--watchdog-config={}"),
        ("0.11.0", "--guided-decoding-backend=auto"),
        ("0.34.0", "--a-flag-of-tomorrow"),
        ("0.33.0+mine", "--a-flag-of-mine"),
        ("0.6.0", "--swap-spac=4"),
        # 0.15 was not read: what 0.16 has may be there already.
        ("0.15.1", "--mm-encoder-only"),
        ("0.6.0", "--max-model-len=8"),
        ("0.33.0", "-O3"),
    ],
)
def test_a_flag_of_this_release_is_taken(version: str, flag: str) -> None:
    of(version, flag)


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--max-modle-len=8", "; did you mean --max-model-len?"),
        ("--max_modle_len", "; did you mean --max-model-len?"),
        ("--a-flag-of-nobody", ""),
        ("--no-a-flag-of-nobody", ""),
        ("-x", ""),
    ],
)
def test_a_flag_of_no_release_is_refused_with_the_most_similar_name(flag: str, hint: str) -> None:
    with pytest.raises(UsageError, match="is a flag of no vLLM release from") as refused:
        check(flag)
    assert str(refused.value).endswith(f"{versions.VLLM}{hint}")


@pytest.mark.parametrize(
    ("version", "more", "words"),
    [
        ("0.7.3", "expert_parallel = true", "serve.expert_parallel: its flag --enable-expert-parallel came"),
        ("0.10.1", "decode_context_parallel = 2", "serve.decode_context_parallel: its flag"),
        (
            "0.9.0",
            'executor = "ray"\ndata_parallel = 2',
            "serve.data_parallel: its flag --data-parallel-backend",
        ),
    ],
)
def test_a_field_whose_flag_came_later_is_refused(version: str, more: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        of(version, more=more)


def test_the_history_of_flags_goes_from_0_6_to_the_pinned_release() -> None:
    """A new release: `python -m tests.read_flags` with its sources, too."""
    past = flags.history()
    assert (past.releases[0], past.releases[-1]) == ("0.6.0", versions.VLLM)
    assert {release.split(".")[1] for release in past.releases} == {str(n) for n in range(6, 34) if n != 15}
    assert not set(flags._table()) & set(past.until), "a flag that the pinned release has is not gone"


def test_the_table_of_flags_is_that_of_the_pinned_release() -> None:
    """A new release: read its parser anew, and say what came."""
    text = Path(flags.__file__).with_name("vllm_flags.toml").read_text(encoding="utf-8")
    assert f'version = "{versions.VLLM}"' in text
