"""Where in the log a failed gate is to be read: the line its cause or its near miss comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.app.fixes import likely
from wizard_steps.diagnose.model import Diagnosis
from wizard_steps.model import Verdict
from wizard_steps.recording.state import Run, State


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A line (from 1) of the output of ``run``; the last one where ``line`` is 0. ``text`` is looked for
    where the line is not known exactly."""

    run: Run
    line: int = 0
    text: str = ""


def place_of(state: State, step_id: str, verdict: Verdict, findings: Sequence[Diagnosis]) -> LogPlace | None:
    """The likeliest finding's line, else the end of a command that failed, else the near miss."""
    latest = {(run.node, run.key): run for run in state.runs_of(step_id)}
    for finding in likely(findings):
        for item in finding.evidence[:1]:
            node, _, key = item.file.rpartition(" ")
            if run := latest.get((node, key)):
                return LogPlace(run, item.line, item.text.strip())
    mine = {check.node for check in verdict.failures}
    ended = [run for run in latest.values() if run.node in mine and run.code not in (0, None)]
    if ended:
        return LogPlace(ended[-1])
    for comparison in verdict.comparisons:
        run = latest.get((comparison.node, comparison.key))
        odd = next((row for row in comparison.rows if row.state == "unexpected"), None)
        if run is not None and comparison.missing and odd is not None:
            return LogPlace(run, odd.line, odd.real.strip())
    runs = [run for run in latest.values() if run.node in mine]
    shown = [run for run in runs if not run.quiet] or runs
    return LogPlace(shown[-1]) if shown else None
