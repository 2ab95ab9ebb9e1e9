"""Ends everything a lab started, whatever became of the wizard. Standard library only; run as a script.

    reaper.py LAB_ID FOLDER COMMAND...

It starts COMMAND (the lab's servers), holds one end of a pipe to the wizard (its standard input), and on end
of file, SIGTERM or the end of COMMAND it ends every process below it, removes FOLDER and exits. Being a
"child subreaper" it inherits every process whose parent has ended, so nothing that the lab started, however
often it forked or called setsid, can leave its tree: when it has no child left, the lab is gone.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

MARKER = "MILEPOST_LAB"
#: Seconds between SIGTERM and SIGKILL, and after which the reaper gives up on what even SIGKILL does not end.
GRACE, LIMIT = 2.0, 20.0
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Raises OSError where the kernel has no subreapers (before Linux 3.4)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def parents() -> dict[int, int]:
    """pid -> parent pid of all processes that can be seen. Zombies are left out."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_bytes()
        except OSError:
            continue
        # The command name may hold blanks and brackets: count from its last bracket.
        state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
        if state != b"Z":
            found[int(entry)] = int(parent)
    return found


def descendants(root: int) -> list[int]:
    """All living processes below ``root``, parents before children."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = list(children.get(root, ()))
    while todo:
        pid = todo.pop(0)
        found.append(pid)
        todo += children.get(pid, ())
    return found


def marked(lab_id: str) -> list[int]:
    """Processes that carry the lab's id in their environment (own user only, unless root)."""
    wanted = f"{MARKER}={lab_id}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            environ = Path("/proc", entry, "environ").read_bytes()
        except OSError:
            continue
        if wanted in environ.split(b"\0"):
            found.append(int(entry))
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def reap() -> tuple[list[int], bool]:
    """Collects ended children: (their pids, whether any child is left)."""
    ended: list[int] = []
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended.append(pid)


def end_all() -> bool:
    """TERM, then KILL until no child is left. False if something outlived even that."""
    send(descendants(os.getpid()), signal.SIGTERM)
    start = time.monotonic()
    while reap()[1]:
        age = time.monotonic() - start
        if age > LIMIT:
            return False
        if age > GRACE:
            send(descendants(os.getpid()), signal.SIGKILL)
        time.sleep(0.05)
    return True


def wait(server: int) -> None:
    """Returns when the wizard is gone, when told to end, or when the servers have ended."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.append(True))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while not stop:
        ready, _, _ = select.select([0, read], [], [], 5.0)
        if read in ready:
            os.read(read, 4096)
        if server in reap()[0]:
            return
        if 0 in ready and not os.read(0, 4096):
            return


def main(argv: Sequence[str]) -> int:
    lab_id, folder, command = argv[0], Path(argv[1]), list(argv[2:])
    become_subreaper()
    # The pipe is never written to: its end tells the servers that this process was killed.
    server = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, MARKER: lab_id})
    # Only the servers say when they are ready: the wizard must see their end as end of file.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    wait(server.pid)
    server.returncode = 0
    gone = end_all()
    # The id in the folder proves that it is a lab's own folder before it is removed.
    if (folder / "lab-id").is_file() and (folder / "lab-id").read_text() == lab_id:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if gone else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
