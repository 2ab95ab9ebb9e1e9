"""Files that somebody else may have put there (a cloned folder, a home): pipes, devices, gigabytes, deep nesting."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.headless_help import milepost
from tui.app import themes
from wizard_steps.advisor.config import read_json
from wizard_steps.advisor.files import tensors
from wizard_steps.cluster.file import load
from wizard_steps.errors import UsageError
from wizard_steps.learn.progress import Progress


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have 100 characters
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 3 << 30)


MADE: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "silent device": lambda path: path.symlink_to("/dev/tty"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "socket": _socket,
    "folder": Path.mkdir,
    "gigabytes": _sparse,
    "nested": lambda path: path.write_text('{"lessons":' * 100_000),
    "nested lists": lambda path: path.write_text("[" * 100_000),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "byte order mark": lambda path: path.write_bytes(b"\xef\xbb\xbfname = 'x'\n"),
}


@pytest.fixture(params=MADE)
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "file.json"
    MADE[request.param](path)
    return path


@pytest.mark.timeout(20)
def test_every_reader_ends_in_a_sentence(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for reader in (load, read_json):
        with pytest.raises(UsageError, match=r"^.{0,200}file\.json.{5,300}$"):
            reader(hostile)
    assert list(tensors(hostile)) == []
    monkeypatch.setattr(themes, "_file", lambda: hostile)
    assert themes.remembered() == ""
    assert Progress(hostile)._state.lessons == {}


async def test_a_command_says_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "milepost.toml")
    code, said = await milepost(tmp_path, "plan", "milepost.toml")
    assert (code, said.strip()) == (2, "milepost: milepost.toml: cannot be read: not a plain file")


def test_what_a_shell_hands_over_is_read() -> None:
    read, write = os.pipe()
    os.write(write, b'[[nodes]]\nhost = "h"\nrole = "head"\ngpus = 1\n')
    os.close(write)
    try:
        assert load(Path(f"/dev/fd/{read}")).head.name == "h"
    finally:
        os.close(read)
