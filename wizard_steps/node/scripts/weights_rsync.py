"""A model from another node with rsync over SSH, where the nodes may log in to each other; then every file is
verified. What is cut off is kept, and the next start goes on from there.

Runs in the node's state folder with SPEC, JSON: that of weights_fetch.py and ``rsync``: ``host``, maybe
as USER@ADDRESS, ``port`` and ``folder``, where the model is there.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from typing import Any

from wizard_steps.node.scripts.weights_fetch import fetch
from wizard_steps.node.scripts.weights_files import Failed, ended, folder_of, say
from wizard_steps.node.scripts.weights_hub import why

#: Seconds between lines of progress.
EVERY = 2.0
#: Records and locks of the other node, downloads that were cut there.
_LEFT_OUT = (".milepost*", "*.incomplete", ".locks", ".no_exist")
_PROGRESS = re.compile(r"([0-9,]{1,24}) {1,9}([0-9]{1,3})% {1,9}([0-9.]{1,12}[kMGT]?B/s)")


def command(spec: dict[str, Any]) -> list[str]:
    """Nobody is asked: who may not log in is told so."""
    way = spec["rsync"]
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-p", str(way["port"])]
    words = ["rsync", "-a", "--partial-dir=.milepost-rsync", "--info=progress2", "--outbuf=L", "-s"]
    words += [f"--exclude={name}" for name in _LEFT_OUT]
    host = f"[{way['host']}]" if ":" in way["host"] and "@" not in way["host"] else way["host"]
    return [*words, "-e", shlex.join(ssh), f"{host}:{way['folder'].rstrip('/')}/", folder_of(spec) + "/"]


def copy(spec: dict[str, Any]) -> None:
    os.makedirs(folder_of(spec), exist_ok=True)
    try:
        process = subprocess.Popen(
            command(spec),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise Failed("rsync: is not installed on this node") from None
    assert process.stdout is not None
    told, last = 0.0, ""
    # Text mode ends a line at "\r" as well, which ends each line of progress.
    for line in process.stdout:
        if found := _PROGRESS.search(line):
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                say(f"weights: {int(found[1].replace(',', '')) / 1e9:.3f} GB, {found[2]} %, {found[3]}")
        elif line.strip():
            last = last or line.strip()[:300]
    if code := process.wait():
        raise Failed(f"rsync: from {spec['rsync']['host']}: {last or 'no words'} (exit {code})")
    fetch({**spec, "local": True})


def run(words: list[str]) -> int:
    return ended(copy, words, why)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
