"""A model onto this node, once: from the hub (or the mirror in HF_ENDPOINT) with huggingface_hub, or from the
server in ``web``; every file verified.

Runs in the node's state folder with SPEC, JSON: that of weights_hub.py, or ``folder``, ``local``
(nothing is fetched: what is here is verified). The token is HF_TOKEN of the environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from wizard_steps.node.scripts import weights_web
from wizard_steps.node.scripts.weights_files import (
    STATE,
    cache,
    commit_of,
    ended,
    folder_of,
    hashes,
    instance,
    name_commit,
    orphan,
    progress,
    read,
    record_of,
    remember,
    say,
    snapshot_of,
    verified,
    walk,
    write,
)
from wizard_steps.node.scripts.weights_hub import Corrupt, listing, why

#: Seconds between lines of progress; tries without one new byte before it gives up.
EVERY, TRIES = 2.0, 5
#: Files at a time from a server that is no hub.
AT_ONCE = 4
#: In the state folder, one path a line: files that huggingface_hub may have made and not removed. Each is
#: written down before it is made, so that the list is never short of one, whatever ends this process.
PARTS = "weights.parts"
_SWEEP = f"""[ ! -f {PARTS} ] || while IFS= read -r part; do
[ ! -f "$part" ] || {{ rm -f -- "$part" && echo "weights: removed, a cut download: $part"; }}
done < {PARTS}
"""


class Fetch:
    """The model on this node. ``done``: the names of the files that are here and verified."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec, self.commit = spec, str(spec.get("revision") or "")
        self.done, self.files = set[str](), list[dict[str, Any]]()
        self.known, self.instance = read(record_of(spec)), instance()
        self.seen, self.began, self.start = 0, time.monotonic(), -1
        self.save("waiting")

    @property
    def snapshot(self) -> str:
        return snapshot_of(self.spec, self.commit)

    def save(self, state: str) -> None:
        files = [{**one, "done": one["name"] in self.done} for one in self.files]
        data = {"commit": self.commit, "snapshot": self.snapshot, "state": state, "files": files}
        data["instance"] = self.instance
        write(STATE, json.dumps(data))

    def local(self) -> None:
        """What is here, where the hub is not asked. A blob of the hub's cache is named after its hash."""
        self.commit = commit_of(self.spec)
        for name in walk(self.snapshot):
            path = os.path.join(self.snapshot, name)
            blob = os.path.basename(os.readlink(path)) if os.path.islink(path) else ""
            sha, git = (blob if len(blob) == length else "" for length in (64, 40))
            size = os.stat(path).st_size
            self.files.append({"name": name, "size": size, "sha256": sha, "git": git, "blob": blob})
        for one in self.files:
            if problem := self.verify(one):
                raise Corrupt(f"{problem}: {os.path.join(self.snapshot, one['name'])}")
            self.tell()

    def verify(self, one: dict[str, Any]) -> str:
        """What is wrong with a file; "" where it is right, and then its SHA-256 is known and remembered."""
        path = os.path.join(self.snapshot, one["name"])
        size = os.stat(path).st_size
        if size != one["size"]:
            return f"{size} bytes in place of {one['size']}"
        sha = verified(self.known, path)
        if not sha:
            sha, git = hashes(path)
            if (one["git"] and git and git != one["git"]) or (one["sha256"] and sha != one["sha256"]):
                return "the content differs from its hash"
            remember(self.known, path, sha)
            write(record_of(self.spec), json.dumps(self.known))
        elif one["sha256"] and sha != one["sha256"]:
            return "the content differs from its hash"
        one["sha256"] = sha
        self.done.add(one["name"])
        self.save("fetching")
        return ""

    def check(self) -> bool:
        """Verify one file that has come; whether there was one. A wrong one is removed, to come again."""
        for one in self.files:
            path = os.path.join(self.snapshot, one["name"])
            if one["name"] in self.done or not os.path.exists(path):
                continue
            if problem := self.verify(one):
                say(f"weights: removed, {problem}: {path}")
                for gone in (os.path.realpath(path), path):
                    with contextlib.suppress(OSError):
                        os.unlink(gone)
            return True
        return False

    def tell(self) -> None:
        total = sum(int(f["size"]) for f in self.files)
        got = sum(int(f["size"]) for f in self.files if f["name"] in self.done)
        got += sum(os.fstat(fd).st_size for fd, _ in self.unfinished())
        self.start = got if self.start < 0 else self.start
        if got != self.seen:
            say(progress(got, total, (got - self.start) / max(time.monotonic() - self.began, 0.1)))
        self.seen = max(self.seen, got)

    def watch(self, over: threading.Event) -> None:
        """Verifies what is complete at once, so that others may have it, and tells how far it is."""
        worked = True
        while worked or not over.is_set():
            if not worked:
                over.wait(EVERY)
            worked = self.check()
            self.tell()

    def unfinished(self) -> Iterator[tuple[int, str]]:
        """The open files of downloads of this very process."""
        inside = os.path.realpath(folder_of(self.spec))
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError, ValueError):
                path = os.readlink(f"/proc/self/fd/{fd}")
                if path.startswith(inside) and path.endswith(".incomplete"):
                    yield int(fd), path

    def download(self) -> None:
        """Until all is here. A cut line is tried again as long as something comes; raises what ends it."""
        tries, last = 0, -1
        while True:
            failed = self.once()
            missing = [f["name"] for f in self.files if f["name"] not in self.done]
            if failed is None and not missing:
                return
            kind = why(failed) if failed is not None else self.wrong(missing[0])
            tries, last = (tries + 1 if self.seen <= last else 1), max(last, self.seen)
            if tries >= TRIES or kind.partition(":")[0] not in ("hub", "busy", "corrupt"):
                raise failed or Corrupt(kind.partition(": ")[2])
            say(f"weights: tried again in {3 * tries} s: {kind}")
            time.sleep(3 * tries)

    def wrong(self, name: str) -> str:
        path = os.path.join(self.snapshot, name)
        if os.path.lexists(path) and not os.path.exists(path):
            return f"corrupt: {path}: this file system does not follow the link"
        return f"corrupt: {path} is not as the hub has it"

    def once(self) -> Exception | None:
        over = threading.Event()
        watch = threading.Thread(target=self.watch, args=(over,))
        watch.start()
        try:
            self.from_web() if self.spec.get("web") else self.from_hub()
        except Exception as error:
            return error
        finally:
            over.set()
            watch.join()
        return None

    def from_hub(self) -> None:
        from huggingface_hub import snapshot_download

        snapshot_download(
            self.spec["repo"],
            revision=self.spec["revision"],
            cache_dir=cache(),
            allow_patterns=[literal(f["name"]) for f in self.files],
            token=os.environ.get("HF_TOKEN") or None,
        )

    def from_web(self) -> None:
        folder = folder_of(self.spec)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = [pool.submit(weights_web.download, one, folder, self.snapshot) for one in self.files]
            for job in jobs:
                job.result()
        name_commit(folder, self.spec["revision"], self.commit)


