"""Proof that every replica works: vLLM's /metrics counts the generated tokens of each engine, before and
after requests that are enough for all of them. (A single request goes to one engine; /health knows of none.)

Source: vllm 0.33, v1/metrics/loggers.py: the counter vllm:generation_tokens, with the labels model_name and
engine, the number of the data-parallel engine.
"""

from __future__ import annotations

import re
import shlex

from wizard_steps.cluster.api import base_url, curl_words, listens
from wizard_steps.engine.step import Known
from wizard_steps.milestones.common import failure
from wizard_steps.model import Check, Cmd, Node, Result, Results
from wizard_steps.node.prometheus import samples

BEFORE, AFTER = "engines-before", "engines-after"
_COUNTER = "vllm:generation_tokens_total"
#: More numbers of engines than this are not listed one by one.
_SHOWN = 16


def metrics(known: Known, key: str) -> Cmd:
    """The lines of the counter, asked on the server itself. /metrics wants no key."""
    cluster = known.cluster
    url = f"{base_url(cluster, listens(cluster, known.ip(known.server)))}/metrics"
    asked = shlex.join((*curl_words(url), "--max-time", "20", url))
    text = (
        f"m=$(curl -sS {asked}) || exit $?\n"
        f"printf '%s\\n' \"$m\" | grep {_COUNTER} || {{ echo 'no {_COUNTER} in /metrics'; exit 1; }}\n"
    )
    return Cmd(key, text, timeout=30, show=f"curl -s {url} | grep {_COUNTER}")


def tokens(text: str) -> dict[int, float]:
    """Engine -> tokens. Lines without an engine's number, or a number, are passed over."""
    found: dict[int, float] = {}
    for one in samples(text):
        name = one.labels.get("engine", "")
        if one.name == _COUNTER and re.fullmatch(r"[0-9]{1,5}", name) and 0 <= one.value < 1e18:
            found[int(name)] = found.get(int(name), 0.0) + one.value
    return found


def requests(known: Known) -> int:
    """Enough that each engine gets one, however unevenly the API's processes take them."""
    return min(512, 8 * known.cluster.serve.data_parallel)


def made(known: Known, done: Results, after: str = AFTER) -> dict[int, float]:
    """Tokens that each engine of the cluster file made between the two looks."""
    first, last = done.get(BEFORE, known.server), done.get(after, known.server)
    before = tokens(first.text) if first is not None else {}
    now = tokens(last.text) if last is not None else {}
    return {
        engine: now.get(engine, 0.0) - before.get(engine, 0.0)
        for engine in range(known.cluster.serve.data_parallel)
    }


def check(known: Known, done: Results, after: str = AFTER) -> Check:
    """One check for all engines: those without tokens fail it, with the node they run on."""
    server = known.server
    for key in (BEFORE, after):
        result = done.get(key, server)
        if result is None or not result.ok:
            return _unread(result, server)
    found = made(known, done, after)
    idle = [engine for engine, count in found.items() if count < 1]
    wanted = f"tokens from each of {len(found)} engines"
    counts = ", ".join(f"engine {engine}: {count:g}" for engine, count in list(found.items())[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    if not idle:
        return Check("engines", True, f"tokens by /metrics: {counts}{more}", wanted, server.name)
    names = ", ".join(_named(known, engine) for engine in idle[:_SHOWN])
    hint = "a replica gets no requests, or answers none: read its log, then `milepost down`, and walk again"
    return Check("engines", False, f"no tokens from {names} ({counts}{more})", wanted, server.name, hint)


def _unread(result: Result | None, server: Node) -> Check:
    hint = "it shows whether every replica works: leave --disable-log-stats out of serve.extra_flags"
    return failure(result, server, hint)


def _named(known: Known, engine: int) -> str:
    from wizard_steps.milestones.vllm import dealt

    node = next((s.node for s in dealt(known).shares if s.first <= engine < s.first + s.count), None)
    return f"engine {engine}" + (f" (on {node.name})" if node is not None else "")
