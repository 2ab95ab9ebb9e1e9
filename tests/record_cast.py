"""Records the real screen as an asciicast: ``python -m tests.record_cast OUT.cast``.

It is `milepost --watch hidden-gpus` on a terminal of 100x30, driven by the keys below: a recording that the
embedded lab made, which its screen says. Plays with any asciinema player.
"""

from __future__ import annotations

import codecs
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
#: What is on the screen before a key, seconds to look at it, the key.
KEYS = (
    ("Step by step", 4.0, " "),
    ("PLAYING", 6.0, "+"),
    ("2x", 0.5, "+"),
    ("4x", 0.5, "+"),
    ("YOUR TURN", 5.0, " "),
    ("THE END", 4.0, "1"),
    ("", 1.0, "["),
    ("12.0", 5.0, "f"),
    ("wanted 16", 4.0, "\x1b"),
    ("", 1.5, "q"),
)
#: A busy machine makes pauses longer than a reader needs: at most this many seconds are kept.
PAUSE = 2.0


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
    at, before, due = 0.0, time.monotonic(), 0.0
    keys, fresh = list(KEYS), ""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    events: list[tuple[float, str, str]] = []
    while True:
        ready, _, _ = select.select([terminal], [], [], 0.05)
        now = time.monotonic()
        if ready:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            at, before = at + min(now - before, PAUSE), now
            fresh += (text := decoder.decode(data))
            events.append((round(at, 3), "o", text))
        if keys and not due and keys[0][0] in fresh:
            due = now + keys[0][1]
        if due and now >= due:
            os.write(terminal, keys.pop(0)[2].encode())
            due, fresh = 0.0, ""
    os.waitpid(pid, 0)
    lines = [json.dumps(header), *(json.dumps(event, ensure_ascii=False) for event in events)]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(events)


if __name__ == "__main__":
    print(record(Path(sys.argv[1])), "events")
