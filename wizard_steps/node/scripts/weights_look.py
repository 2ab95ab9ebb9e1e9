"""What a node has of a model: its files, what is verified of them, and the disk they are on. Reads only.

Runs in the node's state folder with SPEC, JSON: ``repo`` and ``revision`` (looked up in the hub's
cache), or ``folder``. The last line printed is ``weights-json:`` and one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from wizard_steps.node.scripts.weights_files import (
    PART,
    commit_of,
    folder_of,
    orphan,
    read,
    record_of,
    say,
    snapshot_of,
    verified,
    walk,
)


def standing(path: str) -> str:
    """The nearest folder above that is there: its disk takes what is written."""
    path = os.path.abspath(path)
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def mount_of(path: str) -> tuple[str, str]:
    """(type, source below which the folder lies) of its file system; unknown: ("", "")."""
    real, best = os.path.realpath(path), ("", "", "")
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        cells, rest = left.split(), right.split()
        if len(cells) < 5 or len(rest) < 2:
            continue
        at = cells[4].replace("\\040", " ")
        inside = real == at or real.startswith(at.rstrip("/") + "/")
        if inside and len(at) >= len(best[0]):
            best = (at, rest[0], rest[1])
    return best[1], f"{best[2]}:{os.path.relpath(real, best[0])}" if best[0] else ""


def left_over(folder: str) -> tuple[dict[str, int], int]:
    """(bytes of each file that a copy goes on from, bytes of cut downloads that nothing can go on from)."""
    parts, orphans = dict[str, int](), 0
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            try:
                size = os.stat(path).st_size
            except OSError:
                continue
            if name.endswith(PART):
                parts[os.path.relpath(path, folder)[: -len(PART)]] = size
            orphans += size if orphan(name) else 0
    return parts, orphans


def main(words: list[str]) -> None:
    spec: dict[str, Any] = json.loads(words[0])
    folder, commit = folder_of(spec), commit_of(spec)
    snapshot, known = snapshot_of(spec, commit), read(record_of(spec))
    at = standing(folder)
    disk = os.statvfs(at)
    kind, source = mount_of(at)
    files: dict[str, tuple[int, str]] = {}
    for name in walk(snapshot):
        path = os.path.join(snapshot, name)
        files[name] = (os.stat(path).st_size, verified(known, path))
    parts, orphans = left_over(folder)
    size, checked = sum(one[0] for one in files.values()), sum(1 for one in files.values() if one[1])
    free = disk.f_bavail * disk.f_frsize
    say(f"folder {folder}: {len(files)} files, {size / 1e9:.3f} GB, {checked} verified")
    say(f"disk of {at}: {kind or 'unknown'}, {free / 1e9:.1f} GB free")
    answer = {
        "folder": folder,
        "commit": "" if spec.get("folder") else commit,
        "files": files,
        "free": free,
        # Some file systems have no fixed number of inodes and say 0.
        "inodes": disk.f_favail if disk.f_files else -1,
        "fs": kind,
        "source": source,
        "at": at,
        "writable": os.access(at, os.W_OK | os.X_OK),
        "parts": sum(parts.values()),
        "cut": parts,
        "orphans": orphans,
    }
    say("weights-json: " + json.dumps(answer, separators=(",", ":")))


def run(words: list[str]) -> int:
    try:
        main(words)
    except OSError as error:
        say(f"weights: {error.filename or 'the disk'}: {error.strerror or error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
