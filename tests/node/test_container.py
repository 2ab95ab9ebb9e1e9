"""What is read of a container of ours: its state, its image, its neighbours; whatever an engine printed."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.node.test_docker import cluster
from wizard_steps.model import Result
from wizard_steps.node import container, container_state, docker, remote
from wizard_steps.node.place import ALIVE, RAY, SERVE, Service
from wizard_steps.node.places import InContainer
from wizard_steps.node.program import program
from wizard_steps.node.remote import Look

IT = cluster()
ID = "4cc6bf1cf2d1" + "0" * 52
IMAGE = "sha256:" + "ab" * 32
#: A docker that answers as Docker Engine does, with blanks in times as podman prints them.
FAKE = r"""#!/bin/sh
case "$*" in
  "ps -q") echo 1 2 3 ;;
  *NetworkMode*) printf '%s\n' 'host x1 {} /milepost-prod-gpu-a prod' \
    'bridge x2 {"80/tcp":null,"443/tcp":[{"HostIp":"","HostPort":"443"}]} /web' 'host x3 null /ray-of-bob'
    printf "host x4 {} two <no value>\nhost ${HOLDS:-x5} {} /milepost-dev-gpu-a dev\n" ;;
  *StartedAt}}*gpu-a*)
    case "$*" in *Id*) printf '%s@' "$ID";; esac; echo "2026-11-25 21:26:36.5 +0000 UTC" ;;
  *Created*) echo "${CREATED:-2026-11-25 21:26:36.1 +0000 UTC}" ;;
  *HostConfig.Memory*) echo "$ID 0 ${LIMIT:-0}" ;;
  *FinishedAt*) echo "2026-11-25T22:00:00.1Z" ;;
  *milepost.started*) cat "$HOME/started" 2>/dev/null ;;
  "ps --filter"*) echo "$RENAMED" ;;
  *milepost.cluster*) [ -n "$STATE" ] && echo "$STATE" ;;
  logs*gpu-a) echo "LOGS $*"; [ -z "$LOG" ] || echo "$LOG" ;;
  exec*raylet*) echo "${RAYLET:-}" ;;
  logs*) echo "LOGS $*" ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    (tmp_path / "docker").write_text(FAKE)
    (tmp_path / "docker").chmod(0o755)
    return tmp_path


def run(engine: Path, text: str, state: str = "", renamed: str = "") -> str:
    path = f"{engine}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(engine), "STATE": state, "ID": ID, "RENAMED": renamed}
    return subprocess.run(["sh", "-c", text], env=env, capture_output=True, text=True, check=True).stdout


def place(image_id: str = "") -> InContainer:
    ids = {"gpu-a": image_id} if image_id else {}
    return InContainer(IT, {"image_ids": ids})


def service(*more: str) -> Service:
    return Service(IT.head, RAY, 6379, ("ray", "start", "--head", *more), {"A": "1"})


def seen(engine: Path, state: str, today: Service, image_id: str = "") -> Look:
    text = run(engine, place().look(today).text, state)
    return place(image_id).seen(today, Result(IT.head, "look", text, 0))


def test_a_running_container_tells_its_start_and_its_image(engine: Path) -> None:
    (engine / "started").write_text(place().spec(service()).line() + "\n")
    look = seen(engine, f"prod 0123 running {ID} 0 false {IMAGE}", service())
    assert look.leader == ID
    assert look.instance == f"{ID}@2026-11-25_21:26:36.5_+0000_UTC"
    assert look.spec is not None
    assert look.spec.image == "ab" * 32


def test_the_image_that_runs_counts_and_not_what_its_tag_is_now(engine: Path) -> None:
    from wizard_steps.node import spec

    (engine / "started").write_text(place("ab" * 32).spec(service()).line() + "\n")
    look = seen(engine, f"prod 0123 running {ID} 0 false {IMAGE}", service())
    assert look.spec is not None
    assert spec.differences(look.spec, place("ab" * 32).spec(service())) == []
    (moved,) = spec.differences(look.spec, place("cd" * 32).spec(service()))
    assert moved.startswith("image: abab")
    (flag,) = spec.differences(look.spec, place("ab" * 32).spec(service("--num-cpus=4")))
    assert flag == "--num-cpus: not set -> 4"


