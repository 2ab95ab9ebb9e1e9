"""What a load run measured, by `vllm bench serve` or by milepost's own client. Reading never raises."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from msgspec import Struct

from wizard_steps.node.lines import fields, plain

#: A line of vLLM's result: what, a colon, the number at the end.
_LINE = re.compile(r"^([A-Z][A-Za-z0-9 ().,/-]{2,60}):\s{1,60}([0-9.]{1,20}|nan|inf)\s{0,20}$", re.MULTILINE)
#: What ends vLLM's result and begins it.
_TITLE = "Serving Benchmark Result"
#: vLLM's words by ours. (benchmarks/serve.py; older releases do not count failed requests.)
_VLLM = {
    "Successful requests": "requests",
    "Failed requests": "failed",
    "Benchmark duration (s)": "seconds",
    "Total generated tokens": "output_tokens",
    "Output token throughput (tok/s)": "output_tokens_per_second",
    **{f"Median {n.upper()} (ms)": f"median_{n}_ms" for n in ("ttft", "tpot", "itl", "e2el")},
    **{f"P99 {n.upper()} (ms)": f"p99_{n}_ms" for n in ("ttft", "tpot", "itl", "e2el")},
}


#: The fact of the gate that holds the numbers, by concurrency.
LOAD = "load"
#: What is compared between walks, and whether more is better.
BETTER = {
    "output_tokens_per_second": True,
    "median_ttft_ms": False,
    "p99_ttft_ms": False,
    "median_tpot_ms": False,
    "p99_tpot_ms": False,
    "median_itl_ms": False,
}


class Numbers(Struct, frozen=True):
    """Times in milliseconds; None where it was not measured. ``ttft``: time to the first token, ``tpot``:
    for each further one, ``itl``: between two pieces of the stream, ``e2el``: of a whole request."""

    requests: int
    failed: int = 0
    seconds: float | None = None
    output_tokens: float | None = None
    output_tokens_per_second: float | None = None
    median_ttft_ms: float | None = None
    p99_ttft_ms: float | None = None
    median_tpot_ms: float | None = None
    p99_tpot_ms: float | None = None
    median_itl_ms: float | None = None
    p99_itl_ms: float | None = None
    median_e2el_ms: float | None = None
    p99_e2el_ms: float | None = None
    longest_silence_seconds: float | None = None
    client_cpu_percent: float | None = None
    stalls: int = 0
    error: str = ""

    @property
    def compared(self) -> dict[str, float]:
        """What two walks can be compared by, as far as it was measured."""
        values = {name: getattr(self, name) for name in BETTER}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def line(self) -> str:
        """As a person reads it; only what was measured."""
        parts = [f"{self.requests} requests"]
        if self.output_tokens_per_second is not None:
            parts.append(f"{self.output_tokens_per_second:.1f} tokens/s")
        for name, median, p99 in (
            ("TTFT", self.median_ttft_ms, self.p99_ttft_ms),
            ("TPOT", self.median_tpot_ms, self.p99_tpot_ms),
            ("ITL", self.median_itl_ms, self.p99_itl_ms),
        ):
            if median is not None:
                tail = f" (p99 {p99:.1f})" if p99 is not None else ""
                parts.append(f"{name} {median:.1f}{tail} ms")
        return ", ".join(parts)


def numbers(text: str) -> Numbers | None:
    """The numbers of one run; None where the output holds no result."""
    start = text.rfind(_TITLE)
    if start >= 0:
        found = {_VLLM[name]: value for name, value in _LINE.findall(text, start) if name in _VLLM}
    else:
        found = fields(text)
    error = plain(found.pop("error", ""))[:200]
    values = {name: number for name, text in found.items() if (number := _number(text)) is not None}
    if "requests" not in values:
        return None
    whole = {name: int(values.pop(name, 0)) for name in ("requests", "failed", "stalls")}
    known: Mapping[str, float] = {n: v for n, v in values.items() if n in Numbers.__struct_fields__}
    return Numbers(**whole, **known, error=error)  # type: ignore[arg-type]


def concurrency_of(key: str) -> int | None:
    """How many requests at the same time the command of that key makes; None for any other command."""
    found = re.fullmatch(r"(?:bench|client)-(\d{1,4})", key, re.ASCII)
    return int(found[1]) if found else None


def measures(key: str) -> bool:
    """Whether the command of that key measures the server: what it prints is no fact of the cluster."""
    return key in ("warm-up", "soak") or concurrency_of(key) is not None


def _number(text: str) -> float | None:
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", text.strip(), re.ASCII):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
