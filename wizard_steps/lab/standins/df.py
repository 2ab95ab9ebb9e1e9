"""``df`` of a lab node whose disk is full. SIMULATED: the real answer, with nothing left on disks.
Memory file systems keep their numbers."""

from __future__ import annotations

import os
import subprocess
import sys


def full(text: str) -> str:
    """The lines of ``df -P`` with no block available; tmpfs and lines of another form stay."""
    lines = []
    for line in text.splitlines():
        cells = line.split()
        if len(cells) >= 6 and cells[1].isdigit() and cells[0] not in ("tmpfs", "shm", "udev", "devtmpfs"):
            cells[2:5] = [cells[1], "0", "100%"]
            line = " ".join(cells)
        lines.append(line)
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    path = os.environ.get("PATH", "").partition(":")[2]
    done = subprocess.run(
        ["df", *argv], stdout=subprocess.PIPE, text=True, env={**os.environ, "PATH": path}, check=False
    )
    sys.stdout.write(full(done.stdout))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
