"""`milepost enable`: services of real systemd on two hosts, real Ray, real vLLM on CPU. GPUs are SIMULATED.

systemd is each host's first process. A reboot ends it, with every process of the host, and starts it anew with
the same disk: the kernel below stays, so drivers, disks and network cards are not part of it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.test_vllm import servers
from tests.real.walks import environment, milepost
from wizard_steps.recording.journal import load
from wizard_steps.recording.state import fold

pytestmark = [pytest.mark.real_vllm, pytest.mark.long, pytest.mark.timeout(5400)]
KEY = "planted-key-of-the-enable-test-0123"


@pytest.fixture(scope="module")
def pair(possible: None) -> Iterator[Hosts]:
    with Hosts(names=("a", "b"), gpus={"a": 1, "b": 1}, systemd=True) as hosts:
        yield hosts


def said(pair: Hosts, *words: str, rebooted: str = "", limit: float = 4500) -> tuple[int, str]:
    """Runs milepost. Plays the hardware meanwhile: starts the host ``rebooted`` again when its systemd has ended
    itself, in this very thread: the kernel ends a host with the thread that started it."""
    env = {**environment(pair.home), "VLLM_API_KEY": KEY}
    log = pair.folder / "milepost.log"
    with log.open("wb") as out:
        process = subprocess.Popen(milepost(*words), env=env, cwd=pair.home, stdout=out, stderr=out)
    end = time.monotonic() + limit
    while process.poll() is None and time.monotonic() < end:
        if rebooted and pair._init[rebooted].poll() is not None:
            pair.booted_again(rebooted)
        time.sleep(0.2)
    if process.poll() is None:
        process.terminate()
    return process.wait(60), log.read_text(errors="replace")


def units(pair: Hosts, name: str) -> list[str]:
    listed = (
        "systemctl list-units --all --plain --no-legend 'milepost-*'; ls /etc/systemd/system | grep milepost"
    )
    return [line.strip() for line in pair.run(name, listed, check=False).stdout.splitlines() if line.strip()]


def test_services_restarts_a_reboot_and_nothing_left(pair: Hosts, tmp_path: Path) -> None:
    file = pair.cluster_file(settle=2, serve={"pipeline_parallel": 2, "api_key": True, "ready_timeout": 1200})
    began = time.monotonic()
    words = ("enable", str(file), "--walk", str(tmp_path / "walk"), "--reboot-test", "node-b")
    code, text = said(pair, *words, rebooted="b")
    print(text[-9000:], f"\n{time.monotonic() - began:.0f} s")
    assert code == 0, text[-9000:]
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
