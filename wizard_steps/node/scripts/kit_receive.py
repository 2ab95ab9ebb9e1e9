"""Takes files of a kit from standard input, one after the other, and verifies each. What is cut off is kept,
and the next start goes on from there.

Runs in the node's state folder with SPEC, JSON: ``folder`` and ``files``, each with ``name``, ``size``,
``sha256`` and ``at``, the bytes that are here already and do not come again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from typing import Any

from wizard_steps.node.scripts.weights_files import (
    PART,
    Failed,
    ended,
    folder_of,
    in_words,
    progress,
    read,
    record_of,
    remember,
    say,
    write,
)

CHUNK, EVERY = 1 << 20, 2.0


class Taking:
    """``got``: bytes that came now."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.folder, self.files = folder_of(spec), spec["files"]
        self.total = sum(int(one["size"]) - int(one["at"]) for one in self.files)
        self.got, self.began, self.told = 0, time.monotonic(), time.monotonic()
        self.record, self.known = record_of(spec), read(record_of(spec))

    def all(self) -> None:
        for one in self.files:
            self.one(one)
        took = max(time.monotonic() - self.began, 0.001)
        files = f"{len(self.files)} file{'s' if len(self.files) != 1 else ''}"
        say(f"kit: complete: {files}, {self.got / 1e9:.3f} GB, verified, {took:.0f} s")

    def one(self, one: dict[str, Any]) -> None:
        path, size, at = os.path.join(self.folder, one["name"]), int(one["size"]), int(one["at"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        sha = hashlib.sha256()
        with open(path + PART, "ab+") as file:
            if file.tell() > at:
                file.truncate(at)  # more came from elsewhere since this was asked
            if file.seek(0, os.SEEK_END) != at:
                raise Failed(f"source: {path}: {file.tell()} bytes are here, {at} were expected: retry")
            file.seek(0)
            while data := file.read(CHUNK):
                sha.update(data)
            while at < size:
                data = os.read(0, min(CHUNK, size - at))
                if not data:
                    raise Failed("source: the connection broke off; what has arrived is kept: retry")
                file.write(data)
                sha.update(data)
                at += len(data)
                self.tell(len(data))
        if sha.hexdigest() != one["sha256"]:
            os.unlink(path + PART)
            raise Failed(f"corrupt: the content differs from its hash, removed: {path}")
        os.replace(path + PART, path)
        remember(self.known, path, one["sha256"])
        write(self.record, json.dumps(self.known))

    def tell(self, count: int) -> None:
        self.got, now = self.got + count, time.monotonic()
        if now - self.told >= EVERY:
            self.told = now
            say(progress(self.got, self.total, self.got / max(now - self.began, 0.1), "kit"))


def run(words: list[str]) -> int:
    return ended(lambda spec: Taking(spec).all(), words, in_words, "kit")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
