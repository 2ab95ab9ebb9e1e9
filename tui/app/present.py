"""State to words: what the header, the step list, the heading and the progress line say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tui.app.text import STEP_STATES, duration, safe
from wizard_steps.engine.step import ENDS, STARTS
from wizard_steps.model import WIZARD, Check, with_warnings
from wizard_steps.plan import milestone
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State, StepState
from wizard_steps.walks.known import known_of

#: What may be the name of a node in a sentence.
_WORD = re.compile(r"[\w.@:-]+")


def short_title(step_id: str, title: str) -> str:
    """A milestone's name for a narrow screen; one that has none has its title cut."""
    step = milestone(step_id)
    return (step.short if step is not None else "") or title


@dataclass(frozen=True, slots=True)
class NodeMark:
    """One node of a step: its name and how it did there."""

    name: str
    state: str
    failures: int = 0


def node_names(state: State, step_id: str) -> list[str]:
    """The nodes of the cluster; the wizard's machine too where something ran on it, or alone there."""
    nodes = [str(n.get("name") or n.get("host")) for n in state.cluster.get("nodes", ())]
    if not any(step.id == step_id for step in state.steps):
        return nodes
    ran = dict.fromkeys(run.node for run in state.runs_of(step_id))
    known = [name for name in nodes if name in ran] if ran else nodes
    return known + [name for name in ran if name not in nodes]


def node_marks(state: State, step_id: str) -> list[NodeMark]:
    """How every node of a step does: by its failed checks after judging, by its commands before."""
    step = state.step(step_id)
    names = node_names(state, step_id)
    bad: dict[str, int] = {}
    good: set[str] = set()
    warned: set[str] = set()
    for check in step.verdict.checks if step.verdict is not None else ():
        if check.ok:
            good.add(check.node)
            warned.update(named(check, names) if check.state == "warning" else ())
        else:
            bad |= {name: bad.get(name, 0) + 1 for name in named(check, names)}
    running = {run.node for run in state.runs_of(step_id) if run.running}
    marks = []
    for name in names:
        if bad.get(name):
            marks.append(NodeMark(name, "failed", bad[name]))
        elif step.verdict is not None:
            fine = "warning" if name in warned else "passed"
            marks.append(NodeMark(name, fine if step.verdict.passed or name in good else "pending"))
        else:
            marks.append(NodeMark(name, "running" if name in running else "pending"))
    return marks


def named(check: Check, names: Iterable[str]) -> list[str]:
    """The node of a check; of one that is about several, those of ``names`` that its words name."""
    if check.node:
        return [check.node]
    words = {word.strip(".:-") for word in _WORD.findall(f"{check.name} {check.found}")}
    return [name for name in names if name in words]


def default_node(state: State, step_id: str, chosen: str) -> str:
    """The chosen node if the step has it; else one that failed; else the first."""
    marks = node_marks(state, step_id)
    names = [mark.name for mark in marks]
    if chosen in names:
        return chosen
    failed = [mark.name for mark in marks if mark.failures]
    return next(iter(failed or names), WIZARD.name)


def heading(step: StepState, now: float, usual: str = "") -> str:
    """What stands over a step: how it went, or that it goes on. ``usual``: how long it took before."""
    if step.verdict is not None:
        return summarised(safe(step.verdict.summary))
    if step.status == "asking":
        return "waits for your answer"
    if step.status == "running":
        again = f", attempt {step.attempt}" if step.attempt > 1 else ""
        before = f"; it took {usual}" if usual else ""
        return f"running for {duration(step.elapsed(now))}{again}{before}"
    return "comes later"


def outcome_line(state: State) -> str:
    """What is said when the walk is over."""
    passed = sum(step.passed for step in state.steps)
    total = len(state.steps)
    if state.outcome == "passed":
        said = with_warnings("passed", state.warnings)
        return f"All {total} milestones {said}." if total > 1 else f"The milestone {said}."
    if state.outcome == "listed":
        return "Every step was listed; nothing was changed."
    return f"The walk ended at {passed} of {total} milestones: {safe(state.detail or state.outcome or '')}"


