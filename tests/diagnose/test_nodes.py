"""Which node a failure belongs to: the forms of nodes.toml, who is who in a text, and what a rule says of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.diagnose import Diagnosis, Source, as_text, diagnose
from wizard_steps.diagnose.explain import in_cluster
from wizard_steps.diagnose.nodes import FORMS, Naming, Roster, elsewhere, header, said, subject
from wizard_steps.diagnose.prefixes import peel
from wizard_steps.diagnose.rules import default_rules
from wizard_steps.diagnose.shapes import shaped


def first(text: str, node: str = "") -> Diagnosis:
    return diagnose([Source("x", text, node)])[0]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.reads[0][:40])
def test_a_form_reads_its_line(form: Naming) -> None:
    match = form.compiled().search(form.reads[0])
    assert match
    assert match["node"] == form.reads[1]


def test_no_form_is_slow_on_lines_of_one_thing() -> None:
    """Not a timing: an expression that tries every way to share out a line would run into the test's limit."""
    units = [
        *"#*=->.:/_~@$|`'\"[( a1",
        "# ",
        "* ",
        "#*",
        "-- ",
        "a ",
        "1 ",
        "a.",
        "1.",
        "a1 ",
        "ssh ",
        "-a ",
        "(a) ",
        "a@",
    ]
    for form in FORMS:
        for unit in units:
            for end in ("", "!", ":"):
                form.compiled().search((unit * 400)[:400] + end)


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    roster = Roster()
    roster.note(text, text.lower())
    assert roster.place("rank 0") == ""
    assert isinstance(subject(text) + said(text) + header([text]) + elsewhere(text), str)


def test_a_rule_that_points_elsewhere_names_a_group_of_its_patterns() -> None:
    for rule in default_rules().rules:
        assert not rule.at or any(f"(?P<{rule.at}>" in text for text in (*rule.patterns, *rule.gather)), (
            rule.id
        )


def test_a_rank_is_looked_up_where_nccl_said_where_it_runs() -> None:
    lines = (
        "gpu06:4111:4111 [0] NCCL INFO comm 0x55d rank 0 nranks 4 cudaDev 0 busId 1b000 - Init COMPLETE\n"
        "gpu07:5111:5111 [0] NCCL INFO comm 0x55d rank 2 nranks 4 cudaDev 0 busId 1b000 - Init COMPLETE\n"
        "gpu07:5112:5112 [1] NCCL INFO comm 0x55e rank 3 nranks 4 cudaDev 1 busId 3b000 - Init COMPLETE\n"
    )
    failure = "[rank3]: torch.OutOfMemoryError: CUDA out of memory.\n"
    assert first(lines + "x\n" * 100 + failure).node == "gpu07"
    # Two groups of one size that number their ranks differently say nothing.
    twice = lines + "gpu06:4111:4111 [0] NCCL INFO comm 0x66 rank 3 nranks 4 cudaDev 0 busId 1b000\n"
    assert first(twice + "x\n" * 100 + failure).node == ""


def test_a_node_of_ray_is_looked_up_by_its_id() -> None:
    ident = "3c1ea0b5e2a44d9b8f0c7d4a1e5b9c6d"
    text = (
        f"gcs_node_manager.cc:100: Adding node, node_id = {ident}, node name = gpu-c, address = 10.0.4.12\n"
        f"(raylet) A worker died or was killed while executing a task by an unexpected system error. Worker ID: 5e "
        f"Node ID: {ident} Worker exit type: SYSTEM_ERROR Worker exit detail: End of file.\n"
    )
    found = first(text)
    assert (found.node, found.alias) == ("10.0.4.12", "gpu-c")
    assert "10.0.4.12 (gpu-c)" in as_text([found])[0]


def test_the_machine_that_was_called_is_named_and_who_called_it() -> None:
    refused = "gpu-a:7:7 [0] misc/socket.cc:483 NCCL WARN socketStartConnect: Connect to 10.0.0.2<45763> failed : Connection refused\n"
    found = first(refused)
    assert (found.node, found.seen_from) == ("10.0.0.2", "gpu-a")
    assert "on 10.0.0.2, seen from gpu-a (" in as_text([found])[0]
    assert first(refused.replace("10.0.0.2", "172.17.0.2")).node == "gpu-a"


