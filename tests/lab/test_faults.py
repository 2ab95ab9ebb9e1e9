"""Every fault of the lab is found by the gate that has to, which says what is wrong and where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.requirements import require
from tui.cli.main import main
from wizard_steps.lab import hub
from wizard_steps.lab.faults import FAULTS, OBSTACLES, Fault, find, listing
from wizard_steps.lab.standins import df
from wizard_steps.learn.lessons import course

#: What the gate says, and on which node ("" where it speaks of all).
SAYS = {
    "ssh-refused": ("refused the connection", "lab-worker"),
    "wrong-ip": ("no interface has this fabric_ip", "lab-worker"),
    "same-host-ip": ("no interface has this fabric_ip", "lab-worker"),
    "fewer-gpus-than-promised": ("8 x NVIDIA H100", "lab-head"),
    "model-missing": ("not on this node", "lab-worker"),
    "disk-full": ("0 MiB free", "lab-worker"),
    "token-mismatch": ("lab-worker has sha256", ""),
    "gated-model": ("HTTP 401 GatedRepo", "lab-head"),
    "ray-version-differs": ("Version mismatch", "lab-worker"),
    "hidden-gpus": ("12", ""),
    "worker-twice": ("2x", "lab-worker"),
    "raylet-killed": ("0x", "lab-worker"),
    "rank-killed": ("its process ended after it had joined", "lab-worker"),
    "port-taken": ("is taken by a process milepost did not start", "lab-head"),
    "wrong-model-name": ("another-name", "lab-head"),
    "worker-vanishes": ("HTTP 500", "lab-head"),
    "one-way-firewall": ("no answer (dropped by a firewall", "lab-worker"),
    "high-ports-dropped": ("no answer (dropped by a firewall", "lab-head"),
    "mtu-mismatch": ("packets of 9000 bytes do not reach the head", "lab-worker"),
    "digest-differs": ("(the others: sha256:", "lab-worker"),
    "idle-worker": ("this node did nothing", "lab-worker"),
    "key-and-invocations": ("answered without a key: /invocations, /tokenize", "lab-head"),
}
KEY = "a-key-for-the-test-0123456789"


#: A minute and more each; their recordings are replayed in every run. A killed raylet and a
#: port that is taken are among tests/real, too.
LONG = frozenset({"hidden-gpus", "worker-twice", "idle-worker", "wrong-model-name", "raylet-killed"})
LONG |= {"key-and-invocations", "port-taken"}
#: The diagnosis has the advice, not the check.
BARE = frozenset({"ssh-refused", "one-way-firewall"})


def cases() -> list[Any]:
    return [
        pytest.param(
            fault, id=fault.name, marks=[pytest.mark.long] if fault.needs or fault.name in LONG else []
        )
        for fault in FAULTS
    ]


@pytest.mark.lab
@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", cases())
def test_the_gate_finds_it(fault: Fault, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the embedded lab needs Ray")
    require(OBSTACLES[fault.needs]())
    words = ["--lab", "--headless", "--quiet", "--fault", fault.name, "--walk", "w"]
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli.main", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=380,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "VLLM_API_KEY": KEY,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        check=False,
    )
    assert done.returncode == (0 if fault.warns else 1), done.stdout[-3000:] + done.stderr
    assert KEY not in done.stdout
    events = [json.loads(line) for line in (tmp_path / "w" / "events.jsonl").read_text().splitlines()]
    judged = [event for event in events if "verdict" in event]
    shut = [event["step"] for event in judged if not event["verdict"]["passed"]]
    assert shut == ([] if fault.warns else [fault.gate])
    verdict = next(event["verdict"] for event in judged if event["step"] == fault.gate)
    words_, node = SAYS[fault.name]
    found = [
        check
        for check in verdict["checks"]
        if (fault.warns or not check["ok"])
        and words_ in check.get("found", "")
        and check.get("node", "") == node
    ]
    assert found, verdict
    assert all((check.get("hint") or fault.name in BARE) for check in found[:1]), found
    assert all(check.get("warning") if fault.warns else not check["ok"] for check in found)


def test_every_fault_has_its_words_and_every_lesson_its_fault() -> None:
    assert set(SAYS) == {fault.name for fault in FAULTS}
    for lesson in course():
        assert not lesson.fault or find(lesson.fault)


def test_faults_are_listed_and_unknown_ones_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-faults"]) == 0
    assert capsys.readouterr().out.strip() == listing().strip()
    assert main(["--lab", "--headless", "--fault", "nothing"]) == 2
    assert "worker-twice" in capsys.readouterr().err
    assert main(["--fault", "worker-twice", "--headless"]) == 2
    assert "go with --lab" in capsys.readouterr().err


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS if fault.needs])
def test_what_is_missing_for_a_fault_is_said(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["--lab", "--headless", "--fault", name]) == 2
    assert f"--fault {name} is not possible here: " in (said := capsys.readouterr().err)
    assert said.rstrip().endswith("need root")
    assert f"(not here: {OBSTACLES[find(name).needs]()})" in listing()


@pytest.mark.parametrize(("token", "status"), [("", 401), ("hf_x", 403)])
def test_the_hub_answers_as_for_a_gated_model(tmp_path: Path, token: str, status: int) -> None:
    (tmp_path / "config.json").write_text("{}")
    served = hub.Hub(tmp_path, "org/m", trouble=hub.Trouble(gated=True))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{served.url}/org/m/resolve/main/config.json", headers=headers)
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
    finally:
        served.close()
    assert refused.value.code == status
    assert refused.value.headers["X-Error-Code"] == "GatedRepo"


def test_a_full_disk_has_nothing_left_and_memory_keeps_its_numbers() -> None:
    text = df.full(
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
        "/dev/sda1 1000 400 600 40% /\n"
        "tmpfs 500 0 500 0% /dev/shm\n"
    )
    assert "/dev/sda1 1000 1000 0 100% /" in text
    assert "tmpfs 500 0 500 0% /dev/shm" in text
