"""What the tests of the screen drive it with: toy steps, a scripted transport, and the real engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.segment import Segment
from textual._context import visible_screen_stack
from textual.app import App
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Input

from wizard_steps.cluster.file import Cluster, NodeEntry
from wizard_steps.engine import expected
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.decide import Decider
from wizard_steps.engine.engine import Engine, OnEvent
from wizard_steps.engine.step import Known, Step
from wizard_steps.model import Check, Chunk, Cmd, Exit, Node, Question, Results, Round, Verdict
from wizard_steps.recording.journal import WalkFolder, new_meta
from wizard_steps.recording.redact import Redactor

Answer = tuple[str, int]
#: (node name, command key) -> answers in the order of use; the last one stays.
Script = Mapping[tuple[str, str], Sequence[Answer]]
WriteExpected = Callable[[str, str, str], None]


class Scripted:
    """A transport that answers from a script. ``pause`` is awaited before every piece of output."""

    def __init__(self, script: Script, pause: Callable[[], Any] | None = None) -> None:
        self._script = script
        self._uses: dict[tuple[str, str], int] = {}
        self._pause = pause or (lambda: asyncio.sleep(0))
        self.ran: list[tuple[str, str]] = []

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        key = (node.name, cmd.key)
        use = self._uses.get(key, 0)
        self._uses[key] = use + 1
        self.ran.append((node.name, cmd.text))
        answers = self._script.get(key, [(f"{cmd.key} on {node.name}\n", 0)])
        text, code = answers[min(use, len(answers) - 1)]
        for line in text.splitlines(keepends=True):
            await self._pause()
            yield Chunk(line.encode())
        yield Exit(code=code)

    async def close(self) -> None:
        pass


class Toy(Step):
    """Runs one command on every node and wants it to succeed."""

    def __init__(
        self,
        id: str,
        title: str,
        text: str = "true",
        question: Question | None = None,
        owns: tuple[str, ...] = (),
        mutates: bool = False,
        workers_only: bool = False,
    ) -> None:
        self.id, self.title, self.owns = id, title, owns
        self._text, self._question, self._mutates = text, question, mutates
        self._workers_only = workers_only

    def rounds(self, known: Known, done: Results) -> Round | None:
        if self._question is not None and self._question.id not in done.answers:
            return Round(questions=(self._question,))
        if done.has(self.id):
            return None
        text = self._text.replace("PORT", str(known.cluster.serve.port))
        nodes = known.workers if self._workers_only else known.nodes
        return Round(work=tuple((node, Cmd(self.id, text, mutates=self._mutates)) for node in nodes))

    def judge(self, known: Known, done: Results) -> Verdict:
        checks = [
            Check(
                name=self.title,
                ok=result.ok,
                node=result.node.name,
                found=(result.lines or ["nothing"])[-1],
                wanted="exit status 0",
                hint="" if result.ok else "change the port: something else listens there",
            )
            for result in done.of(self.id).values()
        ]
        ok = all(check.ok for check in checks)
        return Verdict(ok, f"{self.title}: {'fine' if ok else 'not fine'}", tuple(checks))


EXPECTED = """# {title}
## Why
Because {title} comes first.

## What happens
A command runs on every node.

## If it fails
Look at the log.

```expect {id}
{lines}
```
"""


@pytest.fixture
def toy_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteExpected]:
    """Writes expected files for toy steps in place of the real ones."""
    folder = tmp_path / "snapshots" / "expected"
    folder.mkdir(parents=True)
    monkeypatch.setattr(expected, "SNAPSHOTS", tmp_path / "snapshots")
    expected.load.cache_clear()

    def write(id: str, title: str, lines: str) -> None:
        (folder / f"{id}.md").write_text(EXPECTED.format(id=id, title=title, lines=lines), encoding="utf-8")

    yield write
    expected.load.cache_clear()


def toy_cluster(workers: int = 1, simulated: bool = False) -> Cluster:
    nodes = [NodeEntry(host="gpu-a", role="head", gpus=8)]
    nodes += [NodeEntry(host=f"gpu-{chr(98 + n) if n < 25 else n}", gpus=8) for n in range(workers)]
    return Cluster(nodes=tuple(nodes), name="demo", simulated=simulated)


class ToyWalk:
    """A WalkSource over a scripted transport, recorded like a live one."""

    def __init__(
        self,
        folder: Path,
        plan: Sequence[Step],
        transport: Scripted,
        cluster: Cluster | None = None,
        clock: Any = None,
    ) -> None:
        self.cluster = cluster or toy_cluster()
        self.folder = folder
        self.plan = plan
        self.transport = transport
        self.redactor = Redactor()
        self.clock = clock or ZeroClock()
        self.journal = WalkFolder(folder, new_meta(title="toy", simulated=self.cluster.simulated))
        self.closed = False

    def engine(self, decider: Decider, asker: Any, on_event: OnEvent) -> Engine:
        self.asker = asker
        return Engine(
            self.plan,
            self.cluster,
            self.transport,
            decider,
            self.clock,
            self.journal,
            on_event,
            self.redactor,
        )

    async def close(self) -> None:
        self.closed = True
        await self.transport.close()
        self.journal.close()


async def until(pilot: Pilot[Any] | None, condition: Callable[[], object], limit: float = 60.0) -> None:
    """Wait for the screen to get somewhere."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110 - the screen has no event for it
            await asyncio.sleep(0.02)


async def still(pilot: Pilot[Any]) -> None:
    """Wait until several drawings in a row are the same, in colours too. What has to be there first is waited for by itself."""
    for field in pilot.app.screen.query(Input):
        field.cursor_blink = False
    app: Any = pilot.app
    before: list[list[Segment]] = []
    drawings: set[object] = set()
    while len(drawings) < 3:
        await pilot.pause()
        now = [list(strip) for strip in strips(app)]
        # A walk is drawn by a clock; everything else as soon as it changes.
        drawing = app._drawn if getattr(app, "session", None) else object()
        drawings = {*(drawings if now == before else ()), drawing}
        before = now


async def picture(pilot: Pilot[Any], size: tuple[int, int]) -> str:
    """The screen in a terminal of ``size`` as SVG."""
    if (*pilot.app.size,) != size:
        await pilot.resize_terminal(*size)
    await pilot.wait_for_scheduled_animations()
    await still(pilot)
    return pilot.app.export_screenshot(title=pilot.app.title, simplify=True)


async def shows(app: App[Any], *words: str) -> str:
    """Wait until all these words are on the screen; the screen as text."""
    await until(None, lambda: all(map(plain(app).__contains__, words)))
    return plain(app)


def plain(app: App[Any]) -> str:
    """The screen as text."""
    return "\n".join(strip.text for strip in strips(app))


def strips(app: App[Any]) -> list[Strip]:
    """The screen as it is drawn, line by line."""
    visible_screen_stack.set(app._background_screens)
    return app.screen._compositor.render_strips(app.size)
