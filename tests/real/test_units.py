"""The services of `milepost enable` under real systemd on two hosts, with a stand-in for vLLM (SIMULATED): quick
enough for every lane. tests/real/test_enable.py does it with real Ray and real vLLM.

systemd is each host's first process. A reboot ends it with every process of the host, and starts it anew with
the same disk; the kernel below stays, so drivers, disks and network cards are not part of it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.walks import down, environment, milepost
from tests.real.wizard_side import MODEL_AT
from wizard_steps.cluster.edit import with_value
from wizard_steps.cluster.file import Cluster, load
from wizard_steps.engine.decide import GivenAnswer
from wizard_steps.engine.step import Step
from wizard_steps.milestones.reboot import WHICH, Reboot
from wizard_steps.milestones.running import DIFFERS
from wizard_steps.milestones.serve import ServeStep
from wizard_steps.milestones.units import Units
from wizard_steps.model import Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State
from wizard_steps.session import LiveWalk
from wizard_steps.transport.ssh_ask import NoAsker

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
KEY = "planted-key-of-the-units-test-0123"
VENV = "/opt/stand-in"


class Bed(Hosts):
    """Hosts whose vLLM is the lab's stand-in."""

    def mounts(self) -> list[tuple[str, str]]:
        folder = self.folder / "stand-in"
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        python = f"#!/bin/sh\nexport PYTHONPATH={ROOT}\nexec {sys.executable}"
        (folder / "bin" / "python").write_text(f'{python} "$@"\n')
        (folder / "bin" / "vllm").write_text(f'{python} -P -m wizard_steps.lab.standins.vllm "$@"\n')
        (folder / "bin" / "ray").write_text(f'{python} {Path(sys.prefix, "bin", "ray")} "$@"\n')
        for name in ("python", "vllm", "ray"):
            (folder / "bin" / name).chmod(0o755)
        here = [str(ROOT)] if str(ROOT).startswith(("/root/", "/home/", "/opt/", "/tmp/")) else []
        own = [path for path in (sys.base_prefix,) if path.startswith(("/root/", "/home/", "/opt/", "/tmp/"))]
        return [(str(folder), VENV), *((path, path) for path in (*here, *own))]


@pytest.fixture(scope="module")
def pair(possible: None) -> Iterator[Bed]:
    with Bed(names=("a", "b"), gpus={"a": 1, "b": 1}, systemd=True) as hosts:
        yield hosts


@pytest.fixture
def file(pair: Bed) -> Path:
    """Without Ray: each host has one unit. `life` is there, as after a walk."""
    path = pair.cluster_file(serve={"executor": "mp", "pipeline_parallel": 2, "extra_flags": []})
    path.write_text(path.read_text().replace('venv = "/opt/vllm-venv"', f'venv = "{VENV}"'))
    for name in pair.names:
        folder = f"/root/.milepost/real-hosts/node-{name}"
        pair.run(name, f"mkdir -p {folder} && echo MILEPOST_LIFE=0123456789abcdef > {folder}/life")
        # The stand-in loads nothing; the gate of vLLM looks for the model's configuration.
        pair.run(
            name,
            f"mkdir -p {MODEL_AT} && [ -e {MODEL_AT}/config.json ] || echo '{{}}' > {MODEL_AT}/config.json",
        )
    return path


async def walked(cluster: Cluster, folder: Path, reboot: str = "") -> dict[str, Verdict]:
    """The verdicts of the services' milestones, and of the reboot where one is asked for."""
    steps = [Units(), *([Reboot()] if reboot else [])]
    return await walked_with(cluster, folder, steps, GivenAnswer(WHICH, reboot))


async def walked_with(
    cluster: Cluster, folder: Path, steps: Sequence[Step], decider: GivenAnswer
) -> dict[str, Verdict]:
    walk = LiveWalk(cluster, folder, steps=steps)
    found: dict[str, Verdict] = {}

    def on_event(event: ev.AnyEvent, state: State) -> None:
        if isinstance(event, ev.Judged):
            found[event.step] = event.verdict

    try:
        await walk.engine(decider, NoAsker(), on_event).walk()
    finally:
        await walk.close()
    return found