def literal(name: str) -> str:
    """A name as a pattern that means itself alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def note_parts() -> None:
    """From here on every temporary file that huggingface_hub makes is noted first. What an earlier fetch left
    is removed: nothing goes on from it."""
    subprocess.run(["/bin/sh", "-c", _SWEEP], check=False)
    notes = os.open(PARTS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)

    def note(event: str, args: Any) -> None:
        if event == "open" and isinstance(args[0], str) and orphan(args[0]):
            os.write(notes, os.fsencode(args[0]) + b"\n")

    sys.addaudithook(note)


def leave(*_: object) -> None:
    """At SIGTERM. A new program in this very process ends the threads that download before it removes what
    they had begun: removed from here, they could begin the next file meanwhile."""
    os.execv("/bin/sh", ["sh", "-c", f"{_SWEEP}exit 143"])


def fetch(spec: dict[str, Any]) -> None:
    one, began = Fetch(spec), time.monotonic()
    note_parts()
    signal.signal(signal.SIGTERM, leave)
    try:
        if spec.get("local"):
            one.local()
        else:
            one.commit, one.files = listing(spec, os.environ.get("HF_TOKEN", ""))
            one.save("fetching")
            one.download()
    except BaseException as error:
        with contextlib.suppress(OSError):
            one.save("failed")
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = folder_of(spec)
        raise
    one.save("complete")
    size, took = sum(int(f["size"]) for f in one.files), time.monotonic() - began
    say(f"weights: complete: {len(one.files)} files, {size / 1e9:.3f} GB, verified, {took:.0f} s")


def run(words: list[str]) -> int:
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return ended(fetch, words, why)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
