"""What the Hugging Face Hub (or a mirror: ``HF_ENDPOINT``) tells of a model without a download.

Two or three small requests: the repository's files with their sizes, its config, its quantisation. The token
(``HF_TOKEN``) goes to the endpoint only, over TLS or to this machine, and never on to where it redirects.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from wizard_steps.advisor.config import LARGEST
from wizard_steps.advisor.files import wanted_files
from wizard_steps.errors import UsageError

#: Seconds for one request, its whole answer included.
TIMEOUT = 15.0
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Found(Struct, frozen=True):
    """``files``: bytes by name. ``config`` is config.json or params.json, ``side`` hf_quant_config.json."""

    config: dict[str, Any]
    side: dict[str, Any] | None
    size: int
    source: str


def endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def ask(model: str, timeout: float = TIMEOUT) -> Found:
    """Raises UsageError that says what the Hub answered and what to do."""
    base = endpoint()
    data = _get(f"{base}/api/models/{_quoted(model)}?blobs=true", model, timeout)
    files = _sizes(data)
    config = next((name for name in ("config.json", "params.json") if name in files), "")
    if not config:
        if any(name.endswith(".gguf") for name in files):
            raise UsageError(f"{model}: only GGUF files: take the model's safetensors repository")
        raise UsageError(f"{model}: the repository has no config.json and no params.json")
    side = None
    if "hf_quant_config.json" in files:
        side = _get(f"{base}/{_quoted(model)}/resolve/main/hf_quant_config.json", model, timeout)
    weights = [files[name] for name in wanted_files(files)]
    size = sum(weights)
    source = f"sizes of {len(weights)} safetensors files, from {urllib.parse.urlsplit(base).netloc}"
    return Found(
        _get(f"{base}/{_quoted(model)}/resolve/main/{config}", model, timeout),
        side,
        size if all(weights) else 0,
        source if size and all(weights) else "",
    )


def _quoted(model: str) -> str:
    return urllib.parse.quote(model, safe="/")


def _sizes(data: Mapping[str, Any]) -> dict[str, int]:
    listed = data.get("siblings")
    sizes: dict[str, int] = {}
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, Mapping) and isinstance(one.get("rfilename"), str):
            size = one.get("size")
            sizes[one["rfilename"]] = size if isinstance(size, int) and size > 0 else 0
    return sizes


def _get(url: str, model: str, timeout: float) -> dict[str, Any]:
    host, request = _request(url)
    try:
        body = _body(request, timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise UsageError(f"{model}: {_refused(error.code, host, bool(_token()))}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UsageError(
            f"{model}: {host} does not answer: {str(reason)[:200]}. Set HF_ENDPOINT to a mirror, or give the "
            "model's folder or config.json"
        ) from None
    return _object(body, url)


def _token() -> str:
    """UsageError for one that no header can carry: an error of the HTTP library would print it."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("HF_TOKEN: has a character that no token has. Set it again, on one line")
    return token


def _request(url: str) -> tuple[str, urllib.request.Request]:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"HF_ENDPOINT: {endpoint()}: not an http or https address")
    request = urllib.request.Request(url, headers={"User-Agent": "milepost"})
    token = _token()
    if token and (parts.scheme == "https" or parts.hostname in _LOCAL):
        # Unredirected: not repeated to where the answer may redirect.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return parts.netloc.rpartition("@")[2], request


def _body(request: urllib.request.Request, timeout: float) -> bytes:
    """At most one byte more than is read. TimeoutError also for an answer that only trickles."""
    over, parts, size = time.monotonic() + timeout, [], 0
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        while size <= LARGEST and (data := answer.read1(1 << 16)):
            if time.monotonic() > over:
                raise TimeoutError(f"its answer was not there after {timeout:.0f} s")
            parts.append(data)
            size += len(data)
    return b"".join(parts)


def _object(body: bytes, url: str) -> dict[str, Any]:
    try:
        data = json.loads(body) if len(body) <= LARGEST else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise UsageError(f"{url}: the answer is no JSON object")
    return data


def _refused(code: int, host: str, token: bool) -> str:
    if code in (401, 403):
        if token:
            return (
                f"{host} answers {code}: accept the model's licence on its page, with the account of HF_TOKEN"
            )
        return f"{host} answers {code}: the model is gated, private or does not exist. Set HF_TOKEN"
    if code == 404:
        return f"{host} answers 404: there is no such model"
    return f"{host} answers {code}: try again, or give the model's folder or config.json"
