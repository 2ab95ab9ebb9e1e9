"""What a fault test measures: which gate stayed shut, how long milepost took to say so, and what it said."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.real.hosts import Hosts
from tests.real.walks import HeadlessWalk, told


@dataclass(frozen=True)
class Told:
    """``after`` is in seconds: from the planting of the fault, or, when it was there before the walk, from
    the start of the gate's step. ``words`` holds the verdict's summary and each failed check."""

    fault: str
    gate: str
    after: float
    words: str
    code: int
    #: Whatever else a test wants to look at.
    extra: dict[str, object] = field(default_factory=dict)


#: Everything measured in this session, for the table at its end.
MEASURED: list[Told] = []
_guard = threading.Lock()


def record(outcome: Told) -> Told:
    with _guard:
        MEASURED.append(outcome)
    print(f"{outcome.fault}: {outcome.gate} shut after {outcome.after:.1f} s\n{outcome.words}")
    return outcome


def table() -> str:
    """One line a fault: gate, seconds, and the first thing it said."""
    rows = [f"{'fault':44} {'gate':11} {'told after':>10}  what it said"]
    for one in sorted(MEASURED, key=lambda t: t.fault):
        said = " / ".join(line.strip() for line in one.words.splitlines())
        rows.append(f"{one.fault:44} {one.gate:11} {one.after:8.1f} s  {said[:400]}")
    return "\n".join(rows)


def gate_shut(walk: HeadlessWalk, fault: str, limit: float, since: float | None = None) -> Told:
    """Wait for the first gate that stays shut, and for the walk to end. AssertionError when all open."""
    verdict = walk.until_any_shut(limit)
    began = walk.until_started(verdict["step"], 1.0)["t"] if since is None else since
    code = walk.wait(60)
    return record(Told(fault, verdict["step"], verdict["t"] - began, told(verdict), code))


def there_before(bed: Hosts, cluster_file: Path, folder: Path, fault: str, limit: float = 120.0) -> Told:
    """Walk with a fault that is there already."""
    with HeadlessWalk(cluster_file, folder, bed.home) as walk:
        return gate_shut(walk, fault, limit)


class Together:
    """Runs fault scenarios at the same time, each on hosts of its own: most of their time is waiting."""

    def __init__(self, folder: Path, at_once: int = 2) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(at_once)
        self._scenarios: dict[str, Callable[[Hosts, Path], Told]] = {}
        self._futures: dict[str, Future[Told]] = {}

    def start(self, name: str, scenario: Callable[[Hosts, Path], Told]) -> None:
        self._scenarios[name] = scenario
        if name not in self._futures:
            self._futures[name] = self._pool.submit(self._one, name)

    def _one(self, name: str) -> Told:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        with Hosts(names=("a", "b")) as bed:
            return self._scenarios[name](bed, folder)

    def result(self, name: str, limit: float = 550.0) -> Told:
        """What the scenario measured. One that failed runs again for a test that is tried again."""
        self.start(name, self._scenarios[name])
        future = self._futures[name]
        try:
            return future.result(limit)
        except BaseException:
            self._futures.pop(name)
            raise

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
