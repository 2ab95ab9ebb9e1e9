"""The lab's systemctl: what a unit starts is started again when it ends, and stops for good when it is asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_for
from wizard_steps.lab.standins import systemd

UNIT = """[Service]
ExecStart=/bin/sh "{script}"
Restart=always
StartLimitBurst=6
{more}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Two units: b is started after a, and is stopped with it."""
    for name, more in (("a", ""), ("b", "Wants=a.service\nPartOf=a.service")):
        script = tmp_path / f"{name} $x.sh"
        script.write_text(f"setsid sleep 3000 & echo $! > {tmp_path}/{name}.left; exec sleep 3001\n")
        quoted = str(script).replace("$", "$$")
        (tmp_path / f"{name}.service").write_text(UNIT.format(script=quoted, more=more))
    yield tmp_path
    ctl(tmp_path, "stop", "b.service", "a.service")


def ctl(folder: Path, *words: str) -> str:
    command = [sys.executable, "-I", systemd.__file__, "systemctl", "--user", *words]
    env = {**os.environ, "MILEPOST_UNITS": str(folder)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def left(folder: Path, name: str) -> int:
    """A process of the service that has left its session."""
    path = folder / f"{name}.left"
    wait_for(lambda: path.exists() and path.read_text().strip(), "its process", 60)
    return int(path.read_text())


def test_a_service_comes_back_and_takes_what_hangs_on_it_along(folder: Path) -> None:
    ctl(folder, "start", "b.service")
    assert [ctl(folder, "show", "-p", "ActiveState", "--value", f"{n}.service") for n in "ab"] == [
        "active"
    ] * 2
    first = left(folder, "a")
    (folder / "a.left").unlink()
    for pid in systemd.of(systemd_state(folder, "a")["invocation"]):
        os.kill(pid, signal.SIGKILL)
    second = left(folder, "a")
    assert not systemd.alive(first)
    wait_for(lambda: ctl(folder, "show", "-p", "NRestarts", "--value", "a.service") == "1", "a restart", 60)
    of_b = left(folder, "b")
    ctl(folder, "stop", "a.service")
    assert not systemd.alive(second)
    assert not systemd.alive(of_b)
    assert ctl(folder, "show", "-p", "ActiveState", "--value", "b.service") == "inactive"


def systemd_state(folder: Path, name: str) -> dict[str, object]:
    import json

    return dict(json.loads((folder / "run" / f"{name}.service.json").read_text()))


def test_a_lab_node_is_never_rebooted(folder: Path) -> None:
    command = [sys.executable, "-I", systemd.__file__, "systemctl", "reboot"]
    done = subprocess.run(command, env={"MILEPOST_UNITS": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "SIMULATED" in done.stdout