def services(pair: Bed, name: str) -> str:
    listed = (
        "systemctl list-units --all --plain --no-legend 'milepost-*'; ls /etc/systemd/system | grep milepost"
    )
    return pair.run(name, listed, check=False).stdout


def exposed(pair: Bed, file: Path) -> str:
    """From the wizard's machine, which has a cable of its own to the hosts."""
    words = milepost("exposed", str(file), "--walk", str(pair.folder / "exposed"))
    done = subprocess.run(words, env=environment(pair.home), cwd=pair.home, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout
    return done.stdout


def disabled(pair: Bed, file: Path) -> int:
    words = milepost("disable", str(file))
    done = subprocess.run(words, env=environment(pair.home), cwd=pair.home, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    return done.returncode


async def hardware(pair: Bed, name: str) -> None:
    """Starts the host again when its systemd has ended itself. In this very thread: the kernel ends a host
    with the thread that started it."""
    while pair._init[name].poll() is None:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    pair.booted_again(name)


async def test_services_restarts_a_reboot_and_nothing_left(
    pair: Bed, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(pair.home))
    rebooting = asyncio.create_task(hardware(pair, "a"))
    found = await walked(load(file), tmp_path / "walk", reboot="node-a")
    await asyncio.wait_for(rebooting, 30)
    assert found["units"].passed, found["units"].checks
    assert found["reboot"].passed, found["reboot"].checks
    names = [check.name for check in found["units"].checks]
    assert names == ["units", "units", "start", "server", "one rank alone", "reboot"]
    for name in pair.names:
        assert "running" in services(pair, name)
        folder = f"/root/.milepost/real-hosts/node-{name}"
        assert pair.run(name, f"stat -c %a {folder}/secrets").stdout.strip() == "600"
        assert KEY not in pair.run(name, "cat /etc/systemd/system/milepost-*").stdout
        assert not [line for line in pair.processes(name).values() if KEY in line]
        own = pair.run(name, f"tr '\\0' '\\n' < /proc/$(cat {folder}/serve.pid)/environ").stdout
        assert "MILEPOST_LIFE=0123456789abcdef" in own
        assert f"VLLM_API_KEY={KEY}" in own
    assert KEY not in "".join(
        path.read_text(errors="replace") for path in (tmp_path / "walk").rglob("*.jsonl")
    )

    seen = exposed(pair, file)
    assert "POST /invocations" in seen, "/invocations answers without the key"
    assert "port 29501 [node-a]" in seen
    down(file, pair.home)
    for name in pair.names:
        assert "running" not in services(pair, name)
        assert "milepost-real-hosts" in services(pair, name), "down stops them; they stay enabled"

    pair.run("b", "echo '# not ours' > /etc/systemd/system/milepost-real-hosts-node-b-ray.service")
    assert disabled(pair, file) == 0
    assert services(pair, "a") == ""
    assert services(pair, "b").split() == ["milepost-real-hosts-node-b-ray.service"], "what is not ours stays"
    pair.run("b", "rm /etc/systemd/system/milepost-real-hosts-node-b-ray.service")
    left = pair.run("a", "ls /root/.milepost/real-hosts/node-a").stdout.split()
    assert not {"secrets", "serve.unit.sh", "mtu"} & set(left)
    assert "serve.log" in left


async def test_a_login_that_is_not_root_gets_user_units_and_lingering(
    pair: Bed, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is logged in: with lingering this user has a systemd all the same, and none when it is off again."""
    monkeypatch.setenv("HOME", str(pair.home))
    config = pair.ssh_config(user="lab")
    path = pair.cluster_file(
        ssh_config=config,
        serve={"executor": "mp", "pipeline_parallel": 2, "extra_flags": []},
        path=pair.folder / "user.toml",
    )
    path.write_text(path.read_text().replace('venv = "/opt/vllm-venv"', f'venv = "{VENV}"'))
    for name in pair.names:
        folder = f"/home/lab/.milepost/real-hosts/node-{name}"
        life = f"mkdir -p {folder} && echo MILEPOST_LIFE=0123456789abcdef > {folder}/life"
        pair.run(name, f"{life}; chown -R lab:lab /home/lab/.milepost")
    found = await walked(load(path), tmp_path / "walk")
    assert found["units"].passed, found["units"].checks
    for name in pair.names:
        assert "running" in pair.run(name, _AS_LAB.format("list-units 'milepost-*'")).stdout
        assert "milepost" not in pair.run(name, "ls /etc/systemd/system").stdout
        assert pair.run(name, "ls /var/lib/systemd/linger").stdout.split() == ["lab"]
    assert disabled(pair, path) == 0
    for name in pair.names:
        assert pair.run(name, "find /home/lab/.config/systemd/user -name 'milepost-*'").stdout == ""
        assert pair.run(name, "ls /var/lib/systemd/linger").stdout == ""


_AS_LAB = "runuser -u lab -- env XDG_RUNTIME_DIR=/run/user/$(id -u lab) systemctl --user {}"


async def test_with_real_ray_each_service_comes_back_and_the_server_after_it(
    pair: Bed, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A raylet that is restarted takes the server with it: both come back, in order, without anybody."""
    pytest.importorskip("ray")
    path = pair.cluster_file(serve={"pipeline_parallel": 2, "extra_flags": []}, path=pair.folder / "ray.toml")
    path.write_text(path.read_text().replace('venv = "/opt/vllm-venv"', f'venv = "{VENV}"'))
    found = await walked(load(path), tmp_path / "walk")
    for check in found["units"].checks:
        print(check.name, check.node, check.found)
    assert found["units"].passed, found["units"].checks
    names = [check.name for check in found["units"].checks]
    assert names == ["units", "units", "start", "workers", "head", "server", "reboot"]
    assert services(pair, "a").count("running") == 2
    assert disabled(pair, path) == 0
    assert services(pair, "a") == ""


async def test_a_walk_with_other_values_ends_the_service_and_says_what_the_next_boot_starts(
    pair: Bed, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose process is killed is started again by systemd: two servers would fight for the port."""
    assert (await walked(load(file), tmp_path / "services"))["units"].passed
    changed = with_value(load(file), "serve.extra_flags", "--max-model-len=2048")
    steps = [ServeStep()]
    refused = await walked_with(changed, tmp_path / "one", steps, GivenAnswer("", ""))
    assert not refused["serve"].passed
    assert services(pair, "a").count("running") == 1
    found = await walked_with(changed, tmp_path / "two", steps, GivenAnswer(DIFFERS, "restart"))
    assert found["serve"].passed, found["serve"].checks
    told = [check.found for check in found["serve"].warnings if check.name == "service"]
    assert len(told) == 2
    assert "--max-model-len: not set -> 2048" in told[0]
    for name in pair.names:
        assert "running" not in services(pair, name)
    assert (await walked(changed, tmp_path / "again"))["units"].passed
    kept = await walked_with(changed, tmp_path / "three", steps, GivenAnswer("", ""))
    assert kept["serve"].passed
    assert not [check for check in kept["serve"].warnings if check.name == "service"]
    assert disabled(pair, file) == 0


async def test_a_model_that_cannot_start_does_not_keep_the_machine_busy(
    pair: Bed, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More GPUs than the machine lists: the service waits, gives up, and says why in its log."""
    text = file.read_text().replace("ready_timeout", "#").replace("[serve]", "[serve]\nready_timeout = 10")
    file.write_text(text.replace("gpus = 1", "gpus = 3"))
    monkeypatch.setattr("wizard_steps.milestones.units._NOTICE", 5.0)
    monkeypatch.setattr("wizard_steps.node.unit_script._ADDRESS", 3)
    found = await walked(load(file), tmp_path / "walk")
    assert not found["units"].passed
    folder = "/root/.milepost/real-hosts/node-a"
    # The first start gives up after 3 s; the walk waited for 15 s, a repetition begins 15 s after its end.
    await asyncio.sleep(25)
    assert "nvidia-smi does not list 3 GPUs" in pair.run("a", f"cat {folder}/serve.log*").stdout
    shown = _shown(pair)
    assert "Restart=always" in shown
    assert "StartLimitBurst=6" in shown
    assert "NRestarts=0" not in shown
    assert disabled(pair, file) == 0


def _shown(pair: Bed) -> str:
    names = "-p Restart -p StartLimitBurst -p NRestarts milepost-real-hosts-node-a-serve.service"
    return pair.run("a", f"systemctl show {names}").stdout
