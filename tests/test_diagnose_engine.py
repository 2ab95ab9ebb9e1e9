"""The diagnosis engine itself: lines, literals, streaming, places, the command. No rule texts here."""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui import cli, cmd_diagnose
from wizard_steps.diagnose import (
    Fix,
    Source,
    as_json,
    as_text,
    diagnose,
    diagnose_files,
    diagnose_streams,
    sources_of,
)
from wizard_steps.diagnose.lines import parse, stamp_of, strip_codes, unix
from wizard_steps.diagnose.literals import any_of, required
from wizard_steps.diagnose.rules import RuleError, default_rules, load
from wizard_steps.diagnose.scan import BLOCK
from wizard_steps.model import Node, Result

NOISE = "INFO 11-24 08:00:00 [loggers.py:1] Avg generation throughput: 12.3 tokens/s, Running: 3 reqs\n"
FAILURE = "ERROR 11-24 08:01:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory.\n"


@pytest.mark.parametrize(
    ("line", "level", "node", "message"),
    [
        ("(APIServer pid=1) INFO 11-24 08:49:36 [a.py:1] hi", "info", "", "INFO 11-24 08:49:36 [a.py:1] hi"),
        ("(EngineCore pid=1) (RayWorkerProc pid=2, ip=10.0.0.2) boom", "", "10.0.0.2", "boom"),
        ("2026-11-24 08:13:03,187\tWARNING services.py:2248 -- x", "warning", "", None),
        ("[2026-11-24 08:44:30,673 W 9 9] network_util.cc:330: x", "warning", "", None),
        ("[2026-11-24 08:44:30,673 E 9 9] (raylet) x", "error", "", None),
        ("[rank0]:[E1124 08:45:00.123456789 ProcessGroupNCCL.cpp:632] x", "error", "", None),
        ("[W socket.cpp:601] [c10d] The client socket cannot be initialized", "warning", "", None),
        ("INFO:     Application startup complete.", "info", "", None),
        ("gpu-a:1:1 [0] NCCL INFO Bootstrap : Using eth0", "info", "", None),
        ("gpu-a:1:1 [0] NCCL WARN Bootstrap : no socket interface found", "", "", None),
        ("qwen  | ERROR 11-24 08:00:00 [x.py:1] y", "error", "", "ERROR 11-24 08:00:00 [x.py:1] y"),
    ],
)
def test_line_is_taken_apart(line: str, level: str, node: str, message: str | None) -> None:
    parsed = parse(line)
    assert (parsed.level, parsed.node) == (level, node)
    assert parsed.message == (message or line)


@pytest.mark.parametrize(
    "line",
    [
        '"\\u001b[31mINFO 11-24 08:00:00 [a.py:1] x\\u001b[0m\\r\\nCUDA out of memory\\n",',
        '{"log":"CUDA out of memory\\n","stream":"stderr","time":"2026-11-24T08:00:00.1Z"}',
        '{"label": "X", "message": "CUDA out of memory", "severity": "ERROR"}',
    ],
)
def test_lines_inside_json_are_found(line: str) -> None:
    finding = diagnose([Source("x", f"one\n{line}\n")])[0]
    assert finding.family == "gpu-memory"
    assert finding.evidence[0].line == 2
    assert finding.evidence[0].text == "CUDA out of memory"


@pytest.mark.parametrize(
    "line", ['"', '{"', '{"log": 1}', '"unfinished', "{}", '{"a": [}', '"\\ud800"', '{"a":' * 800 + "}"]
)
def test_what_looks_like_json_is_not_minded(line: str) -> None:
    assert diagnose([Source("x", line)]) == []


def test_times_of_all_writers_compare() -> None:
    texts = [
        "[2026-11-24 08:44:30,673 W 9 9] x",
        "INFO 11-24 08:44:31 [a.py:1] x",
        "E1124 08:44:32.5 1310 x",
        "2026-11-24T08:44:33.25Z x",
        "2026/11/24 08:44:34 x",
    ]
    stamps = [stamp_of(text) for text in texts]
    assert all(stamps)
    times = [unix(stamp, 2026) for stamp in stamps if stamp]
    assert times == sorted(times)
    assert times[-1] - times[0] < 5
    assert stamp_of("99-99 77:00:00") is None


def test_codes_go_and_line_ends_stay() -> None:
    raw = "\x1b[31mred\x1b[0m\x1b]0;title\x07 a\n\x1b]unfinished\nb\x00\u202e c\r\n"
    assert strip_codes(raw).count("\n") == raw.count("\n")
    assert "red a" in strip_codes(raw)
    assert "\x1b[" not in strip_codes(raw)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"failed to connect to gcs", {"failed to connect to gcs"}),
        (r"(?:refused|timed out)$", {"refused", "timed out"}),
        (r"no \w+ host key is known", {" host key is known"}),
        (r"(?:abc)?long word", {"long word"}),
    ],
)
def test_words_that_a_match_must_hold(pattern: str, words: set[str]) -> None:
    assert required(pattern) == words


