"""What an HTTP server answered, whoever it is: vLLM, another server, a proxy's page. Reading never raises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from wizard_steps.node.lines import plain

#: Characters of a message that are told.
_SAID = 200
#: Words of a Server header that name a proxy or a gateway.
_PROXIES = ("nginx", "squid", "apache", "haproxy", "envoy", "traefik", "cloudflare", "varnish", "caddy",
            "awselb", "openresty", "istio", "kong")  # fmt: skip
_STATUS = re.compile(r"HTTP/[0-9.]{1,4} ([1-5][0-9]{2})(?: |\r?\n|$)")


class Reply:
    """What ``curl -i`` printed: the last answer's status, headers (names in lower case) and body.

    Text before the first status line is a login's own. An interim answer (100, a proxy's 200) may come first.
    """

    def __init__(self, text: str) -> None:
        rest = text.replace("\r\n", "\n")
        self.status, self.headers, self.body = 0, {}, ""
        start = _next(rest, 0)
        while start >= 0:
            found = _STATUS.match(rest, start)
            head, _, body = rest[start:].partition("\n\n")
            self.status = int(found[1]) if found else 0
            self.headers = _headers(head)
            self.body = body.strip()
            start = len(rest) - len(body) if _STATUS.match(body) else -1

    def json(self) -> Any:
        """The body as JSON; None for anything else, however deep or long."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def table(self) -> Mapping[str, Any]:
        """The body as a JSON object; an empty one for anything else."""
        found = self.json()
        return found if isinstance(found, dict) else {}

    @property
    def html(self) -> bool:
        begin = self.body[:512].lstrip().lower()
        return begin.startswith(("<!doctype html", "<html", "<head", "<?xml")) or (
            "text/html" in self.headers.get("content-type", "").lower()
        )

    @property
    def proxy(self) -> str:
        """The proxy or gateway that answered, by its own headers; empty when none says so."""
        server = plain(self.headers.get("server", "")[:40])
        known = any(word in server.lower() for word in _PROXIES)
        via = self.headers.get("via") or self.headers.get("x-squid-error") or ""
        return server if known else f"via {plain(via[:40])}" if via else ""

    @property
    def title(self) -> str:
        """A page's title."""
        low = self.body[:4096].lower()
        start, end = low.find("<title>"), low.find("</title>")
        return _line(self.body[start + 7 : end])[:80] if 0 <= start < end else ""

    @property
    def said(self) -> str:
        """The message of an error, in whichever form the server wraps it; empty when there is none."""
        if self.html:
            return self.title
        found = self.json()
        if not isinstance(found, dict):
            return _line(self.body[:_SAID]) if found is None else ""
        for key in ("error", "detail", "message", "errors", "msg"):
            words = _words(found.get(key))
            if words:
                return words[:_SAID]
        return ""


def _line(text: str) -> str:
    return plain(" ".join(text.split()))


def _next(text: str, start: int) -> int:
    """Where the next status line begins, at the start of a line; -1 when there is none."""
    while True:
        at = text.find("HTTP/", start)
        if at < 0 or ((at == 0 or text[at - 1] == "\n") and _STATUS.match(text, at)):
            return at
        start = at + 5


def _headers(head: str) -> dict[str, str]:
    lines = head[:65536].split("\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


def _words(value: Any, depth: int = 3) -> str:
    """The first message in what stands under an error key: a text, a table, or a list of them."""
    if isinstance(value, str):
        return _line(value[:1000])
    if depth and isinstance(value, dict):
        return next(
            (w for k in ("message", "msg", "detail", "error") if (w := _words(value.get(k), depth - 1))), ""
        )
    if depth and isinstance(value, list):
        return next((w for one in value[:10] if (w := _words(one, depth - 1))), "")
    return ""


class HttpAnswer:
    """A chat completion: what came back, wherever the server put it.

    ``tokens`` is None where the server does not count. ``text`` is the answer or, without one, the reasoning.
    """

    def __init__(self, reply: Reply) -> None:
        found = reply.table()
        choices = found.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        message = first.get("message") if isinstance(first, dict) else None
        self.message = message if isinstance(message, dict) else None
        finish = first.get("finish_reason") if isinstance(first, dict) else None
        #: Why it ended, where that is no end of an answer.
        self.given_up = finish if finish in ("abort", "error") else ""
        usage = found.get("usage")
        count = usage.get("completion_tokens") if isinstance(usage, dict) else None
        self.tokens = count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None
        parts = [(self.message or {}).get(key) for key in ("content", "reasoning", "reasoning_content")]
        self.text = next((text for part in parts if (text := _text(part))), "")
        calls = (self.message or {}).get("tool_calls")
        self.calls = isinstance(calls, list) and bool(calls)

    @property
    def broken(self) -> bool:
        """One character again and again: the logits are NaN, so the first token of the vocabulary wins."""
        letters = "".join(self.text[:4096].split())
        return len(letters) >= 8 and len(set(letters)) == 1


def _text(part: Any) -> str:
    """A text, or a list of parts that hold one."""
    if isinstance(part, str):
        return plain(part[:100_000]).strip()
    if isinstance(part, list):
        texts = (one.get("text") for one in part[:100] if isinstance(one, dict))
        return " ".join(plain(text[:10_000]) for text in texts if isinstance(text, str)).strip()
    return ""


def models_of(reply: Reply) -> list[str]:
    """The ids of /v1/models; what is none is left out."""
    data = reply.table().get("data")
    entries = data if isinstance(data, list) else []
    ids = (one.get("id") for one in entries[:1000] if isinstance(one, dict))
    return [plain(one[:300]) for one in ids if isinstance(one, str) and one]
