"""Reaching a host: ssh config, jump hosts, host keys, keys, passwords, and what a person reads on failure."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from tests.sshd import (
    USER,
    Answers,
    Bed,
    Ran,
    Sshd,
    asyncssh_server,
    bed_fixture,  # noqa: F401
    free_port,
    keygen,
    needs_sshd,
    ran,
    sh,
)
from wizard_steps.cluster import Cluster
from wizard_steps.errors import HostKeyChanged
from wizard_steps.model import Node
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import Asker, NoAsker

pytestmark = needs_sshd


@asynccontextmanager
async def transport_to(cluster: Cluster, asker: Asker | None = None) -> AsyncIterator[SshTransport]:
    made = SshTransport(cluster, asker or NoAsker())
    try:
        yield made
    finally:
        await made.close()


async def once(cluster: Cluster, asker: Asker | None = None, node: Node | None = None) -> Ran:
    """One command on the head over a transport of its own."""
    async with transport_to(cluster, asker) as transport:
        return await ran(transport, node or cluster.head, "echo in")


def lost(result: Ran, *words: str) -> str:
    """Checks that the host was not reached and that the detail has these words."""
    assert (result.output, result.exit.code, result.exit.reason) == (b"", -1, "lost")
    for word in words:
        assert word in result.exit.detail
    assert "Traceback" not in result.exit.detail
    return result.exit.detail


def fingerprint(server: Sshd) -> str:
    return sh("ssh-keygen", "-lf", str(server.host_key) + ".pub").stdout.split()[1]


# --- the ssh config ---------------------------------------------------------------------------------


async def test_an_alias_of_the_ssh_config(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    ssh_bed.config.write_text(
        f"Host gpu-a\n  HostName 127.0.0.1\n  Port {server.port}\n  User {USER}\n"
        f"  IdentityFile {ssh_bed.user_key}\nHost *\n  ForwardAgent yes\n"
        "  RequestTTY force\n  RemoteCommand false\n"
    )
    result = await once(ssh_bed.cluster(identity=()), node=Node(name="a", host="gpu-a"))
    assert (result.output, result.exit.code) == (b"in\n", 0)


async def test_the_cluster_file_overrides_the_ssh_config(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    ssh_bed.config.write_text(
        f"Host gpu-a\n  HostName 127.0.0.1\n  Port 1\n  User nobody-at-all\n"
        f"  IdentityFile {keygen(ssh_bed.folder / 'wrong')}\n"
    )
    node = Node(name="a", host="gpu-a", user=USER, port=server.port)
    assert (await once(ssh_bed.cluster(), node=node)).output == b"in\n"


async def test_a_broken_ssh_config_is_named_with_its_line(ssh_bed: Bed) -> None:
    ssh_bed.config.write_text("Host *\n  Port twenty-two\n")
    lost(await once(ssh_bed.cluster(2222)), f"{ssh_bed.config} line 2", "Port")


async def test_an_absent_ssh_config_is_named(ssh_bed: Bed) -> None:
    lost(await once(ssh_bed.cluster(2222, config="/no/such/config")), "/no/such/config", "ssh.config")


# --- jump hosts -------------------------------------------------------------------------------------


def jump_config(bed: Bed, jump: Sshd, *targets: Sshd) -> None:
    hosts = "".join(
        f"Host inner{n}\n  HostName 127.0.0.1\n  Port {target.port}\n  ProxyJump bastion\n"
        for n, target in enumerate(targets)
    )
    bed.config.write_text(
        f"Host bastion\n  HostName 127.0.0.1\n  Port {jump.port}\n{hosts}"
        f"Host *\n  User {USER}\n  IdentityFile {bed.user_key}\n"
    )


async def test_two_nodes_behind_one_jump_host(ssh_bed: Bed) -> None:
    jump, one, two = ssh_bed.sshd(), ssh_bed.sshd(), ssh_bed.sshd()
    jump_config(ssh_bed, jump, one, two)
    nodes = [Node(name=f"n{n}", host=f"inner{n}") for n in (0, 1)]
    async with transport_to(ssh_bed.cluster(identity=())) as transport:
        results = await asyncio.gather(*(ran(transport, node, "echo $SSH_CONNECTION") for node in nodes))
    ports = [result.output.decode().split()[3] for result in results]
    assert ports == [str(one.port), str(two.port)]
    assert (jump.logins, one.logins, two.logins) == (1, 1, 1)


@pytest.mark.parametrize("spec", ["{user}@127.0.0.1:{one}", "ssh://127.0.0.1:{one},{user}@127.0.0.1:{two}"])
async def test_jump_hosts_written_out(ssh_bed: Bed, spec: str) -> None:
    one, two, end = ssh_bed.sshd(), ssh_bed.sshd(), ssh_bed.sshd()
    jumps = spec.format(user=USER, one=one.port, two=two.port)
    ssh_bed.config.write_text(f"Host inner\n  HostName 127.0.0.1\n  Port {end.port}\n  ProxyJump {jumps}\n")
    assert (await once(ssh_bed.cluster(), node=Node(name="n", host="inner"))).output == b"in\n"
    assert [one.logins, two.logins, end.logins] == [1, 1 if "," in spec else 0, 1]


async def test_the_key_of_a_jump_host_is_verified(ssh_bed: Bed) -> None:
    jump, target = ssh_bed.sshd(known=False), ssh_bed.sshd()
    jump_config(ssh_bed, jump, target)
    node = Node(name="n", host="inner0")
    lost(await once(ssh_bed.cluster(), node=node), "bastion", fingerprint(jump))
    asker = Answers(trust=True)
    assert (await once(ssh_bed.cluster(), asker, node)).output == b"in\n"
    assert [question[1:4] for question in asker.asked] == [("n", "127.0.0.1", str(jump.port))]

    ssh_bed.known_hosts.write_text(f"[127.0.0.1]:{jump.port} {target.public_host_key()}\n")
    with pytest.raises(HostKeyChanged, match="bastion"):
        await once(ssh_bed.cluster(), Answers(trust=True), node)


async def test_a_jump_host_that_cannot_reach_the_node(ssh_bed: Bed) -> None:
    jump = ssh_bed.sshd()
    ssh_bed.config.write_text(
        f"Host inner\n  HostName 127.0.0.1\n  Port {free_port()}\n  ProxyJump 127.0.0.1:{jump.port}\n"
    )
    detail = lost(
        await once(ssh_bed.cluster(), node=Node(name="n", host="inner")), "jump host", "cannot reach"
    )
    assert f"127.0.0.1:{jump.port}" in detail


async def test_a_jump_host_that_is_down(ssh_bed: Bed) -> None:
    ssh_bed.config.write_text(f"Host inner\n  HostName 192.0.2.1\n  ProxyJump 127.0.0.1:{free_port()}\n")
    lost(
        await once(ssh_bed.cluster(), node=Node(name="n", host="inner")),
        "127.0.0.1",
        "refused the connection",
    )


async def test_a_jump_rule_for_every_host_leaves_out_the_jump_host(ssh_bed: Bed) -> None:
    jump, end = ssh_bed.sshd(), ssh_bed.sshd()
    ssh_bed.config.write_text(
        f"Host bastion\n  Port {jump.port}\nHost inner\n  Port {end.port}\n"
        "Host *\n  HostName 127.0.0.1\n  ProxyJump bastion\n"
    )
    assert (await once(ssh_bed.cluster(), node=Node(name="n", host="inner"))).output == b"in\n"


async def test_jump_hosts_in_a_circle(ssh_bed: Bed) -> None:
    ssh_bed.config.write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    lost(await once(ssh_bed.cluster(), node=Node(name="n", host="a")), "circles")


# --- host keys --------------------------------------------------------------------------------------


async def test_an_unknown_key_is_shown_asked_about_and_recorded(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd(known=False)
    ssh_bed.known_hosts.write_text("other ssh-ed25519 AAAA-not-a-key")  # no newline at its end
    cluster = ssh_bed.cluster(server.port)
    asker = Answers(trust=True)
    assert (await once(cluster, asker)).output == b"in\n"
    shown = fingerprint(server)
    assert asker.asked == [("host_key", "n0", "127.0.0.1", str(server.port), "ssh-ed25519", shown)]
    assert ssh_bed.known_hosts.read_text().splitlines() == [
        "other ssh-ed25519 AAAA-not-a-key",
        f"[127.0.0.1]:{server.port} {server.public_host_key()}",
    ]
    assert (await once(cluster)).output == b"in\n"
    check = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={ssh_bed.known_hosts}"]
    ssh = sh(*check, "-i", str(ssh_bed.user_key), "-p", str(server.port), f"{USER}@127.0.0.1", "echo ok")
    assert ssh.stdout == "ok\n", "OpenSSH itself accepts the record"


async def test_a_new_record_is_private_to_the_user(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd(known=False)
    where = ssh_bed.folder / "new" / "known_hosts"
    await once(ssh_bed.cluster(server.port, known_hosts=str(where)), Answers(trust=True))
    assert stat.S_IMODE(where.stat().st_mode) == 0o600
    assert stat.S_IMODE(where.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("asker", [None, Answers(trust=False)], ids=["nobody", "no"])
async def test_an_unknown_key_that_is_not_accepted(ssh_bed: Bed, asker: Asker | None) -> None:
    server = ssh_bed.sshd(known=False)
    detail = lost(await once(ssh_bed.cluster(server.port), asker), "not on record", fingerprint(server))
    assert not ssh_bed.known_hosts.exists()
    assert server.logins == 0
    advice = shlex.split(detail.rpartition("accept it: ")[2])
    assert advice[:5] == ["ssh", "-F", str(ssh_bed.config), "-o", f"UserKnownHostsFile={ssh_bed.known_hosts}"]
    sh(*advice[:-1], "-o", "StrictHostKeyChecking=accept-new", advice[-1], "true")
    assert (await once(ssh_bed.cluster(server.port))).output == b"in\n"


async def test_two_nodes_at_one_address_are_asked_about_once(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd(known=False)
    asker = Answers(trust=True)
    cluster = ssh_bed.cluster(server.port)
    nodes = [Node(name=f"n{n}", host="127.0.0.1", port=server.port, user=u) for n, u in enumerate(("", USER))]
    async with transport_to(cluster, asker) as transport:
        results = await asyncio.gather(*(ran(transport, node, "echo in") for node in nodes))
    assert [result.output for result in results] == [b"in\n", b"in\n"]
    assert len(asker.asked) == 1


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
async def test_a_changed_key_stops_everything(ssh_bed: Bed, kind: str) -> None:
    """Also when the key on record is of a type that the server does not have any more."""
    server = ssh_bed.sshd(known=False)
    old = keygen(ssh_bed.folder / "old", kind=kind)
    public = old.with_suffix(".pub").read_text()
    ssh_bed.known_hosts.write_text(f"# a comment\n\n[127.0.0.1]:{server.port} {public}")
    asker = Answers(trust=True)
    with pytest.raises(HostKeyChanged) as caught:
        await once(ssh_bed.cluster(server.port), asker)
    text = str(caught.value)
    was = sh("ssh-keygen", "-lf", str(old)).stdout.split()[1]
    assert was in text
    assert fingerprint(server) in text
    assert f"{ssh_bed.known_hosts}:3" in text
    assert asker.asked == []
    assert server.logins == 0
    forget = shlex.split(text.splitlines()[-1])
    sh(*forget)
    assert (await once(ssh_bed.cluster(server.port), asker)).output == b"in\n"


async def test_a_server_with_two_keys_shows_the_one_on_record(ssh_bed: Bed) -> None:
    rsa = keygen(ssh_bed.folder / "host_rsa", kind="rsa")
    server = ssh_bed.sshd(f"HostKey {rsa}", known=False)
    ssh_bed.know(server.port, rsa.with_suffix(".pub").read_text())
    assert (await once(ssh_bed.cluster(server.port))).output == b"in\n"


async def test_a_key_recorded_for_the_host_on_port_22_holds(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd(known=False)
    ssh_bed.known_hosts.write_text(f"127.0.0.1 {server.public_host_key()}\n")
    assert (await once(ssh_bed.cluster(server.port))).output == b"in\n"


async def test_another_key_of_the_host_on_port_22_is_no_change(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd(known=False)
    other = keygen(ssh_bed.folder / "other").with_suffix(".pub").read_text()
    ssh_bed.known_hosts.write_text(f"127.0.0.1 {other}\n")
    asker = Answers(trust=True)
    assert (await once(ssh_bed.cluster(server.port), asker)).output == b"in\n"
    assert len(asker.asked) == 1


async def test_hashed_records(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd()
    sh("ssh-keygen", "-H", "-f", str(ssh_bed.known_hosts))
    assert b"127.0.0.1" not in ssh_bed.known_hosts.read_bytes()
    assert (await once(ssh_bed.cluster(server.port))).output == b"in\n"


@pytest.mark.parametrize("also_trusted", [True, False])
async def test_a_revoked_key(ssh_bed: Bed, also_trusted: bool) -> None:
    server = ssh_bed.sshd(known=also_trusted)
    with ssh_bed.known_hosts.open("a") as file:
        file.write(f"@revoked * {server.public_host_key()}\n")
    asker = Answers(trust=True)
    lost(await once(ssh_bed.cluster(server.port), asker), "@revoked", str(ssh_bed.known_hosts))
    assert (asker.asked, server.logins) == ([], 0)


async def test_a_host_certificate_of_a_known_authority(ssh_bed: Bed) -> None:
    authority = keygen(ssh_bed.folder / "ca")
    server = ssh_bed.sshd(f"HostCertificate {ssh_bed.folder}/sshd0/host_key-cert.pub", known=False)
    server.stop()
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "host", "-h", "-n", "127.0.0.1"]
    sh(*sign, f"{server.host_key}.pub")
    server.start()
    cluster = ssh_bed.cluster(server.port)
    lost(await once(cluster), "not on record")
    public = authority.with_suffix(".pub").read_text()
    ssh_bed.known_hosts.write_text(f"@cert-authority [127.0.0.1]:{server.port} {public}")
    assert (await once(cluster)).output == b"in\n"


async def test_an_alias_for_the_host_key(ssh_bed: Bed) -> None:
    server = ssh_bed.sshd(known=False)
    ssh_bed.config.write_text("Host *\n  HostKeyAlias the-gpu-box\n")
    assert (await once(ssh_bed.cluster(server.port), Answers(trust=True))).output == b"in\n"
    assert ssh_bed.known_hosts.read_text() == f"the-gpu-box {server.public_host_key()}\n"
    assert (await once(ssh_bed.cluster(server.port))).output == b"in\n"


# --- keys -------------------------------------------------------------------------------------------


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


# --- passwords --------------------------------------------------------------------------------------


@asynccontextmanager
async def by_password(bed: Bed, *methods: str, **ssh: object) -> AsyncIterator[Cluster]:
    async with asyncssh_server(*methods) as (port, key):
        bed.know(port, key)
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


# --- no connection ----------------------------------------------------------------------------------


async def test_nothing_listens(ssh_bed: Bed) -> None:
    port = free_port()
    lost(await once(ssh_bed.cluster(port)), f"127.0.0.1 port {port} refused the connection", "systemctl")


async def test_an_unknown_name(ssh_bed: Bed) -> None:
    node = Node(name="n", host="no-such-host.invalid")
    lost(await once(ssh_bed.cluster(), node=node), "'no-such-host.invalid'", "No address found")


async def test_a_host_that_does_not_answer(ssh_bed: Bed) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        result = await once(ssh_bed.cluster(silent.getsockname()[1], connect_timeout=0.5))
    lost(result, "No answer from 127.0.0.1", "within 0.5 s", "firewall")


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-x\r\n" + b"\xff" * 5000,
        b"SSH-2.0-x\r\n\0\0\0\x10\x04\x01\0\0\0\x0b\0\0\0\x06\x1b[31mA\0\0\0\0",
    ],
    ids=["nothing", "http", "ssh1", "garbage", "disconnect"],
)
async def test_something_else_than_ssh(ssh_bed: Bed, words: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        detail = lost(await once(ssh_bed.cluster(server.sockets[0].getsockname()[1])), "127.0.0.1")
    assert detail.isprintable()


async def test_a_dead_node_costs_its_timeout_once_for_commands_that_wait_together(ssh_bed: Bed) -> None:
    accepted: list[int] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        cluster = ssh_bed.cluster(server.sockets[0].getsockname()[1], connect_timeout=0.5)
        async with transport_to(cluster) as transport:
            results = await asyncio.gather(*(ran(transport, cluster.head, "true") for _ in range(4)))
    assert [result.exit.reason for result in results] == ["lost"] * 4
    assert len(accepted) == 1


async def test_no_more_than_the_limit_connect_at_the_same_time(ssh_bed: Bed) -> None:
    open_now: list[int] = []
    most = 0

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        open_now.append(1)
        most = max(most, len(open_now))
        await asyncio.sleep(0.1)
        open_now.pop()
        writer.close()

    servers = [await asyncio.start_server(hold, "127.0.0.1", 0) for _ in range(7)]
    cluster = ssh_bed.cluster(*(server.sockets[0].getsockname()[1] for server in servers), limit=3)
    async with transport_to(cluster) as transport:
        results = await asyncio.gather(*(ran(transport, node, "true") for node in cluster.node_list))
    for server in servers:
        server.close()
    assert [result.exit.reason for result in results] == ["lost"] * 7
    assert most == 3


async def test_a_cancelled_command_gives_up_its_attempt(ssh_bed: Bed) -> None:
    closed = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        cluster = ssh_bed.cluster(server.sockets[0].getsockname()[1], connect_timeout=60.0)
        async with transport_to(cluster) as transport:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ran(transport, cluster.head, "true"), 0.3)
            await asyncio.wait_for(closed.wait(), 3)
