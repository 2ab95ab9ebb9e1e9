"""What milepost started for another cluster is called that, with the name it carries."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.file import parse
from wizard_steps.facts import script
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.rules_software import _processes
from wizard_steps.facts.sections import FactSection
from wizard_steps.facts.software import Ours, ServerProcess, parse_ours

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")


def test_the_other_cluster_is_named() -> None:
    process = ServerProcess(pid=7, user="root", kind="raylet")
    facts = NodeFacts(processes=(process,), processes_known=True, ours=Ours(clusters={7: "theirs"}))
    found = _processes("a", facts, parse(CLUSTER))
    assert found.verdict == "fail"
    assert "started by milepost for 'theirs'" in found.found
    assert "with that cluster file" in found.hint


def test_the_look_tells_whose_it_is(tmp_path: Path) -> None:
    env = {"MILEPOST_ID": "theirs\n x/a/ray", "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sleep", "300"], env=env) as other:
        time.sleep(0.2)
        try:
            text = subprocess.run(
                ["sh", "-c", script.sections(parse(CLUSTER))["ours"]],
                env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        finally:
            other.kill()
    assert f"cluster {other.pid} theirs" in text.splitlines()
    assert f"pid {other.pid}" not in text.splitlines()


def test_any_text_is_read() -> None:
    for text in ("cluster", "cluster x y", "cluster 99999999999999999999 y", "pid -1", "socket \u0661"):
        parse_ours(FactSection(text, 0))
