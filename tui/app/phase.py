"""How far a start-up or a download is, read from its log as it grows."""

from __future__ import annotations

from collections.abc import Iterable

from tui.app.amount import Amount, amount_of
from wizard_steps.engine.step import Step
from wizard_steps.plan import milestone
from wizard_steps.recording.spool import Spool
from wizard_steps.recording.state import Run

#: Of what came in since the last look, at most this much is read (bytes).
_MOST = 64 * 1024


class PhaseWatch:
    """Remembers the furthest phase each attempt of a step has shown, and of each run how much is done."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._seen: dict[int, int] = {}
        self._phase: dict[tuple[str, int], str] = {}
        self._amounts: dict[int, Amount] = {}

    def phase(self, step_id: str, attempt: int, runs: Iterable[Run]) -> str:
        """The phase now, "" when nothing says one."""
        step = milestone(step_id)
        if step is None:
            return ""
        for run in runs:
            if run.end is not None and self._seen.get(run.number, -1) < run.end:
                self._take(run, step, (step_id, attempt))
        return self._phase.get((step_id, attempt), "")

    def amount(self, runs: Iterable[Run]) -> Amount | None:
        """How much is done where least is, by what ``phase`` has read of these runs; None where none says."""
        told = [self._amounts[run.number] for run in runs if run.running and run.number in self._amounts]
        return min(told, key=lambda one: -1.0 if one.share is None else one.share, default=None)

    def _take(self, run: Run, step: Step, key: tuple[str, int]) -> None:
        end = run.end or 0
        start = max(self._seen.get(run.number, run.start or 0), end - _MOST)
        data = self._spool.read(run.spool, start, end)
        # A bar is drawn anew after a carriage return.
        whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        self._seen[run.number] = start + whole if whole else start
        for line in data[:whole].decode("utf-8", "replace").splitlines():
            name = step.phase_of(line)
            if name is not None and _rank(step, name) >= _rank(step, self._phase.get(key, "")):
                if name != self._phase.get(key):
                    self._amounts.pop(run.number, None)
                self._phase[key] = name
            if (amount := amount_of(line)) is not None:
                self._amounts[run.number] = amount


def _rank(step: Step, name: str) -> int:
    return step.phases.index(name) if name in step.phases else -1
