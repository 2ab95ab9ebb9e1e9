"""Logging in by password and by keyboard-interactive prompts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.helpers.asyncssh_server import password_server
from tests.helpers.ssh_help import Answers, lost, once, ran, transport_to
from tests.helpers.sshd import USER, Bed, needs_sshd
from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Node

pytestmark = needs_sshd


@asynccontextmanager
async def by_password(bed: Bed, *methods: str, **ssh: object) -> AsyncIterator[Cluster]:
    async with password_server(bed, *methods) as port:
        yield bed.cluster(port, **ssh)


async def test_a_password_is_asked_for_once_and_kept_for_the_next_connection(ssh_bed: Bed) -> None:
    asker = Answers(password="correct horse")
    async with by_password(ssh_bed) as cluster, transport_to(cluster, asker) as transport:
        assert (await ran(transport, cluster.head, "echo in")).output == b"in\n"
        connection = await transport._connector.connection(cluster.head)
        transport._connector.replace(cluster.head, connection)
        assert (await ran(transport, cluster.head, "echo in")).output == b"in\n"
    assert [question[0] for question in asker.asked] == ["password"]
    assert f"{USER}@127.0.0.1" in asker.asked[0][2]


async def test_a_wrong_password_is_asked_for_three_times(ssh_bed: Bed) -> None:
    asker = Answers(password="battery staple")
    async with by_password(ssh_bed) as cluster:
        detail = lost(await once(cluster, asker), "refused the login", "a password")
    assert len(asker.asked) == 3
    assert "battery staple" not in detail


async def test_nobody_to_ask_for_a_password(ssh_bed: Bed) -> None:
    async with by_password(ssh_bed) as cluster:
        lost(await once(cluster), "The server takes: password", "No password was given")


class TwoSteps(Answers):
    async def password(self, node: Node, prompt: str) -> str | None:
        self.asked.append(("password", node.name, prompt))
        return "123456" if "code" in prompt else "correct horse"


async def test_keyboard_interactive_with_two_prompts(ssh_bed: Bed) -> None:
    asker = TwoSteps()
    async with by_password(ssh_bed, "keyboard-interactive") as cluster:
        assert (await once(cluster, asker)).output == b"in\n"
        lost(await once(cluster), "No password was given")
    assert [question[2].split("both. ")[-1] for question in asker.asked] == ["Password:", "One-time code:"]
    assert all(question[2].isprintable() for question in asker.asked)


async def test_keyboard_interactive_that_only_wants_the_password(ssh_bed: Bed) -> None:
    """What an sshd with PAM does."""
    right, wrong = Answers(password="correct horse"), Answers(password="battery staple")
    async with by_password(ssh_bed, "keyboard-interactive", "one prompt") as cluster:
        assert (await once(cluster, right)).output == b"in\n"
        lost(await once(cluster, wrong), "a password", "keyboard-interactive")
    assert (len(right.asked), len(wrong.asked)) == (1, 3)


class Slow(Answers):
    async def password(self, node: Node, prompt: str) -> str | None:
        await asyncio.sleep(1.2)
        return await super().password(node, prompt)


async def test_the_time_a_person_takes_is_no_timeout(ssh_bed: Bed) -> None:
    async with by_password(ssh_bed, connect_timeout=0.8) as cluster:
        assert (await once(cluster, Slow(password="correct horse"))).output == b"in\n"
