"""Logging in by key: encrypted ones, wrong ones, those of an agent."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.helpers.ssh_help import Answers, lost, once, ran, transport_to
from tests.helpers.sshd import USER, Bed, Sshd, keygen, needs_sshd, sh
from wizard_steps.model import Node

pytestmark = needs_sshd


def take_only(server: Sshd, *keys: str) -> None:
    (server.folder / "authorized_keys").write_text("".join(keys))


async def test_an_encrypted_key_is_asked_about_once_for_all_nodes(ssh_bed: Bed) -> None:
    key = keygen(ssh_bed.folder / "secret_key", "open sesame")
    servers = [ssh_bed.sshd(), ssh_bed.sshd()]
    for server in servers:
        take_only(server, key.with_suffix(".pub").read_text())
    asker = Answers(passphrase="open sesame")
    cluster = ssh_bed.cluster(*(server.port for server in servers), identity=(str(key),))
    async with transport_to(cluster, asker) as transport:
        results = await asyncio.gather(*(ran(transport, node, "echo in") for node in cluster.node_list))
    assert [result.output for result in results] == [b"in\n", b"in\n"]
    assert [question[0] for question in asker.asked] == ["passphrase"]
    assert asker.asked[0][2] == str(key)


@pytest.mark.parametrize("phrase", [None, "wrong"])
async def test_an_encrypted_key_without_its_passphrase(ssh_bed: Bed, phrase: str | None) -> None:
    key = keygen(ssh_bed.folder / "secret_key", "open sesame")
    server = ssh_bed.sshd()
    take_only(server, key.with_suffix(".pub").read_text())
    asker = Answers(passphrase=phrase)
    cluster = ssh_bed.cluster(server.port, identity=(str(key),))
    detail = lost(await once(cluster, asker), repr(USER), str(key), "passphrase")
    assert len(asker.asked) == (1 if phrase is None else 3)
    assert "wrong" not in detail


async def test_an_encrypted_pem_key_without_a_public_file(ssh_bed: Bed) -> None:
    key = ssh_bed.folder / "pem_key"
    make = ["ssh-keygen", "-q", "-m", "PEM", "-t", "rsa", "-N", "open sesame", "-f", str(key)]
    sh(*make)
    server = ssh_bed.sshd()
    shutil.move(f"{key}.pub", server.folder / "authorized_keys")
    cluster = ssh_bed.cluster(server.port, identity=(str(key),))
    assert (await once(cluster, Answers(passphrase="open sesame"))).output == b"in\n"
    lost(await once(cluster), "passphrase")


async def test_no_passphrase_is_asked_for_a_key_the_server_does_not_take(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    locked = keygen(ssh_bed.folder / "locked", "open sesame")
    asker = Answers(passphrase="open sesame")
    cluster = ssh_bed.cluster(server.port, identity=(str(locked), str(ssh_bed.user_key)))
    assert (await once(cluster, asker)).output == b"in\n"
    assert asker.asked == []


async def test_a_wrong_key(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    wrong = keygen(ssh_bed.folder / "wrong")
    detail = lost(
        await once(ssh_bed.cluster(server.port, identity=(str(wrong), "/no/such/key"))),
        f"refused the login of user {USER!r}",
        f"Tried: key file {wrong}",
        "/no/such/key: no such file",
        "The server takes: publickey",
        "ssh-copy-id",
    )
    assert "password" not in detail


async def test_a_wrong_user(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    node = Node(name="n0", host="127.0.0.1", port=server.port, user="nobody-at-all")
    detail = lost(await once(ssh_bed.cluster(), node=node), "'nobody-at-all'", str(ssh_bed.user_key))
    assert "nodes[].user" in detail


async def test_no_key_at_all(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    lost(await once(ssh_bed.cluster(server.port, identity=())), "Tried: nothing", "publickey")


async def test_a_key_file_that_is_none(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    bad = ssh_bed.folder / "bad"
    bad.write_text("not a key")
    lost(await once(ssh_bed.cluster(server.port, identity=(str(bad),))), f"key file {bad}:")


@contextmanager
def agent(bed: Bed) -> Iterator[str]:
    path = str(bed.folder / "agent.sock")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        while not os.path.exists(path):
            assert process.poll() is None
        yield path
    finally:
        process.terminate()
        process.wait()


def add(path: str, *keys: os.PathLike[str]) -> None:
    subprocess.run(["ssh-add", "-q", *map(str, keys)], check=True, env={**os.environ, "SSH_AUTH_SOCK": path})


async def test_a_key_that_only_the_agent_has(ssh_bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ssh_bed.sshd()
    with agent(ssh_bed) as path:
        add(path, ssh_bed.user_key)
        cluster = ssh_bed.cluster(server.port, identity=())
        lost(await once(cluster), "Tried: nothing")
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        assert (await once(cluster)).output == b"in\n"
        ssh_bed.config.write_text("Host *\n  IdentityAgent none\n")
        lost(await once(cluster), "Tried: nothing")


async def test_the_wanted_key_comes_before_the_many_of_an_agent(
    ssh_bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd hangs up after six keys, so an agent full of others must not come first."""
    server = ssh_bed.sshd()
    with agent(ssh_bed) as path:
        add(path, *(keygen(ssh_bed.folder / f"other{n}") for n in range(8)))
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        assert (await once(ssh_bed.cluster(server.port))).output == b"in\n"
        take_only(server, "")
        lost(await once(ssh_bed.cluster(server.port)), "Too many authentication failures")
        ssh_bed.config.write_text("Host *\n  IdentitiesOnly yes\n")
        detail = lost(await once(ssh_bed.cluster(server.port)), str(ssh_bed.user_key))
        assert "ssh-agent" not in detail


async def test_an_agent_that_is_gone_is_said(ssh_bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ssh_bed.sshd()
    monkeypatch.setenv("SSH_AUTH_SOCK", "/no/such/agent")
    lost(await once(ssh_bed.cluster(server.port, identity=())), "Not usable: ssh-agent")