@pytest.mark.parametrize("pattern", [r"\d+", r"(?:refused|\d+)", r"ab", r"x*"])
def test_a_pattern_without_words_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no plain word"):
        required(pattern)


@given(
    st.lists(st.text("abcd ", min_size=1, max_size=6), min_size=1, max_size=30), st.text("abcd ", max_size=60)
)
def test_scanner_finds_a_text_exactly_when_a_word_is_in_it(words: list[str], text: str) -> None:
    assert bool(any_of(words).search(text)) is any(word in text for word in words)


def test_place_is_file_and_line() -> None:
    text = NOISE * 41 + FAILURE + NOISE
    finding = diagnose([Source("a.log", text, node="gpu-a")])[0]
    assert (finding.family, finding.node) == ("gpu-memory", "gpu-a")
    assert [(e.file, e.line) for e in finding.evidence] == [("a.log", 42)]
    assert finding.evidence[0].text == FAILURE.strip()


def test_line_numbers_are_those_of_the_file_over_blocks_and_progress_bars(tmp_path: Path) -> None:
    lines = 3 * BLOCK // len(NOISE)
    path = tmp_path / "big.log"
    path.write_bytes(("10%\r20%\r\x1b[K30%\n" + NOISE * lines + FAILURE + NOISE * 9).encode())
    finding = diagnose_files([path])[0]
    assert finding.evidence[0].line == lines + 2


def test_context_reaches_over_the_block_border() -> None:
    first = "a line that fills the block exactly\n"
    pad = first * ((BLOCK - 20) // len(first))
    text = pad + "terminate called\n  what():  Operation not permitted\n" + first * 20_000
    assert [f.rule for f in diagnose([Source("x", text)])] == ["container-not-permitted"]


def test_a_huge_line_is_searched_and_shortened() -> None:
    text = "x" * 3_000_000 + " CUDA out of memory " + "y" * 3_000_000
    finding = diagnose([Source("x", text)])[0]
    assert finding.family == "gpu-memory"
    assert len(finding.evidence[0].text) <= 4096
    assert finding.evidence[0].line == 1


def test_many_equal_failures_are_one_finding() -> None:
    finding = diagnose([Source("x", FAILURE * 10_000)])
    assert len(finding) == 1
    assert finding[0].evidence[0].line == 1
    assert len(finding[0].evidence) <= 3


def test_the_same_failure_on_two_nodes_is_two_findings() -> None:
    text = "".join(f"(RayWorkerProc pid=1, ip=10.0.0.{n}) CUDA out of memory\n" for n in (2, 3))
    assert [f.node for f in diagnose([Source("x", text)])] == ["10.0.0.2", "10.0.0.3"]


def test_start_time_orders_text_without_times() -> None:
    late = Source("late", "OSError: [Errno 98] Address already in use", "a", 200.0)
    early = Source("early", "OSError: [Errno 28] No space left on device", "b", 100.0)
    assert [f.node for f in diagnose([late, early])] == ["b", "a"]


def test_code_of_a_traceback_is_weaker_than_what_was_said() -> None:
    text = '    raise ValueError("CUDA out of memory")\nOSError: [Errno 98] Address already in use\n'
    assert [f.family for f in diagnose([Source("x", text)])] == ["ports"]


def test_results_of_a_walk_are_sources() -> None:
    results = [
        Result(Node("a", "gpu-a"), "serve", "OSError: [Errno 98] Address already in use", 1, started=9.0),
        Result(Node("b", "gpu-b"), "join", "OSError: [Errno 28] No space left on device", 1, started=3.0),
        Result(Node("b", "gpu-b"), "nothing", "  ", 1),
    ]
    assert [f.node for f in diagnose(sources_of(results, began=1000.0))] == ["b", "a"]
    assert [f.node for f in diagnose(sources_of(results))] == ["a", "b"]
    assert diagnose(sources_of(results))[0].evidence[0].file == "serve"


def test_a_fix_is_quoted_and_never_half_filled() -> None:
    fix = Fix("x", "{venv}/bin/pip install ray=={ray_version}")
    assert (
        fix.filled({"venv": "/opt/my env", "ray_version": "2.60.0"})
        == "'/opt/my env'/bin/pip install ray==2.60.0"
    )
    assert fix.filled({"venv": "/opt/v; rm -rf /", "ray_version": "$(x)"}) == (
        "'/opt/v; rm -rf /'/bin/pip install ray=='$(x)'"
    )
    assert fix.filled({"venv": "/opt/v"}) is None


def test_every_fix_of_a_rule_can_be_filled() -> None:
    values = {"venv": "/opt/v", "ray_version": "2.60.0"}
    for rule in default_rules().rules:
        for fix in rule.fixes:
            filled = fix.filled(values)
            assert filled
            assert "{" not in filled


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret-token")
    text = "CUDA out of memory hf_ABCDEFGHIJKLMNOPQRSTUVWX s3cret-token"
    shown = diagnose([Source("x", text)])[0].evidence[0].text
    assert "hf_ABC" not in shown
    assert "s3cret" not in shown


def test_no_rule_is_slow_on_long_lines() -> None:
    """Not a timing: an expression that needs seconds would run into the time limit of the test."""
    for rule in default_rules().compiled:
        for word in rule.words[:3]:
            for filler in ("a", "/", "1.", f"{word} "):
                rule.search((word + filler * 4096)[:4096])


def test_rendering() -> None:
    found = diagnose([Source("a.log", FAILURE, "gpu-a")])
    text = "\n".join(as_text(found))
    assert "1. gpu-memory on gpu-a" in text
    assert "a.log:1: " in text
    assert "try: " in text
    data = as_json(found)
    assert json.loads(json.dumps(data)) == data
    assert {"family", "cause", "node", "evidence", "try", "since", "until", "source"} <= set(data[0])
    assert data[0]["evidence"][0] == {"file": "a.log", "line": 1, "text": FAILURE.strip()}
    assert as_text([]) == ["No known failure in this text."]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]]\nid = 1\n", "id"),
        ("nonsense", "bad.toml"),
        (
            '[[rule]]\nid="x"\nfamily="ssh"\npatterns=["("]\ncause="c."\nsource="https://e.org"\ntry=[]\n',
            "rule x",
        ),
        ("", "rule"),
    ],
)
def test_a_wrong_rule_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(RuleError, match=says):
        load(tmp_path)


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    cmd_diagnose.add(parser.add_subparsers())
    return cmd_diagnose.run(parser.parse_args(["diagnose", *words]))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.log", tmp_path / "bad.log"
    good.write_text(NOISE)
    bad.write_text(FAILURE)
    assert _run(str(good)) == 0
    assert "No known failure" in capsys.readouterr().out
    assert _run(f"gpu-a={bad}", str(good), "--json") == 1
    data = json.loads(capsys.readouterr().out)
    assert (data[0]["family"], data[0]["node"]) == ("gpu-memory", "gpu-a")


