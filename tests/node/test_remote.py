"""The sh that starts, finds and ends long-running processes on a node: run by a real sh on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.case_runner import CLUSTER
from tests.helpers.waiting import alive, wait_for
from wizard_steps.cluster.file import Cluster, parse
from wizard_steps.model import Cmd
from wizard_steps.node import remote
from wizard_steps.node.remote import Look

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")


class Host:
    """A home of its own and a cluster name nobody else has."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cluster: Cluster = parse(f'name = "t-{os.getpid()}-{time.monotonic_ns()}"\n' + CLUSTER)
        self.node = self.cluster.head

    def start(self, text: str) -> subprocess.Popen[str]:
        env, pipe = {"HOME": str(self.home), "PATH": os.environ["PATH"]}, subprocess.PIPE
        return subprocess.Popen(["sh", "-c", text], env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def run(self, cmd: Cmd, stdin: str = "") -> subprocess.CompletedProcess[str]:
        with self.start(cmd.text) as process:
            output, errors = process.communicate(stdin, timeout=300)
        return subprocess.CompletedProcess([], process.returncode, output, errors)

    def launch(self, *argv: str, stdin: str = "", **env: str) -> None:
        done = self.run(remote.launch(self.cluster, self.node, "ray", argv, env), stdin)
        assert done.returncode == 0, done.stderr

    def look(self, port: int = 1) -> Look:
        return Look(self.run(remote.look(self.cluster, self.node, "ray", port)).stdout)

    def stop(self) -> subprocess.CompletedProcess[str]:
        return self.run(remote.stop(self.cluster, self.node, "ray", grace=2))

    def log(self) -> str:
        """Its first lines, once they are there: the process writes when it comes to it."""
        path = self.home / ".milepost" / self.cluster.name / "ray.log"
        wait_for(lambda: path.read_text().endswith("\n"), "a line in the log", 60)
        return path.read_text()

    def running(self, count: int) -> Look:
        """A look, once so many processes of ours run."""
        wait_for(lambda: len(self.look().ours) == count, f"{count} processes", 60)
        return self.look()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.stop()


def test_a_launched_process_is_found_again_and_ended_with_its_children(host: Host) -> None:
    host.launch("sh", "-c", "sleep 300 & setsid sleep 301 & wait")
    look = host.running(3)
    assert look.leader
    assert "ended 3 processes" in host.stop().stdout
    assert host.look().ours == []
    assert not any(alive(pid) for pid in look.ours)


def test_a_process_that_ignores_sigterm_is_really_gone(host: Host) -> None:
    host.launch("sh", "-c", "trap '' TERM INT; echo ready; while :; do sleep 0.2; done")
    assert host.log() == "ready\n"
    pid = host.look().leader
    assert host.stop().returncode == 0
    assert not alive(pid)


def test_stopping_twice_or_nothing_is_fine(host: Host) -> None:
    assert "nothing of ours runs" in host.stop().stdout


def test_only_our_own_are_ended(host: Host) -> None:
    other = subprocess.Popen(["sleep", "300"], env={"MILEPOST_ID": f"{host.cluster.name}/a/raymond"})
    host.launch("sleep", "302")
    host.stop()
    assert other.poll() is None
    other.kill()
    other.wait()


def test_secrets_come_by_standard_input_and_are_in_no_command_line(host: Host) -> None:
    host.launch("sh", "-c", 'echo "length ${#HF_TOKEN}"; exec sleep 300', stdin="HF_TOKEN=s3cret-value=x\n")
    assert "length 14" in host.log()
    lines = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not any(b"s3cret" in line for line in lines if b"pytest" not in line)


def test_a_ray_start_that_has_lost_its_raylet_is_no_leader(host: Host) -> None:
    """As after `ray stop`: `ray start --block` stays."""
    script = "(exec -a /x/raylet/raylet sleep 600) & echo Ray runtime started.; wait; sleep 600"
    host.launch("bash", "-c", script)
    assert host.log() == "Ray runtime started.\n"
    look = host.running(2)
    assert (bool(look.leader), look.left) == (True, False)
    (raylet,) = set(look.ours) - {look.leader}
    os.kill(int(raylet), signal.SIGTERM)
    wait_for(lambda: not alive(int(raylet)), "the raylet's end", 60)
    look = host.look()
    assert (look.leader, look.left, look.there) == ("", True, True)


def test_odd_words_arrive_as_they_are(host: Host) -> None:
    odd = "a b'c\"d $HOME `id` ; rm -rf x \\ * é"
    host.launch("printf", "%s\\n", odd, X=odd)
    assert host.log() == odd + "\n"


def test_following_ends_when_the_process_does(host: Host) -> None:
    host.launch("sh", "-c", "echo one; sleep 0.5; echo two")
    done = host.run(remote.follow(host.cluster, host.node, "ray", "log", 20, None))
    assert done.stdout == "one\ntwo\n"


def test_the_log_of_the_last_run_is_kept(host: Host) -> None:
    host.launch("echo", "first")
    host.log()
    host.launch("echo", "second")
    assert host.log() == "second\n"
    assert (
        host.home / ".milepost" / host.cluster.name / host.node.name / "ray.log.1"
    ).read_text() == "first\n"


def test_a_listening_port_is_seen(host: Host) -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not host.look(port).listening
        listener.listen()
        assert host.look(port).listening


def test_what_is_tried_beside_the_log_is_told_in_it_and_leaves_with_it(host: Host) -> None:
    host.launch("sh", "-c", "echo loading; sleep 300")
    text = remote.follow(host.cluster, host.node, "ray", "log", 60, None, beside="[ -e /dev/null ]").text
    with host.start(text) as seen:
        assert seen.stdout is not None
        lines = {seen.stdout.readline().strip() for _ in range(2)}
        host.stop()
        rest, said = seen.communicate(timeout=60)
    assert lines == {"loading", remote.ANSWERS}
    assert (rest, said) == ("", "")


def test_what_never_succeeds_beside_the_log_says_nothing(host: Host) -> None:
    host.launch("sh", "-c", "echo loading; sleep 3")
    seen = host.run(remote.follow(host.cluster, host.node, "ray", "log", 60, None, beside="[ -e /nowhere ]"))
    assert seen.stdout.splitlines() == ["loading"]
