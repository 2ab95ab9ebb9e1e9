"""Host keys: unknown, changed, revoked, certified, hashed, under an alias."""

from __future__ import annotations

import asyncio
import os
import shlex
import stat
from pathlib import Path

import asyncssh
import pytest

from tests.helpers.ssh_help import Answers, fingerprint, lost, once, ran, transport_to
from tests.helpers.sshd import USER, Bed, keygen, needs_sshd, sh
from wizard_steps.errors import HostKeyChanged
from wizard_steps.model import Node
from wizard_steps.transport.ssh_ask import Asker
from wizard_steps.transport.ssh_hosts import Keys, KnownHosts

pytestmark = needs_sshd


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


def test_a_pipe_in_place_of_the_file_is_no_record_and_hangs_nobody(tmp_path: Path) -> None:
    pipe = tmp_path / "known_hosts"
    os.mkfifo(pipe)
    hosts = KnownHosts(pipe)
    assert hosts.look("gpu-a", 22) == Keys()
    assert hosts.records("gpu-a", 22) == []
    with pytest.raises(OSError, match="plain file"):
        hosts.add("gpu-a", 22, asyncssh.generate_private_key("ssh-ed25519"))
