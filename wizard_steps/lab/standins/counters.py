"""What the stand-in counts for /metrics, under vLLM's names, and the pace of its answers. SIMULATED."""

from __future__ import annotations

import threading
import time

#: Seconds to the first token, and for each further one, of a request that is alone.
FIRST, STEP = 0.03, 0.004
#: Requests at the same time that make the pace half as fast again.
CROWD = 16
#: Tokens the pretended KV cache has room for.
ROOM = 200_000


class Counters:
    """Of one engine; safe for the server's threads."""

    def __init__(self, model: str, engine: int = 0) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._model = model.replace("\\", "\\\\").replace('"', '\\"')
        self._running = self._held = 0
        self._values = dict.fromkeys(
            ("prompt_tokens_total", "generation_tokens_total", "time_to_first_token_seconds_sum",
             "time_to_first_token_seconds_count", "inter_token_latency_seconds_sum",
             "inter_token_latency_seconds_count", "num_preemptions_total"), 0.0)  # fmt: skip
        self._finished = {"stop": 0, "length": 0, "abort": 0}

    def begin(self, prompt: int) -> None:
        with self._lock:
            self._running += 1
            self._held += prompt
            self._values["prompt_tokens_total"] += prompt

    def first_token(self) -> None:
        """Waits for it."""
        took = self._wait(FIRST)
        with self._lock:
            self._values["time_to_first_token_seconds_sum"] += took
            self._values["time_to_first_token_seconds_count"] += 1
            self._values["generation_tokens_total"] += 1

    def tokens(self, count: int) -> None:
        """Waits for that many more."""
        took = self._wait(STEP * count)
        with self._lock:
            self._values["inter_token_latency_seconds_sum"] += took
            self._values["inter_token_latency_seconds_count"] += count
            self._values["generation_tokens_total"] += count

    def end(self, prompt: int, reason: str) -> None:
        with self._lock:
            self._running -= 1
            self._held -= prompt
            self._finished[reason] += 1

    def _wait(self, seconds: float) -> float:
        began = time.monotonic()
        time.sleep(seconds * (1 + self._running / (2 * CROWD)))
        return time.monotonic() - began

    def page(self) -> str:
        """As /metrics prints it."""
        with self._lock:
            gauges = {
                "num_requests_running": float(self._running),
                "num_requests_waiting": 0.0,
                "kv_cache_usage_perc": min(1.0, self._held / ROOM),
            }
            labels = f'engine="{self._engine}",model_name="{self._model}"'
            lines = ["# SIMULATED by the milepost lab: no model, no GPU"]
            lines += [
                f"vllm:{name}{{{labels}}} {value}" for name, value in {**gauges, **self._values}.items()
            ]
            lines += [
                f'vllm:request_success_total{{engine="{self._engine}",finished_reason="{reason}",'
                f'model_name="{self._model}"}} {float(count)}'
                for reason, count in self._finished.items()
            ]
        return "\n".join(lines) + "\n"
