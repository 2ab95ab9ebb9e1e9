"""A model from a server that is no hub: a plain HTTP folder, or one that answers as ModelScope does.

``SPEC["web"]``: ``http(s)://…``, the address of the folder with the model's files, or
``modelscope+https://…``. A plain folder is listed by its SHA256SUMS where it has one (names and hashes), else
by the index that the server makes of it (names alone). ModelScope's paths are those of modelscope_hub 0.5.1;
its token is MODELSCOPE_API_TOKEN of the environment.
"""

from __future__ import annotations

import hashlib
import html
import http.client
import json
import os
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlencode, urljoin
from urllib.request import Request, urlopen

from wizard_steps.node.scripts.weights_files import Failed, in_snapshot, safe

_SCOPE = "modelscope+"
_SUMS = re.compile(r"([0-9a-f]{64}) [ *]([^\n\r]{1,400})")
_LINK = re.compile(r"<a\s[^<>]{0,400}?href=[\"']([^\"'<>]{1,400})[\"']", re.IGNORECASE)
#: Bytes of a list of files; bytes that are read at a time; seconds without a byte.
_LIST, _CHUNK, _TIMEOUT = 8 << 20, 1 << 20, 60


Choose = Callable[[list[str]], list[str]]


def listing(spec: dict[str, Any], choose: Choose) -> list[dict[str, Any]]:
    """The files whose names are chosen, each with ``name``, ``size``, ``sha256`` ("": not known), ``url``,
    ``blob`` and ``git``."""
    web = str(spec["web"])
    if web.startswith(_SCOPE):
        files = _scope(spec, web.removeprefix(_SCOPE), choose)
    else:
        files = _plain(web.rstrip("/") + "/", choose)
    for one in files:
        known = one["sha256"] or "-".join((one["name"], str(one["size"]), one.pop("tag", "")))
        digest = hashlib.sha1(known.encode(), usedforsecurity=False).hexdigest()
        one |= {"git": "", "blob": one["sha256"] or f"web-{digest}"}
    return sorted(files, key=lambda one: str(one["name"]))


def commit_of(files: list[dict[str, Any]]) -> str:
    """Such a server has no commits: the same files have the same one."""
    text = "".join(f"{one['name']} {one['blob']}\n" for one in files)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _plain(base: str, choose: Choose) -> list[dict[str, Any]]:
    try:
        sums = _SUMS.findall(_text(base + "SHA256SUMS"))
        found = {name: sha for sha, name in sums if safe(name)}
    except HTTPError:
        links = (html.unescape(link) for link in _LINK.findall(_text(base)))
        names = (unquote(urljoin(base, link).partition("?")[0].removeprefix(base)) for link in links)
        found = {name: "" for name in names if safe(name) and "://" not in name}
    if "config.json" not in found:
        raise Failed(
            f"address: {base} lists no config.json: a model's folder with SHA256SUMS or an index is wanted"
        )
    return [_head(base, name, found[name]) for name in choose(list(found))]


def _head(base: str, name: str, sha: str) -> dict[str, Any]:
    url = base + quote(name)
    with urlopen(_request(url, method="HEAD"), timeout=_TIMEOUT) as answer:
        size = answer.headers.get("Content-Length", "")
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    if not re.fullmatch(r"[0-9]{1,18}", size):
        raise Failed(f"address: {url}: the server does not say how large it is")
    return {"name": name, "size": int(size), "sha256": sha, "url": url, "tag": tag}


def _scope(spec: dict[str, Any], base: str, choose: Choose) -> list[dict[str, Any]]:
    revision = str(spec["revision"])
    revision = "master" if revision == "main" else revision
    at = f"{base.rstrip('/')}/api/v1/models/{quote(str(spec['repo']))}/repo"
    asked = urlencode({"Revision": revision, "Recursive": "True"})
    try:
        entries = json.loads(_text(f"{at}/files?{asked}"))["Data"]["Files"]
        files: list[dict[str, Any]] = [
            {"name": str(one["Path"]), "size": int(one["Size"]), "sha256": str(one.get("Sha256") or "")}
            for one in entries
            if one.get("Type") != "tree" and safe(one["Path"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Failed(f"address: {at}/files does not answer as ModelScope does") from None
    chosen = set(choose([one["name"] for one in files]))
    return [
        {**one, "url": f"{at}?{urlencode({'Revision': revision, 'FilePath': one['name']})}"}
        for one in files
        if one["name"] in chosen and re.fullmatch("([0-9a-f]{64})?", one["sha256"])
    ]


def _request(url: str, method: str = "GET", at: int = 0) -> Request:
    request = Request(url, method=method, headers={"Range": f"bytes={at}-"} if at else {})
    if (token := os.environ.get("MODELSCOPE_API_TOKEN", "")) and "/api/v1/models/" in url:
        request.add_unredirected_header("Authorization", "Bearer " + token)
    return request


def _text(url: str) -> str:
    with urlopen(_request(url), timeout=_TIMEOUT) as answer:
        data: bytes = answer.read(_LIST)
    return data.decode("utf-8", "replace")


def download(one: dict[str, Any], folder: str, snapshot: str) -> None:
    """One file into the hub's cache. What is cut off is kept, and goes on from there."""
    blob = os.path.join(folder, "blobs", one["blob"])
    link = os.path.join(snapshot, one["name"])
    if not os.path.exists(blob):
        os.makedirs(os.path.dirname(blob), exist_ok=True)
        part = f"{blob}.incomplete"
        with open(part, "ab") as file:
            if file.tell() > one["size"]:
                file.truncate(0)
            if (at := file.tell()) < one["size"] or not one["size"]:
                _into(file, one, at)
            if file.tell() != one["size"]:
                raise ConnectionError(f"{one['url']}: cut off at {file.tell()} of {one['size']} bytes")
        os.replace(part, blob)
    in_snapshot(blob, link)


def _into(file: Any, one: dict[str, Any], at: int) -> None:
    with urlopen(_request(one["url"], at=at), timeout=_TIMEOUT) as answer:
        if at and answer.status != 206:
            file.truncate(0)  # this server begins anew
        while data := answer.read(_CHUNK):
            file.write(data)


def measure(one: dict[str, Any], sample: int, seconds: float) -> float:
    """Bytes per second of a moment; 0 where that cannot be had."""
    try:
        with urlopen(_request(one["url"]), timeout=15) as answer:
            began = now = time.monotonic()
            got = 0
            while got < sample and now - began < seconds and (data := answer.read(1 << 18)):
                got, now = got + len(data), time.monotonic()
            return got / max(now - began, 0.01)
    except (OSError, ValueError, http.client.HTTPException):
        return 0.0


def why(error: BaseException) -> str:
    """A kind that the gate knows and words; "" for what is none of this file's."""
    if isinstance(error, Failed):
        return str(error)
    if isinstance(error, HTTPError):
        kind = "busy" if error.code == 429 else "hub" if error.code >= 500 else "address"
        return f"{kind}: {error.url} answers {error.code}"
    if isinstance(error, URLError):
        return f"hub: {error.reason}"
    return f"hub: {error or type(error).__name__}" if isinstance(error, http.client.HTTPException) else ""
