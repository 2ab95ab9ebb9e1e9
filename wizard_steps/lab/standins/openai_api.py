"""The stand-in's HTTP API: /health, /version, /metrics, /v1/models and /v1/chat/completions (also streamed);
/invocations and /tokenize, which vLLM answers without a key."""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Any

from msgspec import Struct

from wizard_steps.cluster import versions
from wizard_steps.lab.standins.counters import Counters

REPLY = "OK. (SIMULATED reply of the milepost lab: there is no model here.) You said: "
_BODY_LIMIT = 4 * 1024 * 1024
CHATS = (("POST", "/v1/chat/completions"), ("POST", "/invocations"))


class Model(Struct, frozen=True):
    """``length`` is the context in tokens; ``engines``: replicas that take the requests in turn."""

    name: str
    root: str
    length: int
    engines: int = 1


class ApiError(Exception):
    """An answer in vLLM's error form."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    model: Model
    api_key: str
    reachable: Callable[[], bool]
    #: One for each engine; requests go to them in turn.
    counters: list[Counters]
    turns: Iterator[Counters]


def make(
    sock: socket.socket, model: Model, api_key: str = "", reachable: Callable[[], bool] = lambda: True
) -> Server:
    """A server on a socket that is bound already; it listens when this returns."""
    server = Server(sock.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    server.model, server.api_key, server.reachable = model, api_key, reachable
    server.counters = [Counters(model.name, engine) for engine in range(model.engines)]
    server.turns = cycle(server.counters)
    server.server_activate()
    return server


def encrypt(server: Server, certificate: str, key: str | None) -> None:
    """HTTPS from now on. Raises OSError where the files cannot be read. The handshake is the business of each
    connection's own thread: one that hangs keeps nobody else out."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)


def models(model: Model) -> dict[str, Any]:
    card = {
        "id": model.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "milepost lab (SIMULATED)",
        "root": model.root,
        "parent": None,
        "max_model_len": model.length,
    }
    return {"object": "list", "data": [card]}


def chat(model: Model, request: Any) -> dict[str, Any]:
    """One reply. A word counts as a token. Raises ApiError."""
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        raise ApiError(400, "BadRequestError", "messages: Field required", "messages")
    name = request.get("model", model.name)
    if name != model.name:
        raise ApiError(404, "NotFoundError", f"The model `{name}` does not exist.", "model")
    limit = request.get("max_completion_tokens") or request.get("max_tokens") or model.length
    if not isinstance(limit, int) or limit < 1:
        raise ApiError(400, "BadRequestError", f"max_tokens must be at least 1, got {limit}.", "max_tokens")
    said = [str(m.get("content", "")) for m in request["messages"] if isinstance(m, dict)]
    words = (REPLY + (said[-1] if said else "")).split()
    if request.get("ignore_eos"):
        words = [words[n % len(words)] for n in range(limit + 1)]
    prompt = sum(len(text.split()) for text in said)
    return {
        "id": f"chatcmpl-{secrets.token_hex(8)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model.name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": " ".join(words[:limit])},
                "logprobs": None,
                "finish_reason": "length" if len(words) > limit else "stop",
            }
        ],
        "system_fingerprint": "SIMULATED",
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": min(len(words), limit),
            "total_tokens": prompt + min(len(words), limit),
        },
    }


def pieces(answer: dict[str, Any], usage: bool) -> Iterator[dict[str, Any]]:
    """A reply as the stream that vLLM sends: a role, a word at a time, the reason, and the count."""
    base = {**answer, "object": "chat.completion.chunk"}
    choice, counts = base.pop("choices")[0], base.pop("usage")
    words = choice["message"]["content"].split(" ")
    for word in ("", *(word if n == 0 else f" {word}" for n, word in enumerate(words))):
        delta = {"content": word} if word else {"role": "assistant", "content": ""}
        yield {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    if usage:
        yield {**base, "choices": [], "usage": counts}


def _json(body: bytes) -> dict[str, Any]:
    """The request. Raises ApiError."""
    try:
        request = json.loads(body)
    except ValueError:
        raise ApiError(400, "BadRequestError", "the body is not JSON") from None
    if not isinstance(request, dict):
        raise ApiError(400, "BadRequestError", "the body is no JSON object")
    return request


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "SIMULATED-vllm"
    sys_version = ""
    server: Server

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        try:
            body = self._body()
            self._allow()
            path = self.path.partition("?")[0]
            if (method, path) == ("GET", "/metrics"):
                self._write(
                    200,
                    "text/plain; version=0.0.4",
                    "".join(one.page() for one in self.server.counters).encode(),
                )
            elif (method, path) in CHATS:
                self._chat(_json(body))
            else:
                self._send(200, self._route(method, path, body))
        except ApiError as error:
            self._send(error.status, error.body)

    def _body(self) -> bytes:
        """Read it all, or the next request on this connection would begin inside it."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _BODY_LIMIT:
            self.close_connection = True
            raise ApiError(400, "BadRequestError", "unfit Content-Length")
        return self.rfile.read(int(length))

    def _allow(self) -> None:
        key = self.server.api_key
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if key and self.path.startswith("/v1") and not hmac.compare_digest(given.encode(), key.encode()):
            raise ApiError(401, "Unauthorized", "Unauthorized")

    def _route(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        model = self.server.model
        if (method, path) == ("GET", "/health"):
            return None
        if (method, path) == ("GET", "/version"):
            return {"version": f"SIMULATED stand-in for {versions.VLLM}"}
        if (method, path) == ("GET", "/v1/models"):
            return models(model)
        if (method, path) == ("POST", "/tokenize"):
            words = str(_json(body).get("prompt", "")).split()
            return {"count": len(words), "max_model_len": model.length, "tokens": list(range(len(words)))}
        raise ApiError(404, "NotFoundError", "Not Found")

    def _chat(self, request: dict[str, Any]) -> None:
        if not self.server.reachable():
            # vLLM hangs here until its executor gives the worker up, then says this.
            raise ApiError(500, "InternalServerError", "EngineCore encountered an issue. (SIMULATED)")
        answer = chat(self.server.model, request)
        counters, prompt = next(self.server.turns), answer["usage"]["prompt_tokens"]
        counters.begin(prompt)
        reason = "abort"
        try:
            if request.get("stream"):
                usage = bool((request.get("stream_options") or {}).get("include_usage"))
                self._stream(answer, usage, counters)
            else:
                counters.first_token()
                counters.tokens(answer["usage"]["completion_tokens"] - 1)
                self._send(200, answer)
            reason = answer["choices"][0]["finish_reason"]
        finally:
            counters.end(prompt, reason)

    def _stream(self, answer: dict[str, Any], usage: bool, counters: Counters) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        words = 0
        for piece in pieces(answer, usage):
            if piece["choices"] and piece["choices"][0]["delta"].get("content"):
                if words:
                    counters.tokens(1)
                else:
                    counters.first_token()
                words += 1
            self.wfile.write(b"data: " + json.dumps(piece).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, status: int, answer: dict[str, Any] | None) -> None:
        self._write(status, "application/json", b"" if answer is None else json.dumps(answer).encode())

    def _write(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