def test_lines_of_this_machine_take_no_node_from_those_of_another() -> None:
    text = "(W pid=1) torch.OutOfMemoryError: CUDA out of memory.\n(W pid=2, ip=10.0.0.9) torch.OutOfMemoryError: CUDA out of memory.\n"
    assert [f.node for f in diagnose([Source("x", text)])] == ["", "10.0.0.9"]


def test_words_of_a_report_take_the_node_of_the_log_below_them() -> None:
    said_twice = "It says that CUDA out of memory.\n```\n(W pid=2, ip=10.0.0.9) torch.OutOfMemoryError: CUDA out of memory.\n"
    found = diagnose([Source("x", said_twice)])
    assert [f.node for f in found] == ["10.0.0.9"]


def test_an_address_is_called_as_the_cluster_file_calls_it() -> None:
    cluster = {
        "nodes": [
            {"name": "head", "host": "h1", "fabric_ip": "10.0.0.1", "role": "head"},
            {"name": "w", "host": "h2"},
        ]
    }
    text = "Failed to connect to GCS at address 10.0.0.1:6379 within 5 seconds.\n"
    found = in_cluster(first(text, "w"), cluster)
    assert (found.node, found.alias, found.seen_from) == ("head", "10.0.0.1", "w")


MACHINES = tomllib.loads(
    (Path(__file__).parents[1] / "cases/diagnose/machines/forms.toml").read_text("utf-8")
)


@pytest.mark.parametrize("case", MACHINES["case"], ids=lambda case: case["id"])
def test_the_machine_of_a_failure_is_named_in_whatever_form(case: dict[str, str]) -> None:
    node = case["node"]
    found = first(case["text"].replace("<N>", node).replace("<O>", case["other"]))
    named = node in (found.node, found.alias)
    assert named != bool(case.get("open")), f"{found.rule} on {found.node!r}"


@pytest.mark.parametrize("node", ["Spark-2-DGX", "qwen-multinode-0-vllm-0-1"])
def test_a_machine_may_be_called_after_its_maker_or_its_model(node: str) -> None:
    """Capitals, several hyphens, the name of a model in front: the whole name is read, no part of it."""
    told = {
        case["id"]: found.node
        for case in MACHINES["case"]
        if not re.match(r"[\d.]+$|[a-z]+$", case["node"])
        and not case.get("open")
        and (found := first(case["text"].replace("<N>", node).replace("<O>", "gpu-a3")))
    }
    others = {name: said for name, said in told.items() if said != node}
    assert not others


@pytest.mark.parametrize("word", MACHINES["things"])
def test_a_word_with_a_number_is_no_machine(word: str) -> None:
    for line in (
        f"[{word}] CUDA out of memory",
        f"{word}: CUDA out of memory",
        f"CUDA out of memory on {word}",
    ):
        assert peel(line)[1] == said(line) == "", line
    # People head an output with the number of a rank, or with an address of the machine itself.
    headings = [f"[{word}]", f"It works on {word}:"] + [f"### {word}"] * (
        not word.startswith(("rank", "127.", "0."))
    )
    assert header(headings) == ""


def test_a_line_of_nobody_takes_the_one_printer_around_it_and_not_the_address_it_could_not_use() -> None:
    error = "zmq.error.ZMQError: Cannot assign requested address (addr='tcp://10.0.0.1:34762')\n"
    around = "(RayWorkerWrapper pid=438, ip=10.0.0.2) Traceback (most recent call last):\n"
    assert diagnose([Source("x.log", error + around)])[0].node == "10.0.0.2"


def test_the_other_end_of_a_connection_is_named_without_the_form_of_ipv6() -> None:
    assert said("recv failed on Socket(fd=9, remote=[::ffff:10.0.0.1]:42643)") == "10.0.0.1"


def test_rows_of_a_table_are_not_joined_as_if_they_had_been_cut() -> None:
    row = "vllm-0-{}   ClusterIP   None         <none>        <none>    0s             llm-team"
    text = "\n".join([*(row.format(n) for n in range(4)), "kubectl logs vllm-0-1", "", "sh: 1: X: not found"])
    assert "".join(shaped(iter([text]))) == text
