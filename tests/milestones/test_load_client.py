"""milepost's own load client against a small local server that counts tokens its own way."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from openai import OpenAIError

from wizard_steps.engine.expected import SNAPSHOTS
from wizard_steps.milestones.load_numbers import Numbers, numbers

SCRIPT = SNAPSHOTS / "probe" / "load_vllm_cluster.py"
LONGEST = 512


class Server(ThreadingHTTPServer):
    """Every word has ``each`` tokens; the chat template adds ``own``. From the request ``silent`` on it answers none."""

    daemon_threads = True

    def __init__(self, each: int = 1, own: int = 0, counts: bool = True, silent: int = 10**6) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.each, self.own, self.counts, self.silent = each, own, counts, silent
        self.asked, self.prompts, self.over = 0, list[int](), threading.Event()


class Answer(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None: ...

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        if self.server.asked > self.server.silent:
            self.server.over.wait()
            return
        tokens = self.server.own + self.server.each * len(asked["messages"][0]["content"].split())
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
        if tokens > LONGEST:
            self._send(400, "application/json", {"error": {"message": f"maximum context length: {LONGEST}"}})
        elif not asked.get("stream"):
            self._send(
                200, "application/json", {"usage": usage if self.server.counts else None, "choices": []}
            )
        else:
            self.server.prompts.append(tokens)
            piece = {"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": None}
            self._send(200, "text/event-stream", piece, {"choices": [], "usage": usage})

    def _send(self, code: int, kind: str, *parts: object) -> None:
        stream = kind == "text/event-stream"
        body = "".join(f"data: {json.dumps(part)}\n\n" if stream else json.dumps(part) for part in parts)
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write((body + ("data: [DONE]\n\n" if stream else "")).encode())


@contextmanager
def serving(server: Server) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Ran:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capsys = monkeypatch, capsys

    def __call__(self, url: str, *words: str) -> tuple[object, str, Numbers]:
        """The exit status, all output, the numbers as the gate reads them."""
        argv = ["load", "--base-url", url, "--model", "m", "--output-tokens", "1", *words]
        self._patch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        text = self._capsys.readouterr().out
        found = numbers(text)
        assert found is not None
        return ended.value.code, text, found


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ran:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Ran(monkeypatch, capsys)


@pytest.mark.parametrize(("each", "own"), [(1, 0), (4, 0), (4, 40), (1, 100)])
def test_a_prompt_has_the_wanted_tokens_whatever_the_tokenizer_and_the_template(
    ran: Ran, each: int, own: int
) -> None:
    server = Server(each, own)
    with serving(server) as url:
        code, _, found = ran(url, "--input-tokens", "128", "--requests", "3")
    assert (code, found.requests, found.failed) == (0, 3, 0)
    assert all(128 - each <= tokens <= 128 + each for tokens in server.prompts), server.prompts


def test_a_server_that_does_not_count_gets_as_many_words_as_tokens_were_wanted(ran: Ran) -> None:
    server = Server(counts=False)
    with serving(server) as url:
        _, _, found = ran(url, "--input-tokens", "50", "--requests", "2")
    assert found.requests == 2
    assert server.prompts == [51, 51]


@pytest.mark.parametrize("much", [("--requests", "4"), ("--seconds", "30")])
def test_without_a_count_no_prompt_of_a_guessed_length_is_sent(ran: Ran, much: tuple[str, str]) -> None:
    """A server that answers nothing at first got prompts beyond its context later: the error was that one."""
    server = Server(each=5, silent=0)
    with serving(server) as url:
        code, text, found = ran(url, "--input-tokens", "128", "--timeout", "0.2", *much)
    assert code == 1
    assert (found.requests, found.failed) == (0, 1)
    assert "a short request to count its tokens: APITimeoutError" in found.error
    assert "context length" not in text


def test_what_the_server_refuses_is_in_its_own_words(ran: Ran) -> None:
    with serving(Server(own=LONGEST)) as url:
        code, _, found = ran(url)
    assert code == 1
    assert "maximum context length: 512" in found.error


@pytest.mark.parametrize(
    ("silent", "error"), [(0, "a short request to count its tokens"), (4, "2 times: given up before its end")]
)
def test_nothing_for_long_ends_a_soak_and_what_waited_has_failed(
    capsys: pytest.CaptureFixture[str], silent: int, error: str
) -> None:
    client = runpy.run_path(str(SCRIPT), run_name="client")
    words = {
        "model": "m",
        "concurrency": 2,
        "seconds": 60.0,
        "input_tokens": 9,
        "output_tokens": 1,
        "seed": 0,
    }
    server = Server(silent=silent)

    class OnceAllWait:
        def __lt__(self, seconds: float) -> bool:
            return server.asked == silent + (1 if silent == 0 else 2)

    client["run"].__globals__.update(OpenAIError=OpenAIError, TELL=0.01, GIVE_UP=OnceAllWait())
    with serving(server) as url:
        args = Namespace(base_url=url, timeout=60.0, no_verify=False, **words)
        asyncio.run(client["run"](args))
    text = capsys.readouterr().out
    found = numbers(text)
    assert found is not None
    assert "gave up: no token for" in text
    assert (found.requests, found.failed) == ((0, 1) if silent == 0 else (2, 2))
    assert error in found.error
