"""curl: the API answers: health, the model list, and a real chat. Only the chat proves that it works:
a server with a broken engine has answered /health with 200 and died at the first chat.

Where clients must give a key, a request without one has to be refused; what vLLM leaves open all the same
is a warning.
"""

from __future__ import annotations

import json
import re
import shlex

from msgspec.structs import replace

from wizard_steps.cluster.api import base_url, curl_words, listens, tls
from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones import aftermath, certificate, vllm
from wizard_steps.milestones.common import failure
from wizard_steps.milestones.replies import HttpAnswer, Reply, models_of
from wizard_steps.model import Check, Cmd, Result, Results, Round, Verdict
from wizard_steps.node import api_key

PROMPT = "Reply with OK if you hear me."
MAX_TOKENS = 32
#: What vLLM 0.33 answers without the key: its middleware guards /v1, /v2, /inference and /cohere only
#: (entrypoints/serve/middleware/authenticate.py). /invocations runs the model.
UNGUARDED = ("/invocations", "/tokenize")

# The API key, if the wizard has one, comes on standard input and goes on to curl the same way.
_AUTH = (
    "k=; while IFS= read -r line; do case $line in VLLM_API_KEY=*) k=${line#*=};; esac; done\n"
    "command -v curl >/dev/null 2>&1 || { echo 'curl: not found'; exit 127; }\n"
    'ask() { if [ -n "$k" ]; then printf \'Authorization: Bearer %s\\n\' "$k" | curl -H @- "$@"; '
    'else curl "$@"; fi; }\n'
)


def _ask(known: Known, key: str, url: str, *words: str, timeout: float = 20.0) -> Cmd:
    arguments = ["-sS", "-i", *curl_words(url), "--max-time", str(int(timeout)), *words, url]
    line = " ".join(shlex.quote(word) for word in arguments)
    shown = " ".join(shlex.quote(w) for w in ("-i", *words, url))
    return Cmd(
        key=key,
        text=f"{_AUTH}ask {line}\n",
        timeout=timeout + 5,
        show=f"curl {shown}",
        secrets=(api_key.NAME,),
        guard=vllm.guard(known),
    )


def _keyless(known: Known, url: str) -> Cmd:
    """The same request as anybody could make it."""
    asked = _ask(known, "keyless", url)
    return replace(asked, text=f"# no key\n{asked.text}", show=f"{asked.show}  # no key", secrets=())


def _unguarded(base: str, name: str) -> Cmd:
    """Asks the routes outside /v1 without a key, with the least work for the model; prints each status."""
    chat = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    bodies = (chat, {"model": name, "prompt": "Hi"})
    how = shlex.join(curl_words(base))
    lines = [
        f"printf '%s ' {path}; curl -sS -o /dev/null -w '%{{http_code}}\\n' {how} --max-time 60 "
        f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))} {shlex.quote(base + path)}"
        for path, body in zip(UNGUARDED, bodies, strict=True)
    ]
    show = f"curl {base}{UNGUARDED[0]} and {UNGUARDED[1]}  # no key"
    return Cmd(key="unguarded", text="\n".join([*lines, ""]), timeout=130, show=show)


class Curl(Step):
    id = "curl"
    title = "curl the API"
    short = "curl"
    keys = ("health", "models", "keyless", "chat", "unguarded", aftermath.LOG, "mesh", certificate.KEY)

    def rounds(self, known: Known, done: Results) -> Round | None:
        serve, head = known.cluster.serve, known.server
        base = base_url(known.cluster, listens(known.cluster, known.ip(head)))
        if not done.has("health"):
            work = [
                (head, _ask(known, "health", f"{base}/health")),
                (head, _ask(known, "models", f"{base}/v1/models")),
            ]
            if api_key.wanted(known.cluster):
                work.append((head, _keyless(known, f"{base}/v1/models")))
            if (look := certificate.look(known)) is not None:
                work.append((head, look))
            return Round(work=tuple(work))
        if not done.has("chat"):
            body = {
                "model": serve.name,
                "messages": [{"role": "user", "content": PROMPT}],
                "max_tokens": MAX_TOKENS,
            }
            words = ("-H", "Content-Type: application/json", "-d", json.dumps(body))
            return Round(
                work=((head, _ask(known, "chat", f"{base}/v1/chat/completions", *words, timeout=180)),)
            )
        if aftermath.engine_failed(done.get("chat", head)):
            return None if done.has(aftermath.LOG) else aftermath.looks(known)
        if api_key.wanted(known.cluster) and not done.has("unguarded"):
            return Round(work=((head, _unguarded(base, serve.name)),))
        return None

    def judge(self, known: Known, done: Results) -> Verdict:
        head, name = known.server, known.cluster.serve.name
        replies = {key: done.get(key, head) for key in ("health", "models", "chat")}
        checks = [
            _status("/health", replies["health"], known),
            _models(replies["models"], known, name),
            _chat(replies["chat"], known),
            *aftermath.checks(known, done),
        ]
        if api_key.wanted(known.cluster):
            checks.append(_refused(done.get("keyless", head), known))
            if not done.has(aftermath.LOG):  # an engine that has failed is asked nothing more
                checks.append(_left_open(done.get("unguarded", head), known))
        facts = {}
        if tls(known.cluster):
            shown = done.get(certificate.KEY, head)
            checks.append(certificate.check(known, shown))
            facts = {
                certificate.NAMES: certificate.names(shown),
                certificate.TRUSTED: certificate.trusted(shown),
            }
        ok = all(check.ok for check in checks)
        said = "the model answered a chat" if ok else "the API did not answer correctly"
        return Verdict(ok, said, tuple(checks), facts)


