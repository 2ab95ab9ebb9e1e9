"""The Prometheus text format, as vLLM's /metrics prints it, and what of it is read: counters per engine.

Reading never raises: a line that is no sample is passed over. vLLM's names: vllm/v1/metrics/loggers.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

#: Characters of a line that are read; vLLM's longest (its configuration as labels) has about 1,500.
_LONGEST = 8192
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_LABEL = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*')
_ESCAPE = re.compile(r"\\(.)")
#: The engine of a release that does not name it: there is one.
ONLY = "0"


class Sample(Struct, frozen=True):
    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """Every sample of a page, in its order. Time stamps and exemplars are left out."""
    for line in text.splitlines():
        if (found := _sample(line[:_LONGEST].strip())) is not None:
            yield found


def _sample(line: str) -> Sample | None:
    name = _NAME.match(line)
    if name is None:
        return None
    labels: dict[str, str] = {}
    at = name.end()
    if line[at : at + 1] == "{":
        at += 1
        while (label := _LABEL.match(line, at)) is not None:
            labels[label[1]] = _ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], label[2])
            at = label.end()
            if line[at : at + 1] != ",":
                break
            at += 1
        at += len(line[at:]) - len(line[at:].lstrip())
        if line[at : at + 1] != "}":
            return None
        at += 1
    value = _number(line[at:].split(None, 1)[0] if line[at:].strip() else "")
    return None if value is None else Sample(name[0], labels, value)


def _number(word: str) -> float | None:
    """What Go's ParseFloat takes of what a server prints: no underscores."""
    if "_" in word:
        return None
    try:
        return float(word)
    except ValueError:
        return None


class EngineMetrics(Struct, frozen=True):
    """One engine of vLLM (one of its data-parallel ranks). Totals count since it started.

    ``kv_use``: share of the KV cache in use, 0 to 1; None where the server does not say.
    ``first_token_seconds`` is the sum over ``first_tokens`` requests, ``step_seconds`` over ``steps`` tokens.
    ``unfinished``: requests that ended otherwise than by length or stop (aborted, errors).
    """

    name: str
    running: float = 0.0
    waiting: float = 0.0
    kv_use: float | None = None
    prompt_tokens: float = 0.0
    generated_tokens: float = 0.0
    preemptions: float = 0.0
    finished: float = 0.0
    unfinished: float = 0.0
    first_token_seconds: float = 0.0
    first_tokens: float = 0.0
    step_seconds: float = 0.0
    steps: float = 0.0


#: Fields of Engine by the name of the sample. Two names of one field are older and newer releases.
_FIELDS = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "generated_tokens",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:time_to_first_token_seconds_sum": "first_token_seconds",
    "vllm:time_to_first_token_seconds_count": "first_tokens",
    "vllm:inter_token_latency_seconds_sum": "step_seconds",
    "vllm:inter_token_latency_seconds_count": "steps",
    "vllm:time_per_output_token_seconds_sum": "step_seconds",
    "vllm:time_per_output_token_seconds_count": "steps",
}
_KV_USE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_SUCCESS = "vllm:request_success_total"
#: For a command that passes on only what is read here: the beginnings of the names, for ``grep -E``.
WANTED = "^(" + "|".join(sorted({*_FIELDS, *_KV_USE, _SUCCESS})) + ")"


class _Sums(Struct):
    values: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, name: str, of: str, value: float) -> None:
        """Several models of one engine (adapters) count together; vLLM 0.9 and 0.10 tell the same share of
        the KV cache under its old and its new name."""
        before = self.values[name].get(of, 0.0)
        self.values[name][of] = max(before, value) if of == "kv_use" else before + value


def engines(page: str | Iterable[Sample]) -> dict[str, EngineMetrics]:
    """vLLM's engines on a page, by name, in their order; empty where it is not vLLM's."""
    sums = _Sums()
    for one in samples(page) if isinstance(page, str) else page:
        if not one.name.startswith("vllm:") or not math.isfinite(one.value):
            continue
        of = _FIELDS.get(one.name, "")
        if one.name == _SUCCESS:
            of = "finished" if one.labels.get("finished_reason") in ("stop", "length") else "unfinished"
        if one.name in _KV_USE:
            of = "kv_use"
        if of:
            name = one.labels.get("engine", ONLY)[:32]
            sums.values.setdefault(name, {})
            sums.add(name, of, one.value)
    return {name: EngineMetrics(name, **sums.values[name]) for name in sorted(sums.values, key=_order)}


def _order(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isascii() and name.isdigit() else (1 << 40, name)


def since(then: EngineMetrics | None, now: EngineMetrics) -> EngineMetrics:
    """What an engine did between two pages: its totals are differences, what it holds now stays.

    A total that became smaller belongs to an engine that was started anew: it counts from zero.
    """
    if then is None:
        return now
    names = ("prompt_tokens", "generated_tokens", "preemptions", "finished", "unfinished",
             "first_token_seconds", "first_tokens", "step_seconds", "steps")  # fmt: skip
    anew = any(getattr(now, name) < getattr(then, name) for name in names)
    changed = {n: getattr(now, n) - (0.0 if anew else getattr(then, n)) for n in names}
    return EngineMetrics(now.name, now.running, now.waiting, now.kv_use, **changed)
