"""curl: the API answers: health, the model list, and a real chat. Only the chat proves that it works:
a server with a broken engine has answered /health with 200 and died at the first chat.

Where clients must give a key, a request without one has to be refused.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from msgspec.structs import replace

from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones.common import failure
from wizard_steps.model import Check, Cmd, Result, Results, Round, Verdict
from wizard_steps.node import api_key

PROMPT = "Reply with OK if you hear me."
MAX_TOKENS = 32

# The API key, if the wizard has one, comes on standard input and goes on to curl the same way.
_AUTH = (
    "k=; while IFS= read -r line; do case $line in VLLM_API_KEY=*) k=${line#*=};; esac; done\n"
    "command -v curl >/dev/null 2>&1 || { echo 'curl: not found'; exit 127; }\n"
    'ask() { if [ -n "$k" ]; then printf \'Authorization: Bearer %s\\n\' "$k" | curl -H @- "$@"; '
    'else curl "$@"; fi; }\n'
)


def _ask(key: str, url: str, *words: str, timeout: float = 20.0) -> Cmd:
    arguments = ["-sS", "-i", "--noproxy", "*", "--max-time", str(int(timeout)), *words, url]
    line = " ".join(shlex.quote(word) for word in arguments)
    shown = " ".join(shlex.quote(w) for w in ("-i", *words, url))
    return Cmd(
        key=key,
        text=f"{_AUTH}ask {line}\n",
        timeout=timeout + 5,
        show=f"curl {shown}",
        secrets=(api_key.NAME,),
    )


def _keyless(url: str) -> Cmd:
    """The same request as anybody could make it."""
    asked = _ask("keyless", url)
    return replace(asked, text=f"# no key\n{asked.text}", show=f"{asked.show}  # no key", secrets=())


class Reply:
    """What ``curl -i`` printed."""

    def __init__(self, text: str) -> None:
        statuses = re.findall(r"^HTTP/[\d.]+ (\d{3})", text, re.MULTILINE)
        self.status = int(statuses[-1]) if statuses else 0
        _, _, body = text.replace("\r\n", "\n").partition("\n\n")
        self.body = body.strip()

    def json(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Curl(Step):
    id = "curl"
    title = "curl the API"
    short = "curl"

    def rounds(self, known: Known, done: Results) -> Round | None:
        serve, head = known.cluster.serve, known.head
        host = known.head_ip if serve.host in ("0.0.0.0", "::") else serve.host
        base = f"http://[{host}]:{serve.port}" if ":" in host else f"http://{host}:{serve.port}"
        if not done.has("health"):
            work = [(head, _ask("health", f"{base}/health")), (head, _ask("models", f"{base}/v1/models"))]
            if api_key.wanted(known.cluster):
                work.append((head, _keyless(f"{base}/v1/models")))
            return Round(work=tuple(work))
        if not done.has("chat"):
            body = {
                "model": serve.name,
                "messages": [{"role": "user", "content": PROMPT}],
                "max_tokens": MAX_TOKENS,
            }
            words = ("-H", "Content-Type: application/json", "-d", json.dumps(body))
            return Round(work=((head, _ask("chat", f"{base}/v1/chat/completions", *words, timeout=180)),))
        return None

    def judge(self, known: Known, done: Results) -> Verdict:
        head, name = known.head, known.cluster.serve.name
        replies = {key: done.get(key, head) for key in ("health", "models", "chat")}
        checks = [
            _status("/health", replies["health"], known),
            _models(replies["models"], known, name),
            _chat(replies["chat"], known),
        ]
        if api_key.wanted(known.cluster):
            checks.append(_refused(done.get("keyless", head), known))
        ok = all(check.ok for check in checks)
        return Verdict(
            ok, "the model answered a chat" if ok else "the API does not answer as it must", tuple(checks)
        )


def _status(name: str, result: Result | None, known: Known) -> Check:
    if result is None or not result.ok:
        return failure(result, known.head, _hint(result))
    reply = Reply(result.text)
    hint, found = _http(reply, known), f"HTTP {reply.status}"
    return Check(name, reply.status == 200, found, "HTTP 200", known.head.name, hint)


def _models(result: Result | None, known: Known, wanted: str) -> Check:
    check = _status("/v1/models", result, known)
    if not check.ok or result is None:
        return check
    ids = [str(m.get("id")) for m in Reply(result.text).json().get("data", []) if isinstance(m, dict)]
    hint = "" if wanted in ids else "another server answers on this port, or served_model_name differs"
    return Check("/v1/models", wanted in ids, ", ".join(ids) or "no models", wanted, known.head.name, hint)


def _chat(result: Result | None, known: Known) -> Check:
    check = _status("chat", result, known)
    if not check.ok or result is None:
        return check
    reply = Reply(result.text).json()
    tokens = reply.get("usage", {}).get("completion_tokens", 0)
    choices = reply.get("choices") or []
    ok = bool(choices) and "message" in choices[0] and tokens > 0
    return Check("chat", ok, f"{tokens} tokens came back", "a reply of at least one token", known.head.name)


def _refused(result: Result | None, known: Known) -> Check:
    if result is None or not result.ok:
        return failure(result, known.head, _hint(result))
    status = Reply(result.text).status
    hint = "" if status == 401 else "vLLM was started without a key: `milepost down`, then walk again"
    return Check("without a key", status == 401, f"HTTP {status}", "HTTP 401", known.head.name, hint)


def _http(reply: Reply, known: Known) -> str:
    if reply.status == 200:
        return ""
    message = reply.json().get("error", {})
    said = message.get("message", "") if isinstance(message, dict) else str(message)
    if reply.status == 401 and api_key.wanted(known.cluster):
        return (
            "vLLM was started with another API key: walk again and give that one, "
            "or `milepost down` first to start it with yours"
        )
    if reply.status == 401:
        return "the server wants an API key: set VLLM_API_KEY in the wizard's environment"
    if reply.status >= 500:
        return "the engine failed: its first error is in the vllm serve log, before this request's"
    return str(said)[:200]


def _hint(result: Result | None) -> str:
    if result is not None and result.code == 127:
        return "install curl on the head"
    if result is not None and result.code == 7:
        return "nothing listens there: vLLM has ended since; go back to serve"
    return "is vLLM still running? go back to serve"
