"""What the programs of the weights share: where a model is on a node, and what is verified of it.

Sent along with each of them, see node/weights.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable
from typing import Any

#: Size, time (ns) and SHA-256 of each verified file, by its real path. A model folder may be read-only: its
#: record lies in the state folder, which is the current one.
VERIFIED = ".milepost-verified.json"
#: What the fetch says of the model: commit, files and which of them are done. In the state folder.
STATE = "weights.json"
#: A file that is being copied; the next try goes on from it.
PART = ".milepost-part"
#: A download that huggingface_hub cannot go on from: its name is used once (<hash>.<8 digits>.incomplete).
_ORPHAN = re.compile(r"\.[0-9a-f]{8}\.incomplete$")


def orphan(name: str) -> bool:
    return _ORPHAN.search(name) is not None


def safe(name: Any) -> bool:
    """Whether a name is a relative path that stays inside."""
    return isinstance(name, str) and "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


def say(text: str) -> None:
    print(text, flush=True)


def cache() -> str:
    """The hub's cache, where huggingface_hub and vLLM have it."""
    env = os.environ
    home = env.get("HF_HOME") or os.path.join(env.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    found = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return os.path.expanduser(os.path.expandvars(found))


def folder_of(spec: dict[str, Any]) -> str:
    """The model's own folder, or its place in the hub's cache."""
    if spec.get("folder"):
        return os.path.expanduser(str(spec["folder"]))
    return os.path.join(cache(), "models--" + str(spec["repo"]).replace("/", "--"))


def commit_of(spec: dict[str, Any]) -> str:
    """What the revision meant when it was last fetched; a commit means itself."""
    try:
        with open(os.path.join(folder_of(spec), "refs", str(spec["revision"])), encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return str(spec.get("revision") or "")


def snapshot_of(spec: dict[str, Any], commit: str) -> str:
    folder = folder_of(spec)
    return folder if spec.get("folder") else os.path.join(folder, "snapshots", commit)


def record_of(spec: dict[str, Any]) -> str:
    return VERIFIED if spec.get("folder") else os.path.join(folder_of(spec), VERIFIED)


def instance() -> str:
    """Which start of the fetch this is: launch.sh writes it before the process begins; else ""."""
    try:
        with open("fetch.start", encoding="ascii", errors="replace") as file:
            return file.readline(100).strip()
    except OSError:
        return ""


def read(path: str) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: str, text: str) -> None:
    """All or nothing."""
    with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(file.name, path)


def walk(snapshot: str, most: int = 5000) -> list[str]:
    """The names of a model's files. Broken links, hidden folders and what is not complete are left out."""
    found: list[str] = []
    for where, folders, names in os.walk(snapshot):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(where, name)
            ours = name.startswith(".milepost") or name.endswith((PART, ".incomplete"))
            if not ours and os.path.isfile(path):
                found.append(os.path.relpath(path, snapshot))
            if len(found) >= most:
                return found
    return found


def verified(known: dict[str, Any], path: str) -> str:
    """The SHA-256 of a file that was verified and has not changed since; else ""."""
    try:
        stat, seen = os.stat(path), known.get(os.path.realpath(path))
    except OSError:
        return ""
    if not isinstance(seen, list) or len(seen) != 3 or seen[:2] != [stat.st_size, stat.st_mtime_ns]:
        return ""
    return str(seen[2])


def remember(known: dict[str, Any], path: str, sha: str) -> None:
    stat = os.stat(path)
    known[os.path.realpath(path)] = [stat.st_size, stat.st_mtime_ns, sha]


def hashes(path: str) -> tuple[str, str]:
    """SHA-256, and for a small file git's id of it as a blob."""
    size = os.stat(path).st_size
    sha, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    small = size < 64 << 20
    with open(path, "rb") as file:
        while data := file.read(1 << 22):
            sha.update(data)
            if small:
                git.update(data)
    return sha.hexdigest(), git.hexdigest() if small else ""


class Failed(Exception):
    """Ends a copy, in words."""


def ended(
    work: Callable[[dict[str, Any]], None],
    words: list[str],
    why: Callable[[Exception], str],
    what: str = "weights",
) -> int:
    """The exit status of a program whose first word is its SPEC; its last word says why it failed."""
    try:
        work(json.loads(words[0]))
    except Exception as error:
        say(f"{what}: failed: {why(error)}")
        return 1
    return 0


def in_snapshot(path: str, link: str) -> None:
    """Links a file of the hub's cache into its snapshot, as huggingface_hub does."""
    os.makedirs(os.path.dirname(link), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    os.symlink(os.path.relpath(path, os.path.dirname(link)), link)


def name_commit(folder: str, revision: str, commit: str) -> None:
    """Says in the hub's cache which commit a revision is."""
    path = os.path.join(folder, "refs", revision)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path, commit)


def oserror(error: OSError) -> str:
    """A kind that the gate knows, the path, and what the system said."""
    kind = {28: "space", 122: "space", 1: "rights", 13: "rights", 30: "rights"}.get(error.errno or 0, "disk")
    return f"{kind}: {error.filename or 'the disk'}: {error.strerror or error}"


def in_words(error: Exception) -> str:
    """A kind that the gate knows, and what was said."""
    if isinstance(error, OSError):
        return oserror(error)
    return str(error) if isinstance(error, Failed) else f"node: {error!r}"


def progress(got: int, total: int, rate: float, what: str = "weights") -> str:
    left = f", {(total - got) / rate:.0f} s left" if rate > 10_000 and got < total else ""
    return f"{what}: {got / 1e9:.3f} of {total / 1e9:.3f} GB, {rate / 1e6:.1f} MB/s{left}"
