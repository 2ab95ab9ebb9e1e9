"""`milepost check` for real: separate hosts with real sshd, each fault planted once (needs root on Linux)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.requirements import require
from tests.real.conftest import obstacle
from tests.real.hosts import Hosts
from tests.real.wizard_side import MODEL_AT
from tui.cli.main import main

pytestmark = pytest.mark.real_hosts
Findings = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def bed() -> Iterator[Hosts]:
    require(obstacle())
    with Hosts() as hosts:
        yield hosts


@pytest.fixture
def check(bed: Hosts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command and gives exit status and findings by (fact, node)."""
    monkeypatch.setenv("HOME", str(bed.home))

    def run(**fields: Any) -> tuple[int, Findings]:
        file: Path = bed.cluster_file(**fields)
        capsys.readouterr()
        code = main(["check", str(file), "--json"])
        report = json.loads(capsys.readouterr().out)
        return code, {(one["fact"], one["node"]): one for one in report["findings"]}

    return run


def test_healthy_hosts_pass(check: Any) -> None:
    code, found = check()
    assert code == 0, [one for one in found.values() if one["verdict"] == "fail"]
    for node in ("node-a", "node-b", "node-c"):
        assert found["GPUs", node]["found"].startswith("2 x SIMULATED GPU")
        assert found["vllm", node]["verdict"] == "ok"
        assert found["model", node]["verdict"] == "ok"
        assert found["clock", node]["found"] == "in step"
        assert found["address", node]["found"].endswith("on eth1")


def test_each_fault_is_found_on_its_node(bed: Hosts, check: Any) -> None:
    """Planted all at once, on different hosts: no finding may hide another."""
    planted = bed.folder / "planted"
    planted.mkdir()
    late = planted / "date"
    late.write_text("#!/bin/sh\necho 1700000000.5\n")
    broken = planted / "nvidia-smi"
    broken.write_text(
        "#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch # SIMULATED'\nexit 18\n"
    )
    for tool in (late, broken):
        tool.chmod(0o755)
    bed.mount_over("b", late, "/usr/bin/date")
    bed.mount_over("c", broken, "/usr/local/bin/nvidia-smi")
    bed.run("a", "mkdir -p /root/.ray && echo one > /root/.ray/auth_token")
    bed.run("c", "mkdir -p /root/.ray && echo two > /root/.ray/auth_token")
    bed.run("b", "mount -o remount,size=64m /dev/shm")
    bed.network.drop("b", "tcp dport 6379")
    python = "/opt/vllm-venv/bin/python"
    serve = "import socket,time; s=socket.create_server(('0.0.0.0',6379)); time.sleep(600)"
    bed.run("a", f'setsid {python} -c "{serve}" >/dev/null 2>&1 </dev/null & sleep 1')
    bed.run("c", "setsid bash -c 'exec -a /x/raylet sleep 600' >/dev/null 2>&1 </dev/null &")
    bed.unmount("b", MODEL_AT)
    try:
        code, found = check(env={"http_proxy": "http://proxy.invalid:3128"}, fabric={"c": "10.9.9.9"})
    finally:
        bed.kill("a", "create_server")
        bed.kill("c", "sleep 600")
        bed.kill("c", "/x/raylet")
        bed.network.heal("b")
    assert code == 1
    expected = {
        ("clock", "node-b"): ("fail", "far off"),
        ("GPUs", "node-c"): ("fail", "reboot this node"),
        ("Ray token", ""): ("fail", "InvalidAuthToken"),
        ("/dev/shm", "node-b"): ("fail", "too small"),
        ("firewall", "node-b"): ("warn", "allow all TCP"),
        ("ports", "node-a"): ("fail", "already taken"),
        ("Ray, vLLM", "node-c"): ("fail", "already running"),
        # The empty mount point stays when a share is not mounted.
        ("model", "node-b"): ("fail", "share that is not mounted"),
        ("proxies", "node-a"): ("warn", "Ray itself ignores it"),
        ("address", "node-c"): ("fail", "correct fabric_ip"),
    }
    for key, (verdict, words) in expected.items():
        one = found.get(key)
        assert one, f"{key} was not found in {sorted(found)}"
        assert (one["verdict"], words in f"{one['message']} {one['hint']}") == (verdict, True), one
    assert "6379 (Ray GCS)" in found["ports", "node-a"]["found"]
    for key in (("clock", "node-a"), ("GPUs", "node-a"), ("Ray, vLLM", "node-b"), ("firewall", "node-c")):
        assert found[key]["verdict"] == "ok", found[key]


def test_a_host_that_is_off_is_told_and_the_others_are_judged(bed: Hosts, check: Any) -> None:
    bed.vanish("c")
    code, found = check()
    assert code == 1
    assert found["reach", "node-c"]["verdict"] == "fail"
    assert found["system", "node-a"]["verdict"] == "ok"
