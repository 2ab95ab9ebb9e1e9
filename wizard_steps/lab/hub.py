"""A small model hub on loopback that answers as Hugging Face's does: files with ETag and Range, commits,
gated models, redirects to another host; also as a plain folder (/plain/), and as ModelScope does. SIMULATED:
its only model is noise in the right form.

The lab fetches its model from here; tests make it misbehave (``Trouble``).
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from msgspec import Struct

LISTEN = "127.0.0.1"
#: What a model's commit is called here.
COMMIT = "5141" * 10
#: Files from this size on are kept as the hub keeps large files: by their SHA-256.
LARGE = 1 << 16
_CHUNK = 1 << 16


class Trouble(Struct):
    """What goes wrong. ``token``: only who gives it is let in ("": all; with ``gated`` nobody). ``busy``:
    that many answers of 429 first. ``cut``: bytes after which a file's connection breaks, ``cuts`` times.
    ``other``: files are redirected to that address. ``rate``: bytes per second of one answer; 0: no limit."""

    gated: bool = False
    token: str = ""
    busy: int = 0
    cut: int = 0
    cuts: int = 0
    other: str = ""
    rate: int = 0


class Hub:
    """Serves ``folder`` as the model ``repo`` until ``close``. ``asked``: "METHOD path" of every request,
    with " token" where one was given; ``sent``: bytes of files."""

    def __init__(
        self, folder: Path, repo: str, port: int = 0, trouble: Trouble | None = None, host: str = LISTEN
    ) -> None:
        self.folder, self.repo, self.trouble = folder, repo, trouble or Trouble()
        self.asked: list[str] = []
        self.sent = 0
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = http.server.ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self._server.server_address[:2])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self) -> dict[str, Path]:
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}

    def siblings(self) -> list[dict[str, Any]]:
        return [entry(name, path) for name, path in self.files().items()]


def entry(name: str, path: Path) -> dict[str, Any]:
    """A file in the words of the hub's API."""
    data = path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    one: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git}
    if len(data) >= LARGE:
        one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return one


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "SIMULATED-hub"
    timeout = 30
    hub: Hub

    def log_message(self, *_: object) -> None:
        return

    def do_HEAD(self) -> None:
        self.route()

    def do_GET(self) -> None:
        self.route()

    def route(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        hub.asked.append(f"{self.command} {path}{' token' if token else ''}")
        if path.startswith("/elsewhere/"):
            return self.file(path.removeprefix("/elsewhere/"))
        if path.startswith("/plain/"):
            return self.plain(path.removeprefix("/plain/"))
        with hub.lock:
            busy, hub.trouble.busy = hub.trouble.busy > 0, max(hub.trouble.busy - 1, 0)
        if busy:
            return self.refuse(429, "", "Too many requests")
        if path.startswith(scope := f"/api/v1/models/{hub.repo}/repo"):
            return self.scope(path.removeprefix(scope), parse_qs(urlsplit(self.path).query))
        if not (found := re.fullmatch(rf"/(?:api/models/)?{re.escape(hub.repo)}(?:/(.+))?", path)):
            return self.refuse(401, "RepoNotFound", "Repository not found")
        if hub.trouble.gated or hub.trouble.token:
            if not token:
                return self.refuse(401, "GatedRepo", "Access to this model is restricted. (SIMULATED)")
            if hub.trouble.gated or token != hub.trouble.token:
                return self.refuse(403, "GatedRepo", "Access to this model is restricted. (SIMULATED)")
        return self.inside(path.startswith("/api/"), found[1] or "")

    def plain(self, name: str) -> None:
        """A folder of a plain HTTP server: its index, or one of its files."""
        if name in self.hub.files():
            return self.file(name)
        if name:
            return self.refuse(404, "", "Not found")
        links = "".join(f'<li><a href="{quote(one)}">{one}</a></li>' for one in self.hub.files())
        return self.body(f'<html><a href="../">up</a>{links}</html>'.encode(), "text/html")

    def scope(self, rest: str, asked: dict[str, list[str]]) -> None:
        """As ModelScope answers."""
        if asked.get("Revision") != ["master"]:
            return self.refuse(404, "", "Revision not found")
        if rest == "/files":
            files = [
                {"Path": one["rfilename"], "Size": one["size"], "Sha256": one.get("lfs", {}).get("sha256")}
                for one in self.hub.siblings()
            ]
            return self.json({"Code": 200, "Data": {"Files": [{"Path": "sub", "Type": "tree"}, *files]}})
        name = asked.get("FilePath", [""])[0]
        return self.file(name) if name in self.hub.files() else self.refuse(404, "", "Not found")

    def inside(self, api: bool, rest: str) -> None:
        what = re.fullmatch(r"(revision|tree|resolve)/([^/]+)(?:/(.+))?", rest)
        if what and what[2] not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound", f"Revision {what[2]} not found")
        if api and what and what[1] == "tree":
            return self.json([_in_tree(one) for one in self.hub.siblings()])
        if api:
            model = {"_id": "1", "id": self.hub.repo, "modelId": self.hub.repo, "sha": COMMIT, "tags": []}
            return self.json({**model, "private": False, "siblings": self.hub.siblings()})
        if not what or what[1] != "resolve" or (what[3] or "") not in self.hub.files():
            return self.refuse(404, "EntryNotFound", "Entry not found")
        return self.file(what[3], self.hub.trouble.other)

    def json(self, data: Any) -> None:
        self.body(json.dumps(data).encode(), "application/json")

    def body(self, body: bytes, kind: str) -> None:
        self.head(200, {"Content-Type": kind, "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, code: int, kind: str, text: str) -> None:
        body = json.dumps({"error": text}).encode()
        named = {"X-Error-Code": kind, "X-Error-Message": text} if kind else {"Retry-After": "1"}
        self.head(code, {**named, "Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def head(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def file(self, name: str, other: str = "") -> None:
        path = self.hub.files()[name]
        one, size = entry(name, path), path.stat().st_size
        tag = one["lfs"]["sha256"] if "lfs" in one else one["blobId"]
        own = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        own |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(size)} if "lfs" in one else {}
        if other and "lfs" in one:
            return self.head(302, {**own, "Location": f"{other}/elsewhere/{name}", "Content-Length": "0"})
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2] or size - 1)) if asked else (0, size - 1)
        last = min(last, size - 1)
        if asked and first >= size:
            return self.head(416, {"Content-Length": "0"})
        where = {"Content-Range": f"bytes {first}-{last}/{size}"} if asked else {}
        self.head(206 if asked else 200, {**own, **where, "Content-Length": str(last - first + 1)})
        if self.command == "GET":
            self.send(path, first, last - first + 1)

    def send(self, path: Path, first: int, left: int) -> None:
        trouble, began, sent = self.hub.trouble, time.monotonic(), 0
        with path.open("rb") as file:
            file.seek(first)
            while left and (data := file.read(min(_CHUNK, left))):
                if trouble.cut and trouble.cuts > 0 and sent >= trouble.cut:
                    trouble.cuts -= 1
                    self.close_connection = True
                    return
                self.wfile.write(data)
                left, sent = left - len(data), sent + len(data)
                self.hub.sent += len(data)
                if trouble.rate and left:
                    time.sleep(max(0.0, sent / trouble.rate - (time.monotonic() - began)))


def _in_tree(one: dict[str, Any]) -> dict[str, Any]:
    plain = {"type": "file", "path": one["rfilename"], "size": one["size"], "oid": one["blobId"]}
    lfs = one.get("lfs")
    return {**plain, "lfs": {**lfs, "oid": lfs["sha256"]}} if lfs else plain
