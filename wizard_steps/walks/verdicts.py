"""What replays found, milestone by milestone: for a person, as JSON, as JUnit XML, as GitHub annotations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from wizard_steps.errors import MilepostError
from wizard_steps.model import with_warnings
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Meta, NewerWalkError, Walk
from wizard_steps.walks.replay import Replayed

#: warning: passed with warnings. skipped: the walk never came to it.
Status = Literal["passed", "warning", "failed", "drift", "skipped"]
#: What became of one walk. unreadable: the folder is damaged or no walk.
WalkStatus = Literal["passed", "failed", "drift", "interrupted", "unreadable"]
_CODES: dict[WalkStatus, int] = {"passed": 0, "failed": 1, "interrupted": 130, "unreadable": 2, "drift": 3}
#: Which exit status tells more, when walks differ.
_RANK = (0, 1, 130, 2, 3)


class Milestone(Struct, frozen=True):
    """One attempt at a step. ``seconds`` it took when recorded; ``line`` of events.jsonl has its verdict."""

    step: str
    title: str
    status: Status
    attempt: int = 1
    seconds: float = 0.0
    summary: str = ""
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    line: int = 0


class WalkVerdict(Struct, frozen=True):
    """One walk's replay. ``code`` is what it adds to the exit status."""

    folder: Path
    status: WalkStatus
    milestones: tuple[Milestone, ...] = ()
    detail: str = ""
    kind: str = ""
    notes: tuple[str, ...] = ()
    meta: Meta | None = None

    @property
    def code(self) -> int:
        return _CODES[self.status]

    @property
    def as_recorded(self) -> int:
        """The exit status when a failure that was recorded is what is wanted: a lesson, a bug report."""
        return 0 if self.status in ("passed", "failed", "interrupted") else self.code


def exit_status(codes: Iterable[int]) -> int:
    """The one that tells most: drift 3, unreadable 2, interrupted 130, failed 1, passed 0."""
    return max(codes, key=_RANK.index, default=0)


def of_error(folder: Path, error: MilepostError) -> WalkVerdict:
    """A walk that could not even be read."""
    if isinstance(error, NewerWalkError):
        return WalkVerdict(folder, "drift", detail=str(error), kind="schema")
    if error.code == 3:
        return WalkVerdict(folder, "drift", detail=str(error), kind="cluster")
    return WalkVerdict(folder, "unreadable", detail=str(error), kind="unreadable")


def of_replay(walk: Walk, result: Replayed) -> WalkVerdict:
    """A replay's result as the status that CI acts on."""
    status: WalkStatus = "failed"
    if result.drifted:
        status = "drift"
    elif result.outcome in ("passed", "listed"):
        status = "passed"
    elif result.outcome == "interrupted":
        status = "interrupted"
    return WalkVerdict(
        folder=walk.folder,
        status=status,
        milestones=tuple(_milestones(walk, result)),
        detail=result.drift,
        kind=result.drifted.kind if result.drifted else "",
        notes=result.notes,
        meta=walk.meta,
    )


def _milestones(walk: Walk, result: Replayed) -> Iterable[Milestone]:
    started = {(e.step, e.attempt): e.t for e in walk.events if isinstance(e, ev.StepStarted)}
    lines = {(e.step, e.attempt): n for n, e in enumerate(walk.events, 1) if isinstance(e, ev.Judged)}
    titles = {step.id: step.title for step in result.state.steps}
    seen = set()
    drifted = result.drifted.step if result.drifted else None
    last = result.judged[-1] if result.judged else None
    for event in result.judged:
        seen.add(event.step)
        key = (event.step, event.attempt)
        good: Status = event.verdict.state
        # Only the last verdict can be the one that drifted: the replay compares in order.
        bad = drifted == event.step and event is last and result.drifted is not None
        yield Milestone(
            step=event.step,
            title=titles.get(event.step, event.step),
            status="drift" if bad else good,
            attempt=event.attempt,
            seconds=round(event.t - started.get(key, event.t), 3),
            summary=event.verdict.summary,
            failures=tuple(_failure(check) for check in event.verdict.failures),
            warnings=tuple(_failure(check) for check in event.verdict.warnings),
            line=lines.get(key, 0),
        )
    for step in result.state.steps:
        if step.id not in seen:
            status: Status = "drift" if step.id == drifted else "skipped"
            yield Milestone(step=step.id, title=step.title, status=status)


def _failure(check: Any) -> str:
    where = f" [{check.node}]" if check.node else ""
    wanted = f"; wanted: {check.wanted}" if check.wanted else ""
    hint = f"; try: {check.hint}" if check.hint else ""
    return f"{check.name}{where}: {check.found}{wanted}{hint}"


def as_json(verdicts: Sequence[WalkVerdict], code: int) -> dict[str, Any]:
    """Plain values. ``schema`` grows when a field changes its meaning."""
    return {"schema": 1, "exit_status": code, "walks": [_walk_json(v) for v in verdicts]}


