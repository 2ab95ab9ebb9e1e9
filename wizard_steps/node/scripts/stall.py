"""What a node can say of ranks that hang: their processes, their Python stack, and NCCL's RAS.

Run as ``python -c TEXT PORT [NAME=PID...]``; prints ``process NAME: …``, ``stack NAME: …`` and NCCL's answer
behind ``ras| ``. Reads only, ends within half a minute.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time

#: Seconds for the whole answer of NCCL's RAS: it waits 5 to 10 s for ranks that do not answer.
RAS_LIMIT = 15
#: Seconds after which no further stack is read.
LIMIT = 20
#: Bytes and lines of it.
MOST, LINES = 65536, 200
#: Processes that are looked at, and lines of a stack.
PROCESSES, FRAMES = 16, 6
#: What processes with a rank of NCCL are called.
RANKS = ("rank ", "VLLM::Worker", "ray::RayWorker")
STATES = {
    "R": "runs",
    "S": "waits",
    "D": "waits for a disk or a driver",
    "T": "is stopped",
    "t": "is stopped by a debugger",
    "Z": "has ended",
    "X": "has ended",
}


def state(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            letter = file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "is gone"
    return STATES.get(letter, f"is in state {letter}")


def spy() -> str:
    """py-spy, which ray[default] brings along; "" where it is not here."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    return beside if os.access(beside, os.X_OK) else shutil.which("py-spy") or ""


def stack(tool: str, pid: str) -> list[str]:
    """The innermost frames of the main thread."""
    try:
        done = subprocess.run(
            [tool, "dump", "--nonblocking", "--pid", pid], capture_output=True, text=True, timeout=8
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [f"py-spy: {type(error).__name__}"]
    lines = [line.strip() for line in done.stdout.splitlines()]
    main = next((i for i, line in enumerate(lines) if line.startswith("Thread") and "MainThread" in line), -1)
    if done.returncode or main < 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no answer").splitlines()
        return [f"py-spy: {said[0][:160]}"]
    frames = []
    for line in lines[main + 1 :]:
        if not line or line.startswith("Thread"):
            break
        frames.append(line[:160])
    return frames[:FRAMES]


def ras(port: int) -> list[str]:
    """What NCCL says to ``verbose status``; one line with the reason where nobody answers."""
    data, end = b"", time.monotonic() + RAS_LIMIT
    try:
        # RAS takes the first address of this name: ::1 on many machines.
        with socket.create_connection(("localhost", port), 5) as sock:
            sock.sendall(b"verbose status\n")
            while len(data) < MOST and (left := end - time.monotonic()) > 0:
                sock.settimeout(left)
                part = sock.recv(65536)
                if not part:
                    break
                data += part
    except OSError as error:
        if not data:
            return [f"no answer: {error}"]
    return data.decode("utf-8", "replace").splitlines()[:LINES]


def say(text: str) -> None:
    """In one write, as other processes may print as well."""
    os.write(1, f"{text}\n".encode("utf-8", "replace"))


def main() -> None:
    began = time.monotonic()
    named = [word.rpartition("=") for word in sys.argv[2:]][:PROCESSES]
    states = {pid: state(pid) for _, _, pid in named}
    for name, _, pid in named:
        say(f"process {name}: {pid} {states[pid]}")
    ranks = [states[pid] for name, _, pid in named if name.startswith(RANKS)]
    if ranks and set(ranks) <= {STATES["T"], STATES["t"]}:
        # Its threads are stopped too: it would be waited for in vain.
        say("ras| no answer: its process is stopped")
    else:
        for line in ras(int(sys.argv[1])):
            say(f"ras| {line}")
    tool = spy()
    for name, _, pid in named:
        # A stopped process has no stack to read.
        alive = states[pid] in (STATES["R"], STATES["S"], STATES["D"])
        if not tool or not alive or time.monotonic() - began > LIMIT:
            continue
        for frame in stack(tool, pid):
            say(f"stack {name}: {frame}")


main()
