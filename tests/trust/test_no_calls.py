"""milepost asks nobody by itself: what needs no node makes no connection and looks no name up."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tui.cli.main import main

ROOT = Path(__file__).parents[2]
WALK = str(ROOT / "snapshots/walks/ssh-refused")
FILE = """
name = "x"
[[nodes]]
host = "gpu-a.invalid"
role = "head"
gpus = 8
[serve]
model = "meta-llama/Llama-3.2-1B-Instruct"
"""


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "m.toml"],
        ["learn", "--list"],
        ["help", "sources"],
        ["--list-faults"],
        ["--replay", WALK, "--quiet"],
        ["diff", WALK, str(ROOT / "snapshots/walks/wrong-ip")],
        ["diagnose", "log.txt"],
        ["export", WALK, "--to", "html", "-o", "w.html"],
        ["bundle", WALK, "-o", "b.tar.gz"],
        ["proxy", "m.toml", "--domain", "llm.invalid"],
    ],
    ids=lambda words: words[0],
)
def test_nobody_is_asked(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.toml").write_text(FILE)
    (tmp_path / "log.txt").write_text("ConnectionError: https://huggingface.co cannot be reached\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    asked: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("this test has no network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    assert main(words) in (0, 1, 3)
    assert not asked
