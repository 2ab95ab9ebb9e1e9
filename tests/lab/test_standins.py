"""The lab's stand-ins speak the real tools' formats, and each says SIMULATED."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import NotFoundError, OpenAI

from wizard_steps.facts.gpu import QUERY, parse_compute_apps, parse_nvidia_smi
from wizard_steps.facts.network import candidates, parse_interfaces
from wizard_steps.lab.standins import ip, openai_api, placement, smi, vllm

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_NODE", "lab-head")
    monkeypatch.setenv("LAB_IP", "127.77.3.1")
    monkeypatch.setenv("LAB_GPUS", "8")


def test_the_plain_table_reads_as_eight_gpus() -> None:
    text = "\n".join(smi.table())
    facts = parse_nvidia_smi(text)
    assert (facts.problem, facts.driver, facts.cuda, len(facts.gpus)) == ("ok", smi.DRIVER, smi.CUDA, 8)
    assert {gpu.memory_mib for gpu in facts.gpus} == {smi.MEMORY_MIB}
    assert "SIMULATED" in text
    edges = {len(line) for line in smi.table() if line.startswith(("|", "+"))}
    assert edges == {smi.WIDTH + 2}


@pytest.mark.parametrize("shape", ["csv,noheader,nounits", "csv,noheader", "csv"])
def test_the_csv_query_reads_as_eight_gpus(capsys: pytest.CaptureFixture[str], shape: str) -> None:
    assert smi.main([f"--query-gpu={QUERY}", f"--format={shape}"]) == 0
    out = capsys.readouterr().out
    facts = parse_nvidia_smi(out)
    assert (facts.driver, len(facts.gpus)) == (smi.DRIVER, 8)
    assert len({gpu.uuid for gpu in facts.gpus}) == 8
    assert facts.gpus[3].compute_cap == "9.0"
    assert out.count("SIMULATED") == 8


def test_the_other_nvidia_smi_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert smi.main(["-L"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("GPU ") == 8
    assert listed.count("SIMULATED") == 8
    assert smi.main(["topo", "-m"]) == 0
    topology = capsys.readouterr().out
    assert topology.count("NV18") == 56
    assert "SIMULATED" in topology
    assert smi.main(["--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]) == 0
    assert parse_compute_apps(capsys.readouterr().out) == []
    assert smi.main(["--query-gpu=index,pci.bus_id", "--format=csv,noheader"]) == 0
    assert capsys.readouterr().out.splitlines()[7] == "7, 00000000:48:00.0"
    assert smi.main(["--query-gpu=index,clocks.mem", "--format=csv"]) == 2
    assert 'Field "clocks.mem" is not a valid field' in capsys.readouterr().out
    assert smi.main(["--gpu-reset"]) == 2
    assert "SIMULATED" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-brief", "addr"], ["-br", "a"], ["addr"], ["address", "show"]])
def test_ip_shows_the_nodes_own_address(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert ip.main(words) == 0
    out = capsys.readouterr().out
    assert "SIMULATED" in out
    assert [c.ip for c in candidates(parse_interfaces(out), loopback=True)] == ["127.77.3.1", "127.0.0.1"]


def test_other_ip_commands_go_to_the_real_one_or_are_refused(tmp_path: Path) -> None:
    script = [sys.executable, "-I", str(ROOT / "wizard_steps/lab/standins/ip.py"), "route", "show"]
    env = {"PATH": str(tmp_path), "HOME": str(tmp_path / "home"), "LAB_IP": "127.77.3.1"}
    done = subprocess.run(script, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "shows addresses only" in done.stderr
    real = tmp_path / "ip"
    real.write_text('#!/bin/sh\necho "real ip: $*"\n')
    real.chmod(0o755)
    done = subprocess.run(script, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "real ip: route show\n")


def run_vllm(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "wizard_steps.lab.standins.vllm", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version_says_what_it_is() -> None:
    done = run_vllm("--version")
    assert done.returncode == 0
    assert "SIMULATED" in done.stdout


def test_a_port_in_use_ends_it_as_in_life() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_vllm("serve", "m", "--host=127.0.0.1", f"--port={port}")
    assert done.returncode == 1
    assert "OSError: [Errno 98] Address already in use" in done.stderr


def test_more_than_a_node_without_ray_ends_it_as_in_life() -> None:
    done = run_vllm("serve", "m", "--host=127.0.0.1", "--port=0", "-tp=8", "-pp=2")
    assert done.returncode == 1
    assert "World size (16) is larger than the number of available GPUs (8)" in done.stderr


def test_values_of_unknown_flags_are_not_logged() -> None:
    _, unknown = vllm.parser().parse_known_args(
        ["serve", "m", "--hf-token", "hf_abc", "--x=y", "--port", "1"]
    )
    assert vllm.flags(unknown) == "--hf-token --x"


def test_bundles_are_those_of_vllm() -> None:
    assert placement.bundles(3, "127.77.3.1") == [
        {"GPU": 1.0, "node:127.77.3.1": 0.001},
        {"GPU": 1.0},
        {"GPU": 1.0},
    ]


@pytest.fixture(params=["", "the-key"])
def api(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    sock = vllm.bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    server = openai_api.make(sock, openai_api.Model("name", "root/model", 64), request.param)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{port}", request.param
    server.shutdown()
    server.server_close()


def get(url: str, key: str, body: bytes | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {key}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as reply:
            text = reply.read()
            return reply.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_openai_client_gets_its_answer(api: tuple[str, str]) -> None:
    url, key = api
    client = OpenAI(base_url=f"{url}/v1", api_key=key or "none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["name"]
    reply = client.chat.completions.create(
        model="name", messages=[{"role": "user", "content": "Say something"}], max_tokens=5
    )
    assert reply.choices[0].finish_reason == "length"
    assert "SIMULATED" in str(reply.choices[0].message.content)
    assert reply.usage is not None
    assert (reply.usage.completion_tokens, reply.usage.total_tokens) == (5, 7)
    with pytest.raises(NotFoundError, match=r"The model `other` does not exist\."):
        client.chat.completions.create(model="other", messages=[{"role": "user", "content": "x"}])


def test_health_version_and_bad_requests(api: tuple[str, str]) -> None:
    url, key = api
    assert get(f"{url}/health", "") == (200, None)
    assert "SIMULATED" in get(f"{url}/version", "")[1]["version"]
    assert get(f"{url}/v1/nothing", key)[0] == 404
    assert get(f"{url}/v1/chat/completions", key, b"no json")[0] == 400
    assert get(f"{url}/v1/chat/completions", key, b'{"model": "name"}')[0] == 400
    bad = b'{"model": "name", "messages": [], "max_tokens": "many"}'
    assert get(f"{url}/v1/chat/completions", key, bad)[0] == 400
    assert get(f"{url}/v1/models", "wrong")[0] == (401 if key else 200)
