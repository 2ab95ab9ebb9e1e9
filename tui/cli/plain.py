"""A walk as a plain log: for CI, for pipes, for people who like it so."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from msgspec.structs import replace

from wizard_steps.diagnose import Diagnosis, whole_name
from wizard_steps.diagnose.explain import findings_of
from wizard_steps.model import Verdict, with_warnings
from wizard_steps.recording import events as ev
from wizard_steps.recording.spool import Spool
from wizard_steps.recording.state import State
from wizard_steps.walks.evidence import check_line

#: A waiting line is printed at most this often (seconds of the walk).
_EVERY = 10.0
#: Characters of one line that are waited for.
_LONGEST = 65536


class PlainReport:
    """Prints events as they happen. ``spool`` gives the output; without it only verdicts are printed."""

    def __init__(self, spool: Spool | None, out: TextIO | None = None, verbose: bool = True) -> None:
        self._spool = spool
        self._out = out or sys.stdout
        self._verbose = verbose
        self._rest: dict[int, str] = {}
        self._waited = 0.0
        #: What was said of this step already: nothing is told twice.
        self._told: set[str] = set()

    def __call__(self, event: ev.AnyEvent, state: State) -> None:
        match event:
            case ev.WalkStarted():
                self._walk(event, state)
            case ev.StepStarted():
                self._told.clear()
                again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
                self._say(f"\n== {event.step}: {state.step(event.step).title}{again}")
            case ev.CommandStarted() if self._verbose:
                self._command(event)
            case ev.Output() if self._verbose:
                self._output(event, state)
            case ev.CommandEnded() if self._verbose:
                self._ended(event, state)
            case ev.Waiting() if self._verbose and event.t - self._waited >= _EVERY:
                self._waited = event.t
                self._say(f"   {event.node}: {event.key}: {event.what}")
            case ev.Asked() if event.question.kind != "gate":
                self._say(f"   ? {event.question.text}")
            case ev.Answered() if event.question != "gate":
                self._say(f"   > {event.value}")
            case ev.Judged():
                self._judged(event, state)
            case ev.Listed():
                self._say(f"LISTED {event.step}: not judged, for this is a dry run")
            case ev.WalkEnded():
                said = with_warnings(event.outcome, state.warnings if event.outcome == "passed" else 0)
                self._say(f"\nwalk {said}" + (f": {event.detail}" if event.detail else ""))
            case _:
                pass

    def _say(self, text: str) -> None:
        """Nothing but milepost's own words begins a line: a name or a summary may hold line ends."""
        lead = "\n" if text.startswith("\n") else ""
        first, *more = text.removeprefix("\n").split("\n")
        lines = [first, *(line if line.startswith("   ") else f"   {line}" for line in more)]
        print(lead + "\n".join(lines), file=self._out, flush=True)

    def _walk(self, event: ev.WalkStarted, state: State) -> None:
        self._say(f"milepost: path {event.path}, {len(event.steps)} milestones")
        if event.simulated:
            self._say("SIMULATED: this is the embedded lab. Its GPUs do not exist; SSH and Ray are real.")

    def _command(self, event: ev.CommandStarted) -> None:
        if event.use and not event.mutates:
            return
        shown = (event.show or event.text).strip().splitlines()
        self._say(f"   {event.node}$ {shown[0] if shown else ''}")
        for line in shown[1:]:
            self._say(f"   {event.node}> {line}")

    def _output(self, event: ev.Output, state: State) -> None:
        run = state.runs[event.run]
        if run.quiet or run.use or self._spool is None:
            return
        data = self._spool.read(run.spool, event.start, event.end)
        text = self._rest.pop(event.run, "") + data.decode("utf-8", "replace")
        *lines, rest = text.split("\n")
        # A line without an end goes on in pieces rather than fill the memory.
        if len(rest) > _LONGEST:
            lines, rest = [*lines, rest], ""
        self._rest[event.run] = rest
        if lines:
            before = f"   {event.node}| "
            self._say(before + f"\n{before}".join(lines))

    def _ended(self, event: ev.CommandEnded, state: State) -> None:
        if rest := self._rest.pop(event.run, ""):
            self._say(f"   {event.node}| {rest}")
        if event.reason == "dry":
            self._say(f"   {event.node}  (not run: dry run)")
        elif event.detail and event.reason != "exit":  # what is said of a login, the checks say
            self._say(f"   {event.node}! {event.detail}")
            self._told.add(event.detail)

    def _judged(self, event: ev.Judged, state: State) -> None:
        step = state.step(event.step)
        for check in event.verdict.checks:
            if self._verbose or check.state != "ok":
                known = check.state != "ok" and check.found in self._told
                self._say(check_line(replace(check, found="see above") if known else check))
                self._told.add(check.found)
        self._lines(event.verdict)
        if not event.verdict.passed and self._spool is not None:
            self._findings(findings_of(state, event.step, self._spool))
        word, _, more = event.verdict.words.partition(" ")
        what = f"{event.step} {more}".rstrip()
        self._say(f"{word.upper()} {what} ({step.elapsed(event.t):.1f} s): {event.verdict.summary}")

    def _findings(self, found: Sequence[Diagnosis]) -> None:
        """The first one is the answer; a second is shown when it is about as likely."""
        for finding in found[:2]:
            if finding.confidence < 0.8 * found[0].confidence:
                break
            where = f" on {whole_name(finding)}" if finding.node else ""
            self._say(f"   WHY {finding.family}{where}: {finding.cause}")
            new = [e for e in finding.evidence if e.text.strip() not in self._told]
            for evidence in new[:2]:
                self._say(f"        {evidence.file}:{evidence.line}: {evidence.text.strip()[:200]}")
            for number, action in enumerate(finding.try_, 1):
                self._say(
                    f"        {number}. {action.text}" + (f"  $ {action.command}" if action.command else "")
                )

    def _lines(self, verdict: Verdict) -> None:
        for comparison in verdict.comparisons:
            states = [row.state for row in comparison.rows]
            self._say(
                f"   {comparison.node} {comparison.key}: {states.count('matched')} expected lines matched, "
                f"{states.count('missing')} missing"
            )
