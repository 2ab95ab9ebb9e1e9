"""Records the real screen as an asciicast: ``python -m tests.record_cast OUT.cast``.

It is `milepost --watch hidden-gpus` on a terminal of 100x30, driven by the keys below: a recording that the
embedded lab made, which its screen says. Plays with any asciinema player.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time
from pathlib import Path

COLUMNS, ROWS = 100, 30
WALK = "hidden-gpus"
#: (seconds after the one before, key).
KEYS = (
    (3.0, "+"),
    (0.3, "+"),
    (0.3, "+"),
    (5.0, "."),
    (0.2, "."),
    (0.2, "."),
    (0.2, "."),
    (4.0, " "),
    (4.0, "1"),
    (5.0, "2"),
    (3.0, "3"),
    (4.0, "f"),
)
KEYS += ((4.0, "\x1b"), (1.5, "i"), (4.0, "q"))


def record(out: Path) -> int:
    """The number of events written."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
        os.environ.pop("NO_COLOR", None)
        os.execv(sys.executable, [sys.executable, "-m", "tui.cli.main", "--watch", WALK])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    header = {
        "version": 2,
        "width": COLUMNS,
        "height": ROWS,
        "title": f"milepost --watch {WALK} (SIMULATED GPUs)",
    }
    begin = time.monotonic()
    due = begin
    keys = []
    for wait, key in KEYS:
        due += wait
        keys.append((due, key))
    events: list[tuple[float, str, str]] = []
    while True:
        ready, _, _ = select.select([terminal], [], [], 0.05)
        if ready:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            events.append((round(time.monotonic() - begin, 3), "o", data.decode("utf-8", "replace")))
        if keys and time.monotonic() >= keys[0][0]:
            os.write(terminal, keys.pop(0)[1].encode())
    os.waitpid(pid, 0)
    lines = [json.dumps(header), *(json.dumps(event, ensure_ascii=False) for event in events)]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(events)


if __name__ == "__main__":
    print(record(Path(sys.argv[1])), "events")
