"""The listener of the IP gate counts the wizard's own connections: nobody else's proves a way."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable

import pytest

from tests.helpers.case_runner import CLUSTER
from tests.helpers.sshd import free_port
from tests.helpers.waiting import listens, wait_for
from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.node import tcp

KNOWN = Known(parse(CLUSTER))


def start(text: str, patience: int = 120) -> subprocess.Popen[str]:
    # The script's own patience is for many nodes; here a test says how long it is.
    short = re.sub(r" (20\.5|25\.5) ", f" {patience} ", text)
    return subprocess.Popen(["sh", "-c", short], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def listening() -> Callable[..., subprocess.Popen[str]]:
    def begin(port: int, patience: int = 120) -> subprocess.Popen[str]:
        process = start(tcp.listen(KNOWN, "127.0.0.1", port, 1).text, patience)
        wait_for(lambda: listens(port), "a listener", 60)
        return process

    return begin


def test_a_connection_that_is_not_ours_is_not_counted(
    listening: Callable[..., subprocess.Popen[str]],
) -> None:
    port = free_port()
    listener = listening(port, patience=6)
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        out, _ = listener.communicate(timeout=300)
    assert out == f"127.0.0.1:{port} was reached by 0 of 1\n"


def test_our_own_is_counted_though_others_came_first(
    listening: Callable[..., subprocess.Popen[str]],
) -> None:
    port = free_port()
    listener = listening(port)
    with socket.create_connection(("127.0.0.1", port)):
        ours = start(tcp.connect(KNOWN, "127.0.0.1", port, ["127.0.0.1"], "out").text)
        said, _ = ours.communicate(timeout=300)
        out, _ = listener.communicate(timeout=300)
    assert f"127.0.0.1 -> 127.0.0.1:{port} open" in said
    assert out == f"127.0.0.1:{port} was reached by 1 of 1\n"
