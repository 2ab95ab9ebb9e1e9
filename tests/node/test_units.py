"""The text of units and their scripts: systemd and sh take them, and nothing in a cluster file gets out of its place."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER
from tests.helpers.waiting import wait_for
from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.milestones.units import planned
from wizard_steps.model import Cmd
from wizard_steps.node import units
from wizard_steps.node.place import SERVE, Service
from wizard_steps.node.places import place_of
from wizard_steps.node.remote import service_name
from wizard_steps.node.unit_script import Unit, script_text, unit_text

KNOWN = Known(parse(CLUSTER))
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


def unit(argv: tuple[str, ...] = ("/v/bin/vllm", "serve"), env: dict[str, str] | None = None) -> Unit:
    return Unit(Service(KNOWN.head, SERVE, 8000, argv, env or {}), "vllm serve", 8, "10.0.0.1", "", 16, "ray")


def test_ray_on_each_node_and_the_server_after_its_ray() -> None:
    found = planned(KNOWN)
    assert [(one.node.name, one.role) for one in found] == [("a", "ray"), ("b", "ray"), ("a", "serve")]
    head, worker, server = (script_text(KNOWN.cluster, one) for one in found)
    assert "does not answer at" not in head
    assert "the head does not answer at 10.0.0.1:6379" in worker
    assert "Ray does not have 16 GPUs" in server
    assert "After=milepost-milepost-a-ray.service" in unit_text(KNOWN.cluster, found[2])
    assert "VLLM_API_KEY" not in head, "everybody's code on Ray inherits its environment"


@given(st.lists(WORDS, min_size=1, max_size=4), st.dictionaries(st.sampled_from(["A", "B_C"]), WORDS))
@settings(max_examples=30, deadline=None)
def test_every_value_reaches_the_program_as_it_is(words: list[str], env: dict[str, str]) -> None:
    text = script_text(KNOWN.cluster, unit(("/v/bin/vllm", *words), env))
    last = text.rstrip("\n").split("\nexec env ", 1)[1]
    done = subprocess.run(["sh", "-c", f"printf '%s\\n' {last}"], capture_output=True, text=True, check=True)
    lines = done.stdout.split("\n")[:-1]
    assert lines[-len(words) :] == words
    assert set(lines) >= {f"{name}={value}" for name, value in env.items()}


def _commands() -> list[Cmd]:
    node, cluster = KNOWN.head, KNOWN.cluster
    return [
        units.look(cluster, node),
        units.write(cluster, [unit(("/v/bin/vllm", "it's", "$HOME", "%h"))]),
        units.act(cluster, node, "restart", [SERVE], "restart"),
        units.state(cluster, [unit(), unit()]),
        units.stop_all(cluster, node),
        units.remove(cluster, node),
    ]


@pytest.mark.parametrize("cmd", _commands(), ids=lambda cmd: cmd.key)
def test_sh_reads_each_command(cmd: Cmd) -> None:
    for text in (cmd.text, script_text(KNOWN.cluster, unit())):
        done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_units_of_a_cluster_are_found(tmp_path: Path) -> None:
    for role in ("ray", SERVE):
        (tmp_path / service_name(KNOWN.cluster, KNOWN.head, role)).touch()
    (tmp_path / "milepost-other-a-ray.service").touch()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MILEPOST_UNITS": str(tmp_path)}
    text = units.look(KNOWN.cluster, KNOWN.head).text
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, env=env, check=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("unit: ")]
    assert found == ["unit: milepost-milepost-a-ray.service", "unit: milepost-milepost-a-serve.service"]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze") or pytest.skip("no systemd-analyze on this machine")
    for one in planned(KNOWN):
        text = unit_text(KNOWN.cluster, one)
        text = text.replace("@HOME@", str(tmp_path)).replace("@TARGET@", "multi-user.target")
        file = tmp_path / service_name(KNOWN.cluster, one.node, one.role)
        file.write_text(text)
        done = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True)
        said = [line for line in done.stderr.splitlines() if file.name in line]
        assert said == [], text


#: SIMULATED: an engine with one container, whose processes are this machine's own.
_ENGINE = """#!/bin/sh
case "$1" in
  ps) case "$*" in *-aq*) cat "$HOME/box" 2>/dev/null;; esac; exit 0;;
  run) echo 0123456789ab | tee "$HOME/box"; echo "$*" >> "$HOME/ran";;
  wait) while [ -e "$HOME/box" ]; do sleep 0.1; done; echo 0;;
  stop) rm -f "$HOME/box";;
  container) echo true;;
  exec) while [ "$1" != /bin/sh ]; do shift; done; exec "$@";;
esac
"""


class Boxed:
    """The unit of a container, run as systemd would, in a home of its own."""

    def __init__(self, home: Path, role: str, argv: tuple[str, ...]) -> None:
        self.home = home
        cluster = parse(f'path = "docker"\n{CLUSTER}\n[docker]\ncommand = "{home}/docker"\nlog_size = ""\n')
        (home / "docker").write_text(_ENGINE)
        (home / "docker").chmod(0o755)
        place = place_of(cluster)
        service = Service(cluster.head, role, 1, argv, {"A": "it's"}, "an earlier start")
        self.folder = home / ".milepost" / cluster.name / cluster.head.name
        self.folder.mkdir(parents=True)
        self.script = self.folder / f"{role}.unit.sh"
        self.script.write_text(script_text(cluster, Unit(service, "x", attended=place.attended(service))))
        self.unit = unit_text(cluster, Unit(service, "x", attended=place.attended(service)))

    def run(self, *words: str) -> subprocess.Popen[bytes]:
        env = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        return subprocess.Popen(["sh", str(self.script), *words], env=env, start_new_session=True)

    def log(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.unit.log"))


def test_the_unit_of_a_container_starts_it_and_lasts_as_long_as_it_does(tmp_path: Path) -> None:
    box = Boxed(tmp_path, "ray", ("ray", "start", "--head", "--block"))
    running = box.run()
    try:
        wait_for(lambda: (tmp_path / "ran").exists() and "started container" in box.log(), "a container", 60)
        assert "ray start --head --block" in (tmp_path / "ran").read_text()
        assert running.poll() is None
        assert box.run("stop").wait(30) == 0
        assert running.wait(30) == 75, "systemd starts it again, but where it was asked to stop"
    finally:
        (tmp_path / "box").unlink(missing_ok=True)
    assert not (tmp_path / "box").exists()
    assert "it has ended" in box.log()
    assert "ExecStop=" in box.unit


def test_the_unit_of_a_server_in_a_container_gets_its_secrets_and_sees_its_end(tmp_path: Path) -> None:
    box = Boxed(tmp_path, SERVE, ("sleep", "600"))
    (box.folder / "secrets").write_text("VLLM_API_KEY=planted\n")
    running = box.run()
    wait_for(lambda: "started process" in box.log(), "the server", 60)
    pid = int((box.folder / "serve.pid").read_text())
    assert "VLLM_API_KEY=planted" in Path(f"/proc/{pid}/environ").read_text().split("\0")
    assert running.poll() is None
    assert "planted" not in box.log()
    os.kill(pid, signal.SIGKILL)
    assert running.wait(30) == 75
    assert "it has ended" in box.log()
