"""Runs one command on one node the way its Cmd asks: once, polled, or followed; with limits and cancel."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing

from msgspec.structs import replace

from wizard_steps.engine.clock import Clock
from wizard_steps.engine.together import unless
from wizard_steps.engine.transport import Transport
from wizard_steps.model import Chunk, Cmd, Exit, Node, Reason, Result
from wizard_steps.recording import events as ev
from wizard_steps.recording.redact import Redactor
from wizard_steps.recording.spool import Spool, file_name

#: Seconds a poll goes on after what it waited for held and then broke: it may come back, or it may not.
BROKEN = 20.0
#: Seconds the last use of a poll gets at least.
LAST_USE = 10.0

Emit = Callable[[ev.AnyEvent], None]
#: A Result keeps this many bytes of each end of an output; all of it is in the spool.
KEEP = 512 * 1024
#: Up to this many bytes a Result holds all of an output, so that its lines have the numbers of the spool's.
WHOLE = 2 * KEEP
#: Bytes one use of a command may print; a node that never stops must not fill the person's disk.
MOST = 4 * 2**30


class Tail:
    """The first and the last part of an output, in bounded memory."""

    def __init__(self, keep: int = KEEP) -> None:
        self._keep = keep
        self._first = bytearray()
        self._last = bytearray()
        self._cut = False

    def add(self, data: bytes) -> None:
        room = self._keep - len(self._first)
        if room > 0:
            self._first += data[:room]
            data = data[room:]
        self._last += data
        if len(self._last) > 2 * self._keep:
            del self._last[: -self._keep]
            self._cut = True

    def text(self) -> str:
        middle = b"\n[... output left out here; the recording has all of it ...]\n" if self._cut else b""
        return (bytes(self._first) + middle + bytes(self._last)).decode("utf-8", "replace")


class Runner:
    """Executes Cmds, tells about it in events, and decides by recorded times: a replay decides alike."""

    def __init__(
        self, transport: Transport, clock: Clock, spool: Spool, emit: Emit, redactor: Redactor
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._spool = spool
        self._emit = emit
        self._redactor = redactor
        self._uses: Counter[tuple[str, str]] = Counter()
        self._runs = 0

    async def run(self, step: str, node: Node, cmd: Cmd, halt: asyncio.Event | None = None) -> Result:
        """Until ``cmd`` is done, its time is up, or ``halt`` is set (polls go on). Never raises for what a
        host does."""
        first = await self._once(step, node, cmd, cmd.timeout, halt)
        if cmd.until is None or first.reason in ("dry", "unrecorded"):
            return first
        return await self._poll(step, node, cmd, first)

    async def _poll(self, step: str, node: Node, cmd: Cmd, first: Result) -> Result:
        until = cmd.until
        assert until is not None
        result, since = first, None
        deadline = first.started + cmd.timeout
        while True:
            held = until(result)
            if since is not None and not held:
                deadline = min(deadline, result.ended + BROKEN)
            since = None if not held else (result.ended if since is None else since)
            if since is not None and result.ended - since >= cmd.settle:
                return result
            if result.ended >= deadline:
                return replace(result, reason="timeout") if not held else result
            self._emit(self._waiting(step, node, cmd, result, since, deadline))
            await self._clock.sleep(cmd.every)
            left = max(deadline - result.ended, LAST_USE)
            latest = await self._once(step, node, cmd, left)
            if latest.reason in ("timeout", "unrecorded"):
                # The time, or the recording, ran out in the midst: what the use before said is what is known.
                return replace(result, reason="timeout", ended=latest.ended)
            result = replace(latest, started=first.started)

    def _waiting(
        self, step: str, node: Node, cmd: Cmd, result: Result, since: float | None, deadline: float
    ) -> ev.Waiting:
        stable = f"holds; stable for {result.ended - since:.0f} of {cmd.settle:.0f} s" if since else "waiting"
        return ev.Waiting(self._clock.now(), step, node.name, cmd.key, stable, deadline)

    async def _once(
        self, step: str, node: Node, cmd: Cmd, limit: float, halt: asyncio.Event | None = None
    ) -> Result:
        run = self._runs = self._runs + 1
        text = self._redactor.text(cmd.text)
        use = self._uses[node.name, text]
        self._uses[node.name, text] += 1
        started = self._clock.now()
        spool = file_name(node.name, step, cmd.key)
        self._emit(
            ev.CommandStarted(
                t=started,
                run=run,
                step=step,
                node=node.name,
                key=cmd.key,
                text=text,
                use=use,
                spool=spool,
                mutates=cmd.mutates,
                quiet=cmd.quiet,
                show=self._redactor.text(cmd.show),
            )
        )
        tail = Tail()
        reason: Reason = "cancelled"
        end = Exit(code=-1, reason="cancelled")
        try:
            async with asyncio.timeout(limit):
                end = await unless(halt, self._stream(run, node, cmd, tail, spool))
        except TimeoutError:
            end = Exit(code=-1, reason="timeout", detail=f"ended after its limit of {limit:.0f} s")
        finally:
            reason = end.reason
            started = started if end.started is None else end.started
            ended = self._clock.now() if end.ended is None else end.ended
            self._emit(ev.CommandEnded(ended, run, node.name, end.code, reason, started, ended, end.detail))
        text_out = tail.text()
        if reason == "lost":
            text_out += ("\n" if text_out and not text_out.endswith("\n") else "") + end.detail
        return Result(node, cmd.key, text_out, end.code, reason, started, ended, end.detail)

    async def _stream(self, run: int, node: Node, cmd: Cmd, tail: Tail, spool: str) -> Exit:
        watch, size = _LineWatch(cmd.stop), 0
        async with aclosing(self._transport.run(node, cmd)) as stream:
            async for item in stream:
                if isinstance(item, Exit):
                    return item
                self._keep(run, node, item, tail, spool)
                size += len(item.data)
                if size > MOST:
                    detail = f"printed more than {MOST / 2**30:.3g} GiB, and was ended for that"
                    return Exit(-1, "lost", detail)
                if watch.seen(item.data):
                    return Exit(code=0, reason="stopped")
        return Exit(code=-1, reason="lost", detail="the transport ended without an exit status")

    def _keep(self, run: int, node: Node, chunk: Chunk, tail: Tail, spool: str) -> None:
        start, end = self._spool.append(spool, chunk.data)
        tail.add(chunk.data)
        self._emit(ev.Output(self._clock.now(), run, node.name, start, end))


class _LineWatch:
    """Feeds whole lines to a predicate, however the output was cut."""

    def __init__(self, stop: Callable[[str], bool] | None) -> None:
        self._stop = stop
        self._rest = b""

    def seen(self, data: bytes) -> bool:
        if self._stop is None:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-65536:]
        return any(self._stop(line.decode("utf-8", "replace")) for line in lines)
