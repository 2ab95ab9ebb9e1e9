"""Reaching a host by what the ssh config says: aliases, overrides, jump hosts."""

from __future__ import annotations

import asyncio

import pytest

from tests.helpers.ssh_help import Answers, fingerprint, lost, once, ran, transport_to
from tests.helpers.sshd import USER, Bed, Sshd, free_port, keygen, needs_sshd
from wizard_steps.errors import HostKeyChanged
from wizard_steps.model import Node

pytestmark = needs_sshd


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
    lost(await once(ssh_bed.cluster(2222)), f"{ssh_bed.config} line 2", "twenty-two")


async def test_an_absent_ssh_config_is_named(ssh_bed: Bed) -> None:
    lost(await once(ssh_bed.cluster(2222, config="/no/such/config")), "/no/such/config", "ssh.config")


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
    lost(await once(ssh_bed.cluster(), node=Node(name="n", host="a")), "forms a loop")
