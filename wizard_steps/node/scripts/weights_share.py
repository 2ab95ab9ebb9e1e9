"""A model from node to node: taken from the node before and handed on while it comes, so that a chain of
nodes is done when one copy is. Every file is verified; what is cut off goes on where it was.

Runs in the node's state folder with SPEC, JSON: ``ip`` and ``port`` to listen on, ``sources`` (whom to ask,
in order; none: this node has the model, and weights_fetch.py says what of it), ``followers`` (how many ask
this node), ``repo`` and ``revision``, or ``folder``. Ends when the followers have all, or nobody
has asked for a while.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from wizard_steps.node.scripts.weights_files import (
    PART,
    Failed,
    ended,
    hashes,
    in_snapshot,
    name_commit,
    oserror,
    progress,
    read,
    record_of,
    remember,
    say,
    verified,
    write,
)
from wizard_steps.node.scripts.weights_hand import CHUNK, Handler, Model, listen, word

#: Seconds: without an answer of any source; without a question; between lines of progress.
PATIENCE, IDLE, EVERY = 120.0, 600.0, 2.0
#: Seconds for one connection to be made, and without a byte on it; without an answer where nothing has come
#: yet and the network lets nothing through: who only has not begun yet refuses, and is waited for.
CONNECT, SILENT, CLOSED = 5.0, 30.0, 20.0
#: Seconds for which only the first source is asked: the others start at the same time.
GRACE = 15.0
#: Files at a time, tries of a file whose content came wrong.
AT_ONCE, TRIES = 4, 3
WRONG = "the content differs from its hash"
CUT = (ConnectionError, TimeoutError, http.client.HTTPException)


class Puller:
    """Takes the files from the sources. ``got``: bytes that are here, ``new``: those that came now."""

    def __init__(self, model: Model) -> None:
        self.model, self.got, self.new = model, 0, 0
        self.heard, self.lock, self.stopped = time.monotonic(), threading.Lock(), False
        self.known, self.began = read(record_of(model.spec)), time.monotonic()
        self.met = set[str]()

    def ask(self, what: str, at: int = 0) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The first source that answers. Raises Failed when the last one, which fetches, has failed, or when
        none has given anything for PATIENCE seconds."""
        said = "no answer"
        while not self.stopped:
            early, closed = time.monotonic() - self.began < GRACE, not self.new
            for ip, port in self.model.spec["sources"][: 1 if early else None]:
                link = http.client.HTTPConnection(ip, port, timeout=CONNECT)
                try:
                    link.connect()
                    closed = False
                    self.met.add(ip)
                    link.sock.settimeout(SILENT)
                    link.request("GET", what, headers={**word(), "Range": f"bytes={at}-"})
                    answer = link.getresponse()
                    # 409: it is not here yet, and its source lives.
                    if answer.status in (200, 409):
                        self.heard = time.monotonic()
                    if answer.status in (200, 206):
                        return link, answer
                    said = f"answers {answer.status}"
                    if answer.status == 410 and [ip, port] == self.model.spec["sources"][-1]:
                        raise Failed("source: the node that fetches the model has failed")
                    if answer.status == 409:
                        break
                except (OSError, http.client.HTTPException) as error:
                    said = str(error) or type(error).__name__
                    begins = isinstance(error, ConnectionRefusedError) and ip not in self.met
                    closed = closed and not begins
                link.close()
            silent = time.monotonic() - self.heard
            if silent > (CLOSED if closed and not early else PATIENCE):
                tried = ", ".join(f"{ip}:{port}" for ip, port in self.model.spec["sources"])
                raise Failed(f"source: {tried} gave nothing for {silent:.0f} s: {said}")
            time.sleep(0.3)
        raise Failed("stopped: another file failed")

    def listed(self) -> dict[str, Any]:
        """What there is, once a source knows it."""
        while True:
            link, answer = self.ask("/files")
            with contextlib.closing(link):
                data: dict[str, Any] = json.loads(answer.read())
            if data["files"] and data["state"] != "waiting":
                return data
            time.sleep(0.5)

    def one(self, i: int) -> None:
        path, wrong = self.model.path(i), ""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path) and self.right(i, path):
            self.count(os.stat(path).st_size, 0)
            return self.keep(i, path)
        for _ in range(TRIES):
            wrong = self.pull(i, path)
            if not wrong:
                return self.keep(i, path)
            say(f"weights: {wrong}: {path}; taken again")
        raise Failed(f"corrupt: {wrong}, {TRIES} times: {path}")

    def expected(self, i: int) -> str:
        """The file's SHA-256; the source knows it once it has verified the file."""
        while not (sha := str(self.model.files[i].get("sha256") or "")):
            self.model.files[i].update(self.listed()["files"][i])
            time.sleep(0.2)
        return sha

    def right(self, i: int, path: str) -> bool:
        size, wanted = os.stat(path).st_size, int(self.model.files[i]["size"])
        if size == wanted and (verified(self.known, path) or hashes(path)[0]) == self.expected(i):
            return True
        wrong = WRONG if size == wanted else f"{size} bytes in place of {wanted}"
        if self.model.spec.get("folder"):
            raise Failed(f"differs: {wrong}: {path}")
        say(f"weights: removed, {wrong}: {path}")
        os.unlink(path)
        return False

    def pull(self, i: int, path: str) -> str:
        """What was wrong with what came; "" when it is here and verified."""
        size, sha, part = int(self.model.files[i]["size"]), hashlib.sha256(), path + PART
        with open(part, "ab+") as file:
            if file.tell() > size:
                file.truncate(0)
            file.seek(0)
            while data := file.read(CHUNK):
                sha.update(data)
            at = file.tell()
            self.count(at, 0)
            self.model.have[i] = at
            while at < size:
                at = self.stream(i, at, size, file, sha)
        if sha.hexdigest() == self.expected(i):
            os.replace(part, path)
            return ""
        self.model.have[i] = 0
        self.count(-at, 0)
        os.unlink(part)
        return WRONG

    def stream(self, i: int, at: int, size: int, file: Any, sha: Any) -> int:
        """As far as one connection goes."""
        link, answer = self.ask(f"/file/{i}", at)
        with contextlib.closing(link):
            try:
                while at < size and (data := answer.read(min(CHUNK, size - at))):
                    file.write(data)
                    file.flush()
                    sha.update(data)
                    at += len(data)
                    self.model.have[i] = at
                    self.count(len(data), len(data))
            except CUT as error:
                say(f"weights: cut off, goes on: {error or type(error).__name__}")
        if at < size:
            time.sleep(0.3)
        return at

    def count(self, here: int, new: int) -> None:
        with self.lock:
            self.got, self.new, self.heard = self.got + here, self.new + new, time.monotonic()

    def keep(self, i: int, path: str) -> None:
        """The file is here and right: linked as the hub's cache does it, and remembered."""
        one = self.model.files[i]
        link = os.path.join(self.model.snapshot, one["name"])
        with self.lock:
            if link != path:
                in_snapshot(path, link)
            remember(self.known, path, one["sha256"])
            write(record_of(self.model.spec), json.dumps(self.known))
        self.model.have[i] = -1

    def tell(self, over: threading.Event) -> None:
        total = sum(int(one["size"]) for one in self.model.files)
        began, last = time.monotonic(), -1
        while not over.wait(EVERY):
            if self.got != last:
                say(progress(self.got, total, self.new / max(time.monotonic() - began, 0.1)))
            last = self.got

    def run(self) -> None:
        began, over = time.monotonic(), threading.Event()
        self.model.take(self.listed())
        self.model.state = "fetching"
        threading.Thread(target=self.tell, args=(over,), daemon=True).start()
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                jobs = [pool.submit(self.one, i) for i in range(len(self.model.files))]
                try:
                    for job in jobs:
                        job.result()
                finally:
                    self.stopped = True
                    pool.shutdown(cancel_futures=True)
        finally:
            over.set()
        if not self.model.spec.get("folder"):
            name_commit(self.model.folder, self.model.spec["revision"], self.model.commit)
        self.model.state, took = "complete", max(time.monotonic() - began, 0.001)
        told = f"{len(self.model.files)} files, {self.got / 1e9:.3f} GB, verified, {took:.0f} s"
        say(f"weights: complete: {told}, {self.new / took / 1e6:.1f} MB/s")
        self.done()

    def done(self) -> None:
        for ip, port in self.model.spec["sources"][:1]:
            with contextlib.suppress(OSError, http.client.HTTPException):
                link = http.client.HTTPConnection(ip, port, timeout=5)
                link.request("GET", "/done", headers=word())
                link.getresponse()


def linger(followers: int) -> None:
    """Until all have it, or nobody asks any more."""
    while Handler.done < followers and time.monotonic() - Handler.asked < IDLE:
        time.sleep(0.2)


def share(spec: dict[str, Any]) -> None:
    model, followers = Model(spec), int(spec["followers"])
    Handler.model = model
    if followers:
        listen(spec, Handler)
    if not model.source:
        try:
            Puller(model).run()
        except BaseException as error:
            model.state = "failed"
            # A write into an open file does not say which one.
            if isinstance(error, OSError) and not error.filename:
                error.filename = model.folder
            raise
    linger(followers)


def why(error: BaseException) -> str:
    """A kind that the gate knows, and what was said."""
    if not isinstance(error, OSError):
        return str(error) if isinstance(error, Failed) else f"hub: {type(error).__name__}: {error}"
    return oserror(error)


def run(words: list[str]) -> int:
    return ended(share, words, why)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
