"""What is known of a running cluster at one moment, and how a new sample changes it. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from wizard_steps.cluster.file import Cluster
from wizard_steps.node.prometheus import EngineMetrics, since
from wizard_steps.node.sample import NodeSample

#: Lines of the log that are kept.
LINES = 2000
#: Requests of monitors, in a server's access log.
_IDLE = ("GET /metrics", "GET /health", "GET /ping")
#: Seconds without a sample after which what is shown of a node is old.
OLD = 10.0


class Rate(Struct, frozen=True):
    """An engine between its two latest samples: per second, milliseconds, a share; None: not known."""

    name: str
    running: float
    waiting: float
    kv_use: float | None
    preemptions: float
    generated: float | None = None
    prompts: float | None = None
    first_token_ms: float | None = None
    step_ms: float | None = None


class NodeNow(Struct):
    """``problem``: why there is no sample, or none any more; "" where all is well. ``seen``: our clock."""

    name: str
    wanted: int
    sample: NodeSample | None = None
    seen: float | None = None
    problem: str = "no answer yet"
    previous: NodeSample | None = None

    def is_old(self, now: float) -> bool:
        return self.seen is None or now - self.seen > OLD


class Board(Struct):
    """``found``: causes that the diagnosis sees in the log. ``server`` is the node whose /metrics is read."""

    title: str
    server: str
    simulated: bool
    nodes: dict[str, NodeNow]
    engines: tuple[Rate, ...] = ()
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    found: tuple[str, ...] = ()
    #: Counts up with each change, for those who draw it.
    version: int = 0

    def take(self, node: str, sample: NodeSample, now: float) -> None:
        """A sample of a node came at ``now`` (seconds of our own clock)."""
        it = self.nodes[node]
        it.previous, it.sample, it.seen, it.problem = it.sample, sample, now, sample.trouble
        if node == self.server:
            self.engines = rates(it.previous, sample)
        self.version += 1

    def lost(self, node: str, why: str) -> None:
        """What is known of the node stays, and is told to be old."""
        self.nodes[node].problem = why
        if node == self.server:
            self.engines = ()
        self.version += 1

    def log(self, node: str, text: str) -> None:
        """Whole lines of the server's log; what asks for its health every second is no news."""
        for line in text.splitlines():
            if any(asked in line for asked in _IDLE):
                continue
            self.lines.append(f"{node}: {line}" if len(self.nodes) > 1 else line)
        self.version += 1

    @property
    def healthy(self) -> bool:
        """Whether every node and an engine were seen, and nothing is wrong with any GPU that is wanted."""
        return bool(self.engines) and not self.complaints()

    def complaints(self) -> list[str]:
        """What is wrong now, one line each."""
        said = [f"{it.name}: {it.problem}" for it in self.nodes.values() if it.problem and it.wanted]
        for it in self.nodes.values():
            gpus = it.sample.gpus if it.sample is not None else ()
            if gpus and len(gpus) < it.wanted:
                said.append(f"{it.name}: {len(gpus)} of {it.wanted} GPUs answer")
            said += [f"{it.name}: GPU {gpu.index}: {', '.join(gpu.slowed)}" for gpu in gpus if gpu.slowed]
        server = self.nodes[self.server]
        if server.sample is not None and not server.problem and not server.sample.api:
            said.append(f"{self.server}: /metrics does not answer: does vLLM run?")
        return [*said, *self.found]


def new(cluster: Cluster) -> Board:
    nodes = {node.name: NodeNow(node.name, node.gpus) for node in cluster.node_list}
    return Board(f"{cluster.name}: {cluster.serve.name}", cluster.server.name, cluster.simulated, nodes)


def rates(previous: NodeSample | None, sample: NodeSample) -> tuple[Rate, ...]:
    """What each engine does; speeds need two samples."""
    before = {engine.name: engine for engine in previous.engines} if previous is not None else {}
    seconds = sample.at - previous.at if previous is not None else 0.0
    return tuple(_rate(before.get(engine.name), engine, seconds) for engine in sample.engines)


def _rate(then: EngineMetrics | None, now: EngineMetrics, seconds: float) -> Rate:
    base = Rate(now.name, now.running, now.waiting, now.kv_use, now.preemptions)
    if then is None or seconds <= 0:
        return base
    did = since(then, now)
    return msgspec.structs.replace(
        base,
        generated=did.generated_tokens / seconds,
        prompts=did.prompt_tokens / seconds,
        first_token_ms=1000 * did.first_token_seconds / did.first_tokens if did.first_tokens > 0 else None,
        step_ms=1000 * did.step_seconds / did.steps if did.steps > 0 else None,
    )


