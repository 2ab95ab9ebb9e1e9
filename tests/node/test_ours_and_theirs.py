"""Whose a process is: user, name and life of the cluster agree; what others write never speaks for us."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_for
from tests.node.test_remote import Host
from wizard_steps.node import remote, spec
from wizard_steps.node.remote import Look
from wizard_steps.node.spec import Spec

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: starts processes of another user")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.stop()


def started(*argv: str, user: str | None = None, **env: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        argv, env={"PATH": os.environ["PATH"], **env}, user=user, stdin=subprocess.DEVNULL, cwd="/"
    )
    environ = Path(f"/proc/{process.pid}/environ")
    wait_for(lambda: environ.read_bytes() != b"", "its environment", 60)
    return process


@pytest.fixture
def nobody() -> str:
    try:
        return pwd.getpwnam("nobody").pw_name
    except KeyError:
        pytest.skip("there is no user nobody")


def ident(host: Host) -> str:
    return remote.identity(host.cluster, host.node, "ray")


def test_the_same_name_without_the_life_of_the_cluster_is_not_ours(host: Host) -> None:
    host.launch("sleep", "300")
    with started("sleep", "301", MILEPOST_ID=ident(host)) as other:
        try:
            look = host.look()
            assert str(other.pid) not in look.ours
            assert len(look.ours) == 1
            assert [line.split()[0] for line in look.kin] == [str(other.pid)]
            stopped = host.stop()
            assert stopped.returncode == 1
            assert "left alone" in stopped.stdout
            assert other.poll() is None
        finally:
            other.kill()


@as_root
def test_another_user_with_our_name_is_neither_ours_nor_ended(host: Host, nobody: str) -> None:
    """Even one that has read the word of the cluster's life."""
    host.launch("sleep", "300")
    life = (host.home / ".milepost" / host.cluster.name / host.node.name / "life").read_text().strip()
    word = life.partition("=")[2]
    with started("sleep", "301", user=nobody, MILEPOST_ID=ident(host), MILEPOST_LIFE=word) as other:
        try:
            assert str(other.pid) not in host.look().ours
            stopped = host.stop()
            assert (stopped.returncode, other.poll()) == (1, None)
            again = host.stop()
            assert "nothing of ours runs" not in again.stdout
            assert f"{other.pid} of {nobody}" in again.stdout
        finally:
            other.kill()


@as_root
def test_what_another_user_may_not_see_is_never_nothing(host: Host, nobody: str, tmp_path: Path) -> None:
    """The other user's view: a raylet of root whose environment it cannot read."""
    (tmp_path / "raylet").mkdir()
    raylet = tmp_path / "raylet" / "raylet"
    raylet.symlink_to("/bin/sleep")
    with started(str(raylet), "300") as roots:
        try:
            done = subprocess.run(
                ["sh", "-c", remote.stop(host.cluster, host.node, "ray").text],
                env={"HOME": "/nonexistent", "PATH": os.environ["PATH"]},
                capture_output=True,
                text=True,
                user=nobody,
                cwd="/",
            )
            assert done.returncode == 1
            assert "nothing of ours runs" not in done.stdout
            assert "of root" in done.stdout
            assert "Ray or vLLM process" in done.stdout
        finally:
            roots.kill()


def test_an_argument_list_speaks_none_of_our_words(host: Host) -> None:
    words = "\nleader: 4242\nours: 4242\nport 1: listening\x1b[2J\u202e"
    with started(sys.executable, "-c", "import time; time.sleep(300)", "x/raylet/raylet", words) as other:
        try:
            text = host.run(remote.look(host.cluster, host.node, "ray", 1)).stdout
            look = Look(text)
            assert (look.leader, look.ours, look.listening) == ("", [], False)
            assert any(line.startswith(f"{other.pid} ") for line in look.others)
            assert all(" " <= sign <= "~" for line in look.others for sign in line)
        finally:
            other.kill()


def test_a_leader_that_is_not_among_ours_is_none() -> None:
    assert Look("ours: 12 13\nleader: 99\ninstance: x\nport 1: free\n").leader == ""
    assert Look("ours: 12 13\nleader: 12\ninstance: x\nport 1: free\n").instance == "x"


def test_what_runs_is_compared_with_what_would_be_started(host: Host) -> None:
    host.launch("sleep", "300", A="1", B="two words")
    look = host.look()
    assert look.spec == Spec(("sleep", "300"), {"A": "1", "B": "two words"})
    assert look.instance
    assert spec.differences(look.spec, Spec(("sleep", "301"), {"A": "1"})) == [
        "word 1: 300 -> 301",
        "B: two words -> not set",
    ]
    host.stop()
    host.launch("sleep", "300")
    assert host.look().instance != look.instance


def test_two_nodes_may_share_one_home(host: Host) -> None:
    """As on NFS: each node's pid, log and word are its own."""
    other = Host(host.home)
    other.cluster = host.cluster
    other.node = host.cluster.workers[0]
    host.launch("sh", "-c", "echo head; exec sleep 300")
    other.launch("sh", "-c", "echo worker; exec sleep 301")
    folder = host.home / ".milepost" / host.cluster.name
    logs = [folder / node.name / "ray.log" for node in host.cluster.node_list]
    wait_for(lambda: [log.read_text() for log in logs] == ["head\n", "worker\n"], "a log of each", 60)
    first, second = host.look(), other.look()
    assert first.leader
    assert second.leader
    assert first.leader != second.leader
    assert "ended 1 process" in other.stop().stdout
    assert host.look().leader == first.leader
