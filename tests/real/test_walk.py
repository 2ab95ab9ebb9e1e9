"""milepost's own headless walk over real hosts: real sshd, real Ray, logical GPUs that are SIMULATED."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import hostfiles
from tests.real.hosts import Hosts
from tests.real.walks import HeadlessWalk, down, told
from wizard_steps.cluster.file import load
from wizard_steps.engine.decide import FileDecider
from wizard_steps.model import Node
from wizard_steps.plan import plan_for
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State
from wizard_steps.session import LiveWalk

pytestmark = [pytest.mark.real_hosts, pytest.mark.timeout(600)]


def to_ray_status(bed: Hosts, cluster_file: Path, folder: Path, limit: float = 240) -> HeadlessWalk:
    """Walk until the cluster is whole, then stop the wizard as Ctrl-C does: Ray goes on."""
    with HeadlessWalk(cluster_file, folder, bed.home) as walk:
        walk.until_passed("ray_status", limit)
        assert walk.interrupt() == 130
    passed = [e["step"] for e in walk.events() if e["event"] == "judged" and e["verdict"]["passed"]]
    wanted = [step.id for step in plan_for(load(cluster_file))]
    assert passed[: wanted.index("ray_status") + 1] == wanted[: wanted.index("ray_status") + 1]
    return walk


def ray_processes(bed: Hosts, name: str) -> int:
    return len([line for line in bed.processes(name).values() if "raylet/raylet " in line])


def test_three_hosts_through_a_jump_host_then_again_and_down(bed: Hosts, tmp_path: Path) -> None:
    """The first walk starts everything, with node-c reachable only through node-a; the second goes to each
    directly and finds it all again; ``down`` leaves nothing."""
    name = tmp_path / "milepost.toml"
    behind = bed.cluster_file(path=name, settle=5, ssh_config=bed.ssh_config(jump={"c": "a"}))
    bed.network.link("c", "eth0", "down")
    try:
        first = to_ray_status(bed, behind, tmp_path / "first")
    finally:
        bed.network.heal("c")
    verdict = first.until_judged("ray_status", 1)
    assert "3 nodes, 6 GPUs, stable for 5 s" in told(verdict)
    print(f"three hosts, reach to ray_status: {verdict['t']:.1f} s, settle time 5 s")
    assert [ray_processes(bed, name) for name in bed.names] == [1, 1, 1]
    assert not any(" other: " in line for line in first.output.splitlines())

    direct = bed.cluster_file(path=name, settle=2)
    again = to_ray_status(bed, direct, tmp_path / "again")
    started = [e for e in again.events() if e["event"] == "command-started" and e["key"] == "launch"]
    assert [e for e in started if e["step"] in ("head", "workers")] == []
    assert [ray_processes(bed, name) for name in bed.names] == [1, 1, 1]

    ended = down(direct, bed.home)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for host in bed.names:
        assert bed.left(host) == {}, f"{host} still runs something"
        assert "LISTEN" not in bed.run(host, "ss -Hltn | grep -v ':22 ' || true").stdout
    once_more = down(direct, bed.home)
    assert once_more.returncode == 0
    said = sorted(once_more.stdout.splitlines())
    assert said == sorted(f"node-{host}: nothing of ours runs" for host in bed.names), once_more.stdout


class Person:
    """Answers as a person at the wizard would; host keys are on record, so none may be asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def host_key(self, node: Node, host: str, port: int, key_type: str, fingerprint: str) -> bool:
        raise AssertionError(f"asked about the key of {host}, which is known")

    async def password(self, node: Node, prompt: str) -> str | None:
        self.asked.append(f"password of {node.name}")
        return hostfiles.PASSWORD

    async def passphrase(self, node: Node, key_path: str) -> str | None:
        self.asked.append(f"passphrase for {node.name}: {Path(key_path).name}")
        return hostfiles.PASSPHRASE


@pytest.fixture
def fresh(possible: None) -> Iterator[Hosts]:
    """Hosts where nobody has run Ray yet: root's /tmp/ray would be closed to another user."""
    with Hosts(names=("a", "b")) as hosts:
        yield hosts


@pytest.mark.long
async def test_an_encrypted_key_and_a_password(
    fresh: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user ``lab``, no root anywhere: node-a by an encrypted key, node-b by a password."""
    monkeypatch.setenv("HOME", str(fresh.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    config = fresh.ssh_config(user="lab", identity={"a": "id_locked"})
    cluster = load(fresh.cluster_file(ssh_config=config))
    person, whole = Person(), asyncio.Event()

    def watch(event: ev.AnyEvent, state: State) -> None:
        if isinstance(event, ev.Judged):
            assert event.verdict.passed, f"{event.step}: {event.verdict}"
            if event.step == "ray_status":
                whole.set()

    walk = LiveWalk(cluster, tmp_path / "walk")
    walking = asyncio.create_task(walk.engine(FileDecider(), person, watch).walk())
    reached = asyncio.create_task(whole.wait())
    await asyncio.wait([walking, reached], timeout=240, return_when=asyncio.FIRST_COMPLETED)
    assert whole.is_set(), walking
    walking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walking
    await walk.close()
    assert sorted(person.asked) == ["passphrase for node-a: id_locked", "password of node-b"]
    for secret in (hostfiles.PASSWORD, hostfiles.PASSPHRASE):
        assert not any(secret.encode() in p.read_bytes() for p in walk.folder.rglob("*") if p.is_file())
    shutil.rmtree(walk.folder)
