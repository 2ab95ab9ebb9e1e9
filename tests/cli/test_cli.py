"""The command line as a user meets it: exit codes, clear errors, no traceback, nothing heavy loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tui.cli.main import build, main, with_default_command

GOOD = """
[[nodes]]
name = "a"
host = "127.0.0.1"
role = "head"
gpus = 1
port = 1
"""


def milepost(*words: str, cwd: Path, code: int) -> str:
    """Run the real program; its output. A traceback is never right."""
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli.main", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(cwd)},
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    assert done.returncode == code, output
    return output


def test_help_shows_examples_and_exit_codes(tmp_path: Path) -> None:
    text = milepost("--help", cwd=tmp_path, code=0)
    for words in ("milepost --lab", "--headless", "--replay", "milepost down", "exit status"):
        assert words in text


def test_no_terminal_means_no_prompt(tmp_path: Path) -> None:
    assert "--headless" in milepost(cwd=tmp_path, code=2)


@pytest.mark.parametrize("words", [("--headless",), ("x.toml", "--dry-run"), ("down",)])
def test_no_cluster_file(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert "no such cluster file" in milepost(*words, cwd=tmp_path, code=2)


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOOD + "gpsu = 3\n")
    assert "c.toml:8: nodes[0].gpsu: unknown field" in milepost("c.toml", "--headless", cwd=tmp_path, code=2)


def test_lab_and_a_file_exclude_each_other(tmp_path: Path) -> None:
    milepost("c.toml", "--lab", "--headless", cwd=tmp_path, code=2)


def test_an_unreachable_host_fails_the_first_gate(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOOD)
    text = milepost("c.toml", "--headless", "--walk", "w", cwd=tmp_path, code=1)
    assert "FAILED reach" in text
    assert "refused" in text
    replayed = milepost("--replay", "w", cwd=tmp_path, code=1)
    assert "all as recorded" in replayed


def test_replay_of_nothing(tmp_path: Path) -> None:
    assert "no such walk folder" in milepost("--replay", "none", cwd=tmp_path, code=2)


def test_a_replay_loads_neither_screen_nor_ssh(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOOD)
    milepost("c.toml", "--headless", "--walk", "w", cwd=tmp_path, code=1)
    script = (
        "import sys; from tui.cli.main import main; code = main(['--replay', 'w']); "
        "bad = {'textual', 'asyncssh', 'rich', 'openai'} & set(sys.modules); "
        "print(bad); sys.exit(bool(bad) or code != 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_name_is_short_for_walk() -> None:
    known = ["walk", "down"]
    assert with_default_command(["c.toml", "--headless"], known) == ["walk", "c.toml", "--headless"]
    assert with_default_command(["--lab"], known) == ["walk", "--lab"]
    assert with_default_command(["down", "c.toml"], known) == ["down", "c.toml"]
    assert with_default_command(["--replay", "down"], known) == ["walk", "--replay", "down"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "--dry-run" in capsys.readouterr().out


def test_the_parser_builds_with_every_command() -> None:
    assert "down" in build()[0].format_help()


@pytest.mark.parametrize(
    "words", [["chek", "cluster.toml", "--json"], ["chek"], ["walk", "chek"], ["--headless", "chek"]]
)
def test_a_word_that_is_no_command_names_the_nearest_wherever_it_stands(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "Did you mean `milepost check`?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["c.toml"], ["--watch", "hidden-gpus"], ["learn"], ["top", "c.toml"]])
def test_no_screen_is_drawn_on_a_dumb_terminal(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(words) == 2
    assert "TERM=dumb: no screen can be drawn" in capsys.readouterr().err


def test_diagnose_knows_the_recordings_that_come_with_milepost_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["diagnose", "hidden-gpus"]) == 1
    assert "GPU" in capsys.readouterr().out