def progress(state: State, now: float, narrow: bool = False) -> str:
    """What goes on now, for how long, what is waited for and until when. Empty when nothing does."""
    step = next((s for s in state.steps if s.id == state.current), None)
    if state.outcome is not None:
        return outcome_line(state)
    if step is None:
        return "starting"
    title = short_title(step.id, step.title) if narrow else step.title
    if state.question is not None:
        return f"{title}: waits for you"
    if step.status != "running" and not _running(state, step):
        return f"{title}: {STEP_STATES[step.status][1]}"
    parts = [title, duration(step.elapsed(now))]
    parts += _waiting(state, step, now) or _running(state, step)
    return " · ".join(parts)


def _waiting(state: State, step: StepState, now: float) -> list[str]:
    wait = step.waiting
    if wait is None or wait.deadline <= now:
        return []  # what comes after it runs already
    left = f"at most {duration(wait.deadline - now)} more"
    return [f"{safe(wait.node)} {safe(wait.key)}: {safe(wait.what)}", left]


def _running(state: State, step: StepState) -> list[str]:
    running = [run for run in state.runs_of(step.id) if run.running]
    if not running:
        return []
    names = list(dict.fromkeys(run.node for run in running))
    where = safe(names[0]) if len(names) == 1 else f"{len(names)} nodes"
    keys = list(dict.fromkeys(run.key for run in running))
    return [f"{where}: {', '.join(keys[:3])}"]


def left_running(state: State) -> list[str]:
    """What a walk started (or found) on the nodes and did not end: it goes on when the wizard is closed."""
    live: dict[tuple[str, str], None] = {}
    for step in state.steps:
        if step.passed:
            live.update({(step.id, node): None for node in node_names(state, step.id)})
    for run in state.runs.values():
        if run.key in ENDS or (run.key == STARTS and run.reason == "dry"):
            live.pop((run.step, run.node), None)
        elif run.key == STARTS:
            live[run.step, run.node] = None
    found = ((leaves(state, step, node), node) for step, node in live)
    return [f"{what} on {safe(node)}" for what, node in found if what]


def leaves(state: State, step_id: str, name: str) -> str:
    """What a step leaves on a node, in its own words."""
    step, known = milestone(step_id), known_of(state)
    node = next((n for n in known.nodes if n.name == name), None) if known is not None else None
    return step.leaves_running(known, node) if step and known and node else ""


#: A gate that passes after this long (seconds) is worth a call: somebody may wait for it elsewhere.
LONG = 30.0


def rings(event: ev.AnyEvent, state: State) -> str:
    """What is told to a person who looks elsewhere, "" where nothing has to be."""
    if isinstance(event, ev.WalkEnded):
        return outcome_line(state)
    if not isinstance(event, ev.Judged):
        return ""
    step = state.step(event.step)
    if not event.verdict.passed:
        return f"{safe(step.title)} failed: {safe(event.verdict.summary)}"
    return f"{safe(step.title)}: passed" if step.elapsed(event.t) >= LONG else ""


def window_title(state: State) -> str:
    """For the terminal's window or tab."""
    passed, total = sum(step.passed for step in state.steps), len(state.steps)
    name = safe(str(state.cluster.get("name", "")))
    current = next((step for step in state.steps if step.id == state.current), None)
    sign = "✗ " if current is not None and current.status == "failed" else ""
    return f"{sign}{passed}/{total} {name} · milepost" if total else "milepost"


#: Of a longer list in a heading the ends are shown.
_LISTED = 12


def summarised(text: str) -> str:
    """A list of many nodes by its first two and its last: ``n0=10.0.0.1, n1=10.0.0.2 … n255=… (256)``."""
    parts = text.split(", ")
    if len(parts) <= _LISTED:
        return text
    return f"{parts[0]}, {parts[1]} … {parts[-1]} ({len(parts)} in all)"
