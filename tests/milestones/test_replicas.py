"""Replicas: their command lines, the proof by vLLM's counters, and which rank failed first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.test_replicas import cluster
from wizard_steps.engine.step import Known
from wizard_steps.load_balancer import lines as balanced
from wizard_steps.milestones import engines, ranks, vllm
from wizard_steps.milestones.probe import Probe
from wizard_steps.model import WIZARD, Result, Results
from wizard_steps.planning import address

IPS = {"fabric_ips": {f"n{i}": f"10.0.0.{i}" for i in range(4)}}


def known(gpus: list[int], tp: int, pp: int, dp: int, executor: str = "mp") -> Known:
    return Known(cluster(gpus, tp, pp, dp, executor), IPS)


def flags(it: Known, node: int) -> str:
    return " ".join(vllm.argv(it, it.nodes[node]))


def test_whole_replicas_on_each_node_without_ray() -> None:
    it = known([8, 8], 4, 1, 4)
    head, worker = flags(it, 0), flags(it, 1)
    for words in (head, worker):
        assert (
            "--data-parallel-size=4 --data-parallel-address=10.0.0.0 --data-parallel-rpc-port=29550" in words
        )
        assert "--data-parallel-size-local=2" in words
        assert "--nnodes" not in words
    assert "--data-parallel-start-rank" not in head, "vLLM would read it as another load balancing"
    assert "--headless" in worker
    assert "--data-parallel-start-rank=2" in worker


def test_replicas_that_span_nodes_and_those_over_ray() -> None:
    spans = flags(known([4, 4, 4, 4], 4, 2, 2), 2)
    assert "--nnodes=4 --node-rank=2" in spans
    assert "--data-parallel-size=2" in spans
    assert "size-local" not in spans
    assert "start-rank" not in spans
    ray = known([8, 8], 4, 1, 4, "ray")
    assert "--data-parallel-backend=ray --data-parallel-size-local=2" in flags(ray, 0)
    over = known([4, 4, 4, 4], 8, 1, 2, "ray")
    assert vllm.environment(over, over.nodes[0])["VLLM_RAY_DP_PACK_STRATEGY"] == "span"


def test_the_api_flag_does_not_reach_a_headless_node() -> None:
    from msgspec.structs import replace

    it = cluster([1, 1], 1, 1, 2)
    it = replace(it, serve=replace(it.serve, extra_flags=("--api-server-count", "1", "--seed=1")))
    head, worker = (" ".join(vllm.argv(Known(it, IPS), node)) for node in it.node_list)
    assert head.endswith("--api-server-count 1 --seed=1")
    assert worker.endswith("--seed=1")
    assert "api-server-count" not in worker


def counters(first: float, second: float) -> str:
    line = 'vllm:generation_tokens_total{{engine="{}",model_name="m"}} {}'
    return f"{line.format(0, first)}\n{line.format(1, second)}\n"


def probed(before: str, *looks: str) -> Results:
    it = known([1, 1], 1, 1, 2)
    items = [
        Result(WIZARD, "write", "", 0),
        Result(it.server, engines.BEFORE, before, 0),
        Result(WIZARD, "probe", f"model: {it.cluster.serve.name}\ncompletion_tokens: 128\n", 0),
    ]
    for number, look in enumerate(looks):
        more = f"-{number + 1}" if number else ""
        items += [
            Result(WIZARD, f"spread{more}", "", 0),
            Result(it.server, f"{engines.AFTER}{more}", look, 0),
        ]
    return Results(items)


def test_every_engine_must_have_made_tokens_during_the_probe() -> None:
    it, step = known([1, 1], 1, 1, 2), Probe()
    good = probed(counters(5, 7), counters(100, 200))
    assert step.rounds(it, good) is None
    assert step.judge(it, good).passed
    idle = probed(counters(5, 7), counters(100, 7))
    again = step.rounds(it, idle)
    assert again is not None
    assert again.work[0][1].key == "spread-2", "one more try"
    twice = probed(counters(5, 7), counters(100, 7), counters(300, 7))
    assert step.rounds(it, twice) is None
    verdict = step.judge(it, twice)
    assert not verdict.passed
    assert "no tokens from engine 1 (on n1)" in verdict.checks[-1].found
    assert step.judge(it, probed(counters(5, 7), counters(1, 7), counters(9, 9))).passed


def test_counters_that_are_not_there_shut_the_gate() -> None:
    it = known([1, 1], 1, 1, 2)
    done = Results([*probed(counters(0, 0)).items, Result(WIZARD, "spread", "", 0),
                    Result(it.server, engines.AFTER, "no vllm:generation_tokens_total in /metrics", 1)])  # fmt: skip
    assert not Probe().judge(it, done).passed


@given(st.text(max_size=200))
def test_any_metrics_are_read(text: str) -> None:
    engines.tokens(text)
    engines.tokens('vllm:generation_tokens_total{engine="' + text)


def rank(it: Known, node: int, key: str, text: str, reason: str, ended: float) -> Result:
    return Result(it.nodes[node], key, text, 0, reason, ended=ended)  # type: ignore[arg-type]


MET = "(Worker pid=1) rank 1 in world size 2 is assigned as DP rank 0, PP rank 1\n"


def test_the_rank_that_fails_first_is_named_and_comes_first() -> None:
    it = known([1, 1], 1, 2, 1)
    looks = [Result(node, "look", "ours:\n", 0) for node in it.nodes]
    error = (
        "ERROR 11-25 worker.py RuntimeError: Engine core initialization failed\nOSError: model is not here\n"
    )
    done = Results([*looks, rank(it, 1, "joined", error, "exit", 20.0),
                    rank(it, 0, "joined", "INFO waiting\n", "cancelled", 30.0)])  # fmt: skip
    verdict = ranks.judge(it, done)
    assert verdict.summary == "vLLM did not become ready: n1 failed first"
    assert verdict.failures[0].node == "n1"
    assert "OSError: model is not here" in verdict.failures[0].found
    assert "ended after n1 had failed" in verdict.failures[1].found


def test_a_worker_killed_while_the_head_loads_is_named() -> None:
    it = known([1, 1], 1, 2, 1)
    looks = [Result(node, "look", "ours:\n", 0) for node in it.nodes]
    joined = [rank(it, n, "joined", MET, "stopped", 5.0) for n in (0, 1)]
    done = Results([*looks, *joined, rank(it, 1, "mp-log", MET + "INFO loading\n", "exit", 9.0),
                    rank(it, 0, "mp-log", "INFO loading\n", "cancelled", 19.0)])  # fmt: skip
    verdict = ranks.judge(it, done)
    assert verdict.summary.endswith("n1 failed first")
    assert "ended after it had joined; last line: INFO loading" in verdict.failures[0].found


def test_a_killed_process_is_named_by_what_its_peer_lost() -> None:
    it = known([1, 1], 1, 2, 1)
    looks = [Result(node, "look", "ours:\n", 0) for node in it.nodes]
    joined = [rank(it, n, "joined", MET, "stopped", 5.0) for n in (0, 1)]
    error = f"ERROR 11-26 RuntimeError: [gloo/pair.cc:547] Connection closed by peer [{it.ip(it.nodes[1])}]:4711\n"
    done = Results([*looks, *joined, rank(it, 0, "mp-log", error, "exit", 9.0),
                    rank(it, 1, "mp-log", "INFO loading\n", "cancelled", 10.0)])  # fmt: skip
    verdict = ranks.judge(it, done)
    assert verdict.summary.endswith("n1 failed first")
    assert verdict.failures[0].node == "n1"
    assert "lost their connection to it" in verdict.failures[0].found
    assert "ended after n1 had failed" in verdict.failures[1].found


def test_nobody_is_blamed_where_all_only_waited() -> None:
    it = known([1, 1], 1, 2, 1)
    looks = [Result(node, "look", "ours:\n", 0) for node in it.nodes]
    waits = [rank(it, n, "joined", "INFO waiting\n", "timeout", 300.0) for n in (0, 1)]
    verdict = ranks.judge(it, Results([*looks, *waits]))
    assert verdict.summary == "vLLM did not become ready"
    assert "cannot reach each other" in verdict.failures[0].hint


def test_the_proxy_way_has_a_server_of_its_own_on_each_node() -> None:
    text = "\n".join(balanced(cluster([8, 8], 8, 1, 2), "nginx", address))
    assert text.count("vllm serve") == 2
    assert "--headless" not in text
    assert "--data-parallel" not in text
    assert "server IP-OF-n0:8000" in text
    assert "server IP-OF-n1:8000" in text
