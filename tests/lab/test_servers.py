"""The lab without Ray: its SSH servers and its folder."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
import pytest_asyncio

from tests.helpers.lab_help import login, sh
from wizard_steps.cluster import file as clusters
from wizard_steps.lab import Lab, reaper

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    os.environ.update(RAY_ADDRESS="198.51.100.1:6379", HF_TOKEN="hf_not_for_the_lab")
    async with Lab.start() as lab:
        del os.environ["RAY_ADDRESS"], os.environ["HF_TOKEN"]
        yield lab
    assert reaper.marked(lab.id) == []
    assert not lab.folder.exists()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def head(lab: Lab) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with await login(lab.cluster) as connection:
        yield connection


async def test_the_cluster_file_is_whole_and_private(lab: Lab, tmp_path: Path) -> None:
    path = lab.write(tmp_path / "milepost.toml")
    assert clusters.load(path) == lab.cluster
    assert path.stat().st_mode & 0o077 == 0
    assert lab.folder.stat().st_mode & 0o077 == 0
    assert Path(lab.cluster.ssh.identity[0]).stat().st_mode & 0o077 == 0
    assert path.read_text().startswith("# SIMULATED")
    assert lab.cluster.simulated
    assert lab.cluster.total_gpus == 16
    ports = {lab.cluster.ray.port, lab.cluster.ray.dashboard_port, lab.cluster.serve.port}
    assert len(ports) == 3
    assert not ports & {6379, 8265, 8000}


async def test_sockets_of_ray_fit_below_the_folder(lab: Lab) -> None:
    session = "session_2026-11-24_11-41-08_912939_4194304"
    assert len(f"{lab.folder}/t/ray/{session}/sockets/plasma_store.1") < 107


async def test_nodes_are_apart_and_see_nothing_of_the_wizards_environment(lab: Lab) -> None:
    seen = []
    for index, node in enumerate(lab.cluster.node_list):
        async with await login(lab.cluster, index) as connection:
            code, text = await sh(connection, 'env; echo "pwd=$(pwd)"')
        assert code == 0
        assert f"LAB_NODE={node.name}" in text
        assert f"pwd={lab.folder}/nodes/{node.name}/home" in text
        assert "RAY_ADDRESS" not in text
        assert "hf_not_for_the_lab" not in text
        assert "SSH_AUTH_SOCK" not in text
        seen.append(re.search(r"^HOME=.*", text, re.MULTILINE)[0])  # type: ignore[index]
    assert len(set(seen)) == 2


async def test_no_secret_is_in_the_servers_environment(lab: Lab) -> None:
    for pid in reaper.marked(lab.id):
        assert b"hf_not_for_the_lab" not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_output_input_and_exit_status(head: asyncssh.SSHClientConnection) -> None:
    result = await head.run("cat; echo oops >&2; exit 7", input="hello")
    assert (result.exit_status, result.stdout, result.stderr) == (7, "hello", "oops\n")
    killed = await head.run("kill -9 $$")
    assert killed.exit_signal is not None
    assert killed.exit_signal[0] == "KILL"


async def test_large_output_arrives_whole(head: asyncssh.SSHClientConnection) -> None:
    result = await head.run("seq 300000", stdin=asyncssh.DEVNULL)
    lines = str(result.stdout).splitlines()
    assert (len(lines), lines[-1]) == (300000, "300000")


async def test_large_input_arrives_whole(head: asyncssh.SSHClientConnection) -> None:
    result = await head.run("sleep 0.3; wc -c", input="x" * 5_000_000)
    assert str(result.stdout).strip() == "5000000"


async def test_a_reader_that_stalls_holds_the_command_back(head: asyncssh.SSHClientConnection) -> None:
    total = 40_000_000
    process = await head.create_process(
        f"echo $$ >&2; exec head -c {total} /dev/zero", bufsize=65536, encoding=None, stdin=asyncssh.DEVNULL
    )
    pid = int(await process.stderr.readline())
    written, before = 0, -1
    for _ in range(50):
        await asyncio.sleep(0.3)
        written = int(re.search(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text())[1])  # type: ignore[index]
        if written == before:
            break
        before = written
    assert 0 < written < total / 2
    received = 0
    while data := await process.stdout.read(1 << 20):
        received += len(data)
    assert received == total
    assert (await process.wait()).exit_status == 0


@pytest.mark.parametrize("name", ["TERM", "INT", "KILL"])
async def test_a_signal_reaches_the_whole_group(head: asyncssh.SSHClientConnection, name: str) -> None:
    process = await head.create_process(f"echo up; sleep 3{'123' if name == 'TERM' else '124'} | cat; true")
    assert await process.stdout.readline() == "up\n"
    process.send_signal(name)
    done = await asyncio.wait_for(process.wait(), 10)
    assert done.exit_signal is not None
    assert done.exit_signal[0] == name
    assert await _count(head, "sleep 312[34]") == 0


async def test_closing_the_channel_hangs_up_and_leaves_the_daemon(
    head: asyncssh.SSHClientConnection,
) -> None:
    process = await head.create_process("setsid sleep 3177 >/dev/null 2>&1 & sleep 3178; true")
    for _ in range(100):
        if await _count(head, "sleep 317[78]") >= 2:
            break
        await asyncio.sleep(0.05)
    process.close()
    for _ in range(100):
        if await _count(head, "sleep 3178") == 0:
            break
        await asyncio.sleep(0.05)
    assert await _count(head, "sleep 3178") == 0
    assert await _count(head, "sleep 3177") == 1


async def _count(head: asyncssh.SSHClientConnection, pattern: str) -> int:
    _, text = await sh(head, f"ps -eo stat=,args= | grep -v ^Z | grep -c ' [{pattern[0]}]{pattern[1:]}$'")
    return int(text.split()[-1])


async def test_a_terminal_is_a_terminal(head: asyncssh.SSHClientConnection) -> None:
    process = await head.create_process(term_type="xterm", term_size=(91, 33))
    process.stdin.write("stty size; test -t 0 && echo tty-$((40+2)); exit 5\n")
    done = await asyncio.wait_for(process.wait(), 20)
    assert "33 91" in str(done.stdout)
    assert "tty-42" in str(done.stdout)
    assert done.exit_status == 5


async def test_only_the_labs_user_and_key_get_in(lab: Lab) -> None:
    cluster = lab.cluster
    entry = cluster.nodes[0]
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    for user, keys in ((entry.user, [stranger]), ("nobody-here", list(cluster.ssh.identity))):
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect(
                entry.host,
                entry.port,
                username=user,
                client_keys=keys,
                password="guess",
                known_hosts=cluster.ssh.known_hosts,
                config=None,
                agent_path=None,
            )
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await asyncssh.connect(entry.host, cluster.nodes[1].port, known_hosts=b"", config=None)


async def test_tunnels_lead_to_the_labs_own_nodes_only(lab: Lab, head: asyncssh.SSHClientConnection) -> None:
    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hi")
        writer.close()

    hello = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = hello.sockets[0].getsockname()[1]
    async with await head.forward_local_port("127.0.0.1", 0, "127.0.0.1", port) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
        assert await reader.read() == b"hi"
        writer.close()
    with pytest.raises(asyncssh.ChannelOpenError, match="its own nodes only"):
        await head.open_connection("192.0.2.1", 22)
    hello.close()


async def test_the_printed_ssh_command_works(lab: Lab) -> None:
    words = f"{lab.ssh_command('lab-worker')} 'echo \"$LAB_NODE\"'"
    done = await asyncio.create_subprocess_shell(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await asyncio.wait_for(done.communicate(), 20)
    assert out == b"lab-worker\n", err


async def test_the_venv_has_what_a_node_has(lab: Lab, head: asyncssh.SSHClientConnection) -> None:
    venv = lab.cluster.venv
    code, text = await sh(head, f"{venv}/bin/python -c 'import ray; print(ray.__version__)'")
    assert (code, text.strip()) == (0, lab.cluster.ray.version)
    code, text = await sh(head, f"{venv}/bin/ray --version")
    assert (code, text.strip()) == (0, f"ray, version {lab.cluster.ray.version}")
    code, text = await sh(head, f"{venv}/bin/vllm --version")
    assert code == 0
    assert "SIMULATED" in text


async def test_a_second_lab_shares_nothing_with_the_first(lab: Lab) -> None:
    async with Lab.start() as other:
        assert other.folder != lab.folder
        assert not {n.fabric_ip for n in other.cluster.nodes} & {n.fabric_ip for n in lab.cluster.nodes}
        assert other.cluster.name != lab.cluster.name
        async with await login(other.cluster) as connection:
            assert (await sh(connection, "echo $MILEPOST_LAB"))[1].strip() == other.id
    assert reaper.marked(other.id) == []
    assert reaper.marked(lab.id) != []
    async with await login(lab.cluster) as connection:
        assert (await sh(connection, "true"))[0] == 0
