"""An image on its way: from node to node over loopback, and progress while it is fetched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_for
from tests.node.test_docker import cluster
from wizard_steps.cluster.devices import environment
from wizard_steps.milestones.docker_probe import build_command
from wizard_steps.node import collective, image, weights

CHAIN = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
WORD = "w" * 64


def free_port() -> int:
    with socket.socket() as s:
        s.bind((CHAIN[0], 0))
        return int(s.getsockname()[1])


def start(
    at: int, port: int, *command: str, wait: float = 60, chain: tuple[str, ...] = CHAIN
) -> subprocess.Popen[str]:
    spec = {**weights.in_chain(at, chain, port), "command": command, "wait": wait}
    argv = [sys.executable, "-I", "-c", *weights.program("image_share"), json.dumps(spec)]
    env = {"MILEPOST_COPY_TOKEN": WORD, "PATH": os.environ["PATH"]}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def ended(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    told = [process.communicate(timeout=300)[0] for process in processes]
    return [(one.returncode, text) for one, text in zip(processes, told, strict=True)]


def test_every_node_of_the_chain_gets_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of the walk, with a stand-in for Docker, and the word of the walk on standard input."""
    monkeypatch.setattr(collective, "PORT", free_port())
    data = os.urandom(20 << 20)
    (tmp_path / "0").write_bytes(data)
    (tmp_path / "docker").write_text(
        '#!/bin/sh\ncase "$*" in "save acme/vllm:1") exec cat "$HOME/0";; load) exec cat > "$HOME/$AT";; esac\n'
    )
    (tmp_path / "docker").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    processes = []
    for at in range(3):
        cmd = image.share(cluster(), at, CHAIN, "acme/vllm:1", "send")
        assert cmd.secrets == ("MILEPOST_COPY_TOKEN",)
        one = subprocess.Popen(
            ["sh", "-c", cmd.text],
            env={**env, "AT": str(at)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert one.stdin is not None
        one.stdin.write(f"MILEPOST_COPY_TOKEN={WORD}\n")
        one.stdin.flush()
        processes.append(one)
    told = ended(*processes)
    assert [code for code, _ in told] == [0, 0, 0], told
    assert all(f"image: complete: {len(data)} bytes" in text for _, text in told)
    assert [(tmp_path / str(at)).read_bytes() == data for at in (1, 2)] == [True, True]


def test_a_node_whose_command_fails_still_hands_it_on(tmp_path: Path) -> None:
    port, data = free_port(), os.urandom(20 << 20)
    (tmp_path / "0").write_bytes(data)
    full = "head -c 1000 >/dev/null; echo no space left on device >&2; exit 5"
    told = ended(
        start(0, port, "cat", str(tmp_path / "0")),
        start(1, port, "sh", "-c", full),
        start(2, port, "dd", f"of={tmp_path / '2'}", "status=none"),
    )
    assert [code for code, _ in told] == [0, 1, 0], told
    assert "no space left on device" in told[1][1]
    assert "exit code 5" in told[1][1]
    assert (tmp_path / "2").read_bytes() == data


def test_what_is_cut_off_is_no_image_anywhere(tmp_path: Path) -> None:
    """The command of the first fails in the middle: nobody behind it takes what came for the whole."""
    port = free_port()
    told = ended(
        start(0, port, "sh", "-c", "echo part; echo no such image >&2; exit 3"),
        *(start(at, port, "cat") for at in (1, 2)),
    )
    assert [code for code, _ in told] == [1, 1, 1], told
    assert "no such image" in told[0][1]
    assert "exit code 3" in told[0][1]
    assert all("broke off" in text for _, text in told[1:])


def test_a_stranger_gets_nothing_and_one_that_does_not_come_is_named() -> None:
    port = free_port()
    first = start(0, port, "cat", "/dev/null", wait=3, chain=CHAIN[:2])
    answers: list[int] = []

    def answered() -> bool:
        with contextlib.suppress(OSError), contextlib.closing(HTTPConnection(CHAIN[0], port)) as link:
            link.request("GET", "/image", headers={"Authorization": "Bearer none"})
            answers.append(link.getresponse().status)
        return bool(answers) or first.poll() is not None

    wait_for(answered, "an answer", 60)
    ((code, text),) = ended(first)
    assert answers in ([403], []), "a busy machine may have let the three seconds pass"
    assert code == 1
    assert "the next node did not ask for it within 3 s" in text
    ((code, text),) = ended(start(1, port, "cat", wait=0, chain=CHAIN[:2]))
    assert code == 1
    assert f"cannot reach {CHAIN[0]}:{port} from {CHAIN[1]}" in text


@pytest.mark.parametrize("code", [0, 7])
def test_progress_is_told_while_it_is_fetched(tmp_path: Path, code: int) -> None:
    # The pull ends when the disk has been looked at a third time: the second look has been told by then.
    (tmp_path / "df").write_text(f'#!/bin/sh\necho >> "$HOME/looks"; exec {shutil.which("df")} "$@"\n')
    (tmp_path / "docker").write_text(
        '#!/bin/sh\ncase "$*" in *DockerRootDir*) echo "$HOME";; pull*) '
        'while [ "$(wc -l < "$HOME/looks")" -lt 3 ]; do sleep 0.05; done; echo "Pulled"; '
        f"exit {code};; esac\n"
    )
    for name in ("df", "docker"):
        (tmp_path / name).chmod(0o755)
    text = image.pull(cluster(), cluster().head, "acme/vllm:1", "pull").text.replace("sleep 10", "sleep 0.2")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(["sh", "-c", text], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert "Pulled" in done.stdout
    assert f"MiB more in use on the disk of {tmp_path}" in done.stdout


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    it = cluster('[docker]\narchive = "~/no such.tar"\n')
    cmd = image.load(it, "load")
    assert cmd.show == "docker load -i \"$HOME\"/'no such.tar'"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(["sh", "-c", cmd.text], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no such archive on this node (docker.archive)" in done.stdout


def test_env_and_proxy_reach_what_brings_an_image(tmp_path: Path) -> None:
    it = cluster(
        '[env]\nACME = "1"\n[install]\nproxy = "http://proxy:3128"\nindex_url = "https://pypi.acme/simple"\n'
    )
    (tmp_path / "docker").write_text('#!/bin/sh\ncat >/dev/null; echo "$1: $ACME $HTTPS_PROXY; $*"\n')
    (tmp_path / "docker").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    pull = image.pull(it, it.head, "acme/vllm:1", "pull")
    build = build_command(it, it.head, "acme/vllm:1", "sha256:1", "acme/vllm:2", "build")
    for cmd, name in ((pull, "pull"), (build, "build")):
        done = subprocess.run(
            ["sh", "-c", cmd.text],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert f"{name}: 1 http://proxy:3128; " in done.stdout, done.stdout + done.stderr
    assert "--build-arg=HTTPS_PROXY" in build.show
    assert "--index-url=https://pypi.acme/simple" in build.show
    assert "HTTPS_PROXY" not in environment(it, it.head), "what serves never has the proxy of [install]"
