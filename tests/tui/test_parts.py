"""The pure parts of the screen: line index, log document, checks, progress, form, debugging switches."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style

from tests.helpers.tui_fakes import toy_cluster
from tui.app import index as tui_index
from tui.app import present
from tui.app.checks import checks_text, unlike
from tui.app.debug import debugging, explained, toggling
from tui.app.fields import fields
from tui.app.form import cluster_of, form_of, save
from tui.app.index import ByteIndex
from tui.app.log import LogDoc, LogStore
from tui.app.phase import PhaseWatch
from tui.app.text import duration, plain_fences, safe, wrapped
from wizard_steps.cluster.edit import with_value
from wizard_steps.diagnose import Diagnosis
from wizard_steps.errors import UsageError
from wizard_steps.model import Check, Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.spool import MemorySpool
from wizard_steps.recording.state import State, fold

LINES = st.lists(st.text(alphabet="ab\u00e9", max_size=30), max_size=60)


@given(LINES, st.booleans(), st.lists(st.integers(1, 40), max_size=20), st.integers(0, 5), st.integers(4, 64))
def test_the_index_finds_every_line(
    texts: list[str], open_end: bool, cuts: list[int], before: int, block: int
) -> None:
    data = "\n".join(texts).encode() + (b"x" if open_end else b"\n")
    expected = data.decode().split("\n")
    expected = expected if expected[-1] else expected[:-1]
    spool = b"#" * before + data
    old, tui_index.BLOCK = tui_index.BLOCK, block
    try:
        index = ByteIndex(before)
        at = before
        for cut in [*cuts, len(spool)]:
            index.feed(spool[at : at + cut])
            at = min(at + cut, len(spool))
        assert len(index) == len(expected)
        read = lambda start, end: spool[start:end]  # noqa: E731
        for first in range(len(expected)):
            assert index.lines(first, 3, read) == expected[first : first + 3]
            offset = index.offset_of(first, read)
            assert index.number_at(offset, read) == first
    finally:
        tui_index.BLOCK = old


def test_the_index_is_small_and_reads_little() -> None:
    index = ByteIndex()
    piece = b"0123456789 a line of sixty bytes or so, as a server logs them\n" * 1000
    for _ in range(1000):
        index.feed(piece)
    reads: list[int] = []

    def read(start: int, end: int) -> bytes:
        reads.append(end - start)
        offset = start % len(piece)
        return (piece * 3)[offset : offset + end - start]

    assert len(index) == 1_000_000
    assert index.lines(777_777, 2, read) == [piece[: len(piece) // 1000 - 1].decode()] * 2
    assert sum(reads) <= 2 * tui_index.BLOCK
    assert len(index._counts) < 3000


def walked(*more: ev.AnyEvent, key: str = "log") -> list[ev.AnyEvent]:
    nodes = [{"host": "a", "role": "head", "gpus": 1}, {"host": "b", "gpus": 1}]
    plain = {"name": "demo", "nodes": nodes}
    return [
        ev.WalkStarted(0, "bare-metal", (("serve", "vllm serve"), ("curl", "curl")), plain),
        ev.StepStarted(0, "serve", 1),
        ev.CommandStarted(0, 1, "serve", "a", key, "tail -F x", 0, "a.log", mutates=True),
        *more,
    ]


def doc_of(output: bytes, ended: bool = True) -> LogDoc:
    spool = MemorySpool()
    store = LogStore(spool)
    start, end = spool.append("a.log", output)
    events: list[ev.AnyEvent] = walked(ev.Output(1, 1, "a", start, end))
    if ended:
        events.append(ev.CommandEnded(2, 1, "a", 3, "exit", 0, 2))
    state = State()
    for event in events:
        state = fold([event], state)
        store.feed(event, state.runs)
    doc = store.doc("serve", "a")
    assert not doc.catch_up()
    return doc


def test_a_log_shows_command_output_and_end() -> None:
    doc = doc_of(b"one\ntwo\x1b[31m\nthree")
    lines = [line.text for line in doc.lines(0, 99)]
    assert lines == ["$ tail -F x", "one", "two[31m", "three", "exit status 3 after 2s"]
    assert [line.text for line in doc.lines(2, 2)] == ["two[31m", "three"]
    assert len(doc) == 5


def test_search_finds_first_and_last_and_stops_at_a_limit() -> None:
    doc = doc_of(b"".join(b"line %d\n" % n for n in range(1000)) + b"Needle here\n" + b"tail\n" * 10)

    def search(text: str, first: int, before: int | None = None) -> int | None:
        return next((hit for hit in doc.search(text, first, before) if hit is not None), None)

    assert search("needle", 0) == 1001
    assert search("needle", 1002) is None
    assert search("needle", 0, 1001) is None
    assert search("line 7", 0) == 8
    assert search("line 7", 9) == 71
    assert search("TAIL -f", 0) == 0


def test_checks_put_failures_first_and_fold_equal_ones() -> None:
    checks = tuple(Check("driver", True, "580", node=f"n{n}") for n in range(5))
    bad = Check("count", False, "7", "8", "n9", "look at dmesg\x1b[2J")
    text = checks_text(Verdict(False, "no", (*checks, bad)), (), lambda _: Style(), 60).plain
    assert text.index("failed  count") < text.index("driver")
    assert "5 nodes" in text
    assert text.count("driver") == 1
    assert "\x1b" not in text


def test_progress_says_what_is_awaited_and_until_when() -> None:
    waiting = ev.Waiting(5, "serve", "a", "log", "holds; stable for 2 of 8 s", 65)
    text = present.progress(fold(walked(waiting)), 10)
    assert "vllm serve · 10s · a log: holds; stable for 2 of 8 s · at most 55s more" in text


def test_what_was_ended_again_does_not_keep_running() -> None:
    assert present.left_running(fold(walked(key="launch"))) == ["vllm serve on a"]
    stopped = ev.CommandStarted(3, 2, "serve", "a", "stop", "kill", 0, "b.log", mutates=True)
    assert present.left_running(fold(walked(stopped, key="launch"))) == []
    assert present.left_running(fold(walked())) == []


def test_phases_go_forward_only() -> None:
    spool = MemorySpool()
    watch = PhaseWatch(spool)
    text = b"Connecting to existing Ray cluster\nLoading weights took 3 s\nrank 0 in world size 2\n"
    start, end = spool.append("a.log", text)
    state = fold(walked(ev.Output(1, 1, "a", start, end)))
    assert watch.phase("serve", 1, state.runs.values()) == "loading weights"
    assert watch.phase("curl", 1, state.runs.values()) == ""


def test_debugging_switches_and_what_they_will_set() -> None:
    assert toggling(toy_cluster()) == {"env.NCCL_DEBUG": "INFO"}
    cluster = with_value(toy_cluster(), "env.NCCL_DEBUG", "INFO")
    assert debugging(cluster)
    facts = {"interfaces": {"gpu-a": "eth1", "gpu-b": "eth1"}}
    assert "NCCL_SOCKET_IFNAME=eth1" in explained(cluster, facts)
    assert "not set" in explained(cluster, {})
    assert toggling(cluster) == {"env.NCCL_DEBUG": ""}
    assert with_value(cluster, "env.NCCL_DEBUG", "").env == {}


def test_the_form_is_written_and_read_back_with_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "milepost.toml"
    path.write_text(
        '# ours\nname = "x" # short\n[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 8\n'
        '[[nodes]]\nhost = "b"\ngpus = 8\nport = 2222\n'
    )
    from wizard_steps.cluster.file import load

    form = form_of(load(path))
    form.nodes[1].gpus = "4"
    form.nodes[1].host = "b.example"
    form.values["serve.extra_flags"] = "--max-model-len 512"
    saved = save(cluster_of(form, load(path)), path)
    assert saved.serve.extra_flags == ("--max-model-len", "512")
    assert (saved.nodes[1].gpus, saved.nodes[1].port) == (4, 2222)
    assert path.read_text().startswith('# ours\nname = "x" # short')


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("serve.port", "many", "serve.port: 'many' is not a whole number"),
        ("serve.port", "70000", "serve.port: must be a whole number, 1 to 65535"),
        ("venv", "here", "venv: must be an absolute path"),
        ("serve.tensor_parallel", "99", "serve.tensor_parallel: TP x PP"),
        ("serve.extra_flags", "'open", "serve.extra_flags: No closing quotation"),
        ("path", "cloud", 'path: must be "bare-metal" or "docker"'),
    ],
)
def test_a_wrong_form_says_which_field(where: str, value: str, words: str) -> None:
    form = form_of(toy_cluster())
    form.values[where] = value
    with pytest.raises(UsageError) as error:
        cluster_of(form, toy_cluster())
    assert str(error.value).startswith(words)


def test_fields_to_edit_begin_with_those_of_the_step() -> None:
    found = fields(toy_cluster(), (r"serve\.port",))
    assert found[0] == ("serve.port", "8000")
    assert ("nodes[1].host", "gpu-b") in found
    assert not any(where == "simulated" for where, _ in found)


def test_small_words() -> None:
    assert [duration(s) for s in (0.4, 59.9, 185, 7440)] == ["0s", "59s", "3m05s", "2h04m"]
    assert safe("a\tb\x1b]0;x\x07\u202e") == "a       b]0;x"
    assert wrapped("aaa bbb ccc", 7) == ["aaa bbb", "ccc"]


@pytest.mark.parametrize(
    ("wanted", "found", "marks"),
    [
        ("2 nodes, 16 GPUs", "2 nodes, 12 GPUs", ("12",)),
        ("16.0 GPU", "16.0 GPU", ()),
        ("a free port", "taken by python3", ()),
        ("", "anything", ()),
    ],
)
def test_the_words_that_differ_from_what_was_wanted_stand_out(
    wanted: str, found: str, marks: tuple[str, ...]
) -> None:
    assert unlike(wanted, found) == marks
    text = checks_text(
        Verdict(False, "no", (Check("x", False, found, wanted),)),
        (),
        lambda name: Style(bold=name == "bad"),
        60,
    )
    bold = [
        text.plain[span.start : span.end]
        for span in text.spans
        if isinstance(span.style, Style) and span.style.bold
    ]
    assert [word for word in bold if word in found.split()] == list(marks)


def test_own_checks_come_first_and_guesses_last() -> None:
    found = [
        Diagnosis("r", "network", kind, f"{kind} text", "", (), (), confidence, "")
        for kind, confidence in (("cause", 0.95), ("guess", 0.9))
    ]
    text = checks_text(
        Verdict(False, "no", (Check("own check", False, "x"), Check("fine", True))),
        found,
        lambda _: Style(),
        60,
    ).plain
    places = [text.index(words) for words in ("own check", "cause text", "fine", "guess text")]
    assert places == sorted(places)
    assert "◆ cause  " in text
    assert "◆ guess  " in text


def test_code_without_a_language_is_text() -> None:
    assert plain_fences("a\n\n    x = 1\n      y\n\nb\n") == "a\n\n```text\nx = 1\n  y\n```\n\nb\n"
    assert plain_fences("    x\n") == "```text\nx\n\n```"
    assert plain_fences("```\nx\n```\n```toml\ny\n```\n") == "```text\nx\n```\n```toml\ny\n```\n"
    assert plain_fences("- item\n\n    more of it\n") == "- item\n\n    more of it\n"
    assert plain_fences("") == ""
