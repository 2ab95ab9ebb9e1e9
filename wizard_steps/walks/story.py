"""A recording as chapters, one an attempt at a milestone: what ran, what came out, what it proved."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.engine.expect import with_between
from wizard_steps.engine.runner import WHOLE
from wizard_steps.model import Comparison, Question, Reason, Verdict
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.notes import of_step

#: Longer outputs are cut in the middle wherever a whole page of them would help nobody.
MOST_LINES = 400


class Shot(Struct, frozen=True):
    """One command on one node in one attempt. ``uses`` counts polls; ``output`` is that of the last one.

    ``command`` is what a person would type, ``text`` what ran. Times are seconds.
    """

    node: str
    key: str
    command: str
    text: str
    output: str = ""
    started: float = 0.0
    seconds: float = 0.0
    code: int | None = None
    reason: Reason = "cancelled"
    detail: str = ""
    mutates: bool = False
    quiet: bool = False
    uses: int = 1

    def compared(self, comparison: Comparison) -> Comparison:
        """A comparison of this output, with the lines that a "..." passed over: no verdict holds them."""
        if len(self.output) > WHOLE:
            return comparison
        return with_between(comparison, self.output.splitlines())

    @property
    def ending(self) -> str:
        """How it ended, in words; nothing for a plain success."""
        if self.code is None:
            return "still running when the recording ends"
        if self.reason == "exit":
            return f"exit status {self.code}" if self.code else ""
        words = {"stopped": "ended at the awaited line", "dry": "not run: dry run"}
        return words.get(self.reason, f"{self.reason}: {self.detail}".rstrip(": "))


class Chapter(Struct, frozen=True):
    """``answer`` is what the person chose at a gate that stayed shut."""

    number: int
    step: str
    title: str
    attempt: int
    started: float
    seconds: float = 0.0
    verdict: Verdict | None = None
    shots: tuple[Shot, ...] = ()
    asked: tuple[tuple[Question, str], ...] = ()
    answer: str = ""
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        if self.verdict is None:
            return "not judged"
        return self.verdict.state

    @property
    def heading(self) -> str:
        return self.title + (f" (attempt {self.attempt})" if self.attempt > 1 else "")


def story(walk: Walk) -> list[Chapter]:
    """The chapters in the order in which they were walked."""
    titles: dict[str, str] = {}
    numbers: dict[str, int] = {}
    chapters: list[Chapter] = []
    events: list[ev.AnyEvent] = []

    def end() -> None:
        if events and isinstance(events[0], ev.StepStarted):
            first = events[0]
            blank = Chapter(
                numbers.get(first.step, 0),
                first.step,
                titles.get(first.step, first.step),
                first.attempt,
                first.t,
            )
            chapters.append(_filled(blank, events, walk))

    for event in walk.events:
        if isinstance(event, ev.WalkStarted):
            titles = dict(event.steps)
            numbers = {step: n for n, (step, _) in enumerate(event.steps, 1)}
        elif isinstance(event, ev.StepStarted):
            end()
            events = [event]
        else:
            events.append(event)
    end()
    return chapters


def _filled(blank: Chapter, events: list[ev.AnyEvent], walk: Walk) -> Chapter:
    verdict = next((e for e in events if isinstance(e, ev.Judged)), None)
    last = verdict.t if verdict else events[-1].t
    answer = next((e for e in events if isinstance(e, ev.Answered) and e.question == "gate"), None)
    said = ""
    if answer:
        said = f"edit {answer.where} = {answer.text}" if answer.value == "edit" else answer.value
    return replace(
        blank,
        seconds=last - blank.started,
        verdict=verdict.verdict if verdict else None,
        shots=tuple(_shots(events, walk)),
        asked=tuple(_asked(events)),
        answer=said,
        notes=tuple(n.text for n in of_step(walk.notes, blank.step, blank.attempt)),
        questions=tuple(n.text for n in of_step(walk.notes, blank.step, blank.attempt, "ask")),
    )


def _asked(events: list[ev.AnyEvent]) -> Iterator[tuple[Question, str]]:
    answers = {e.question: e.value for e in events if isinstance(e, ev.Answered)}
    for event in events:
        if isinstance(event, ev.Asked) and event.question.kind != "gate":
            yield event.question, answers.get(event.question.id, "")


def _shots(events: list[ev.AnyEvent], walk: Walk) -> list[Shot]:
    """In order of their first use; polls of one command become one shot."""
    runs: dict[int, Shot] = {}
    data: dict[int, list[bytes]] = {}
    spools: dict[int, str] = {}
    for event in events:
        match event:
            case ev.CommandStarted():
                runs[event.run] = Shot(
                    node=event.node,
                    key=event.key,
                    command=(event.show or event.text).strip(),
                    text=event.text,
                    started=event.t,
                    mutates=event.mutates,
                    quiet=event.quiet,
                )
                data[event.run], spools[event.run] = [], event.spool
            case ev.Output() if event.run in runs:
                data[event.run].append(walk.read(spools[event.run], event.start, event.end))
            case ev.CommandEnded() if event.run in runs:
                runs[event.run] = replace(
                    runs[event.run],
                    code=event.code,
                    reason=event.reason,
                    detail=event.detail,
                    seconds=event.ended - event.started,
                )
            case _:
                pass
    merged: dict[tuple[str, str, str], Shot] = {}
    for run, shot in runs.items():
        shot = replace(shot, output=b"".join(data[run]).decode("utf-8", "replace"))
        before = merged.get((shot.node, shot.key, shot.text))
        if before is not None:
            took = shot.started + shot.seconds - before.started
            shot = replace(shot, uses=before.uses + 1, started=before.started, seconds=took)
        merged[shot.node, shot.key, shot.text] = shot
    return list(merged.values())


def cut_lines(text: str, most: int = MOST_LINES) -> str:
    """The text, or both its ends with a line that says how much was left out."""
    lines = text.splitlines()
    if len(lines) <= most:
        return text.rstrip("\n")
    gone = len(lines) - most
    return "\n".join(
        [
            *lines[: most // 2],
            f"[... {gone} lines left out; the recording has them ...]",
            *lines[-most // 2 :],
        ]
    )


def about(walk: Walk) -> list[tuple[str, str]]:
    """What a reader must know first: it is a recording, from when, of what, made by what."""
    meta = walk.meta
    kind = "RECORDED, SIMULATED GPUs" if meta.simulated else "RECORDED"
    found = [
        (kind, meta.recorded),
        ("on", meta.machine),
        ("by", f"milepost {meta.milepost}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in meta.versions.items())),
        ("about", meta.note),
        ("from", meta.provenance),
        ("edited", "; ".join(meta.edited)),
    ]
    return [(name, value) for name, value in found if value]
