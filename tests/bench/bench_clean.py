"""MB/s of cleaning and redaction, by what a node may send; and the longest time the event loop stands still. In CPU
time of this process: what else the machine does is not in it.

python -m tests.bench.bench_clean [KIB]
"""

from __future__ import annotations

import sys
import time

from wizard_steps.recording.clean import Cleaner
from wizard_steps.recording.redact import Redactor
from wizard_steps.transport.cleaned import PIECE

CHUNK = PIECE
SECRETS = ("hf_abcdefghijklmnopqrstuvwxyz012345", "q7W+e/r=\"t'Y\\u9$Zx")
LINE = "(EngineCore pid=7) INFO 11-24 08:50:47 [core.py:1] step done at http://10.0.0.1:8000 for 12 users\n"
TEXTS = {
    "vLLM's log": LINE,
    "one long line": "x",
    "progress bars": "\rLoading: 17%|#####        | 3/17 [00:01<00:05]",
    "colours": "\x1b[1;31mred\x1b[0m ",
    "U+009D (OSC)": "\x9d",
    "U+009D and a letter": "\x9dx",
    "U+0090 (DCS)": "\x90",
    "U+0098 (SOS)": "\x98",
    "U+009B (CSI)": "\x9b",
    "ESC ]": "\x1b]",
    "ESC [": "\x1b[",
    "ESC [ 000": "\x1b[" + "0" * 5000,
    "ESC and blanks": "\x1b" + " " * 60,
    "OSC open, long": "\x1b]" + "a" * 5000,
    "CR": "\r",
    "CR and a letter": "a\r",
    "newlines": "\n",
    "digits": "1",
    "capitals": "A",
    "NUL": "\0",
    "bidi": "\u202e",
    "tags": "\U000e0041",
    "://a:": "://a:",
    "://a:b@": "://a:b@",
    "TOKEN=": "TOKEN=",
    "Bearer": "Bearer ",
    "eyJ": "eyJ",
    "eyJ.eyJ": "eyJaaaaaaaa.eyJaaaaaaaa",
    "hf_": "hf_",
    "sk-": "sk-",
    "a secret's beginning": SECRETS[0][:-1],
    "--api-key=": "--api-key=",
    "Authorization:": "Authorization: Basic ",
    "password: ": "password: ",
    "-----BEGIN": "-----BEGIN ",
    "-----BEGIN KEY": "-----BEGIN A A A A PRIVATE KEY",
}


def measure(text: str, size: int) -> tuple[float, float]:
    """(MB/s, the longest single piece in seconds) for a flood of ``text`` in pieces of 16 KiB."""
    data = (text * (size // len(text.encode()) + 1)).encode()[:size]
    cleaner, stream = Cleaner(), Redactor(SECRETS).stream()
    worst, began = 0.0, time.thread_time()
    for at in range(0, len(data), CHUNK):
        piece = time.thread_time()
        stream.feed(cleaner.feed(data[at : at + CHUNK]))
        worst = max(worst, time.thread_time() - piece)
    stream.feed(cleaner.end())
    stream.end()
    return size / 1e6 / (time.thread_time() - began), worst


def main() -> None:
    size = (int(sys.argv[1]) if len(sys.argv) > 1 else 1024) * 1024
    print(f"{size // 1024} KiB of each, in pieces of {CHUNK // 1024} KiB")
    for name, text in TEXTS.items():
        speed, worst = measure(text, size)
        mark = "  STANDS STILL" if worst > 0.1 else ""
        print(f"{name:22} {speed:8.1f} MB/s   longest piece {worst * 1000:7.1f} ms{mark}", flush=True)


if __name__ == "__main__":
    main()
