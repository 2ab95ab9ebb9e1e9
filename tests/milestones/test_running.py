"""What already runs: the same stays, another is asked about, and what hung on an earlier head is restarted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER, CaseTransport
from wizard_steps.cluster.edit import with_values
from wizard_steps.cluster.file import Cluster, load, parse
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import Answer, FileDecider, GivenAnswer
from wizard_steps.engine.engine import Engine
from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones import adopt, raystart, running, vllm
from wizard_steps.milestones import head as heading
from wizard_steps.milestones import workers as joining
from wizard_steps.milestones.head import Head
from wizard_steps.milestones.ip import Ip
from wizard_steps.milestones.serve import ServeStep
from wizard_steps.milestones.workers import Workers
from wizard_steps.model import Question, Verdict
from wizard_steps.node.place import Service
from wizard_steps.node.places import place_of
from wizard_steps.node.spec import Spec, differences
from wizard_steps.persist import Persist
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import MemoryJournal

FILE = parse(CLUSTER)
READY = "INFO Connecting to existing Ray cluster at address: 10.0.0.1:6379\nApplication startup complete.\n"
STARTED = "Local node IP: {}\nRay runtime started.\n"


class Person:
    """Gives one answer to the question, and stops at a failed gate."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[Question] = []

    async def ask(self, step: str, question: Question) -> Answer:
        if question.kind == "gate":
            return Answer("stop")
        self.asked.append(question)
        return Answer(self.answer)


def runs(service: Service, instance: str = "one", cluster: Cluster = FILE) -> str:
    """What a look prints where this service runs already."""
    line = place_of(cluster).spec(service).line()
    return f"ours: 7\nleader: 7\ninstance: {instance}\nspec: {line}\nport {service.port}: listening\n"


async def walk(
    steps: list[Step], results: list[dict[str, str]], decider: object | None = None, cluster: Cluster = FILE
) -> tuple[list[Verdict], list[tuple[str, str]]]:
    transport, journal = CaseTransport(results), MemoryJournal()
    asked = decider or FileDecider()
    await Engine(steps, cluster, transport, asked, ZeroClock(), journal).walk()  # type: ignore[arg-type]
    return [e.verdict for e in journal.events if isinstance(e, ev.Judged)], transport.ran


#: What ends the old processes, and starts new ones where a test says no more of it.
RESTARTED = [
    {"node": "*", "key": "clear", "text": "ended 2 processes\n"},
    {"node": "*", "key": "launch", "text": "started process 9\n"},
]


def vllm_with(max_len: int) -> Cluster:
    return parse(CLUSTER + f'extra_flags = ["--max-model-len={max_len}"]\n')


def serving(then: Cluster) -> list[dict[str, str]]:
    look = runs(vllm.service(Known(then), then.head), cluster=then)
    return [
        {"node": "a", "key": "look", "text": look},
        {"node": "a", "key": "clear", "text": "ended 3 processes\n"},
        {"node": "a", "key": "launch", "text": "started process 9\ninstance: two\n"},
        {"node": "a", "key": "log", "text": READY, "reason": "stopped"},
        *RESTARTED,
    ]


async def test_the_same_server_stays() -> None:
    cluster = vllm_with(512)
    (verdict,), ran = await walk([ServeStep()], serving(cluster), cluster=cluster)
    assert verdict.passed
    assert not any(check.warning for check in verdict.checks)
    assert ("a", "launch") not in ran


async def test_another_server_of_ours_is_not_taken_for_this_one_without_a_person() -> None:
    (verdict,), ran = await walk([ServeStep()], serving(vllm_with(512)), cluster=vllm_with(256))
    assert not verdict.passed
    assert "--max-model-len: 512 -> 256" in verdict.failures[0].found
    assert "--on-difference" in verdict.failures[0].hint
    assert [key for _, key in ran] == ["look"]


async def test_a_person_sees_both_sides_and_restarts_it() -> None:
    person = Person("restart")
    (verdict,), ran = await walk([ServeStep()], serving(vllm_with(512)), person, vllm_with(256))
    assert "--max-model-len: 512 -> 256" in person.asked[0].text
    assert [o.value for o in person.asked[0].options] == ["restart", "write", "keep", "stop"]
    assert verdict.passed
    assert [key for _, key in ran] == ["look", "clear", "launch", "log", "stopped", "ranks", "ranks"]


async def test_a_person_keeps_it_and_the_gate_says_what_it_vouches_for() -> None:
    (verdict,), ran = await walk([ServeStep()], serving(vllm_with(512)), Person("keep"), vllm_with(256))
    assert verdict.passed
    assert "launch" not in [key for _, key in ran]
    (check,) = [c for c in verdict.checks if c.name == "vLLM"]
    assert check.warning
    assert "--max-model-len: 512 -> 256" in check.found