def _status(name: str, result: Result | None, known: Known) -> Check:
    if result is None or not result.ok:
        return failure(result, known.server)
    reply = Reply(result.text)
    good = reply.status == 200 and not reply.html
    found = f"HTTP {reply.status}" if reply.status else "no HTTP answer"
    if reply.html:
        found += f" with a web page{f' ({reply.title})' if reply.title else ''}"
    return Check(name, good, found, "HTTP 200", known.server.name, "" if good else _http(reply, known))


def _models(result: Result | None, known: Known, wanted: str) -> Check:
    check = _status("/v1/models", result, known)
    if not check.ok or result is None:
        return check
    ids = models_of(Reply(result.text))
    more = f" and {len(ids) - 10} more" if len(ids) > 10 else ""
    found = ", ".join(one[:100] for one in ids[:10]) + more if ids else "no models"
    hint = "" if wanted in ids else "another server answers on this port, or served_model_name differs"
    return Check("/v1/models", wanted in ids, found, wanted, known.server.name, hint)


def _chat(result: Result | None, known: Known) -> Check:
    check = _status("chat", result, known)
    if not check.ok or result is None:
        return check
    reply, node = Reply(result.text), known.server.name
    answer = HttpAnswer(reply)
    wanted = "a reply of at least one token"
    if answer.message is None:
        hint = "another server answers on this port: this is not a chat completion of the OpenAI API"
        said = f": {reply.said}" if reply.table() and reply.said else ""
        if said:
            hint = "an error with HTTP 200: a proxy or another server answers on this port"
        return Check("chat", False, f"no message in the answer{said}", wanted, node, hint)
    count = "tokens were not counted" if answer.tokens is None else f"{answer.tokens} tokens came back"
    if answer.given_up:
        hint = "the engine gave the request up: why is in the vllm serve log, before this request's line"
        return Check("chat", False, f"{count}, finish_reason {answer.given_up}", wanted, node, hint)
    if answer.broken:
        hint = (
            "the model computes NaN: broken GPU communication (NCCL), a dtype the weights do not support "
            "(--dtype bfloat16), or damaged weights"
        )
        return Check("chat", False, f"{count}, all of them {answer.text[:8]!r}", wanted, node, hint)
    if not answer.text and not answer.calls:
        hint = (
            "tokens without text: does --reasoning-parser fit the model? Its chat template and tokenizer "
            "can be wrong as well"
        )
        return Check("chat", False, f"{count}, but content and reasoning are empty", wanted, node, hint)
    return Check("chat", answer.tokens != 0, count, wanted, node)


def _refused(result: Result | None, known: Known) -> Check:
    if result is None or not result.ok:
        return failure(result, known.server)
    status = Reply(result.text).status
    hint = "" if status == 401 else "vLLM was started without a key: `milepost down`, then walk again"
    return Check("without a key", status == 401, f"HTTP {status}", "HTTP 401", known.server.name, hint)


def _left_open(result: Result | None, known: Known) -> Check:
    """Never shuts the gate: vLLM cannot be told to guard them."""
    node, wanted = known.server.name, "no route runs the model without a key"
    text = result.text if result is not None else ""
    status = dict(re.findall(r"^(/[a-z]{1,20}) (\d{3})$", text, re.MULTILINE))
    answered = [path for path in UNGUARDED if status.get(path, "").startswith("2")]
    if answered:
        hint = (
            f"the key does not guard these: put a proxy in front that passes /v1 (`milepost help proxy`), "
            f"and let nobody else reach port {known.cluster.serve.port}"
        )
        found = f"answered without a key: {', '.join(answered)}"
        return Check("other routes", True, found, wanted, node, hint, warning=True)
    if any(status.get(path, "000") == "000" for path in UNGUARDED):
        return Check("other routes", True, "not proved: no answer", wanted, node, warning=True)
    return Check("other routes", True, ", ".join(f"{p} HTTP {s}" for p, s in status.items()), wanted, node)


def _http(reply: Reply, known: Known) -> str:
    """What to try, by who answered and how."""
    if reply.html or reply.proxy:
        who = reply.proxy or "a web server or proxy"
        if reply.status in (502, 503, 504):
            return f"{who} answers instead of vLLM, and cannot reach a server behind it: look at its target"
        return f"{who} answers on this port, not vLLM: end it, or choose another serve.port"
    if reply.status == 401 and api_key.wanted(known.cluster):
        return (
            "vLLM was started with another API key: walk again and give that one, "
            "or `milepost down` first to start it with yours"
        )
    if reply.status == 401:
        return "the server wants an API key: set VLLM_API_KEY in the wizard's environment"
    if reply.status == 503 and reply.headers.get("server") == "uvicorn":
        return "vLLM says so when its engine has ended: the first error in its log is the cause"
    if reply.status in (502, 503, 504):
        return f"a gateway answers, or the server is not ready yet; retry. {reply.said}".strip()
    if reply.status >= 500:
        return "the engine failed: its first error is in the vllm serve log, before this request's"
    if reply.status == 404 and reply.said == "Not Found":
        return "the server has no such path: another server answers on this port"
    if not reply.status:
        spoken, other = ("HTTPS", "plain HTTP") if tls(known.cluster) else ("HTTP", "HTTPS")
        return f"the answer is not {spoken} (perhaps it is {other}): another server is on this port"
    return reply.said
