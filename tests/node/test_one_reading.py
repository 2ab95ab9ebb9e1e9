"""The look before a start and the preflight's report call the same processes Ray or vLLM."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.requirements import require
from wizard_steps.cluster.file import parse
from wizard_steps.node.program import program
from wizard_steps.node.remote import Look, look

KINDS = {
    "vllm serve": ("bin/vllm", "serve", "some/model"),
    "the module": ("bin/python3", "-m", "vllm.entrypoints.openai.api_server", "--port", "8000"),
    "a raylet": ("raylet/raylet", "--raylet_socket_name=x"),
    "a worker": ("VLLM::Worker_TP0",),
}


@pytest.fixture(params=KINDS)
def stranger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """The pid of a process that only looks like one: it waits for its input to end."""
    require("" if sys.platform == "linux" else "needs /proc")
    name, *words = KINDS[request.param]
    fake = tmp_path / name
    fake.parent.mkdir(exist_ok=True)
    fake.write_text(f"#!{sys.executable} -I\nprint('up', flush=True)\ninput()\n")
    fake.chmod(0o755)
    argv = [str(fake), *words]
    if "::" in name:
        argv = ["bash", "-c", 'exec -a "$0" "$1" -I "$2"', name, sys.executable, str(fake)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process.pid
        process.kill()


def test_both_name_it(stranger: int) -> None:
    cluster = parse('[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 1\n')
    texts = (look(cluster, cluster.head, "serve", 9).text, program("facts_processes.sh"))
    said = [subprocess.run(["sh", "-c", text], capture_output=True, text=True).stdout for text in texts]
    assert str(stranger) in [one.split()[0] for one in Look(said[0]).others], said[0]
    assert str(stranger) in [line.split()[0] for line in said[1].splitlines()], said[1]