def test_a_container_without_the_label_falls_back_on_its_digest(engine: Path) -> None:
    text = run(engine, place().look(service()).text, f"prod 0123456789abcdef running {ID} 0 false {IMAGE}")
    assert "container: other settings" in text
    assert container_state.obstacle(IT, IT.head, text) is not None


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (f"prod 0 exited {ID} 137 true {IMAGE}", "killed by the kernel for memory (OOMKilled"),
        (f"prod 0 exited {ID} 137 false {IMAGE}", "SIGKILL"),
        (f"prod 0 exited {ID} 143 false {IMAGE}", "stopped by somebody"),
        (f"prod 0 exited {ID} 1 false {IMAGE}", "its first process failed"),
        (f"prod 0 restarting {ID} 1 false {IMAGE}", "the engine starts it again and again"),
        (f"prod 0 created {ID} 0 false {IMAGE}", "has never run"),
        ("", "is gone: somebody removed it"),
    ],
)
def test_what_became_of_it_is_told(engine: Path, state: str, words: str) -> None:
    text = run(engine, place().look(service()).text, state)
    assert words in container_state.ended(IT, IT.head, text)
    assert container_state.has_ended(text) is bool(state)
    if state:
        assert "log: LOGS logs --tail 40" in text
        told = container_state.ended(IT, IT.head, text)
        assert ("2026-11-25T22:00:00" in told) is ("exit code" in told)


@pytest.mark.parametrize(
    ("state", "renamed", "found", "hint"),
    [
        (f"prod 0 paused {ID} 0 false {IMAGE}", "", "is paused", "`docker unpause milepost-prod-gpu-a`"),
        ("", "old one", "was renamed to 'old one'", "`docker rename 'old one' milepost-prod-gpu-a`"),
    ],
)
def test_what_is_alive_in_another_way_is_left_alone(
    engine: Path, state: str, renamed: str, found: str, hint: str
) -> None:
    text = run(engine, place().look(service()).text, state, renamed)
    check = container_state.obstacle(IT, IT.head, text)
    assert check is not None
    assert found in check.found
    assert hint in check.hint
    assert found in place().gone(IT.head, text)
    assert not Look(text).leader


def test_a_container_that_outlives_its_ray_is_started_anew(engine: Path) -> None:
    (engine / "started").write_text(place().spec(service()).line() + "\n")
    text = place().look(service()).text
    alive = f"prod 0 running {ID} 0 false {IMAGE}"
    lost = run(engine, f"export LOG='Ray runtime started.' RAYLET='raylet: none'; {text}", alive)
    assert Look(lost).there
    assert not Look(lost).leader
    assert "Ray in container milepost-prod-gpu-a has ended" in place().before(IT.head, lost)
    for more in ("LOG='Ray runtime started.'", "RAYLET='raylet: none'"):
        assert Look(run(engine, f"export {more}; {text}", alive)).leader, "it starts, or it runs"


def test_another_start_than_the_one_of_this_walk_is_told(engine: Path) -> None:
    (engine / "started").write_text(place().spec(service()).line() + "\n")
    alive = f"prod 0 running {ID} 0 false {IMAGE}"
    now = f"{ID}@2026-11-25_21:26:36.5_+0000_UTC"
    for then, told in ((now, False), (f"{ID}@2026-11-25_20:00:00.5_+0000_UTC", True)):
        where = InContainer(IT, {"starts": {"gpu-a": then}})
        said = run(engine, where.look(service(), ALIVE).text, alive)
        assert ("container milepost-prod-gpu-a was started again" in said) is told
        assert "started again" not in run(engine, where.look(service()).text, alive)


