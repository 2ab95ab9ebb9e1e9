"""What replays found, for machines: as JSON, as JUnit XML, as GitHub annotations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from wizard_steps.model import with_warnings
from wizard_steps.recording.safe import safe
from wizard_steps.walks.drift import RemarkKind
from wizard_steps.walks.verdicts import MilestoneVerdict, WalkVerdict

_TITLES: dict[RemarkKind, str] = {
    "step": "another plan",
    "reason": "another reason",
    "helper": "helper changed",
    "unrecorded": "not recorded",
    "unused": "not run today",
}
#: GitHub's levels: a warning is worth a look, a notice is to be known.
_LEVELS: dict[RemarkKind, str] = {"reason": "warning", "unrecorded": "warning"}


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
                "warnings": list(m.warnings),
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


def _case(suite: Any, verdict: WalkVerdict, milestone: MilestoneVerdict, lenient: bool) -> str:
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
    elif milestone.warnings:
        # JUnit knows no warning: the case passes, and says so in its output.
        said = [with_warnings("passed", len(milestone.warnings)), *milestone.warnings, *said]
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
            if m.status == "warning":
                title = f"{m.step}: {with_warnings('passed', len(m.warnings))}"
                found.append(_annotation("warning", verdict, m.line, title, "\n".join(m.warnings)))
        for remark in verdict.remarks:
            line, level = lines.get((remark.step, remark.attempt), 0), _LEVELS.get(remark.kind, "notice")
            found.append(_annotation(level, verdict, line, _TITLES[remark.kind], remark.text))
    return found


def _annotation(level: str, verdict: WalkVerdict, line: int, title: str, text: str) -> str:
    place = f"file={_property(str(verdict.folder / 'events.jsonl'))},line={max(line, 1)}"
    return f"::{level} {place},title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    text = re.sub(r"##(?=[a-z]{0,9}\[)", "## ", safe(text))  # other CI's commands
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
