"""The text of a passed gate: commands, output, and the facts it rested on. Ready for a design document."""

from __future__ import annotations

from wizard_steps.model import Check
from wizard_steps.recording import events as ev
from wizard_steps.recording.spool import Spool
from wizard_steps.recording.state import Run, State

#: Longer outputs are cut in the evidence; the recording has all of them.
_LINES = 200


def gate_text(event: ev.Judged, state: State, spool: Spool) -> str:
    """One milestone as plain text."""
    step = state.step(event.step)
    head = [
        f"{step.title} - {event.verdict.words.upper()} in {step.elapsed(event.t):.1f} s",
        event.verdict.summary,
    ]
    if state.simulated:
        head.append("SIMULATED GPUs")
    latest: dict[tuple[str, str], Run] = {}
    for run in state.runs_of(event.step):
        if not run.quiet:
            latest[run.node, run.key] = run
    body = [line for run in latest.values() for line in _run(run, spool)]
    return "\n".join([*head, "", *body, *(check_line(check) for check in event.verdict.checks), ""])


def _run(run: Run, spool: Spool) -> list[str]:
    data = spool.read(run.spool, run.start or 0, run.end or 0) if run.end else b""
    lines = data.decode("utf-8", "replace").splitlines()
    if len(lines) > _LINES:
        lines = [*lines[: _LINES // 2], f"[... {len(lines) - _LINES} lines ...]", *lines[-_LINES // 2 :]]
    shown = run.show or run.text.strip()
    return [f"{run.node}$ {shown}", *lines, ""]


def check_line(check: Check) -> str:
    """One fact of a gate as a line of text."""
    mark = {"ok": "ok  ", "warning": "warn", "failed": "FAIL"}[check.state]
    where = f" [{check.node}]" if check.node else ""
    line = f"   {mark} {check.name}{where}: {check.found}"
    if check.state != "ok":
        line += f"; wanted: {check.wanted}" if check.wanted else ""
        line += f"\n        try: {check.hint}" if check.hint else ""
    return line