def test_a_container_that_is_not_in_its_first_life_says_so(engine: Path) -> None:
    (engine / "started").write_text(place().spec(service()).line() + "\n")
    alive, text = f"prod 0 running {ID} 0 false {IMAGE}", place().look(service()).text
    assert place().again(run(engine, text, alive)) == ""
    for made in ("2026-11-25T20:26:36.1Z", "2026-11-25 20:26:36.1 +0000 UTC"):
        said = run(engine, f"export CREATED='{made}'; {text}", alive)
        assert "again at 2026-11-25 21:26:36, made at 2026-11-25 20:26:36" in place().again(said)
        assert Look(said).leader


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/docker-4cc6.scope", "docker-4cc6.scope/memory.events"),
        ("4:cpu,memory:/libpod-4cc6\n1:name=systemd:/\n0::/", "memory/libpod-4cc6/memory.oom_control"),
    ],
)
def test_what_the_kernel_killed_in_it_is_counted(tmp_path: Path, groups: str, file: str) -> None:
    """Control groups of version 2 and of version 1."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(groups + "\n")
    (tmp_path / "fs" / file).parent.mkdir(parents=True)
    text = program("oom.sh").replace("/proc/", f"{tmp_path}/").replace("/sys/fs/cgroup", f"{tmp_path}/fs")
    for kills, told in ((0, ""), (2, "oom-kills: 2; limit: 1073741824\n")):
        (tmp_path / "fs" / file).write_text(f"oom 1\noom_kill {kills}\noom_group_kill 9\n")
        assert run(tmp_path, f"id=4cc6 pid=7 limit=1073741824 word=oom-kills before=0\n{text}") == told
    assert run(tmp_path, f"id=4cc6 pid=7 limit=0 word=oom-kills before=2\n{text}") == "", "before this walk"
    assert run(tmp_path, f"id=4cc6 pid=7 limit=0 word=killed-before before=0\n{text}") == "killed-before: 2\n"
    assert place().killed("container: running\nkilled-before: 2\n") == 2
    check = container_state.oom_kills(IT, IT.head, told)
    assert check is not None
    assert "has killed 2 processes in container milepost-prod-gpu-a for memory" in check.found
    assert "(limit 1.00 GiB)" in check.found
    assert run(tmp_path, f"id=4cc6 pid=gone limit=0 word=oom-kills before=0\n{text}") == ""


def test_a_kill_for_memory_that_the_engine_did_not_see_is_in_the_kernels_log(engine: Path) -> None:
    """podman 4.3 said OOMKilled: false of a container whose first process the kernel had killed."""
    said = "[848.03] oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/libpod_parent/libpod-{},task=ray,pid=6,uid=0"
    text, ended = place().look(service()).text, f"prod 0 exited {ID} 137 false {IMAGE}"
    for other, told in ((ID, True), ("5" * 64, False)):
        (engine / "dmesg").write_text(f"#!/bin/sh\necho '{said.format(other)}'\n")
        (engine / "dmesg").chmod(0o755)
        found = place().gone(IT.head, run(engine, f"export LIMIT=241172480; {text}", ended))
        assert ("killed by the kernel for memory (exit code 137, limit 0.22 GiB) at" in found) is told


def test_a_stop_is_told_from_a_failure(engine: Path) -> None:
    text = place().look(service()).text
    ended = f"prod 0 exited {ID} 1 false {IMAGE}"
    said = run(
        engine, f"export LOG='INFO node.py:698 -- Node 5f36 received SIGTERM. Draining'; {text}", ended
    )
    assert "exit code 1 at 2026-11-25T22:00:00: stopped by somebody" in place().before(IT.head, said)


def test_a_container_with_the_port_published_is_named(engine: Path) -> None:
    text = run(engine, place().look(Service(IT.head, SERVE, 443)).text)
    assert container_state.listener(text) == "web"
    assert place().ends(text) == "`docker stop web` ends that container"


def test_a_stranger_on_the_port_may_be_another_container(engine: Path) -> None:
    text = run(engine, place().look(service()).text)
    assert container_state.neighbours(text) == [
        "ray-of-bob",
        "two",
        "milepost-dev-gpu-a, milepost's cluster dev",
    ]
    assert "ray-of-bob" in place().who(Look(text), text)
    assert remote.other_clusters(text) == ["dev"]
    on_vllm = run(engine, place().look(Service(IT.head, SERVE, 8000)).text)
    assert container_state.neighbours(on_vllm) == container_state.neighbours(text)
    assert container_state.listener(text) == ""
    assert place().ends(text) == ""


def test_a_stranger_that_holds_the_port_is_named(engine: Path) -> None:
    """Its container by the control group of the process; an id that is in none is nobody's."""
    group = Path("/proc/self/cgroup").read_text().split()[-1]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        at = Service(IT.head, RAY, port, ("ray", "start", "--head"), {})
        text = run(
            engine, place().look(at).text.replace("ids=$(", f"export HOLDS={shlex.quote(group)}; ids=$(")
        )
        look = Look(text)
    assert look.listening
    assert look.holder.startswith(f"{os.getpid()} ")
    assert f"process {os.getpid()} " in place().who(look, text)
    assert container_state.listener(text) == "milepost-dev-gpu-a"
    assert place().ends(text) == "`docker stop milepost-dev-gpu-a` ends that container"
    assert remote.other_clusters(text) == ["dev"]


def test_only_output_since_this_start_is_followed(engine: Path) -> None:
    cmd = container.logs(IT, IT.head, "start", 5, None)
    assert run(engine, cmd.text) == "LOGS logs --since 1795641994 -f milepost-prod-gpu-a\n"
    assert cmd.show == "docker logs -f milepost-prod-gpu-a"


def test_the_label_is_in_what_runs_and_not_in_what_is_shown() -> None:
    cmd = place().launch(service())
    assert container.STARTED in cmd.text
    assert container.STARTED not in cmd.show
    folders, _, line = cmd.show.partition("\n")
    assert line == docker.run_line(IT, IT.head, docker.image_of(IT), {"A": "1"}, service().argv)
    assert folders == "mkdir -p " + " ".join(docker.own_folders(IT, IT.head))


@given(st.text())
def test_any_text_of_an_engine_is_read(text: str) -> None:
    for prefix in ("", "container: ", "container: ended with exit code ", "image-id: "):
        container_state.ended(IT, IT.head, prefix + text)
        container_state.obstacle(IT, IT.head, prefix + text)
        container_state.oom_kills(IT, IT.head, prefix + text)
        container_state.started_again(prefix + text)
        container_state.killed_before(prefix + text)
        place().seen(service(), Result(IT.head, "look", prefix + text, 0))