@pytest.mark.parametrize(
    ("then", "now", "service", "words"),
    [
        (512, 512, "service: it.service\n", []),
        (512, 512, "", ["does not run now"]),
        (512, 256, "service: it.service\n", ["does not run now", "--max-model-len: 512 -> 256"]),
    ],
)
async def test_a_service_that_no_longer_runs_what_runs_is_told(
    then: int, now: int, service: str, words: list[str]
) -> None:
    cluster, results = vllm_with(now), serving(vllm_with(then))
    line = place_of(cluster).spec(vllm.service(Known(vllm_with(then)), cluster.head)).line()
    results[0]["text"] += f"{service}written: {line}\n"
    (verdict,), _ = await walk([ServeStep()], results, Person("restart"), cluster)
    told = [check.found for check in verdict.warnings if check.name == running.WRITTEN]
    assert verdict.passed
    assert len(told) == bool(words)
    assert all(word in told[0] for word in words)
    assert (running.KEPT_BY in verdict.facts) == (not words)


WRITABLE = (
    'model = "other/model"\n',
    "port = 8001\n",
    'served_model_name = "x"\n',
    "tensor_parallel = 4\npipeline_parallel = 4\n",
    'extra_flags = ["--max-model-len", "512", "--enforce-eager"]\n',
    "expert_parallel = true\n",
    "decode_context_parallel = 2\n",
    '[env]\nNCCL_DEBUG = "INFO"\n',
)


def changed(text: str) -> Cluster:
    keys = {line.partition(" =")[0] for line in text.splitlines()}
    return parse("\n".join(x for x in CLUSTER.splitlines() if x.partition(" =")[0] not in keys) + "\n" + text)


@pytest.mark.parametrize("then", WRITABLE)
async def test_what_runs_is_written_into_the_file_and_stays(then: str, tmp_path: Path) -> None:
    before = changed(then)
    file = tmp_path / "cluster.toml"
    file.write_text(CLUSTER)
    person, persist = Person("write"), Persist(file)
    transport, journal = CaseTransport(serving(before)), MemoryJournal()
    engine = Engine([ServeStep()], FILE, transport, person, ZeroClock(), journal, persist)
    assert await engine.walk() == "passed"
    assert "launch" not in [key for _, key in transport.ran]
    assert vllm.argv(Known(load(file)), FILE.head) == vllm.argv(Known(before), FILE.head)
    assert load(file).env == before.env
    (verdict,) = [e.verdict for e in journal.events if isinstance(e, ev.Judged)]
    assert not verdict.warnings


WORDS = st.one_of(
    st.text(max_size=20), st.sampled_from(["--port", "--port=1", "--x=-1", "serve", "-9", "", "--"])
)


@settings(max_examples=80, deadline=None)
@given(argv=st.lists(WORDS, max_size=8), env=st.dictionaries(WORDS, WORDS, max_size=3))
def test_whatever_a_node_says_was_started_what_is_offered_starts_the_same(
    argv: list[str], env: dict[str, str]
) -> None:
    known = Known(FILE)
    service = vllm.service(known, FILE.head)
    then = Spec(tuple([*service.argv[:3], *argv]), {**service.env, **env})
    edits = adopt.offer(known, lambda it: [vllm.service(it, it.head)], {"a": then}).edits
    if edits:
        now = vllm.service(Known(with_values(FILE, edits)), FILE.head)
        assert not differences(then, place_of(FILE).spec(now))


async def test_what_the_file_has_no_field_for_is_not_offered() -> None:
    service = vllm.service(Known(FILE), FILE.head)
    odd = Service(
        service.node, service.role, service.port, service.argv, {**service.env, "VLLM_HOST_IP": "x"}
    )
    person = Person("stop")
    results = [{"node": "a", "key": "look", "text": runs(odd)}]
    (verdict,), _ = await walk([ServeStep()], results, person)
    assert not verdict.passed
    assert [o.value for o in person.asked[0].options] == ["restart", "keep", "stop"]


async def test_a_head_on_another_port_is_written_and_the_walk_goes_back_to_the_owner_of_the_port() -> None:
    before = parse(CLUSTER + "[ray]\nport = 6400\nhead_flags = ['--num-cpus=4']\n")
    look = runs(raystart.service(Known(before), before.head, heading.argv(Known(before))))
    transport = CaseTransport(
        [
            {"node": "a", "key": "look", "text": look},
            {"node": "a", "key": "start", "text": STARTED.format("10.0.0.1"), "reason": "stopped"},
        ]
    )
    engine = Engine([Head()], FILE, transport, Person("write"), ZeroClock(), MemoryJournal())
    assert await engine.walk() == "passed"
    assert (engine.cluster.ray.port, engine.cluster.ray.head_flags) == (6400, ("--num-cpus=4",))
    engine.plan = (Ip(), Head())
    assert engine._first_owner(1, [("ray.port", "6400")]) == 0