def _walk_json(verdict: WalkVerdict) -> dict[str, Any]:
    meta = verdict.meta
    return {
        "walk": str(verdict.folder),
        "status": verdict.status,
        "kind": verdict.kind,
        "detail": verdict.detail,
        "notes": list(verdict.notes),
        "recorded": meta.recorded if meta else "",
        "simulated": bool(meta and meta.simulated),
        "milestones": [
            {
                "step": m.step,
                "title": m.title,
                "status": m.status,
                "attempt": m.attempt,
                "seconds": m.seconds,
                "summary": m.summary,
                "failures": list(m.failures),
                "warnings": list(m.warnings),
                "line": m.line,
            }
            for m in verdict.milestones
        ],
    }


#: XML 1.0 has no place for these, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(verdicts: Sequence[WalkVerdict], lenient: bool = False) -> str:
    """JUnit XML: a suite a walk, a case a milestone. A failed gate is a failure, a drift an error.

    ``lenient``: a failure that was recorded is right, and told as the case's output.
    """
    from xml.etree import ElementTree as Xml

    root = Xml.Element("testsuites", name="milepost")
    for verdict in verdicts:
        suite = Xml.SubElement(root, "testsuite", name=_xml(str(verdict.folder)))
        if verdict.meta:
            suite.set("timestamp", _xml(verdict.meta.recorded[:19]))
        cases = [_case(suite, verdict, m, lenient) for m in verdict.milestones]
        if verdict.status in ("drift", "unreadable") and "error" not in cases:
            case = Xml.SubElement(suite, "testcase", name="recording", classname=_xml(verdict.folder.name))
            error = Xml.SubElement(case, "error", type=verdict.kind, message=_xml(verdict.detail))
            error.text = _xml(verdict.detail)
            cases.append("error")
        suite.set("tests", str(len(cases)))
        suite.set("failures", str(cases.count("failure")))
        suite.set("errors", str(cases.count("error")))
        suite.set("skipped", str(cases.count("skipped")))
        suite.set("time", f"{sum(m.seconds for m in verdict.milestones):.3f}")
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def _case(suite: Any, verdict: WalkVerdict, milestone: Milestone, lenient: bool) -> str:
    from xml.etree import ElementTree as Xml

    again = f" (attempt {milestone.attempt})" if milestone.attempt > 1 else ""
    case = Xml.SubElement(suite, "testcase", name=_xml(f"{milestone.step}{again}"))
    case.set("classname", _xml(verdict.folder.name))
    case.set("time", f"{milestone.seconds:.3f}")
    if milestone.status == "drift":
        error = Xml.SubElement(case, "error", type=verdict.kind, message=_xml(verdict.detail))
        error.text = _xml("\n".join([verdict.detail, *milestone.failures]))
        return "error"
    if milestone.status == "skipped":
        Xml.SubElement(case, "skipped", message="the walk never came to it")
        return "skipped"
    if milestone.status == "failed":
        text = _xml("\n".join(milestone.failures) or milestone.summary)
        if lenient:
            Xml.SubElement(case, "system-out").text = "failed as recorded\n" + text
            return "passed"
        Xml.SubElement(case, "failure", type="gate", message=_xml(milestone.summary)).text = text
        return "failure"
    if milestone.warnings:
        # JUnit knows no warning: the case passes, and says so in its output.
        said = with_warnings("passed", len(milestone.warnings))
        Xml.SubElement(case, "system-out").text = _xml("\n".join([said, *milestone.warnings]))
    return "passed"


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def as_annotations(verdicts: Sequence[WalkVerdict], lenient: bool = False) -> list[str]:
    """GitHub workflow commands, one a finding, on the line of the recording that it is about."""
    found = []
    for verdict in verdicts:
        if verdict.status in ("drift", "unreadable"):
            line = next((m.line for m in verdict.milestones if m.status == "drift"), 0)
            found.append(
                _annotation("error", verdict, line, f"{verdict.status}: {verdict.kind}", verdict.detail)
            )
        for m in verdict.milestones:
            if m.status == "failed" and not lenient:
                text = "\n".join([m.summary, *m.failures])
                found.append(_annotation("error", verdict, m.line, f"{m.step}: gate failed", text))
            if m.status == "warning":
                title = f"{m.step}: {with_warnings('passed', len(m.warnings))}"
                found.append(_annotation("warning", verdict, m.line, title, "\n".join(m.warnings)))
        found += [_annotation("warning", verdict, 0, "another reason", note) for note in verdict.notes]
    return found


def _annotation(level: str, verdict: WalkVerdict, line: int, title: str, text: str) -> str:
    place = f"file={_property(str(verdict.folder / 'events.jsonl'))},line={max(line, 1)}"
    return f"::{level} {place},title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
