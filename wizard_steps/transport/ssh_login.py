"""One login: asyncssh's callbacks for host keys, keys and passwords, and a limit that waits for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TypeVar

import asyncssh

from wizard_steps.model import Node
from wizard_steps.transport.ssh_ask import Asker
from wizard_steps.transport.ssh_errors import printable, said
from wizard_steps.transport.ssh_hosts import KnownHosts
from wizard_steps.transport.ssh_keys import KeyOffer

T = TypeVar("T")
PASSWORD_TRIES = 3
ANSWERS = "answers to the server's questions"
#: Questions that a server may ask a person in one login: a password, a code or two, and each of them anew.
QUESTIONS = 12
#: Characters of a server's question, and of what it says above it, that are shown.
_QUESTION, _HEADING = 300, 1000
Prompts = Sequence[tuple[str, bool]]


class OneAtATime:
    """Puts one question at a time before the person, and lets nobody's time run out meanwhile."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Asker]:
        async with self._lock:
            yield self._asker


class Limit:
    """A connect timeout in seconds that stands still while a person is asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._timeout = asyncio.timeout(seconds)
        self._asking = 0

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._timeout.__aexit__(kind, error, trace)

    async def without(self, question: Callable[[], Awaitable[T]]) -> T:
        self._asking += 1
        self._move()
        try:
            return await question()
        finally:
            self._asking -= 1
            self._move()

    def _move(self) -> None:
        if not self._timeout.expired():
            now = asyncio.get_running_loop().time()
            self._timeout.reschedule(None if self._asking else now + self.seconds)


class Login(asyncssh.SSHClient):
    """Answers asyncssh during one attempt, and remembers what was tried for the error message."""

    def __init__(
        self,
        node: Node,
        hosts: KnownHosts,
        offers: Sequence[KeyOffer],
        asking: OneAtATime,
        limit: Limit,
        passwords: dict[str, str],
        who: str,
    ) -> None:
        self.shown: asyncssh.SSHKey | None = None
        self.verified_name = ("", 0)
        self.tried: list[str] = []
        self.methods: list[str] = []
        self.asked = False
        self.empty_handed = False
        self._node = node
        self._hosts = hosts
        self._offers = list(offers)
        self._asking = asking
        self._limit = limit
        self._passwords = passwords
        self._who = who
        self._password_tries = 0
        self._questions = 0
        self._connection: asyncssh.SSHClientConnection | None = None

    def known(
        self, host: str, _addr: str, port: int | None
    ) -> tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]:
        """asyncssh's ``known_hosts``: trusted keys, authorities and revoked keys of the host."""
        keys = self._hosts.look(host, port or 22)
        return list(keys.trusted), list(keys.authorities), list(keys.revoked)

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Only called for a key that is not on record. The person is asked after this attempt."""
        self.shown, self.verified_name = key, (host, port)
        return False

    def auth_completed(self) -> None:
        self._note_methods()

    def public_key_auth_requested(self) -> asyncssh.SSHKeyPair | None:
        self._note_methods()
        if not self._offers:
            return None
        offer = self._offers.pop(0)
        self.tried.append(offer.label)
        return offer.key

    async def password_auth_requested(self) -> str | None:
        self._note_methods()
        return await self._password(f"Password of {self._who}: ")

    def kbdint_auth_requested(self) -> str | None:
        self._note_methods()
        over = self._password_tries >= PASSWORD_TRIES or self._questions > QUESTIONS
        return None if over or self.empty_handed else ""

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Prompts
    ) -> list[str] | None:
        words = [text for text, _echo in prompts]
        self._questions += len(words)
        if words and self._questions > QUESTIONS:
            self.tried.append(f"answers, until the server had asked more than {QUESTIONS} questions")
            return None
        if len(words) == 1 and "password" in words[0].lower():
            one = await self._password(self._asks(words[0]))
            return None if one is None else [one]
        if prompts:
            self._password_tries += 1
        heading = said(" ".join(part for part in (name, instructions) if part), _HEADING)
        answers = []
        for text in words:
            answer = await self._ask(self._asks(text, heading))
            if answer is None:
                return None
            answers.append(answer)
        if prompts and ANSWERS not in self.tried:
            self.tried.append(ANSWERS)
        return answers

    def _asks(self, text: str, heading: str = "") -> str:
        """A server's question, with who asks it before all that the server says."""
        return " ".join(part for part in (f"{self._who} asks:", heading, said(text, _QUESTION)) if part)

    async def _password(self, prompt: str) -> str | None:
        """The remembered password first; one that failed is asked for anew, three times at most."""
        if self._password_tries >= PASSWORD_TRIES or self.empty_handed:
            return None
        remembered = self._passwords.pop(self._who, None)
        known = None if self._password_tries else remembered
        self._password_tries += 1
        answer = known if known is not None else await self._ask(prompt)
        if answer is None:
            return None
        self._passwords[self._who] = answer
        if "a password" not in self.tried:
            self.tried.append("a password")
        return answer

    async def _ask(self, prompt: str) -> str | None:
        async def question() -> str | None:
            async with self._asking.turn() as asker:
                return await asker.password(self._node, printable(prompt))

        answer = await self._limit.without(question)
        self.asked = self.asked or answer is not None
        self.empty_handed = answer is None
        return answer

    @property
    def accepted(self) -> bool:
        """Whether somebody took the connection."""
        return self._connection is not None

    @property
    def greeted(self) -> bool:
        """Whether it was an SSH server."""
        return self._connection is not None and bool(self._connection.get_extra_info("server_version"))

    def _note_methods(self) -> None:
        if self._connection is not None:
            for method in self._connection.get_server_auth_methods():
                if method not in self.methods:
                    self.methods.append(method)
