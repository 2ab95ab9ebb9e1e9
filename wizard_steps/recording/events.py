"""What happens in a walk, as frozen values. They are journalled before anyone is shown them.

``t`` is seconds since the walk began. Bulk output is never in an event: ``Output`` points into the
run's spool file in ``out/`` (byte offsets).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

from wizard_steps.model import Question, Reason, Verdict

Outcome = Literal["passed", "failed", "stopped", "interrupted", "error", "listed"]


class Event(Struct, frozen=True, tag_field="event"):
    """``t``: seconds since the walk began."""

    t: float


class WalkStarted(Event, frozen=True, tag="walk-started"):
    """``steps`` are (id, title) in order. ``cluster`` is the cluster file as plain values."""

    path: str
    steps: tuple[tuple[str, str], ...]
    cluster: Mapping[str, Any] = field(default_factory=dict)
    simulated: bool = False


class ClusterEdited(Event, frozen=True, tag="cluster-edited"):
    """A person changed an answer; later steps use the new values."""

    where: str
    value: str
    cluster: Mapping[str, Any] = field(default_factory=dict)


class StepStarted(Event, frozen=True, tag="step-started"):
    step: str
    attempt: int


class Asked(Event, frozen=True, tag="asked"):
    step: str
    question: Question


class Answered(Event, frozen=True, tag="answered"):
    """``where`` and ``text`` say which field of the cluster file was edited at a gate, and to what; several
    are in ``edits``."""

    step: str
    question: str
    value: str
    where: str = ""
    text: str = ""
    edits: tuple[tuple[str, str], ...] = ()


class CommandStarted(Event, frozen=True, tag="command-started"):
    """One use of a command. ``run`` numbers the uses in a walk; ``use`` counts those of this very command."""

    run: int
    step: str
    node: str
    key: str
    text: str
    use: int
    spool: str = ""
    mutates: bool = False
    quiet: bool = False
    show: str = ""


class Output(Event, frozen=True, tag="output"):
    """Bytes ``start`` to ``end`` of the run's spool."""

    run: int
    node: str
    start: int
    end: int


class CommandEnded(Event, frozen=True, tag="command-ended"):
    """``started``, ``ended``: seconds since the walk began. ``code`` is -1 where no exit status came."""

    run: int
    node: str
    code: int
    reason: Reason
    started: float
    ended: float
    detail: str = ""


class Waiting(Event, frozen=True, tag="waiting"):
    """A poll or a settle time goes on: what for, and until when at the latest."""

    step: str
    node: str
    key: str
    what: str
    deadline: float


class Judged(Event, frozen=True, tag="judged"):
    step: str
    attempt: int
    verdict: Verdict


class Listed(Event, frozen=True, tag="listed"):
    """A dry run: the step's commands are listed; there is nothing to judge, for nothing was started."""

    step: str


class WalkEnded(Event, frozen=True, tag="walk-ended"):
    outcome: Outcome
    detail: str = ""


AnyEvent = (
    WalkStarted
    | ClusterEdited
    | StepStarted
    | Asked
    | Answered
    | CommandStarted
    | Output
    | CommandEnded
    | Waiting
    | Judged
    | Listed
    | WalkEnded
)
