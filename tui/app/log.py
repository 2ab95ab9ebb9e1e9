"""The log of a step on a node: its commands and their output, as numbered lines over the spool.

Nothing of the output is kept here: a section remembers where its bytes are, and reads what is drawn.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Literal

from tui.app.index import ByteIndex
from tui.app.text import described, duration, safe
from wizard_steps.recording import events as ev
from wizard_steps.recording.spool import Spool
from wizard_steps.recording.state import Run

LineKind = Literal["command", "output", "good", "bad", "note"]
#: Bytes that are indexed in one go, and how long one round of indexing may take (seconds).
_STRIDE = 1 << 20
_BUDGET = 0.02


@dataclass(frozen=True, slots=True)
class LogLine:
    kind: LineKind
    text: str


@dataclass(slots=True)
class LogSection:
    """One use of a command: its text, its output, how it ended."""

    run: Run
    index: ByteIndex | None = None
    head: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        shown = (self.run.show or self.run.text).strip() or self.run.key
        self.head = [safe(line) for line in shown.split("\n")]

    def __len__(self) -> int:
        return len(self.head) + self.body + (not self.run.running)

    @property
    def body(self) -> int:
        return 0 if self.index is None else len(self.index)

    @property
    def behind(self) -> bool:
        """Whether there is output that is not indexed yet."""
        end = self.run.end
        return end is not None and (self.index is None or self.index.end < end)

    def catch_up(self, spool: Spool, until: float) -> None:
        """Index new output until it is all seen or the clock (time.monotonic) says ``until``."""
        if self.index is None:
            self.index = ByteIndex(self.run.start or 0)
        index, end = self.index, self.run.end or 0
        while index.end < end:
            data = spool.read(self.run.spool, index.end, min(index.end + _STRIDE, end))
            if not data:
                return
            index.feed(data)
            if time.monotonic() > until:
                return

    def lines(self, first: int, count: int, spool: Spool) -> list[LogLine]:
        """Some of this section's lines, by number inside the section."""
        found = []
        for n, text in enumerate(self.head[first : first + count], first):
            sign = "#" if described(text) else "$" if n == 0 else ">"
            found.append(LogLine("command", f"{sign} {text}"))
        body = first + len(found) - len(self.head)
        if self.index is not None and len(found) < count and body < self.body:
            read = partial(spool.read, self.run.spool)
            for text in self.index.lines(body, count - len(found), read):
                found.append(LogLine("output", safe(text)))
        if len(found) < count and first + len(found) < len(self):
            found.append(self._foot())
        return found

    def _foot(self) -> LogLine:
        run = self.run
        took = duration((run.ended or run.started) - run.started)
        if run.reason == "dry":
            return LogLine("note", "not run: dry run")
        if run.reason == "stopped":
            return LogLine("good", f"the awaited line came after {took}")
        if run.reason == "exit":
            return LogLine("good" if run.code == 0 else "bad", f"exit status {run.code} after {took}")
        return LogLine("bad", safe(f"{run.reason} after {took}: {run.detail}".rstrip(": ")))


class LogDoc:
    """All sections of one step on one node, oldest first, as one list of lines."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.sections: list[LogSection] = []
        self._starts: list[int] = [0]

    def __len__(self) -> int:
        return self._starts[-1]

    def catch_up(self) -> bool:
        """Index what came in, for a bounded time. Whether anything is left to do."""
        until = time.monotonic() + _BUDGET
        for section in self.sections:
            if section.behind:
                section.catch_up(self.spool, until)
        self._starts = [0, *accumulate(len(section) for section in self.sections)]
        return any(section.behind for section in self.sections)

    def lines(self, first: int, count: int) -> list[LogLine]:
        """``count`` lines from number ``first``; fewer at the end."""
        found: list[LogLine] = []
        at = max(0, bisect_right(self._starts, first) - 1)
        while len(found) < count and at + 1 < len(self._starts):
            # Sections may have come or grown since the starts were counted: take only what is numbered.
            size = self._starts[at + 1] - self._starts[at]
            begin = first + len(found) - self._starts[at]
            found += self.sections[at].lines(begin, min(count - len(found), size - begin), self.spool)
            at += 1
        return found

    def line_of(self, run: int, line: int, text: str) -> int | None:
        """The place (from 0) of the ``line``-th line that ``run`` printed; of its last one where that is 0.

        Where ``text`` is not in that line, it is looked for: a diagnosis may have read the end alone.
        """
        for start, section in zip(self._starts, self.sections, strict=False):
            if section.run.number != run or not section.body:
                continue
            at = section.body if not 1 <= line <= section.body else line
            place = start + len(section.head) + at - 1
            shown = self.lines(place, 1)
            if line and text and not (shown and text[:60] in shown[0].text):
                end = start + len(section)
                return next((hit for hit in self.search(text[:60], start, end) if hit is not None), place)
            return place
        return None

    def search(self, text: str, first: int, before: int | None = None) -> Iterator[int | None]:
        """Yields None after every stretch that was looked at, then the number of the first line in
        [first, before) that holds ``text`` (any case); nothing more when there is none."""
        wanted = text.lower()
        limit = len(self) if before is None else before
        for at, section in enumerate(self.sections[: len(self._starts) - 1]):
            begin = self._starts[at]
            if first >= begin + len(section) or begin >= limit:
                continue
            for hit in _in_section(section, wanted, first - begin, limit - begin, self.spool):
                yield None if hit is None else begin + hit
                if hit is not None:
                    return


def _in_section(
    section: LogSection, wanted: str, first: int, limit: int, spool: Spool
) -> Iterator[int | None]:
    """Line numbers inside the section, in [first, limit)."""
    heads = enumerate(section.head[:limit])
    yield from (n for n, line in heads if n >= first and wanted in line.lower())
    size = len(section.head)
    for hit in _in_body(section, wanted.encode(), max(0, first - size), limit - size, spool):
        yield None if hit is None else size + hit


def _in_body(
    section: LogSection, wanted: bytes, first: int, limit: int, spool: Spool
) -> Iterator[int | None]:
    """Stretches overlap, so that a hit across their border is found."""
    index = section.index
    if index is None or first >= min(len(index), limit):
        return
    read = partial(spool.read, section.run.spool)
    at = index.offset_of(first, read)
    end = index.end if limit >= len(index) else index.offset_of(limit, read)
    while at < end:
        until = min(at + _STRIDE, end)
        hit = read(at, until).lower().find(wanted)
        if hit >= 0:
            yield index.number_at(at + hit, read)
            return
        yield None
        if until == end:
            return
        at = until - len(wanted) + 1


class LogStore:
    """The documents of a walk, fed with events. Feeding is cheap: it only remembers places."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._docs: dict[tuple[str, str], LogDoc] = {}
        self._by_run: dict[int, LogSection] = {}

    def feed(self, event: ev.AnyEvent, runs: Mapping[int, Run]) -> None:
        """Take notice of an event; ``runs`` is the state it led to."""
        if isinstance(event, ev.CommandStarted):
            section = LogSection(runs[event.run])
            self._by_run[event.run] = section
            self.doc(event.step, event.node).sections.append(section)
        elif isinstance(event, ev.Output | ev.CommandEnded):
            self._by_run[event.run].run = runs[event.run]

    def doc(self, step: str, node: str) -> LogDoc:
        """The document of a step on a node; an empty one if nothing ran there."""
        return self._docs.setdefault((step, node), LogDoc(self._spool))
