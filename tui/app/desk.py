"""The person at the screen as Decider and Asker: one question at a time, each a dialog or the gate's keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from textual.screen import Screen

from tui.app.text import safe
from tui.screens.api_key import ApiKeyScreen
from tui.screens.question import HostKeyScreen, QuestionScreen, SecretScreen
from wizard_steps.engine.decide import Answer
from wizard_steps.model import Node, Question
from wizard_steps.recording.redact import Redactor

T = TypeVar("T")


class Front(Protocol):
    """What the desk needs of the app."""

    async def before_dialog(self) -> None:
        """Returns when a dialog may be put in front."""
        ...

    def put_dialog(self, screen: Screen[Any], done: Callable[[Any], None]) -> None: ...

    def drop_dialog(self, screen: Screen[Any]) -> None: ...

    def title_of(self, step: str) -> str: ...

    def check_answer(self, question: Question, value: str) -> None:
        """Raises MilepostError when the answer does not fit its field of the cluster file."""
        ...


class Desk:
    """Implements Decider and Asker. At a gate ``answer_gate`` is what a key calls."""

    def __init__(self, front: Front, redactor: Redactor) -> None:
        self._front = front
        self._redactor = redactor
        self._lock = asyncio.Lock()
        self._gate: asyncio.Future[Answer] | None = None

    @property
    def gate_open(self) -> bool:
        """Whether a failed gate waits for a key."""
        return self._gate is not None and not self._gate.done()

    def answer_gate(self, answer: Answer) -> None:
        if self._gate is not None and not self._gate.done():
            self._gate.set_result(answer)

    async def ask(self, step: str, question: Question) -> Answer:
        if question.kind == "gate":
            self._gate = asyncio.get_running_loop().create_future()
            return await self._gate
        title = self._front.title_of(step)

        def check(value: str) -> None:
            self._front.check_answer(question, value)

        return Answer(str(await self._show(QuestionScreen(title, question, check))))

    async def host_key(self, node: Node, host: str, port: int, key_type: str, fingerprint: str) -> bool:
        screen: Screen[bool | None] = HostKeyScreen(node.name, host, port, key_type, fingerprint)
        return await self._show(screen) is True

    async def password(self, node: Node, prompt: str) -> str | None:
        return await self._secret(SecretScreen(f"Password for {safe(node.name)}", prompt))

    async def passphrase(self, node: Node, key_path: str) -> str | None:
        title = f"Passphrase for {safe(node.name)}"
        return await self._secret(SecretScreen(title, f"The key {key_path} is locked."))

    async def api_key(self) -> str | None:
        """The key that clients of the server must give; None when the person gives none."""
        return await self._secret(ApiKeyScreen())

    async def _secret(self, screen: Screen[str | None]) -> str | None:
        value = await self._show(screen)
        if value is not None:
            self._redactor.add(value)
        return value

    async def _show(self, screen: Screen[T]) -> T | None:
        async with self._lock:
            await self._front.before_dialog()
            future: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()

            def done(value: T | None) -> None:
                if not future.done():
                    future.set_result(value)

            self._front.put_dialog(screen, done)
            try:
                return await future
            finally:
                if not future.done() or future.cancelled():
                    self._front.drop_dialog(screen)
