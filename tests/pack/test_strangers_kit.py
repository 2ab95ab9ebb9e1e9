"""A kit that a stranger made: it is refused in words, nothing hangs, and nothing leaves its folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.hostile import EVIL
from tests.helpers.ssh_help import ran, transport_to
from tests.helpers.sshd import Bed, needs_sshd
from tests.trust.test_node import ACTIVE
from wizard_steps.cluster.values import Cluster, Install, NodeEntry, Serve
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.milestones import kit_judge
from wizard_steps.milestones.kit import KitStep
from wizard_steps.model import WIZARD, Result, Results
from wizard_steps.node import kit as kits
from wizard_steps.node.program import program
from wizard_steps.pack.make import make
from wizard_steps.pack.target import PackTarget

SHA = "0" * 64
MODEL = {"repo": "org/tiny", "revision": "main", "commit": "c0ffee", "blobs": {"config.json": "b"}}


def one(name: Any, size: Any = 0, sha: Any = SHA) -> dict[str, Any]:
    return {"name": name, "size": size, "sha256": sha}


def manifest(*files: Any, **more: Any) -> dict[str, Any]:
    return {"format": 1, "machine": "x86_64", "files": list(files), **more}


def read(kit: Path) -> tuple[int, str]:
    """What the walk runs on the wizard's machine. Fails where it takes long or has a word on standard error."""
    words = [sys.executable, "-I", "-c", program("kit_read.py"), str(kit)]
    done = subprocess.run(words, capture_output=True, timeout=20, check=False)
    assert done.stderr == b""
    said = done.stdout.decode()
    assert not ACTIVE.search(said)
    return done.returncode, said


def judged(kit: Path) -> str:
    """What the gate says of a kit that cannot be read."""
    code, said = read(kit)
    nodes = (NodeEntry(host="h", gpus=1, name="h", role="head"),)
    cluster = Cluster(nodes=nodes, install=Install(kit=str(kit)))
    done = Results((Result(WIZARD, "kit", said, code),))
    known = Known(cluster)
    assert KitStep().rounds(known, done) is None, "nothing is sent to a node"
    verdict = kit_judge.verdict(known, done)
    assert not verdict.passed
    return f"{verdict.summary} {verdict.checks}"


def link_out(kit: Path) -> None:
    (kit / "model").mkdir()
    (kit / "model/x").symlink_to("/etc/passwd")
    (kit / "kit.json").write_text(json.dumps(manifest(one("model/x", os.stat("/etc/passwd").st_size))))


def folder_out(kit: Path) -> None:
    (kit.parent / "private").mkdir()
    (kit.parent / "private/x").write_text("")
    (kit / "model").symlink_to(kit.parent / "private")
    (kit / "kit.json").write_text(json.dumps(manifest(one("model/x"))))


def pipe(kit: Path) -> None:
    (kit / "model").mkdir()
    os.mkfifo(kit / "model/x")
    (kit / "kit.json").write_text(json.dumps(manifest(one("model/x"))))


def sparse(kit: Path) -> None:
    (kit / "kit.json").touch()
    os.truncate(kit / "kit.json", 1 << 42)


def text(data: bytes) -> Callable[[Path], object]:
    return lambda kit: (kit / "kit.json").write_bytes(data)


CRAFTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link that leads out": (link_out, "model/x: leads out of the kit"),
    "a folder that leads out": (folder_out, "model/x: leads out of the kit"),
    "a name that leads out": (text(json.dumps(manifest(one("../../etc/passwd", 1))).encode()), "etc/passwd"),
    "a pipe": (pipe, "model/x: no plain file"),
    "kit.json is a pipe": (lambda kit: os.mkfifo(kit / "kit.json"), "no plain file"),
    "kit.json is a device": (lambda kit: (kit / "kit.json").symlink_to("/dev/zero"), "no plain file"),
    "kit.json is a folder": (lambda kit: (kit / "kit.json").mkdir(), "kit.json"),
    "kit.json is sparse": (sparse, "larger than 16 MiB"),
    "deep": (text(b"[" * 200_000), "not a kit"),
    "deep in a field": (text(b'{"files":[],"x":' + b"[" * 993 + b"]" * 993 + b"}"), "kit"),
    "not utf-8": (text(b"\xff\xfe"), "not a kit"),
    "a list": (text(b"[]"), "no list of files"),
    "files of numbers": (text(b'{"files":[1]}'), "no name or no size"),
    "infinite": (text(b'{"files":[{"name":"a","size":1e999}]}'), "no name or no size"),
    "half a character": (text(b'{"files":[{"name":"\\ud800","size":1}]}'), "not there"),
    "a name that acts": (text(json.dumps(manifest(one(EVIL, 5))).encode()), "not there"),
    "a name with a NUL": (text(json.dumps(manifest(one("a\0b", 5))).encode()), "not there"),
    "a name without end": (text(json.dumps(manifest(one("a" * 100_000, 5))).encode()), "not there"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_kit_is_refused_in_words(name: str, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    kit.mkdir()
    craft, words = CRAFTED[name]
    craft(kit)
    before = sorted(tmp_path.rglob("*"))
    said = judged(kit)
    assert words in said
    assert not ACTIVE.search(said)
    assert len(said) < 2000
    assert sorted(tmp_path.rglob("*")) == before


BAD: dict[str, dict[str, Any]] = {
    "absolute": manifest(one("/etc/passwd")),
    "up": manifest(one("model/../../x")),
    "elsewhere": manifest(one("evil.sh")),
    "its own manifest": manifest(one("kit.json")),
    "a file and its folder": manifest(one("model/a"), one("model/a/b")),
    "twice": manifest(one("model/a"), one("model/a")),
    "a part": manifest(one("model/a.milepost-part")),
    "our record": manifest(one("model/.milepost-verified.json")),
    "a folder": manifest(one("model/")),
    "long": manifest(one("model/" + "a" * 240)),
    "deep": manifest(one("model/" + "a/" * 20 + "b")),
    "a hash and a newline": manifest(one("model/a", 0, SHA + "\n")),
    "negative": manifest(one("model/a", -1)),
    "image that acts": manifest(image="evil\x1b]0;x\x07"),
    "image an option": manifest(image="--privileged"),
    "glibc no version": manifest(glibc="2.x\u202e"),
    "machine that acts": manifest(machine=EVIL),
    "machine that is an option": manifest(machine="-"),
    "revision up": manifest(model={**MODEL, "revision": "../../../x"}),
    "repo up": manifest(model={**MODEL, "repo": ".."}),
    "repo absolute": manifest(model={**MODEL, "repo": "/etc"}),
    "folder that acts": manifest(model={**MODEL, "revision": "", "repo": "~/\u202ex"}),
    "commit and a newline": manifest(model={**MODEL, "commit": "abc\n"}),
    "blob up": manifest(model={**MODEL, "blobs": {"a": "../x"}}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_kit_may_not_say(name: str) -> None:
    with pytest.raises(ValueError, match="kit") as caught:
        kits.parse(json.dumps({"folder": "/k", "kit": BAD[name]}))
    assert not ACTIVE.search(str(caught.value))
    assert len(str(caught.value)) < 500


TEXT = st.text() | st.sampled_from(
    ["model/a", "model/a/b", "wheels/x.whl", "..", "/etc", "a\x1b[31m", "main"]
)
MAYBE = st.fixed_dictionaries(
    {"format": st.just(1), "machine": TEXT},
    optional={
        "image": TEXT,
        "base": TEXT,
        "glibc": TEXT,
        "vllm": TEXT,
        "model": st.builds(lambda r, v: {**MODEL, "repo": r, "revision": v}, TEXT, TEXT),
    },
)


@given(MAYBE, st.lists(TEXT, max_size=4))
def test_what_is_read_of_a_kit_can_do_nothing(kit: dict[str, Any], names: list[str]) -> None:
    """Whatever passes stays in its folder, acts on no terminal and is no option."""
    data = json.dumps({"folder": "/k", "kit": {**kit, "files": [one(name) for name in names]}})
    with contextlib.suppress(ValueError):
        got = kits.parse(data).kit
        words = [got.machine, got.image, got.base, got.glibc, got.vllm, *(one.name for one in got.files)]
        words += [got.model.repo, got.model.revision] if got.model else []
        assert not any(ACTIVE.search(word) or "\n" in word or word.startswith("-") for word in words)
        for file in got.files:
            assert os.path.normpath(os.path.join("/k", file.name)) == f"/k/{file.name}"
        if got.model and got.model.revision:
            assert ".." not in got.model.revision.split("/")


@needs_sshd
async def test_a_pipe_in_a_kits_place_holds_nothing_up(ssh_bed: Bed, tmp_path: Path) -> None:
    """It may come there after the kit was read."""
    os.mkfifo(tmp_path / "pipe")
    server = ssh_bed.sshd()
    cluster = ssh_bed.cluster(server.port)
    async with transport_to(cluster) as transport, asyncio.timeout(60):
        result = await ran(transport, cluster.head, "cat", feed=((str(tmp_path / "pipe"), 0),))
    assert (result.exit.code, result.exit.reason) != (0, "exit"), "what was announced did not come"


@pytest.mark.parametrize(("repo", "revision"), [("org/tiny", "main"), ("~/.ssh", "")])
def test_a_model_that_the_cluster_file_does_not_name_is_put_nowhere(repo: str, revision: str) -> None:
    """A kit could name a folder of the nodes where a file lets its maker in."""
    assert placing(repo, revision, repo) == ["place"]
    assert placing(repo, revision, "another/one") == []


def placing(repo: str, revision: str, served: str) -> list[str]:
    """The commands of the round after a kit with this model has come to every node."""
    nodes = (NodeEntry(host="h", gpus=1, name="h", role="head"),)
    cluster = Cluster(nodes=nodes, serve=Serve(model=served), install=Install(kit="/k"))
    words = {"vllm": cluster.serve.vllm_version, "ray": cluster.ray.version}
    model = {**MODEL, "repo": repo, "revision": revision}
    line = json.dumps({"folder": "/k", "kit": manifest(one("model/config.json"), model=model, **words)})
    seen = {
        "folder": "",
        "commit": "",
        "files": {"model/config.json": [0, SHA]},
        "free": 10**12,
        "inodes": -1,
    }
    seen |= {"fs": "", "source": "", "at": "", "writable": True, "parts": 0, "orphans": 0}
    disk = f"machine: x86_64\npython: 3.12\nglibc: 2.35\nweights-json: {json.dumps(seen)}"
    known = Known(cluster)
    done = Results((Result(WIZARD, "kit", kits.MARK + line, 0), Result(known.nodes[0], "disk", disk, 0)))
    todo = KitStep().rounds(known, done)
    return [cmd.key for _, cmd in todo.work] if todo else []


def test_nothing_is_packed_through_a_strangers_link(tmp_path: Path) -> None:
    kit, mine = tmp_path / "kit", tmp_path / "mine"
    kit.mkdir()
    mine.write_text("mine")
    (kit / "kit.json").write_text("{}")
    (kit / "README.md").symlink_to(mine)
    nodes = (NodeEntry(host="h", gpus=1, name="h", role="head"),)
    with pytest.raises(UsageError, match=r"README\.md: is a link"):
        make(Cluster(nodes=nodes), PackTarget("3.12", "x86_64", "2.35"), kit, False, "main")
    assert mine.read_text() == "mine"
