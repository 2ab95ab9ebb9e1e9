"""An image from node to node while it comes: what a command prints on the first (`docker save`) goes into a
command on each of the others (`docker load`), and on to the next. Nothing of it lies on a disk in between.

Runs with SPEC, JSON: ``ip`` and ``port`` to listen on, ``sources`` (whom to ask; none: the command is read),
``followers`` (how many ask this node: none or one), ``command``, and ``wait``, seconds for others to come.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from wizard_steps.node.scripts.weights_files import Failed, ended, in_words, say
from wizard_steps.node.scripts.weights_hand import CHUNK, Private, listen, word

#: Blocks that wait for a slower follower; seconds between lines of progress; seconds for the first byte,
#: which an engine may take minutes for, and for each one after it.
AHEAD, EVERY, PATIENCE = 16, 5.0, 600.0


class Follower:
    """The node after this one: what it has been given. ``lost``: why it gets no more."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        self.blocks: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self.asked, self.over, self.lost, self.whole = threading.Event(), threading.Event(), "", False

    def comes(self) -> bool:
        if not self.asked.wait(self.wait):
            self.lost = f"did not ask for it within {self.wait:.0f} s"
        return not self.lost

    def give(self, block: bytes | None) -> None:
        """Waits where it is slower. None: that was all."""
        while self.comes():
            with contextlib.suppress(queue.Full):
                return self.blocks.put(block, timeout=0.5)

    def end(self, whole: bool) -> None:
        self.whole = whole
        self.give(None)
        if not self.lost and not self.over.wait(PATIENCE):
            self.lost = f"took nothing for {PATIENCE:.0f} s"


class Handler(Private):
    follower: Follower

    def do_GET(self) -> None:
        it = self.follower
        if not self.allowed():
            return self.answer(403)
        if self.path != "/image" or it.asked.is_set():
            return self.answer(404)
        it.asked.set()
        try:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while block := it.blocks.get():
                self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            if it.whole:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True
        except OSError as error:
            it.lost = f"broke off: {error}"
        it.over.set()


def taken(spec: dict[str, Any]) -> Iterator[bytes]:
    """What the node before hands on. Raises Failed where it cannot be reached, or stops before the end."""
    ip, port = spec["sources"][0]
    end = time.monotonic() + float(spec["wait"])
    while True:
        link = http.client.HTTPConnection(ip, port, timeout=PATIENCE, source_address=(spec["ip"], 0))
        try:
            link.request("GET", "/image", headers=word())
            answer = link.getresponse()
            break
        except (OSError, http.client.HTTPException) as error:
            link.close()
            if time.monotonic() > end:
                raise Failed(f"source: cannot reach {ip}:{port} from {spec['ip']}: {error}") from None
            time.sleep(0.5)
    with contextlib.closing(link):
        if answer.status != 200:
            raise Failed(f"source: {ip}:{port} answers {answer.status}")
        try:
            while block := answer.read(CHUNK):
                yield block
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"source: {ip}:{port} broke off: {error or type(error).__name__}") from None


def printed(command: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """What the command prints. Ends this program as it ended, where it failed."""
    assert command.stdout is not None
    while block := command.stdout.read(CHUNK):
        yield block
    if code := command.wait():
        raise Failed(f"command: it ended with exit code {code}; its own words are above")


def share(spec: dict[str, Any]) -> None:
    first, follower = not spec["sources"], Follower(float(spec["wait"]))
    if spec["followers"]:
        Handler.follower = follower
        listen(spec, Handler)
    if first and not follower.comes():
        raise Failed(f"follower: the next node {follower.lost}")
    gives, takes = (subprocess.PIPE, subprocess.DEVNULL) if first else (None, subprocess.PIPE)
    command = subprocess.Popen(spec["command"], stdout=gives, stdin=takes)
    whole, count = False, 0
    began = told = time.monotonic()
    try:
        for block in printed(command) if first else taken(spec):
            count += len(block)
            if command.stdin is not None:
                # One that has ended, the disk is full, takes no more: the nodes behind still get theirs.
                with contextlib.suppress(BrokenPipeError):
                    command.stdin.write(block)
            if spec["followers"]:
                follower.give(block)
            if first and follower.lost:
                raise Failed(f"follower: the next node {follower.lost}")
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                say(f"image: {count / 1e9:.2f} GB, {count / (told - began) / 1e6:.0f} MB/s")
        whole = True
    finally:
        if first and command.poll() is None:
            command.kill()
        if command.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                command.stdin.close()
        if spec["followers"]:
            follower.end(whole)
        code = command.wait()
    if follower.lost:
        say(f"image: the next node {follower.lost}")
    if code:
        raise Failed(f"command: it ended with exit code {code}; its own words are above")
    if not count:
        raise Failed("source: it sent nothing")
    say(f"image: complete: {count} bytes, {max(time.monotonic() - began, 0.001):.1f} s")


def run(words: list[str]) -> int:
    return ended(share, words, in_words, "image")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