async def test_tensor_and_pipeline_parallel_port_name_and_model_count() -> None:
    then = parse(CLUSTER.replace("tensor_parallel = 8\npipeline_parallel = 2", "tensor_parallel = 4"))
    for change, words in (
        ('model = "other/model"\n', "other/model"),
        ("port = 8001\n", "--port: 8000 -> 8001"),
        ('served_model_name = "x"\n', "--served-model-name: not set -> x"),
        ("tensor_parallel = 2\n", "--tensor-parallel-size: 4 -> 2"),
    ):
        text = CLUSTER.replace("tensor_parallel = 8\npipeline_parallel = 2", "tensor_parallel = 4")
        now = parse(text.replace("tensor_parallel = 4\n", change) if "tensor" in change else text + change)
        (verdict,), _ = await walk([ServeStep()], serving(then), cluster=now)
        assert not verdict.passed
        assert words in verdict.failures[0].found, change


async def test_a_head_with_another_port_or_environment_is_not_kept() -> None:
    cluster = parse(CLUSTER + "[env]\nNCCL_DEBUG = 'INFO'\n")
    look = runs(raystart.service(Known(FILE), FILE.head, heading.argv(Known(FILE))))
    (verdict,), _ = await walk([Head()], [{"node": "a", "key": "look", "text": look}], cluster=cluster)
    assert not verdict.passed
    assert "NCCL_DEBUG: not set -> INFO" in verdict.failures[0].found


async def test_a_worker_of_an_earlier_head_is_restarted_in_the_same_walk() -> None:
    worker = FILE.workers[0]
    known = Known(FILE, {"starts": {"a": "the-old-head"}})
    old = runs(raystart.service(known, worker, joining.argv(known, worker)))
    verdicts, ran = await walk(
        [Head(), Workers()],
        [
            {"node": "a", "key": "look", "text": "ours: \nport 6379: free\n"},
            {"node": "a", "key": "launch", "text": "started process 9\ninstance: the-new-head\n"},
            {"node": "a", "key": "start", "text": STARTED.format("10.0.0.1"), "reason": "stopped"},
            {"node": "b", "key": "look", "text": old},
            {"node": "b", "key": "clear", "text": "ended 3 processes\n"},
            {"node": "b", "key": "launch", "text": "started process 9\ninstance: w\n"},
            {"node": "b", "key": "start", "text": STARTED.format("10.0.0.2"), "reason": "stopped"},
            *RESTARTED,
        ],
    )
    assert all(verdict.passed for verdict in verdicts)
    assert [key for node, key in ran if node == "b"] == ["look", "clear", "launch", "start"]
    assert verdicts[1].facts["starts"] == {"a": "the-new-head", "b": "w"}
    assert any("restarted" in check.found for check in verdicts[1].checks)


async def test_a_worker_of_this_head_stays() -> None:
    worker, head = FILE.workers[0], FILE.head
    known = Known(FILE, {"starts": {"a": "this-head"}})
    first = runs(raystart.service(known, head, heading.argv(known)), "this-head")
    second = runs(raystart.service(known, worker, joining.argv(known, worker)))
    verdicts, ran = await walk(
        [Head(), Workers()],
        [
            {"node": "a", "key": "look", "text": first},
            {"node": "a", "key": "start", "text": STARTED.format("10.0.0.1"), "reason": "stopped"},
            {"node": "b", "key": "look", "text": second},
            {"node": "b", "key": "start", "text": STARTED.format("10.0.0.2"), "reason": "stopped"},
        ],
    )
    assert all(verdict.passed for verdict in verdicts)
    assert not {"launch", "clear"} & {key for _, key in ran}


async def test_children_whose_launcher_is_gone_are_ended_before_a_new_start() -> None:
    verdicts, ran = await walk(
        [Head()],
        [
            {"node": "a", "key": "look", "text": "ours: 12 13\nport 6379: listening\n"},
            {"node": "a", "key": "clear", "text": "ended 2 processes\n"},
            {"node": "a", "key": "launch", "text": "started process 9\ninstance: two\n"},
            {"node": "a", "key": "start", "text": STARTED.format("10.0.0.1"), "reason": "stopped"},
            *RESTARTED,
        ],
    )
    assert verdicts[0].passed
    assert [key for _, key in ran] == ["look", "clear", "launch", "start"]


@pytest.mark.parametrize("answer", ["restart", "keep", "write", ""])
async def test_a_walk_without_a_person_does_what_the_command_line_says(answer: str) -> None:
    given = GivenAnswer(running.DIFFERS, answer)
    (verdict, *_), ran = await walk([ServeStep()], serving(vllm_with(512)), given, vllm_with(256))
    assert verdict.passed == bool(answer)
    assert (("a", "launch") in ran) == (answer == "restart")
    assert any(check.warning for check in verdict.checks) == (answer == "keep")


async def test_what_cannot_be_written_is_said_and_not_asked_for_ever() -> None:
    service = vllm.service(Known(FILE), FILE.head)
    odd = Service(
        service.node, service.role, service.port, service.argv, {**service.env, "VLLM_HOST_IP": "x"}
    )
    results = [{"node": "a", "key": "look", "text": runs(odd)}]
    (verdict,), _ = await walk([ServeStep()], results, GivenAnswer(running.DIFFERS, "write"))
    assert not verdict.passed
    assert "no field" in verdict.failures[0].hint
