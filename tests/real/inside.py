"""The processes of a simulated host, as seen from outside of it."""

from __future__ import annotations

import os

import psutil


def inside(first: int, sshd_config: str) -> dict[int, str]:
    """Outside pid -> command line of what shares the pid namespace of ``first``, but for what every host runs.

    That is ``first`` itself, its sleep, and the sshd that listens with ``sshd_config``.
    """
    space = os.readlink(f"/proc/{first}/ns/pid")
    found = {}
    for process in psutil.process_iter():
        try:
            if os.readlink(f"/proc/{process.pid}/ns/pid") != space or process.pid == first:
                continue
            line = " ".join(process.cmdline()) or f"[{process.name()}] {process.status()}"
            listens = sshd_config in line and "[listener]" in line
            own = process.ppid() == first and (listens or line == "sleep 3600")
        except (psutil.Error, OSError):
            continue
        if not own:
            found[process.pid] = line
    return found
