"""How far a start-up is, read from its log as it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module

from tui.app.present import PHASES
from wizard_steps.recording.spool import Spool
from wizard_steps.recording.state import Run

#: Of what came in since the last look, at most this much is read (bytes).
_MOST = 64 * 1024


@cache
def phase_reader(step_id: str) -> Callable[[str], str | None] | None:
    """A milestone's own ``phase_of``, if it has one."""
    if not step_id.isidentifier():
        return None
    try:
        module = import_module(f"wizard_steps.milestones.{step_id}")
    except ImportError:
        return None
    found: Callable[[str], str | None] | None = getattr(module, "phase_of", None)
    return found


class PhaseWatch:
    """Remembers the furthest phase each attempt of a step has shown."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._seen: dict[int, int] = {}
        self._phase: dict[tuple[str, int], str] = {}

    def phase(self, step_id: str, attempt: int, runs: Iterable[Run]) -> str:
        """The phase now, "" when nothing says one."""
        reader = phase_reader(step_id)
        if reader is None:
            return ""
        for run in runs:
            if run.end is not None and self._seen.get(run.number, -1) < run.end:
                self._take(run, reader, (step_id, attempt))
        return self._phase.get((step_id, attempt), "")

    def _take(self, run: Run, reader: Callable[[str], str | None], key: tuple[str, int]) -> None:
        end = run.end or 0
        start = max(self._seen.get(run.number, run.start or 0), end - _MOST)
        data = self._spool.read(run.spool, start, end)
        whole = data.rfind(b"\n") + 1
        self._seen[run.number] = start + whole if whole else start
        for line in data[:whole].decode("utf-8", "replace").splitlines():
            name = reader(line)
            if name is not None and _rank(name) >= _rank(self._phase.get(key, "")):
                self._phase[key] = name


def _rank(name: str) -> int:
    return PHASES.index(name) if name in PHASES else -1