def test_command_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(FAILURE.encode() + b"\xff\xfe")))
    assert _run() == 1
    assert "-:1: " in capsys.readouterr().out


def test_command_says_which_file_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", str(tmp_path / "none.log")]) == 2
    assert "none.log: no such file" in capsys.readouterr().err
    assert cli.main(["diagnose", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_command_needs_neither_screen_nor_ssh() -> None:
    code = "import sys, tui.cmd_diagnose, wizard_steps.diagnose as d; d.diagnose([]); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"\b(textual|asyncssh)\b", loaded)


PARTS = (
    [
        "\x1b[",
        "\x1b]0;",
        "\x9b31m",
        "\x07",
        "\r",
        "\n",
        "\x00",
        "m",
        ")",
        "ERROR ",
        "é",
        "\u202e",
        "İ",
        "\ud800",
    ],
    ["CUDA out of memory", "ray: command not found", "(X pid=1, ip=", "11-24 08:00:00", "99-99 99:99:99"],
)
SOUP = st.lists(st.sampled_from([part for parts in PARTS for part in parts]))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    found = diagnose_streams([(Source("x", ""), lambda: io.BytesIO(data))])
    assert all(0 <= f.confidence <= 1 for f in found)


@settings(max_examples=60, deadline=None)
@given(SOUP)
def test_escape_soup(parts: list[str]) -> None:
    text = "".join(parts)
    for finding in diagnose([Source("x", text)]):
        for item in finding.evidence:
            assert 1 <= item.line <= text.count("\n") + 1
            assert "\x1b[" not in item.text


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_pieces_make_no_difference(sizes: list[int]) -> None:
    data = ("\x1b[31mé " + NOISE + FAILURE + "ray: command not found\n").encode() * 3

    def pieces() -> io.BytesIO:
        return _Slow(data, sizes)

    assert diagnose_streams([(Source("x", ""), pieces)]) == diagnose([Source("x", data.decode())])


class _Slow(io.BytesIO):
    """Gives as few bytes at a time as it was told, like a pipe."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data)
        self._sizes, self._count = sizes, 0

    def read(self, size: int | None = -1) -> bytes:
        self._count += 1
        return super().read(self._sizes[self._count % len(self._sizes)])
