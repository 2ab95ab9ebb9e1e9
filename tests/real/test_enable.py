"""`milepost enable`: services of real systemd on two hosts, real Ray, real vLLM on CPU. GPUs are SIMULATED.

systemd is each host's first process. A reboot ends it, with every process of the host, and starts it anew with
the same disk: the kernel below stays, so drivers, disks and network cards are not part of it.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.test_vllm import servers
from tests.real.walks import environment, milepost
from wizard_steps.recording.journal import load
from wizard_steps.recording.state import fold

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(1800)]
KEY = "planted-key-of-the-enable-test-0123"


@pytest.fixture(scope="module")
def pair(possible: None) -> Iterator[Hosts]:
    with Hosts(names=("a", "b"), gpus={"a": 1, "b": 1}, systemd=True) as hosts:
        yield hosts


def said(pair: Hosts, *words: str, limit: float = 1500) -> tuple[int, str]:
    env = {**environment(pair.home), "VLLM_API_KEY": KEY}
    done = subprocess.run(
        milepost(*words), env=env, cwd=pair.home, capture_output=True, text=True, timeout=limit
    )
    return done.returncode, done.stdout + done.stderr


def units(pair: Hosts, name: str) -> list[str]:
    listed = (
        "systemctl list-units --all --plain --no-legend 'milepost-*'; ls /etc/systemd/system | grep milepost"
    )
    return [line.strip() for line in pair.run(name, listed, check=False).stdout.splitlines() if line.strip()]


def rebooter(pair: Hosts, name: str) -> threading.Thread:
    """Plays the hardware: starts the host again when its systemd has ended itself."""

    def wait() -> None:
        process = pair._init[name]
        process.wait(900)
        pair.reboot(name)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_services_restarts_a_reboot_and_nothing_left(pair: Hosts, tmp_path: Path) -> None:
    file = pair.cluster_file(settle=2, serve={"pipeline_parallel": 2, "api_key": True, "ready_timeout": 400})
    hardware = rebooter(pair, "b")
    began = time.monotonic()
    code, text = said(pair, "enable", str(file), "--walk", str(tmp_path / "walk"), "--reboot-test", "node-b")
    print(text[-9000:], f"\n{time.monotonic() - began:.0f} s")
    assert code == 0, text[-9000:]
    hardware.join(1)
    state = fold(load(tmp_path / "walk").events)
    verdict = state.step("units").verdict
    assert verdict is not None
    assert [
        check.name for check in verdict.checks if check.name in ("start", "workers", "head", "server")
    ] == [
        "start",
        "workers",
        "head",
        "server",
    ]
    assert state.step("reboot").verdict is not None
    assert fold(load(tmp_path / "walk-2").events).outcome == "passed"
    assert len(servers(pair)) == 1
    assert all(any("running" in line for line in units(pair, name)) for name in pair.names)
    secret = pair.run("a", "stat -c '%a %s' /root/.milepost/real-hosts/node-a/secrets").stdout.split()
    assert secret[0] == "600"
    for name in pair.names:
        assert KEY not in pair.run(name, "cat /etc/systemd/system/milepost-*").stdout
        assert not [line for line in pair.processes(name).values() if KEY in line]
    assert KEY not in text
    code, text = said(pair, "disable", str(file))
    print(text)
    assert code == 0
    assert servers(pair) == []
    for name in pair.names:
        assert units(pair, name) == []
        assert pair.run(name, "ls /root/.milepost/real-hosts/*/secrets", check=False).stdout == ""
