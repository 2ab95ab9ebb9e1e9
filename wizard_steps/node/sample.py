"""What GPUs and engines do, sampled on the node itself: sh text, and its reader.

One sample is a line `at SECONDS`, then a line `gpu …` for each GPU as nvidia-smi prints it, `memory …` of the
machine, and on the server `api …` for each line of /metrics that is read. Reading never raises.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Sequence

from msgspec import Struct

from wizard_steps.cluster.api import curl_words
from wizard_steps.node.lines import plain
from wizard_steps.node.prometheus import WANTED, EngineMetrics, engines

#: What is asked of each GPU. The reasons for lower clocks have two names, and old drivers know neither.
_FIELDS = "index,uuid,utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu,clocks.sm"
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
#: Bits of those reasons that mean that the card is in trouble, from NVML's header. (0x4, its power limit, is
#: usual under load.)
SLOWED = {0x8: "hardware slowdown", 0x20: "too hot (software)", 0x40: "too hot", 0x80: "power brake"}
#: Characters of samples that are read: ten minutes of 16 GPUs have about 1.5 million.
MOST = 1 << 24


class GpuSample(Struct, frozen=True):
    """Per cent, MiB, watts, degrees Celsius, MHz; None where the card does not say."""

    index: int
    uuid: str = ""
    use: float | None = None
    used: float | None = None
    total: float | None = None
    power: float | None = None
    temperature: float | None = None
    clock: float | None = None
    reasons: int = 0

    @property
    def slowed(self) -> tuple[str, ...]:
        """Why its clocks are lower than it could, where that is trouble."""
        return tuple(words for bit, words in SLOWED.items() if self.reasons & bit)


class NodeSample(Struct, frozen=True):
    """``at``: seconds since 1970 on the node's own clock. ``trouble``: what nvidia-smi said instead of GPUs.
    ``available``: memory of the machine in MiB. ``api``: whether /metrics gave anything."""

    at: float
    gpus: tuple[GpuSample, ...] = ()
    engines: tuple[EngineMetrics, ...] = ()
    available: float | None = None
    trouble: str = ""

    @property
    def api(self) -> bool:
        return bool(self.engines)


def once(url: str = "") -> str:
    """sh text that prints one sample. ``url``: vLLM's /metrics, on its own machine; "" elsewhere.

    /metrics asks for no key (vLLM does not guard it).
    """
    ask = "nvidia-smi --format=csv,noheader,nounits --query-gpu="
    tries = " || ".join(f"{ask}{_FIELDS},{name} 2>/dev/null" for name in _REASONS)
    page = shlex.join(("curl", "-s", *curl_words(url), "--max-time", "3", url))
    api = f"{page} | grep -E {shlex.quote(WANTED)} | sed 's/^/api /'\n" if url else ""
    return (
        "PATH=$PATH:/usr/lib/wsl/lib:/usr/local/cuda/bin; export PATH\n"
        'echo "at $(date +%s)"\n'
        f"{{ {tries} || {ask}{_FIELDS} 2>&1; }} | sed 's/^/gpu /'\n"
        "sed -n 's/^MemAvailable: */memory /p' /proc/meminfo\n"
        f"{api}"
    )


def again(url: str, every: float, limit: float) -> str:
    """The same every ``every`` seconds; it ends by itself after ``limit`` seconds."""
    return (
        f"end=$(( $(date +%s) + {max(1, round(limit))} ))\n"
        'while [ "$(date +%s)" -lt "$end" ]; do\n'
        f"{once(url)}sleep {max(0.2, every):g}\ndone\n"
    )


def read(text: str) -> list[NodeSample]:
    """The samples of an output, oldest first; what is none is passed over."""
    found: list[list[str]] = []
    for line in text[:MOST].splitlines():
        if line.startswith("at "):
            found.append([line])
        elif found:
            found[-1].append(line)
    return [one for lines in found if (one := _sample(lines)) is not None]


def _sample(lines: Sequence[str]) -> NodeSample | None:
    at = _number(lines[0].removeprefix("at "))
    if at is None:
        return None
    said = [line.removeprefix("gpu ") for line in lines if line.startswith("gpu ")]
    gpus = tuple(_gpus(said))
    memory = next((line.split()[1] for line in lines if re.match(r"memory \d", line)), "")
    kib = _number(memory)
    page = "\n".join(line.removeprefix("api ") for line in lines if line.startswith("api "))
    trouble = "" if gpus else plain(next(iter(said), ""))[:200]
    return NodeSample(
        at, gpus, tuple(engines(page).values()), kib / 1024 if kib is not None else None, trouble
    )


def _gpus(lines: Sequence[str]) -> Iterator[GpuSample]:
    for line in lines:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) not in (8, 9) or not re.fullmatch(r"\d{1,4}", cells[0], re.ASCII):
            continue
        use, used, total, power, temperature, clock = (_number(cell) for cell in cells[2:8])
        reasons = _bits(cells[8] if len(cells) == 9 else "")
        yield GpuSample(
            int(cells[0]), plain(cells[1])[:64], use, used, total, power, temperature, clock, reasons
        )


def _bits(cell: str) -> int:
    return int(cell, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", cell) else 0


def _number(cell: str) -> float | None:
    """What a card does not know reads [N/A], [Not Supported] and the like."""
    try:
        value = float(cell) if "_" not in cell else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
