"""Folders, archives and the logs of nodes: what is read, and whose it is."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import tarfile
import zipfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER
from tests.helpers.diagnose_help import FAILURE, NOISE
from tests.helpers.sshd import Bed, free_port
from wizard_steps.cluster.file import parse
from wizard_steps.diagnose import as_text, diagnose, diagnose_streams, inputs, walk_events
from wizard_steps.diagnose.inputs import streams
from wizard_steps.errors import UsageError
from wizard_steps.facts.logs import collect, command, parts
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker

MARK = "0123456789abcdef"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


SESSION = {
    "logs/raylet.out": NOISE,
    "logs/worker-1.err": FAILURE,
    "logs/old/worker-0.err": NOISE,
    "runtime_resources/model.safetensors": "CUDA out of memory",
    "cluster.toml": "CUDA out of memory",
}


def test_a_folder_of_one_machine(tmp_path: Path) -> None:
    write(tmp_path / "session_2026-11-24_08", SESSION)
    (tmp_path / "session_latest").symlink_to("session_2026-11-24_08")
    found = diagnose_streams(streams([str(tmp_path / "session_latest")]))
    assert [(f.family, f.node) for f in found] == [("gpu-memory", "")]
    assert found[0].evidence[0].file.endswith("session_latest/logs/worker-1.err")


def test_a_refusal_that_a_walk_asks_for_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "node-1.curl.keyless.log").write_text("HTTP/1.1 401 Unauthorized\n")
    (tmp_path / "node-1.serve.log").write_text("INFO:     Application startup complete.\n")
    assert [source.name for source, _ in streams([str(tmp_path)])] == [str(tmp_path / "node-1.serve.log")]


def test_a_folder_of_several_machines(tmp_path: Path) -> None:
    write(tmp_path, {"gpu-a/serve.log": NOISE, "gpu-b/logs/serve.log": FAILURE})
    assert diagnose_streams(streams([str(tmp_path)]))[0].node == "gpu-b"
    assert diagnose_streams(streams([f"mine={tmp_path}"]))[0].node == "mine"


def test_the_advice_of_milepost_is_not_diagnosed(tmp_path: Path) -> None:
    write(tmp_path, {"b/diagnosis.txt": FAILURE, "b/walk/out/gpu-a.log": NOISE})
    assert diagnose_streams(streams([str(tmp_path)])) == []


def test_an_archive(tmp_path: Path) -> None:
    packed, zipped = tmp_path / "logs.tar.gz", tmp_path / "logs.zip"
    with tarfile.open(packed, "w:gz") as archive, zipfile.ZipFile(zipped, "w") as other:
        for name, text in {"x/gpu-a/serve.log": NOISE, "x/gpu-b/serve.log": FAILURE}.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
            other.writestr(name, text)
    for path in (packed, zipped):
        finding = diagnose_streams(streams([str(path)]))[0]
        assert (finding.node, finding.evidence[0].file) == ("gpu-b", f"{path}:x/gpu-b/serve.log")


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"no archive")
    (tmp_path / "x.zip").write_bytes(b"no archive")
    for name in ("x.tar.gz", "x.zip"):
        with pytest.raises(UsageError, match=name):
            streams([str(tmp_path / name)])


def test_the_command_for_a_node_prints_its_logs(tmp_path: Path) -> None:
    cluster = parse(CLUSTER)
    logs = {"serve.log": FAILURE, "long.log": NOISE * 4000, "empty.log": ""}
    write(tmp_path / ".milepost" / cluster.name / cluster.node_list[0].name, logs)
    cmd = command(cluster, cluster.node_list[0], MARK)
    assert not cmd.mutates
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", cmd.text], env=home, capture_output=True, text=True, check=True)
    names = {source.name.rsplit("/", 1)[-1] for source in parts(done.stdout, "a", MARK)}
    assert {"serve.log", "long.log (beginning)", "long.log (end)"} <= names
    assert "empty.log" not in names


def test_logs_of_a_container_that_is_gone_come_from_the_disk_of_its_node(tmp_path: Path) -> None:
    cluster = parse('path = "docker"\n' + CLUSTER)
    folder = tmp_path / ".milepost" / cluster.name / cluster.node_list[0].name / "container"
    write(folder, {"serve.log": FAILURE})
    write(folder / "ray/session_2026-11-26_01-58-20_1_1/logs", {"raylet.out": NOISE})
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    env = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    cmd = command(cluster, cluster.node_list[0], MARK)
    done = subprocess.run(["/bin/sh", "-c", cmd.text], env=env, capture_output=True, text=True, check=True)
    names = {source.name.rsplit("/", 1)[-1] for source in parts(done.stdout, "a", MARK)}
    assert {"serve.log", "raylet.out"} <= names


class Nodes:
    """Answers with one log for the first node and with a lost connection for the others."""

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if node.name == "a":
            mark = cmd.text.split("mark=", 1)[1].split()[0]
            yield Chunk(f"noise of a profile: {FAILURE}\n{mark} serve.log\n{NOISE}{FAILURE}".encode())
            yield Exit(0, "exit", "")
        else:
            yield Exit(-1, "lost", "no answer from 10.0.0.5 port 22 within 5 s")

    async def close(self) -> None:
        pass


def test_all_nodes_are_asked_and_a_silent_one_is_a_finding_too() -> None:
    sources, problems = asyncio.run(collect(Nodes(), parse(CLUSTER)))
    assert [(source.node, source.name) for source in sources] == [("a", "a:serve.log"), ("b", "b:ssh")]
    assert list(problems) == ["b"]
    assert [(f.family, f.node) for f in diagnose(sources)] == [("gpu-memory", "a"), ("ssh", "b")]


async def test_logs_come_over_a_real_ssh_server(ssh_bed: Bed, tmp_path: Path) -> None:
    home = tmp_path / "remote"
    server = ssh_bed.sshd(f"SetEnv HOME={home}")
    cluster = ssh_bed.cluster(server.port, free_port())
    own = home / ".milepost" / cluster.name / cluster.node_list[0].name
    write(own, {"serve.log": NOISE * 3 + FAILURE})
    before = sorted(home.rglob("*"))
    transport = SshTransport(cluster, NoAsker())
    try:
        sources, problems = await collect(transport, cluster)
    finally:
        await transport.close()
    first, second = cluster.node_list
    assert list(problems) == [second.name]
    found = diagnose(sources)
    assert (first.name, "gpu-memory") in [(f.node, f.family) for f in found]
    assert (second.name, "ssh") in [(f.node, f.family) for f in found]
    assert sorted(home.rglob("*")) == before


ENDED = (
    b'{"event":"walk-started","t":0}\n'
    b'{"event":"judged","verdict":{"checks":[{"hint":"CUDA out of memory"}]}}\n'
    b'{"event":"command-ended","t":1,"run":0,"node":"gpu-b","code":-1,"reason":"lost","detail":"DETAIL"}\n'
)


@pytest.mark.parametrize("colon", [b":", b" : "], ids=["as recorded", "written anew"])
def test_what_a_walk_says_of_a_node_is_read_from_its_events(tmp_path: Path, colon: bytes) -> None:
    said = b"connect to host gpu-b port 22: Connection refused"
    events = ENDED.replace(b'":', b'"' + colon).replace(b"DETAIL", b"ssh: " + said)
    (tmp_path / "events.jsonl").write_bytes(events)
    found = diagnose_streams(streams([str(tmp_path)]))
    assert [(f.family, f.node, f.evidence[0].line) for f in found] == [("ssh", "gpu-b", 3)]


def test_the_advice_of_a_walk_and_a_login_that_worked_are_no_failure(tmp_path: Path) -> None:
    quiet = ENDED.replace(b'"lost"', b'"exit"').replace(b"DETAIL", b"ssh: connect: Connection refused")
    (tmp_path / "events.jsonl").write_bytes(quiet)
    assert diagnose_streams(streams([str(tmp_path)])) == []


def test_events_of_another_program_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(
        '{"message": "RuntimeError: CUDA out of memory. Tried to allocate"}\n'
    )
    (tmp_path / "prompts.jsonl").write_text('{"message": "No space left on device"}\n')
    assert [f.family for f in diagnose_streams(streams([str(tmp_path)]))] == ["gpu-memory"]


@given(st.binary(max_size=400))
def test_damaged_events_never_raise(data: bytes) -> None:
    opened = walk_events.opened(lambda: io.BytesIO(b'{"event":"walk-started"}\n' + data))
    with opened() as file:
        assert file.read().count(b"\n") <= data.count(b"\n") + 2


@pytest.mark.parametrize(
    "field",
    [
        '"node":"gpu\\u001b]52;c;cm0=\\u0007b"',
        '"node":"gpu\\u202eb"',
        '"detail":"Connection refused \\u001b]52;c;cm0=\\u0007 \\u009d31m \\u202e"',
        '"detail":"x\\n::error file=a::pwn"',
        '"detail":["a"]',
        '"node":{"a":1}',
        '"detail":' + "[" * 100_000,
        '"detail":"\\udfff Connection refused"',
        '"detail":"ssh: connect to host b port 22: Connection refused hf_abcdefghijklmnopqrstuvwxyz01"',
    ],
    ids=lambda field: field[:20].encode("unicode_escape").decode(),
)
def test_hostile_events_say_nothing_active(field: str, tmp_path: Path) -> None:
    line = f'{{"event":"command-ended","node":"b","reason":"lost","detail":"no",{field}}}\n'
    (tmp_path / "events.jsonl").write_text('{"event":"walk-started"}\n' + line)
    lines = as_text(diagnose_streams(streams([str(tmp_path)])), explain=True)
    shown = "\n".join(lines)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert not any(line.startswith("::") for line in lines)
    assert "hf_abc" not in shown


@pytest.mark.parametrize("name", ["logs.tar.gz", "logs.zip"])
def test_an_archive_may_not_be_endless(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("a.log", "x" * 100)
    else:
        with tarfile.open(path, "w:gz") as packed:
            info = tarfile.TarInfo("a.log")
            info.size = 100
            packed.addfile(info, io.BytesIO(b"x" * 100))
    assert len(streams([str(path)])) == 1
    monkeypatch.setattr(inputs, "MOST_BYTES", 99)
    with pytest.raises(UsageError, match="unpacks to more than 4 GiB"):
        streams([str(path)])
