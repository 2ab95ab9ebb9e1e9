"""The lab with real Ray: two nodes, 16 GPUs, the stand-in for vLLM in a real placement group."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest
import pytest_asyncio

from tests.helpers.lab_help import login, sh, start_wizard, until_gone
from wizard_steps.engine.step import Known
from wizard_steps.lab import Lab, layout, reaper
from wizard_steps.milestones import head, ray_status, raystart, vllm, workers
from wizard_steps.node import remote

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.lab, pytest.mark.timeout(240)]

LOG = 'cat "$HOME"/.milepost/*/{role}.log'
UNTIL = 'timeout {limit} sh -c \'until grep -q "{line}" "$HOME"/.milepost/*/{role}.log; do sleep 0.2; done\''


class Two:
    """A lab whose two Ray nodes are up, and a login to each."""

    def __init__(self, lab: Lab, logins: dict[str, asyncssh.SSHClientConnection]) -> None:
        self.lab, self.known, self.logins = lab, Known(lab.cluster), logins

    async def on(self, name: str, text: str, limit: float = 90) -> str:
        code, out = await sh(self.logins[name], text, limit)
        assert code == 0, out
        return out

    async def log(self, name: str, role: str, line: str, limit: int = 90) -> str:
        until = UNTIL.format(limit=limit, line=line, role=role)
        return await self.on(name, f"{until}; {LOG.format(role=role)}", limit + 10)

    async def totals(self) -> tuple[int, float, float]:
        """(nodes, GPUs used, GPUs)."""
        found = ray_status.Totals(await self.on("lab-head", ray_status.status_command(self.known).text))
        return found.nodes, found.used, found.gpus

    async def reserved(self, words: str, *, there: bool) -> bool:
        """Whether `ray status`, which lags by some seconds, comes to have (or lose) ``words``."""
        for _ in range(20):
            status = await self.on("lab-head", ray_status.status_command(self.known).text)
            if (words in status) is there:
                return True
        return False


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def two() -> AsyncIterator[Two]:
    async with Lab.start(real_vllm=False) as lab:
        names = [node.name for node in lab.cluster.node_list]
        two = Two(lab, {name: await login(lab.cluster, i) for i, name in enumerate(names)})
        known, worker = two.known, two.known.workers[0]
        for node, argv in ((known.head, head.argv(known)), (worker, workers.argv(known, worker))):
            env = raystart.environment(known, node)
            await two.on(node.name, remote.launch(lab.cluster, node, "ray", argv, env).text)
            await two.log(node.name, "ray", raystart.STARTED)
        for _ in range(60):
            if (await two.totals())[::2] == (2, 16.0):
                break
        yield two
        for connection in two.logins.values():
            connection.close()
    assert reaper.marked(lab.id) == []
    assert not lab.folder.exists()


async def test_two_nodes_and_sixteen_gpus(two: Two) -> None:
    assert await two.totals() == (2, 0.0, 16.0)
    nodes = ray_status.nodes_of(await two.on("lab-head", ray_status.list_command(two.known).text))
    wanted = sorted(node.fabric_ip for node in two.lab.cluster.node_list)
    assert sorted(node["node_ip"] for node in nodes) == wanted


async def test_strangers_are_locked_out_of_the_labs_ray(two: Two) -> None:
    """Ray listens on every interface of this machine: without the token nobody may get in."""
    cluster = two.lab.cluster
    address = f"{cluster.nodes[0].fabric_ip}:{cluster.ray.port}"
    text = f"RAY_AUTH_MODE=disabled timeout 20 {cluster.venv}/bin/ray status --address={address}"
    code, out = await sh(two.logins["lab-head"], text)
    assert code != 0
    assert "node_" not in out


async def test_serve_takes_all_gpus_answers_and_gives_them_back(two: Two) -> None:
    known, cluster = two.known, two.lab.cluster
    launch = remote.launch(
        cluster, known.head, "serve", vllm.argv(known, known.head), vllm.environment(known, known.head)
    )
    await two.on("lab-head", launch.text)
    log = await two.log("lab-head", "serve", vllm.READY)
    order = [
        f"Connecting to existing Ray cluster at address: {known.head_ip}:{cluster.ray.port}",
        "Creating a new placement group",
        "Loading weights",
        "Starting vLLM server on http://",
        vllm.READY,
    ]
    places = [log.index(text) for text in order]
    assert places == sorted(places)
    assert "16 GPUs on 2 nodes" in log
    assert await two.reserved("of 16.0 reserved in placement groups", there=True)
    body = {"model": cluster.serve.name, "messages": [{"role": "user", "content": "Say OK"}]}
    reply = await asyncio.to_thread(
        _post, f"http://{cluster.serve.host}:{cluster.serve.port}/v1/chat/completions", body
    )
    assert "SIMULATED" in reply["choices"][0]["message"]["content"]
    assert reply["usage"]["completion_tokens"] > 0
    stopped = await two.on("lab-head", remote.stop(cluster, known.head, "serve", grace=20).text)
    assert "ended" in stopped
    assert "Shutting down" in await two.on("lab-head", LOG.format(role="serve"))
    assert await two.reserved("reserved", there=False)


def _post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
        return json.loads(reply.read())


async def test_too_many_gpus_wait_for_a_placement_group(two: Two) -> None:
    cluster, known = two.lab.cluster, two.known
    words = [f"{cluster.venv}/bin/vllm", "serve", "m", "--host=127.0.0.1", f"--port={cluster.serve.port}"]
    words += ["-tp=8", "-pp=3", "--distributed-executor-backend=ray"]
    launch = remote.launch(cluster, known.head, "big", words, vllm.environment(known, known.head))
    await two.on("lab-head", launch.text)
    log = await two.log("lab-head", "big", vllm.NO_PLACE)
    assert "number of required GPUs (24) exceeds the total number of available GPUs (16)" in log
    assert "for 10 seconds. specs=[{'GPU': 1.0, 'node:" in log
    assert vllm.READY not in log
    assert vllm.over(log[log.index(vllm.NO_PLACE) :].splitlines()[0])
    await two.on("lab-head", remote.stop(cluster, known.head, "big", grace=20).text)


async def test_sigkill_of_a_wizard_ends_its_ray_and_not_ours(two: Two) -> None:
    """A second lab with a Ray head of its own, whose wizard is killed beside ours."""
    port, client = layout.free_ports(2)
    flags = " ".join(flag for flag in two.lab.cluster.ray.head_flags if "client" not in flag)
    start = (
        f'setsid nohup "$HOME"/../../../venv/bin/ray start --head --node-ip-address=$LAB_IP --port={port} '
        f"--ray-client-server-port={client} {flags} --include-dashboard=false --disable-usage-stats "
        "--log-style=pretty --log-color=false --block > ray.log 2>&1 < /dev/null &\n"
        "timeout 50 sh -c 'until grep -q \"Ray runtime started\" ray.log; do sleep 0.2; done'"
    )
    wizard, lab_id, folder = await start_wizard(start)
    names = [_name(pid) for pid in reaper.marked(lab_id)]
    assert any("raylet/raylet" in name for name in names), names
    assert any("gcs_server" in name for name in names)
    assert len(names) >= 7
    os.kill(wizard.pid, signal.SIGKILL)
    await wizard.wait()
    assert await until_gone(lab_id) == []
    assert not folder.exists()
    assert await two.totals() == (2, 0.0, 16.0)


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""
