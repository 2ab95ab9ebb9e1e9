"""An expected block cannot be switched off by mistake: not by its key, its fence, its variables or its step."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER, CaseTransport
from tests.helpers.engine_help import Script, Toy
from tui.cli.main import main
from wizard_steps.cluster.file import parse as cluster
from wizard_steps.engine import expected
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.engine import Engine
from wizard_steps.engine.expect import fill, parse_line
from wizard_steps.engine.expected import check, parse
from wizard_steps.engine.step import Known
from wizard_steps.errors import ExpectedTextError
from wizard_steps.model import Node, Result, Results, Round
from wizard_steps.plan import OPTIONAL, PATHS
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import MemoryJournal
from wizard_steps.walks.shipped import find

A, B = Node("a", "a", "head"), Node("b", "b")


def block(fence: str, body: str = "yes\n") -> str:
    return f"# T\n\n```expect {fence}\n{body}```\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (block("smii"), r"t\.md:3: expect smii: the milestone has no such command; it has bw-\*, smi"),
        (block("bx-*"), r"t\.md:3: expect bx-\*: the milestone has no such command"),
        (block("smi", "ok\n{{drivr}}\n"), r"t\.md:5: \{\{drivr\}\}: no such variable; known: ip, node"),
        (block("smi", "{{ip}} {{x}} (glob)\n"), r"t\.md:4: \{\{x\}\}: no such variable"),
        (block("smi", ""), r"t\.md:3: expect smi: the block is empty"),
        (block("smi") + block("smi"), r"t\.md:8: expect smi: a second block for the same output"),
        (block("smi hed"), r"t\.md:3: not read as a block; write"),
        (block("smi (opt)"), r"t\.md:3: not read as a block"),
        ("x\n``` expect smi\nyes\n```\n", r"t\.md:2: not read as a block"),
        (block("smi", "([ (regex)\n"), r"t\.md:4: not a regular expression"),
        (block("smi", "[[a]] (regex)\n"), r"t\.md:4: not a regular expression"),
        (block("smi", "yes\n")[:-4], r"t\.md:3: this expect block is never closed"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(text: str, said: str) -> None:
    with pytest.raises(ExpectedTextError, match=said):
        check(parse(text, "t.md"), ("smi", "bw-*"), ("node", "ip"))


@pytest.mark.parametrize("fence", ["smi", "bw-*", "bw-0", "smi worker (optional) [docker]", "b*"])
def test_what_fits_is_let_pass(fence: str) -> None:
    check(parse(block(fence, "{{ node }} (glob)\n"), "t.md"), ("smi", "bw-*"), ("node",))


def test_a_milestone_that_names_no_keys_is_checked_at_its_gate_alone() -> None:
    check(parse(block("smii"), "t.md"), (), ())


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_its_line(text: str) -> None:
    said = "t.md:"
    try:
        check(parse(text, "t.md"), ("k",), ())
    except ExpectedTextError as error:
        said = str(error)
    assert said.startswith("t.md:")


@given(st.text(max_size=40), st.text(max_size=10))
def test_filling_in_raises_for_no_line_and_no_value(raw: str, value: str) -> None:
    for kind in ("", " (glob)", " (regex)"):
        try:
            line = parse_line(f"{raw}{{{{name}}}}{{{{other}}}}{kind}")
        except ValueError:
            continue
        fill(line, {"name": value})


def results(*items: tuple[str, Node]) -> list[Result]:
    return [Result(node, key, "yes", 0) for key, node in items]


def test_a_key_pattern_compares_every_match_and_an_exact_key_comes_first() -> None:
    document = parse(block("bw-*") + block("bw-1", "no\n") + block("bw-* worker", "other\n"), "t.md")
    found = [document.compare(r, {}) for r in results(("bw-0", A), ("bw-1", A), ("bw-2", B), ("x", A))]
    lines = [comparison.rows[0].expected if comparison else None for comparison in found]
    assert lines == ["yes", "no", "other", None]


def test_a_required_block_wants_a_result_where_its_role_exists() -> None:
    document = parse(block("bw-*") + block("log worker") + block("more (optional)"), "t.md")

    def without(*items: tuple[str, Node], nodes: tuple[Node, ...] = (A, B)) -> list[str]:
        return [found.key for found in document.without_result(results(*items), nodes)]

    assert without() == ["bw-*", "log"]
    assert without(("bw-3", B), ("log", B)) == []
    assert without(("log", A)) == ["bw-*", "log"]
    assert without(("bw-0", A), nodes=(A,)) == []
    gone = Result(A, "bw-0", "", -1, "unrecorded")
    assert [found.key for found in document.without_result([gone], [A])] == ["bw-*"]


async def walked(text: str, step: type[Toy] = Toy) -> list[ev.AnyEvent]:
    journal = MemoryJournal()
    transport = CaseTransport([{"node": "*", "key": "toy", "text": "yes"}])
    engine = Engine(
        [step()],
        cluster(CLUSTER),
        transport,
        Script(),
        ZeroClock(),
        journal,
        texts=lambda step: parse(text, "/somewhere/t.md"),
    )
    await engine.walk()
    return journal.events


async def test_a_gate_without_the_output_it_is_compared_by_fails() -> None:
    judged = next(e for e in await walked(block("toy")) if isinstance(e, ev.Judged))
    assert judged.verdict.passed
    judged = next(e for e in await walked(block("ty")) if isinstance(e, ev.Judged))
    assert not judged.verdict.passed
    assert judged.verdict.summary == "the facts are right, but 1 expected line is missing"
    (check_,) = judged.verdict.failures
    assert (check_.name, check_.found, check_.wanted) == ("expected output", "no result of ty", "t.md:3")
    judged = next(e for e in await walked(block("ty (optional)")) if isinstance(e, ev.Judged))
    assert judged.verdict.passed


async def test_nothing_is_run_with_a_text_that_does_not_fit() -> None:
    class Keyed(Toy):
        keys = ("toy",)

        def rounds(self, known: Known, done: Results) -> Round | None:
            raise AssertionError("never reached")

    with pytest.raises(ExpectedTextError, match=r"t\.md:3: expect ty"):
        await walked(block("ty"), Keyed)


@pytest.mark.parametrize("step", {s.id: s for steps in (*PATHS.values(), OPTIONAL) for s in steps}.values())
def test_every_shipped_text_fits_its_milestone(step: type) -> None:
    made = step()
    assert made.keys
    known = Known(cluster(CLUSTER))
    check(expected.load(made.id), made.keys, made.variables(known, known.head))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("```expect smi", "```expect smii", "smi.md:18: expect smii: the milestone has no such command"),
        ("| NVIDIA-SMI *", "| NVIDIA-SMI {{driver}}*", "{{driver}}: no such variable"),
        ("```expect smi", "```expected smi", ""),
    ],
)
def test_a_replay_says_it_and_ends_with_3(
    old: str,
    new: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(expected.SNAPSHOTS / "expected", tmp_path / "expected")
    file = tmp_path / "expected" / "smi.md"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    walk = find(Path("h100-single"))
    monkeypatch.setattr(expected, "SNAPSHOTS", tmp_path)
    expected.load.cache_clear()
    try:
        assert main(["--replay", str(walk), "--quiet"]) == 3
    finally:
        expected.load.cache_clear()
    error = capsys.readouterr().err
    assert "drift (expectation)" in error
    assert said in error
