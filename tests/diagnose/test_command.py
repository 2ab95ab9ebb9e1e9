"""`milepost diagnose`, and how findings are shown."""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.diagnose_help import FAILURE, NOISE
from tui.cli import diagnose as cmd_diagnose
from tui.cli import main as cli
from wizard_steps.diagnose import (
    Source,
    as_json,
    as_text,
    diagnose,
)


def test_rendering() -> None:
    found = diagnose([Source("a.log", FAILURE, "gpu-a")])
    text = "\n".join(as_text(found))
    assert "1. gpu-memory on gpu-a" in text
    assert "a.log:1: " in text
    assert "try: " in text
    data = as_json(found)
    assert json.loads(json.dumps(data)) == data
    assert {"family", "cause", "node", "evidence", "try", "since", "until", "source"} <= set(data[0])
    where = {key: data[0]["evidence"][0][key] for key in ("file", "line", "text")}
    assert where == {"file": "a.log", "line": 1, "text": FAILURE.strip()}
    assert as_text([]) == ["No known failure in this text."]


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
    assert "no log files in this folder" in capsys.readouterr().err
    assert cli.main(["diagnose", "a=-", "b=-"]) == 2
    assert "given twice" in capsys.readouterr().err


def test_command_says_that_there_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.log").write_text(" \n\t\n")
    assert _run(str(tmp_path / "empty.log"), "--json") == 2
    out, err = capsys.readouterr()
    assert (json.loads(out), "nothing to read" in err) == ([], True)


def test_a_remark_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "x.log"
    log.write_text("INFO 10-27 16:30:57 pynccl.py:63] vLLM is using nccl==2.20.5\n")
    assert _run(str(log)) == 0
    assert "No failure found. What may be worth a look:" in capsys.readouterr().out


def test_the_report_shows_the_context_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "x.log"
    log.write_text(f"{NOISE}{FAILURE}ray: command not found\nsome more\n")
    assert _run(f"gpu-a={log}", "--explain") == 1
    out = capsys.readouterr().out
    assert f"   | {NOISE.strip()}" in out
    assert "when: Nov 24 08:01:00" in out
    assert "why this first: " in out
    assert out.count("   | some more") == 2


def test_command_needs_neither_screen_nor_ssh() -> None:
    code = "import sys, tui.cli.diagnose, wizard_steps.diagnose as d; d.diagnose([]); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"\b(textual|asyncssh)\b", loaded)


def test_explain_shows_the_expression_the_context_and_who_lost() -> None:
    text = "before it\nERROR 10-01 01:01:01 [core.py:8] ValueError: Current node has no GPU available. x={}\nafter it\n"
    lines = "\n".join(as_text(diagnose([Source("a.log", text)]), explain=True))
    for words in ("| before it", "| after it", "pattern: current node has no ", "not rule unknown-error"):
        assert words in lines
