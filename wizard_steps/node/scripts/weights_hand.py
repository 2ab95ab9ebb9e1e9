"""A model as one node has it, and the short-lived server that hands it to other nodes.

Only who has the word MILEPOST_COPY_TOKEN (it comes in the environment) is given anything, and only files of
this model. A file may be asked for while it still comes: what is here is sent, the rest follows.
"""

from __future__ import annotations

import hmac
import http.server
import json
import os
import re
import socket
import threading
import time
from typing import Any

from wizard_steps.node.scripts.weights_files import (
    PART,
    STATE,
    Failed,
    folder_of,
    instance,
    read,
    safe,
    snapshot_of,
)

CHUNK = 1 << 20
TOKEN = os.environ.pop("MILEPOST_COPY_TOKEN", "")


class Model:
    """The files as this node has them. ``have``: bytes of each that may be read; -1: all."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec, self.files, self.have = spec, list[dict[str, Any]](), list[int]()
        self.commit, self.state, self.snapshot = "", "waiting", ""
        self.folder, self.source = folder_of(spec), not spec.get("sources")

    def load(self) -> None:
        """At the source: what the fetch says that runs here, or ran last."""
        try:
            with open("fetch.pid", encoding="ascii") as file:
                alive = os.path.exists(f"/proc/{int(file.read())}")
        except (OSError, ValueError):
            return
        data = read(STATE)
        if data.get("instance") != instance():
            # Of an earlier fetch: this one has not said anything yet.
            self.state = "waiting" if alive else "failed"
            return
        self.files, self.commit, self.snapshot = data["files"], data["commit"], data["snapshot"]
        self.have = [-1 if one.get("done") else 0 for one in self.files]
        self.state = data["state"] if alive or data["state"] == "complete" else "failed"

    def take(self, data: dict[str, Any]) -> None:
        """From a source: what there is. Raises Failed for names that do not stay inside."""
        self.commit, files = str(data["commit"]), data["files"]
        for one in files:
            blob = str(one.get("blob") or "")
            if not safe(one["name"]) or not re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]{0,200})?", blob):
                raise Failed(f"corrupt: the source names a file {one['name']!r} {blob!r}")
        if not self.spec.get("folder") and not re.fullmatch(r"[A-Za-z0-9]{1,64}", self.commit):
            raise Failed(f"corrupt: the source names a commit {self.commit!r}")
        self.files, self.have = files, [0] * len(files)
        self.snapshot = snapshot_of(self.spec, self.commit)

    def path(self, i: int) -> str:
        """Where a file is, or will be."""
        one = self.files[i]
        if not self.source and not self.spec.get("folder") and one.get("blob"):
            return os.path.join(self.folder, "blobs", one["blob"])
        return os.path.join(self.snapshot, one["name"])

    def has(self, i: int) -> bool:
        """Whether all of a file is here."""
        return i < len(self.have) and self.have[i] < 0

    def told(self) -> dict[str, Any]:
        if self.source:
            self.load()
        return {"commit": self.commit, "files": self.files, "state": self.state}


def word() -> dict[str, str]:
    """Headers of who may be given something."""
    return {"Authorization": f"Bearer {TOKEN}"}


class Private(http.server.BaseHTTPRequestHandler):
    """Answers those who have the word."""

    protocol_version = "HTTP/1.1"

    def allowed(self) -> bool:
        given = self.headers.get("Authorization", "").encode("latin-1", "replace")
        return bool(TOKEN) and hmac.compare_digest(given, f"Bearer {TOKEN}".encode())

    def log_message(self, *_: object) -> None:
        return

    def answer(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Handler(Private):
    """``asked``: when something was last asked for or sent; ``done``: how many said that they have all."""

    model: Model
    asked, done = time.monotonic(), 0

    def do_GET(self) -> None:
        if not self.allowed():
            return self.answer(403)
        Handler.asked = time.monotonic()
        if self.path == "/done":
            Handler.done += 1
            return self.answer(200)
        told = self.model.told()
        found = re.fullmatch(r"/file/(\d{1,6})", self.path)
        # What is not here yet will never be; what is here may be taken all the same.
        if told["state"].startswith("failed") and not (found and self.model.has(int(found[1]))):
            return self.answer(410)
        if self.path == "/files":
            return self.answer(200, json.dumps(told).encode())
        at = re.fullmatch(r"bytes=(\d{1,18})-", self.headers.get("Range", "bytes=0-"))
        if not found or not at or int(found[1]) >= len(self.model.files):
            return self.answer(404)
        return self.send(int(found[1]), int(at[1]))

    def send(self, i: int, at: int) -> None:
        model, size = self.model, int(self.model.files[i]["size"])
        if model.have[i] == 0 or at > size:
            return self.answer(409)
        try:
            with open(model.path(i) + ("" if model.have[i] < 0 else PART), "rb") as file:
                file.seek(at)
                self.send_response(206)
                self.send_header("Content-Length", str(size - at))
                self.end_headers()
                self.pass_on(file, i, size - at)
        except OSError:
            self.close_connection = True

    def pass_on(self, file: Any, i: int, left: int) -> None:
        """To the end of the file, waiting for what still comes."""
        while left:
            data = file.read(min(CHUNK, left))
            left -= len(data)
            Handler.asked = time.monotonic()
            if data:
                self.wfile.write(data)
            elif self.model.have[i] == 0 or self.model.state.startswith("failed"):
                raise OSError("what came was wrong")
            else:
                time.sleep(0.02)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Who has gone away is no news."""


def listen(spec: dict[str, Any], handler: type[Private]) -> None:
    """Serve in the background. Raises Failed where the port is taken."""
    Server.address_family = socket.AF_INET6 if ":" in spec["ip"] else socket.AF_INET
    try:
        server = Server((spec["ip"], int(spec["port"])), handler)
    except OSError as error:
        raise Failed(f"port: {spec['ip']}:{spec['port']}: {error.strerror or error}") from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
