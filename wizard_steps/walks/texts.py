"""Every text of a recording: to look at, and to change consistently without losing which bytes came when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.recording import events as ev
from wizard_steps.recording import intake
from wizard_steps.recording.journal import Walk
from wizard_steps.recording.safe import safe
from wizard_steps.recording.spool import MemorySpool, file_name

#: Words of the format and of milepost's steps: never renamed, whatever a node is called.
_FIXED = frozenset(
    ("event", "step", "key", "reason", "state", "kind", "role", "outcome", "path", "spool", "steps")
)


class Draft(Struct, frozen=True):
    """A recording being edited: nothing is on disk before it is saved. ``said`` tells what was done."""

    walk: Walk
    evidence: Mapping[str, str]
    said: tuple[str, ...] = ()

    def but(self, said: str, **changes: Any) -> Draft:
        """The same with another walk; what was done goes into its meta.json too."""
        walk = replace(self.walk, **changes)
        meta = replace(walk.meta, edited=(*walk.meta.edited, said))
        return replace(self, walk=replace(walk, meta=meta), said=(*self.said, said))


def draft(walk: Walk) -> Draft:
    """An editable copy of a walk that was loaded."""
    return Draft(walk=walk, evidence=evidence(walk.folder))


def evidence(folder: Path) -> dict[str, str]:
    """The texts and pictures of passed gates, by file name."""
    found = {}
    place = folder / "evidence"
    for name in intake.names(place):
        if name.endswith((".txt", ".svg")):
            data = intake.read_in(place, name, intake.MOST_EVIDENCE)
            found[name] = safe(data.decode("utf-8", "replace"))
    return found


def outputs(walk: Walk) -> Iterator[tuple[ev.CommandStarted, bytes]]:
    """Each use of each command with all it printed."""
    for started, pieces in _pieces(walk):
        yield started, b"".join(walk.read(started.spool, p.start, p.end) for p in pieces)


def texts(item: Draft) -> Iterator[tuple[str, str]]:
    """(place, text) of everything that would be written."""
    walk = item.walk
    yield from _strings("meta.json", msgspec.to_builtins(walk.meta))
    for number, event in enumerate(walk.events, 1):
        yield from _strings(f"events.jsonl:{number}", msgspec.to_builtins(event))
    for started, data in outputs(walk):
        yield f"out/{started.spool}", data.decode("utf-8", "replace")
    for note in walk.notes:
        yield from _strings("notes.jsonl", msgspec.to_builtins(note))
    for name, text in item.evidence.items():
        yield f"evidence/{name}", text


def _strings(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield place, str(key)
            yield from _strings(place, inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(place, inner)


def _pieces(walk: Walk) -> Iterator[tuple[ev.CommandStarted, list[ev.Output]]]:
    runs: dict[int, tuple[ev.CommandStarted, list[ev.Output]]] = {}
    for event in walk.events:
        if isinstance(event, ev.CommandStarted):
            runs[event.run] = (event, [])
        elif isinstance(event, ev.Output) and event.run in runs:
            runs[event.run][1].append(event)
    yield from runs.values()


Span = tuple[int, int, bytes]


class TextChange(Struct, frozen=True):
    """How texts change. ``exact`` takes the key a value stands under: a node's name or a user as a whole.
    ``spans`` says what to put where in the bytes of a whole output: (start, end, new), in order."""

    word: Callable[[str], str]
    exact: Callable[[str, str], str]
    spans: Callable[[bytes], list[Span]]


def changed(walk: Walk, change: TextChange) -> Walk:
    """The walk with every text changed; outputs keep their pieces and times."""
    spool = MemorySpool()
    places: dict[int, list[tuple[int, int]]] = {}
    names: dict[int, str] = {}
    for started, pieces in _pieces(walk):
        node = change.exact("node", started.node)
        names[started.run] = file_name(node, started.step, started.key)
        data = [walk.read(started.spool, p.start, p.end) for p in pieces]
        places[started.run] = [spool.append(names[started.run], part) for part in _parts(data, change)]
    events = tuple(_event(event, change, names, places) for event in walk.events)
    meta = msgspec.convert(_value("", msgspec.to_builtins(walk.meta), change), type(walk.meta))
    notes = tuple(replace(note, text=change.word(note.text)) for note in walk.notes)
    return replace(walk, meta=meta, events=events, notes=notes, read=spool.read)


def _parts(pieces: list[bytes], change: TextChange) -> Iterator[bytes]:
    """The pieces of one output after the change: what spans two of them goes to where it ends."""
    whole = b"".join(pieces)
    spans = change.spans(whole)
    at = begin = 0
    for piece in pieces:
        end = begin + len(piece)
        part = bytearray()
        while spans and spans[0][1] <= end:
            start, stop, new = spans.pop(0)
            part += whole[at:start] + new
            at = stop
        stop = min(end, spans[0][0]) if spans else end
        part += whole[at : max(at, stop)]
        at = max(at, stop)
        begin = end
        yield bytes(part)


def _event(
    event: ev.AnyEvent,
    change: TextChange,
    names: Mapping[int, str],
    places: Mapping[int, list[tuple[int, int]]],
) -> ev.AnyEvent:
    plain = _value("", msgspec.to_builtins(event), change)
    if isinstance(event, ev.CommandStarted) and event.spool:
        plain["spool"] = names[event.run]
    if isinstance(event, ev.Output):
        plain["start"], plain["end"] = places[event.run].pop(0)
    found: ev.AnyEvent = msgspec.convert(plain, ev.AnyEvent)
    return found


def _value(key: str, value: Any, change: TextChange) -> Any:
    if key in _FIXED and not isinstance(value, Mapping):
        return value
    if isinstance(value, str):
        return change.exact(key, value)
    if isinstance(value, Mapping):
        return {change.exact("node", str(k)): _value(str(k), inner, change) for k, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_value(key, inner, change) for inner in value]
    return value
