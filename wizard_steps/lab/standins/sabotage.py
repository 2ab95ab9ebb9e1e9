"""``ray`` of a lab node that has a fault: the real ray is run as it was asked for, and something goes wrong
with it, as it would on a real machine. What has to come first is waited for: no fault depends on how fast
this machine is. Standard library only; run as a script.

    sabotage.py RAY WORDS...
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

#: Seconds between two looks, and until a look is given up.
LOOK, LIMIT = 0.2, 600.0
BY_HAND = "--by-hand"
OLD_RAY = "2.55.1"


def worker_twice(ray: str, words: list[str]) -> None:
    """Somebody starts Ray here by hand as well."""
    _apart([sys.executable, "-I", __file__, BY_HAND, ray, *(word for word in words if word != "--block")])


def by_hand(words: list[str]) -> None:
    """Once somebody asks for the status: milepost's own start is over by then, and two starts at a time may
    take longer than Ray's limit of 30 s. On a busy machine one alone may, too: it is tried again."""
    _wait(_asked().exists)
    _wait(lambda: subprocess.run(words, check=False).returncode == 0)


def _asked() -> Path:
    """A file that is there once `ray status` was asked for; all nodes of the lab see it."""
    return Path(os.environ["RAY_TMPDIR"], "asked")


def port_taken(ray: str, words: list[str]) -> None:
    """A web server from last week."""
    host, port = os.environ["LAB_SERVE"].rsplit(":", 1)
    python = [sys.executable, "-I", "-m", "http.server", port, "--bind", host]
    _apart(python)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    _wait(listens)


def kill_the_others() -> None:
    """The raylets of the lab's other nodes."""
    for pid, ip in _raylets():
        if ip != os.environ["LAB_IP"]:
            os.kill(pid, signal.SIGKILL)


#: Fault -> (on which node, what goes wrong before `ray start`).
BEFORE: dict[str, tuple[str, Callable[[str, list[str]], None]]] = {
    "worker-twice": ("lab-worker", worker_twice),
    "port-taken": ("lab-head", port_taken),
}


def _apart(words: list[str]) -> subprocess.Popen[bytes]:
    """In a session of its own, and without the marks by which milepost knows what it has started."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MILEPOST_ID", "MILEPOST_LIFE"))
    }
    null = subprocess.DEVNULL
    return subprocess.Popen(words, env=env, stdin=null, stdout=null, stderr=null, start_new_session=True)


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not until() and time.monotonic() < end:
        time.sleep(LOOK)


def _raylets() -> Iterator[tuple[int, str]]:
    """(process id, address of its node) of every raylet of this lab."""
    lab, address = f"MILEPOST_LAB={os.environ['MILEPOST_LAB']}".encode(), b"--node_ip_address="
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            ours = lab in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if ours and command[0].endswith(b"/raylet"):
            ips = [word.removeprefix(address).decode() for word in command if word.startswith(address)]
            yield int(entry.name), "".join(ips)


def status(ray: str, words: list[str], fault: str) -> int:
    """`ray status` and `ray list nodes`. A worker's raylet is killed when a status has shown all GPUs; Ray
    goes on to count it for about 20 seconds, on a busy machine longer. The lists, and the status of a worker
    that was started twice, wait until Ray counts what there is."""
    killed = fault == "raylet-killed" and words[0] == "status"
    least = 0
    if fault == "worker-twice":
        # A start that took longer than Ray's limit takes its raylet away again.
        _asked().touch()
        least = 3
    while True:
        done = subprocess.run([ray, *words], stdout=subprocess.PIPE, text=True, check=False)
        counted = re.findall(r'^ *\d+ node_|"state": "ALIVE"', done.stdout, re.MULTILINE)
        if killed or done.returncode or least <= len(counted) == len(list(_raylets())):
            break
        time.sleep(LOOK)
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    if killed and re.search(rf"/{2 * int(os.environ['LAB_GPUS'])}(\.0)? GPU", done.stdout):
        kill_the_others()
    return done.returncode


def main(argv: list[str]) -> int:
    """Runs the real ray."""
    if argv[0] == BY_HAND:
        by_hand(argv[1:])
    ray, *words = argv
    fault, node = os.environ.get("LAB_FAULT", ""), os.environ.get("LAB_NODE", "")
    if fault in ("raylet-killed", "worker-twice") and words[:1] in (["status"], ["list"]):
        return status(ray, words, fault)
    if words[:1] == ["start"]:
        where, goes_wrong = BEFORE.get(fault, ("", None))
        if goes_wrong and where == node:
            goes_wrong(ray, words)
        if fault == "ray-version-differs" and node == "lab-worker":
            _as_older(words)
    os.execv(ray, [ray, *words])


def _as_older(words: list[str]) -> None:
    """SIMULATED: Ray's own check runs, with another number of its own."""
    code = (
        f"import sys, ray; ray.__version__ = {OLD_RAY!r}; from ray.scripts.scripts import main; "
        "sys.argv[0] = 'ray'; main()"
    )
    os.execv(sys.executable, [sys.executable, "-I", "-c", code, *words])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
