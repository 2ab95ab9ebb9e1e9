"""`milepost help`, and that no message sends a person to a command that does not exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tui.cli.help import topics
from tui.cli.main import build, main

ROOT = Path(__file__).parents[2]


def test_topics_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    listed = capsys.readouterr().out
    assert all(topic in listed for topic in topics())


@pytest.mark.parametrize("topic", topics())
def test_every_topic_prints(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", topic]) == 0
    assert len(capsys.readouterr().out) > 300


def test_one_field_one_table_and_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "cluster-file", "serve.port"]) == 0
    assert capsys.readouterr().out.startswith("**serve.port** (integer, 1 to 65535; default: 8000)")
    assert main(["help", "cluster-file", "docker"]) == 0
    assert "serve.port" not in capsys.readouterr().out
    assert main(["help", "cluster-file", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "milepost.toml"


@pytest.mark.parametrize(
    "words", [["nosuch"], ["cluster-file", "nosuch"], ["troubleshooting", "nosuch"], ["words", "--json"]]
)
def test_what_does_not_exist_is_said_with_status_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", *words]) == 2
    assert capsys.readouterr().err.startswith("milepost: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["check", "--foo"], ("usage: milepost check", "--foo")),
        (["plan", "x.toml", "--jsno"], ("usage: milepost plan", "Did you mean --json?")),
        (["--headlses"], ("usage: milepost walk", "Did you mean --headless?")),
    ],
)
def test_an_unknown_option_is_told_with_the_usage_of_its_command(
    words: list[str], told: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(words))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(words in said for words in told), said


def mentioned() -> set[str]:
    """First words after `milepost` in code spans of messages, texts and the README."""
    found: set[str] = set()
    for folder, ending in (
        ("tui", "py"),
        ("tui", "md"),
        ("wizard_steps", "py"),
        ("wizard_steps", "toml"),
        ("snapshots/expected", "md"),
    ):
        for path in (ROOT / folder).rglob(f"*.{ending}"):
            found |= set(re.findall(r"`milepost ([a-z][a-z-]*)\b(?![./])", path.read_text(encoding="utf-8")))
    return found | set(
        re.findall(r"`milepost ([a-z][a-z-]*)\b(?![./])", (ROOT / "README.md").read_text(encoding="utf-8"))
    )


def test_every_command_that_a_message_names_exists() -> None:
    assert mentioned() - set(build()[1]) == set()
