"""An image on its way: the sender and the receiver of scripts/ over loopback, and progress while it is fetched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_for
from tests.node.test_docker import cluster
from wizard_steps.node import image
from wizard_steps.node.program import program

HEAD, TAKERS = "127.0.0.1", ("127.0.0.2", "127.0.0.3")


def free_port() -> int:
    with socket.socket() as s:
        s.bind((HEAD, 0))
        return int(s.getsockname()[1])


def start(name: str, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-I", "-c", program(name), *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def sender(port: int, wait: str, command: list[str], to: tuple[str, ...] = TAKERS) -> subprocess.Popen[str]:
    return start("image_send.py", HEAD, str(port), wait, json.dumps(to), json.dumps(command))


def taken(mine: str, port: int) -> socket.socket:
    """A connection to the sender, as soon as it listens."""
    made: list[socket.socket] = []

    def connects() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            made.append(socket.create_connection((HEAD, port), timeout=60, source_address=(mine, 0)))
        return bool(made)

    wait_for(connects, "a sender", 60)
    return made[0]


def test_every_taker_gets_every_byte(tmp_path: Path) -> None:
    port = free_port()
    data = os.urandom(3 << 20)
    (tmp_path / "image").write_bytes(data)
    send = sender(port, "20", ["cat", str(tmp_path / "image")])
    takes = [
        start("image_receive.py", mine, HEAD, str(port), "20", json.dumps(["dd", f"of={tmp_path / mine}"]))
        for mine in TAKERS
    ]
    told = [process.communicate(timeout=300)[0] for process in (send, *takes)]
    assert [process.returncode for process in (send, *takes)] == [0, 0, 0], told
    assert f"sent: {len(data)} bytes to 2 of 2" in told[0]
    for mine in TAKERS:
        assert (tmp_path / mine).read_bytes() == data


def test_one_that_does_not_come_is_named_and_a_stranger_gets_nothing(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "image").write_bytes(b"x" * 100_000)
    send = sender(port, "3", ["cat", str(tmp_path / "image")])
    with taken("127.0.0.9", port) as stranger, taken(TAKERS[0], port) as take:
        assert take.makefile("rb").read() == b"x" * 100_000
        assert stranger.makefile("rb").read() == b""
    told, _ = send.communicate(timeout=300)
    assert send.returncode == 1
    assert f"{TAKERS[1]}: did not connect within 3 s" in told


def test_a_sender_that_sends_nothing_is_a_failure() -> None:
    with socket.create_server((HEAD, 0)) as server:
        port = server.getsockname()[1]
        take = start("image_receive.py", TAKERS[0], HEAD, str(port), "60", '["cat"]')
        server.accept()[0].close()
        assert "received: 0 bytes" in take.communicate(timeout=300)[0]
    assert take.returncode == 1


def test_a_command_that_fails_on_either_side_is_a_failure(tmp_path: Path) -> None:
    port = free_port()
    send = sender(port, "20", ["sh", "-c", "echo part; exit 3"], TAKERS[:1])
    take = start(
        "image_receive.py", TAKERS[0], HEAD, str(port), "20", '["sh", "-c", "cat >/dev/null; exit 5"]'
    )
    send.communicate(timeout=300)
    take.communicate(timeout=300)
    assert (send.returncode, take.returncode) == (3, 5)


@pytest.mark.parametrize("code", [0, 7])
def test_progress_is_told_while_it_is_fetched(tmp_path: Path, code: int) -> None:
    # The pull ends when the disk has been looked at a third time: the second look has been told by then.
    (tmp_path / "df").write_text(f'#!/bin/sh\necho >> "$HOME/looks"; exec {shutil.which("df")} "$@"\n')
    (tmp_path / "docker").write_text(
        '#!/bin/sh\ncase "$*" in *DockerRootDir*) echo "$HOME";; pull*) '
        'while [ "$(wc -l < "$HOME/looks")" -lt 3 ]; do sleep 0.05; done; echo "Pulled"; '
        f"exit {code};; esac\n"
    )
    for name in ("df", "docker"):
        (tmp_path / name).chmod(0o755)
    text = image.pull(cluster(), cluster().head, "acme/vllm:1", "pull").text.replace("sleep 10", "sleep 0.2")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(["sh", "-c", text], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert "Pulled" in done.stdout
    assert f"MiB more in use on the disk of {tmp_path}" in done.stdout


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    it = cluster('[docker]\narchive = "~/no such.tar"\n')
    cmd = image.load(it, "load")
    assert cmd.show == "docker load -i \"$HOME\"/'no such.tar'"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(["sh", "-c", cmd.text], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no such archive on this node (docker.archive)" in done.stdout
