"""The reader of /metrics: against the real client library's writer and parser, and against anything at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.node.prometheus import EngineMetrics, Sample, engines, samples, since

PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="meta-llama/Llama-3.2-1B-Instruct"} 3.0
vllm:num_requests_running{engine="1",model_name="meta-llama/Llama-3.2-1B-Instruct"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="meta-llama/Llama-3.2-1B-Instruct"} 0.25
vllm:generation_tokens_total{engine="0",model_name="meta-llama/Llama-3.2-1B-Instruct"} 1.024e+06
vllm:generation_tokens_total{engine="1",model_name="meta-llama/Llama-3.2-1B-Instruct"} 0.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 7.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 2.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"} 1.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 1.5
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 10.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 10.0
process_open_fds 63.0
"""


def test_engines_are_told_apart() -> None:
    found = engines(PAGE)
    assert list(found) == ["0", "1"]
    assert found["0"] == EngineMetrics(
        "0",
        running=3,
        kv_use=0.25,
        generated_tokens=1024000,
        finished=9,
        unfinished=1,
        first_token_seconds=1.5,
        first_tokens=10,
    )
    assert found["1"].generated_tokens == 0
    assert found["1"].kv_use is None


def test_an_older_release_has_one_engine_without_a_name() -> None:
    page = 'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\nvllm:generation_tokens_total{model_name="m"} 8\n'
    assert engines(page) == {"0": EngineMetrics("0", kv_use=0.5, generated_tokens=8)}


def test_a_share_that_is_told_under_two_names_or_for_two_models_is_one_share() -> None:
    page = 'vllm:gpu_cache_usage_perc{engine="0"} 0.5\nvllm:kv_cache_usage_perc{engine="0"} 0.5\n'
    assert engines(page)["0"].kv_use == 0.5
    page += 'vllm:kv_cache_usage_perc{engine="0",model_name="adapter"} 0.5\n'
    assert engines(page)["0"].kv_use == 0.5


def test_ten_engines_are_in_their_order() -> None:
    page = "".join(f'vllm:generation_tokens_total{{engine="{n}"}} 1\n' for n in range(12))
    assert list(engines(page)) == [str(n) for n in range(12)]


def test_another_servers_page_has_no_engine() -> None:
    assert engines("<html>404</html>\nprocess_open_fds 63.0\n") == {}


def test_what_an_engine_did_between_two_pages() -> None:
    then, now = (
        EngineMetrics("0", generated_tokens=100, preemptions=1),
        EngineMetrics("0", 2, 1, 0.5, 0, 160, 4),
    )
    assert since(then, now) == EngineMetrics("0", 2, 1, 0.5, 0, 60, 3)
    assert since(None, now) == now
    assert since(now, then).generated_tokens == 100, "it was started anew in between"


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\x85"), max_size=12
)
NUMBERS = st.floats(allow_nan=False)


@given(NAMES, st.dictionaries(NAMES, VALUES | st.sampled_from(['"', "\\", "a\nb", "}", '",'])), NUMBERS)
def test_what_the_client_library_writes_is_read_back(name: str, labels: dict[str, str], value: float) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

    inner = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
    line = f"{name}{{{inner}}} {value!r} 1700000000000\n"
    assert list(samples(line)) == [Sample(name, labels, value)]


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    for one in samples(text):
        assert one.name
    for found in engines(text).values():
        assert math.isfinite(found.generated_tokens)


@given(
    st.lists(
        st.sampled_from(
            ["vllm:generation_tokens_total", "{", "}", 'engine="', '"', ",", "\\", " ", "1", "NaN", "_"]
        )
    )
)
def test_no_pieces_of_a_page_make_it_fail(pieces: list[str]) -> None:
    text = "".join(pieces)
    list(samples(text))
    engines(text)


def test_the_library_reads_the_same() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    theirs = {
        (s.name, tuple(sorted(s.labels.items())), s.value)
        for family in parser.text_string_to_metric_families(PAGE)
        for s in family.samples
    }
    assert {(s.name, tuple(sorted(s.labels.items())), s.value) for s in samples(PAGE)} == theirs
