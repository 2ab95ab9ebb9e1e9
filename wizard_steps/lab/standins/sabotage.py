"""``ray`` of a lab node that has a fault: the real ray is run as it was asked for, and something goes wrong
beside it, as it would on a real machine. Standard library only; run as a script.

    sabotage.py RAY WORDS...
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

#: Seconds: between two looks; how long a fault waits for its moment.
LOOK, LIMIT = 0.2, 600.0
#: Seconds that a raylet lives before it is killed: the node has joined by then.
LIVES = 8.0
OLD_RAY = "2.55.1"


def worker_twice(ray: str, words: list[str]) -> None:
    """The same start again, by somebody who thinks that the first one failed."""
    time.sleep(3)
    os.execv(ray, [ray, *words])


def raylet_killed(ray: str, words: list[str]) -> None:
    for pid in _waited(_raylets):
        time.sleep(LIVES)
        os.kill(pid, signal.SIGKILL)


def worker_vanishes(ray: str, words: list[str]) -> None:
    """As soon as the API answers, the worker's raylet is gone."""
    host, port = os.environ["LAB_SERVE"].rsplit(":", 1)

    def served() -> list[int]:
        with socket.socket() as probe:
            return _raylets() if probe.connect_ex((host, int(port))) == 0 else []

    for pid in _waited(served):
        os.kill(pid, signal.SIGKILL)


def port_taken(ray: str, words: list[str]) -> None:
    """A web server from last week."""
    host, port = os.environ["LAB_SERVE"].rsplit(":", 1)
    python = [sys.executable, "-I", "-m", "http.server", port, "--bind", host]
    os.execv(python[0], python)


#: Fault -> (on which node, what goes wrong beside `ray start`).
BESIDE: dict[str, tuple[str, Callable[[str, list[str]], None]]] = {
    "worker-twice": ("lab-worker", worker_twice),
    "raylet-killed": ("lab-worker", raylet_killed),
    "worker-vanishes": ("lab-worker", worker_vanishes),
    "port-taken": ("lab-head", port_taken),
}


def _waited(look: Callable[[], list[int]]) -> list[int]:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(LOOK)
    return []


def _raylets() -> list[int]:
    """Of this node of this lab."""
    return list(_raylets_of(os.environ["LAB_IP"], os.environ["MILEPOST_LAB"]))


def _raylets_of(ip: str, lab: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            ours = f"MILEPOST_LAB={lab}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if ours and command[0].endswith(b"/raylet") and f"--node_ip_address={ip}".encode() in command:
            yield int(entry.name)


def main(argv: list[str]) -> int:
    """Runs the real ray; never returns."""
    if argv[0] == "--beside":
        fault, ray, *words = argv[1:]
        BESIDE[fault][1](ray, words)
        return 0
    ray, *words = argv
    fault = os.environ.get("LAB_FAULT", "")
    if words[:1] == ["start"]:
        node, _ = BESIDE.get(fault, ("", None))
        if node and node == os.environ.get("LAB_NODE"):
            _beside(fault, ray, words)
        if fault == "ray-version-differs" and os.environ.get("LAB_NODE") == "lab-worker":
            _as_older(words)
    os.execv(ray, [ray, *words])


def _beside(fault: str, ray: str, words: list[str]) -> None:
    """In a session of its own, and without the marks by which milepost knows what it has started."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MILEPOST_ID", "MILEPOST_LIFE"))
    }
    subprocess.Popen(
        [sys.executable, "-I", __file__, "--beside", fault, ray, *words],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _as_older(words: list[str]) -> None:
    """SIMULATED: Ray's own check runs, with another number of its own."""
    code = (
        f"import sys, ray; ray.__version__ = {OLD_RAY!r}; from ray.scripts.scripts import main; "
        "sys.argv[0] = 'ray'; main()"
    )
    os.execv(sys.executable, [sys.executable, "-I", "-c", code, *words])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
