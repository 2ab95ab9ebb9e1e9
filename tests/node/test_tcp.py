"""The listener of the IP gate counts the wizard's own connections: nobody else's proves a way."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.helpers.case_runner import CLUSTER
from tests.helpers.sshd import free_port
from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.node import tcp

KNOWN = Known(parse(CLUSTER))


def start(text: str) -> subprocess.Popen[str]:
    # The script's own patience is for many nodes; here a few seconds do.
    short = re.sub(r" (20\.5|25\.5) ", " 6 ", text)
    return subprocess.Popen(["sh", "-c", short], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def listening() -> Callable[[int], subprocess.Popen[str]]:
    def begin(port: int) -> subprocess.Popen[str]:
        process = start(tcp.listen(KNOWN, "127.0.0.1", port, 1).text)
        for _ in range(100):
            time.sleep(0.05)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        return process

    return begin


def test_a_connection_that_is_not_ours_is_not_counted(
    listening: Callable[[int], subprocess.Popen[str]],
) -> None:
    port = free_port()
    listener = listening(port)
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        out, _ = listener.communicate(timeout=30)
    assert out == f"127.0.0.1:{port} was reached by 0 of 1\n"


def test_our_own_is_counted_though_others_came_first(
    listening: Callable[[int], subprocess.Popen[str]],
) -> None:
    port = free_port()
    listener = listening(port)
    with socket.create_connection(("127.0.0.1", port)):
        ours = start(tcp.connect(KNOWN, "127.0.0.1", port, ["127.0.0.1"], "out").text)
        said, _ = ours.communicate(timeout=30)
        out, _ = listener.communicate(timeout=30)
    assert f"127.0.0.1 -> 127.0.0.1:{port} open" in said
    assert out == f"127.0.0.1:{port} was reached by 1 of 1\n"
