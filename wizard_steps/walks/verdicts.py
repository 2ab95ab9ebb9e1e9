"""What replays found, milestone by milestone: for a person, as JSON, as JUnit XML, as GitHub annotations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from wizard_steps.errors import MilepostError
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Meta, NewerWalkError
from wizard_steps.walks.drift import Drift, Remark, RemarkKind
from wizard_steps.walks.replay import Replayed

#: skipped: the walk never came to it.
Status = Literal["passed", "failed", "drift", "skipped"]
#: What became of one walk. unreadable: the folder is damaged or no walk.
WalkStatus = Literal["passed", "failed", "drift", "interrupted", "unreadable"]
_CODES: dict[WalkStatus, int] = {"passed": 0, "failed": 1, "interrupted": 130, "unreadable": 2, "drift": 3}
_TITLES: dict[RemarkKind, str] = {
    "step": "another plan",
    "reason": "another reason",
    "helper": "helper changed",
    "unrecorded": "not recorded",
    "unused": "not run today",
}
#: GitHub's levels: a warning is worth a look, a notice is to be known.
_LEVELS: dict[RemarkKind, str] = {"reason": "warning", "unrecorded": "warning"}
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
    line: int = 0
    drifts: tuple[Drift, ...] = ()
    notes: tuple[str, ...] = ()


class WalkVerdict(Struct, frozen=True):
    """One walk's replay. ``code`` is what it adds to the exit status. ``detail`` and ``kind``: the first
    drift, or why the walk cannot be read. ``remarks``: what differs and changes no exit status."""

    folder: Path
    status: WalkStatus
    milestones: tuple[Milestone, ...] = ()
    detail: str = ""
    kind: str = ""
    drifts: tuple[Drift, ...] = ()
    remarks: tuple[Remark, ...] = ()
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
    text = str(error)
    if error.code == 3:
        drift = Drift("schema" if isinstance(error, NewerWalkError) else "cluster", text)
        return WalkVerdict(folder, "drift", detail=text, kind=drift.kind, drifts=(drift,))
    return WalkVerdict(folder, "unreadable", detail=text, kind="unreadable")


def of_replay(result: Replayed) -> WalkVerdict:
    """A replay's result as the status that CI acts on."""
    walk = result.walk
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
        milestones=tuple(_milestones(result)),
        detail=result.drift,
        kind=result.drifted.kind if result.drifted else "",
        drifts=result.drifts,
        remarks=result.remarks,
        meta=walk.meta,
    )


def _milestones(result: Replayed) -> Iterable[Milestone]:
    titles = {step.id: step.title for step in result.state.steps}
    places = _places(result.walk.events)
    told: set[int] = set()
    for event in result.judged:
        key = (event.step, event.attempt)
        drifts = tuple(d for d in result.drifts if (d.step, d.attempt) == key)
        told.update(map(id, drifts))
        good: Status = "passed" if event.verdict.passed else "failed"
        seconds, line = places.get(key, (0.0, 0))
        yield Milestone(
            step=event.step,
            title=titles.get(event.step, event.step),
            status="drift" if drifts else good,
            attempt=event.attempt,
            seconds=seconds,
            summary=event.verdict.summary,
            failures=tuple(_failure(check) for check in event.verdict.failures),
            line=line,
            drifts=drifts,
            notes=tuple(r.text for r in result.remarks if (r.step, r.attempt) == key),
        )
    seen = {event.step for event in result.judged}
    left = [d for d in result.drifts if id(d) not in told and d.step]
    for step in dict.fromkeys([*titles, *(d.step for d in left)]):
        drifts = tuple(d for d in left if d.step == step)
        if drifts or step not in seen:
            status: Status = "drift" if drifts else "skipped"
            yield Milestone(step=step, title=titles.get(step, step), status=status, drifts=drifts)


def _places(events: Iterable[ev.AnyEvent]) -> dict[tuple[str, int], tuple[float, int]]:
    """For each attempt that was judged when recorded: the seconds it took, its line in events.jsonl."""
    started: dict[tuple[str, int], float] = {}
    found: dict[tuple[str, int], tuple[float, int]] = {}
    for line, event in enumerate(events, 1):
        if isinstance(event, ev.StepStarted):
            started[event.step, event.attempt] = event.t
        if isinstance(event, ev.Judged):
            key = (event.step, event.attempt)
            found[key] = (round(event.t - started.get(key, event.t), 3), line)
    return found


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
        "drifts": [
            {"kind": d.kind, "step": d.step, "attempt": d.attempt, "text": d.text} for d in verdict.drifts
        ],
        "notes": [remark.text for remark in verdict.remarks],
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
                "line": m.line,
                "drifts": [drift.text for drift in m.drifts],
                "notes": list(m.notes),
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
        if notes := [remark.text for remark in verdict.remarks if not remark.attempt]:
            Xml.SubElement(suite, "system-out").text = _xml("\n".join(notes))
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
    found, said = "passed", list(milestone.notes)
    if milestone.drifts:
        texts = [drift.text for drift in milestone.drifts]
        error = Xml.SubElement(case, "error", type=milestone.drifts[0].kind, message=_xml(texts[0]))
        error.text = _xml("\n".join([*texts, *milestone.failures]))
        found = "error"
    elif milestone.status == "skipped":
        Xml.SubElement(case, "skipped", message="the walk never came to it")
        found = "skipped"
    elif milestone.status == "failed":
        text = "\n".join(milestone.failures) or milestone.summary
        if lenient:
            said = ["failed as recorded", text, *said]
        else:
            Xml.SubElement(case, "failure", type="gate", message=_xml(milestone.summary)).text = _xml(text)
            found = "failure"
    if said:
        Xml.SubElement(case, "system-out").text = _xml("\n".join(said))
    return found


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def as_annotations(verdicts: Sequence[WalkVerdict], lenient: bool = False) -> list[str]:
    """GitHub workflow commands, one a finding, on the line of the recording that it is about."""
    found = []
    for verdict in verdicts:
        lines = {(m.step, m.attempt): m.line for m in verdict.milestones}
        if verdict.status == "unreadable":
            found.append(_annotation("error", verdict, 0, "unreadable", verdict.detail))
        for drift in verdict.drifts:
            line = lines.get((drift.step, drift.attempt), 0)
            found.append(_annotation("error", verdict, line, f"drift: {drift.kind}", drift.text))
        for m in verdict.milestones:
            if m.status == "failed" and not lenient:
                text = "\n".join([m.summary, *m.failures])
                found.append(_annotation("error", verdict, m.line, f"{m.step}: gate failed", text))
        for remark in verdict.remarks:
            line, level = lines.get((remark.step, remark.attempt), 0), _LEVELS.get(remark.kind, "notice")
            found.append(_annotation(level, verdict, line, _TITLES[remark.kind], remark.text))
    return found


def _annotation(level: str, verdict: WalkVerdict, line: int, title: str, text: str) -> str:
    place = f"file={_property(str(verdict.folder / 'events.jsonl'))},line={max(line, 1)}"
    return f"::{level} {place},title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
