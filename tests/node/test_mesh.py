"""The script that measures the ways between nodes, run on loopback."""

from __future__ import annotations

import json
import runpy
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.network_help import cluster
from tests.helpers.sshd import free_port
from tests.helpers.waiting import wait_for
from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.milestones.fabric_mesh import _peers
from wizard_steps.milestones.fabric_pairs import pairs
from wizard_steps.model import Cmd, Node, Result
from wizard_steps.node import mesh, remote


def run(cmd: Cmd) -> subprocess.Popen[str]:
    text = cmd.text.replace("command -v python3", f"echo {sys.executable}")
    return subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_mesh_over_loopback_measures_and_ends() -> None:
    port, other = free_port(), free_port()
    one = cluster()
    a = mesh.command(
        one, "mesh", [("127.0.0.1", port, 1)], [("b", "127.0.0.1", "127.0.0.2", port, 1 << 20)], ""
    )
    b = mesh.command(
        one,
        "mesh",
        [("127.0.0.2", port, 1)],
        [("a", "127.0.0.2", "127.0.0.1", port, 0), ("a", "127.0.0.2", "127.0.0.1", other, 0)],
        "",
    )
    runs = [run(a), run(b)]
    said = [process.communicate(timeout=300)[0] for process in runs]
    (there,) = mesh.ways(Result(one.head, "mesh", said[0], 0))
    assert (there.name, there.ip, there.port, there.open) == ("b", "127.0.0.2", port, True)
    assert there.mbit > 0
    back = {way.port: way for way in mesh.ways(Result(one.head, "mesh", said[1], 0))}
    assert back[port].open
    assert (back[other].open, back[other].why) == (False, "Connection refused")


def script(monkeypatch: pytest.MonkeyPatch, **spec: object) -> dict[str, Any]:
    """The script with these values, run to its end; what it has defined."""
    monkeypatch.setattr(sys, "argv", ["mesh", json.dumps({"listen": [], "to": [], **spec})])
    return runpy.run_path(str(Path(remote.__file__).parent / "scripts" / "mesh.py"))


def test_a_port_that_somebody_has_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        script(monkeypatch, wait=0.1, listen=[["127.0.0.1", port, 1]])
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().out


def test_a_port_that_becomes_free_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = script(monkeypatch, wait=300)
    held = socket.create_server(("127.0.0.1", 0))
    port = held.getsockname()[1]
    made["TAKEN"][f"127.0.0.1:{port}"] = "Address already in use"
    thread = threading.Thread(target=made["late"], args=("127.0.0.1", port, 1), daemon=True)
    thread.start()
    held.close()
    wait_for(lambda: not made["TAKEN"], "the port is listened on", 300)
    with socket.create_connection(("127.0.0.1", port), 300) as s:
        s.sendall(bytes(8))
        assert s.recv(1) == b"!"
    thread.join(300)
    assert not thread.is_alive()


def test_an_address_that_is_not_here_is_said() -> None:
    one = cluster()
    cmd = mesh.command(one, "mesh", [("192.0.2.7", free_port(), 0)], [], "")
    said, _ = run(cmd).communicate(timeout=300)
    assert "cannot listen on 192.0.2.7" in said
    assert mesh.ways(Result(one.head, "mesh", said, 0)) == []


def test_neighbours_are_the_same_from_both_ends() -> None:
    nodes = tuple(Node(f"n{i}", "h") for i in range(40))
    peers = [{node.name for node in _peers(nodes, i)} for i in range(40)]
    for i, mine in enumerate(peers):
        assert f"n{i}" not in mine
        assert all(f"n{i}" in peers[int(name[1:])] for name in mine)
    assert len(peers[0]) == 39
    assert len(peers[20]) == 17


def test_pairs_begin_with_the_head_and_have_an_end() -> None:
    assert pairs(Known(cluster("abcd"))) == [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3), (1, 3)]
    many = Known(parse("".join(
        f'[[nodes]]\nhost = "n{i}"\ngpus = 8\nrole = "{"worker" if i else "head"}"\n' for i in range(200)
    )))  # fmt: skip
    assert len(pairs(many)) == 64
