"""An unreachable node is told once, with what to do; not by every part that knows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.sshd import free_port
from tui.cli.main import main


def test_an_unreachable_node_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").write_text("")
    Path("c.toml").write_text(
        f'[[nodes]]\nname = "a"\nhost = "127.0.0.1"\nport = {free_port()}\nrole = "head"\ngpus = 1\n'
        f'[ssh]\nconfig = "{tmp_path}/config"\nknown_hosts = "{tmp_path}/known"\n'
    )
    assert main(["c.toml", "--headless"]) == 1
    out = capsys.readouterr().out
    assert out.count("onnection refused") + out.count("efused the connection") <= 1, out
    assert "FAIL" in out