def as_json(board: Board, now: float) -> Mapping[str, Any]:
    """For scripts. Numbers that are not known are null."""
    return {
        "schema": 1,
        "cluster": board.title,
        "simulated": board.simulated,
        "healthy": board.healthy,
        "complaints": board.complaints(),
        "nodes": [
            {
                "name": it.name,
                "gpus_wanted": it.wanted,
                "problem": it.problem,
                "seconds_old": round(now - it.seen, 1) if it.seen is not None else None,
                "memory_available_mib": it.sample.available if it.sample is not None else None,
                "gpus": msgspec.to_builtins(it.sample.gpus) if it.sample is not None else [],
            }
            for it in board.nodes.values()
        ],
        "engines": msgspec.to_builtins(board.engines),
        "log": list(board.lines)[-20:],
    }


#: Columns of the table of GPUs: title and width. Both tables fit a terminal of 80 columns with margins.
COLUMNS = (("node", 12), ("GPU", 3), ("use", 12), ("memory GiB", 15), ("power", 6), ("temp", 4), ("clock", 8))
#: Cells of the bars in them.
_USE, _MEMORY, _KV = 6, 5, 6


def _first(text: str) -> str:
    """The first sentence: all of it is among the complaints."""
    return re.split(r"(?<=[a-z0-9)][.:]) ", text, maxsplit=1)[0].rstrip(":")


def bar(share: float, width: int) -> str:
    """A bar of ``width`` cells; what is not empty shows at least an eighth."""
    share = min(1.0, max(0.0, share))
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width)


def gpu_rows(board: Board, now: float) -> list[tuple[str, tuple[str, ...], str]]:
    """(state, cells as COLUMNS, node) of every GPU; one row for a node that shows none."""
    found: list[tuple[str, tuple[str, ...], str]] = []
    for it in board.nodes.values():
        gpus = it.sample.gpus if it.sample is not None else ()
        state = "old" if it.is_old(now) else "ok"
        if not gpus:
            why = _first(it.problem) or (
                "no GPU is wanted here" if not it.wanted else "nvidia-smi shows no GPU"
            )
            found.append(("bad" if it.wanted else "ok", (it.name, "-", why), it.name))
            continue
        for place, gpu in enumerate(gpus):
            use = f"{bar((gpu.use or 0) / 100, _USE)} {gpu.use:3.0f} %" if gpu.use is not None else "unknown"
            memory = "unknown"
            if gpu.used is not None and gpu.total:
                memory = f"{bar(gpu.used / gpu.total, _MEMORY)} {gpu.used / 1024:.1f}/{gpu.total / 1024:.0f}"
            cells = (
                it.name,
                str(gpu.index),
                use,
                memory,
                f"{gpu.power:.0f} W" if gpu.power is not None else "-",
                f"{gpu.temperature:.0f}°" if gpu.temperature is not None else "-",
                f"{gpu.clock:.0f} MHz" if gpu.clock is not None else "-",
                ", ".join(gpu.slowed) or (_first(it.problem) if not place else ""),
            )
            found.append(("warn" if gpu.slowed and state == "ok" else state, cells, it.name))
    return found


#: Likewise of the table of engines.
ENGINES = (("engine", 6), ("running", 7), ("waiting", 7), ("tokens/s", 8), ("TTFT ms", 7), ("ITL ms", 7),
           ("KV cache", 11), ("preempted", 9))  # fmt: skip


def engine_lines(board: Board) -> list[str]:
    """A head line and one line for each engine; nothing where none answers."""
    rows = [tuple(name for name, _ in ENGINES)] if board.engines else []
    for rate in board.engines:
        kv = f"{bar(rate.kv_use, _KV)} {rate.kv_use:4.0%}" if rate.kv_use is not None else "unknown"
        speeds = [_known(value) for value in (rate.generated, rate.first_token_ms, rate.step_ms)]
        rows.append(
            (rate.name, f"{rate.running:.0f}", f"{rate.waiting:.0f}", *speeds, kv, f"{rate.preemptions:.0f}")
        )
    widths = [width for _, width in ENGINES]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _known(value: float | None) -> str:
    return f"{value:.1f}" if value is not None else "-"


def as_text(board: Board, now: float) -> str:
    """The whole page as plain text, for `--once`."""
    widths = [width for _, width in COLUMNS]
    lines = [f"{'SIMULATED  ' if board.simulated else ''}{board.title}", ""]
    lines.append("  ".join(title.ljust(width) for title, width in COLUMNS))
    for _, cells, _node in gpu_rows(board, now):
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        lines.append("  ".join([*padded, *cells[len(widths) :]]).rstrip())
    lines += ["", *(engine_lines(board) or ["no engine answers"])]
    said = board.complaints()
    return "\n".join([*lines, "", *(f"! {line}" for line in said)]).rstrip() + "\n"
