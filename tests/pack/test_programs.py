"""The programs of a kit on a node, run here: what is cut off goes on, what is wrong is removed, a model is placed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.weights_nodes import REPO
from wizard_steps.errors import UsageError
from wizard_steps.lab.hub import COMMIT
from wizard_steps.node import weights
from wizard_steps.node.scripts.weights_files import PART
from wizard_steps.pack.make import copy_model, listed

DATA = bytes(range(256)) * 9000


def run(home: Path, name: str, spec: dict[str, Any], data: bytes = b"") -> tuple[int, str]:
    words = [sys.executable, "-I", "-c", *weights.program(name), json.dumps(spec)]
    env = {"HOME": str(home)}
    done = subprocess.run(words, cwd=home, env=env, input=data, stdout=subprocess.PIPE, check=False)
    return done.returncode, done.stdout.decode()


def receive(home: Path, at: int, data: bytes) -> tuple[int, str]:
    sha = hashlib.sha256(DATA).hexdigest()
    files = [{"name": "wheels/a.whl", "size": len(DATA), "sha256": sha, "at": at}]
    return run(home, "kit_receive", {"repo": "", "folder": "~/kit", "files": files}, data)


def test_a_cut_copy_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    half = len(DATA) // 2
    code, said = receive(tmp_path, 0, DATA[:half])
    assert (code, "kit: failed: source: the connection broke off" in said) == (1, True)
    assert (tmp_path / f"kit/wheels/a.whl{PART}").read_bytes() == DATA[:half]
    _, seen = run(tmp_path, "weights_look", {"repo": "", "revision": "", "folder": "~/kit"})
    assert f'"cut":{{"wheels/a.whl":{half}}}' in seen
    code, said = receive(tmp_path, half, DATA[half:])
    assert code == 0, said
    assert (tmp_path / "kit/wheels/a.whl").read_bytes() == DATA


def test_what_came_wrong_is_removed_and_said(tmp_path: Path) -> None:
    code, said = receive(tmp_path, 0, b"x" + DATA[1:])
    assert code == 1
    assert f"kit: failed: corrupt: the content differs from its hash, removed: {tmp_path}/kit/wheels" in said
    assert not [path for path in (tmp_path / "kit").rglob("*") if path.is_file()]


def test_a_model_is_placed_as_the_hub_would_have(tmp_path: Path) -> None:
    sha, source = hashlib.sha256(DATA).hexdigest(), tmp_path / "kit/model/sub/model.safetensors"
    source.parent.mkdir(parents=True)
    source.write_bytes(DATA)
    one = {"name": "sub/model.safetensors", "sha256": sha, "blob": sha}
    spec = {"kit": "~/kit", "repo": REPO, "revision": "main", "commit": COMMIT, "files": [one]}
    for _ in range(2):
        code, said = run(tmp_path, "kit_place", spec)
        assert code == 0, said
    _, seen = run(tmp_path, "weights_look", {"repo": REPO, "revision": "main", "folder": ""})
    assert f'"sub/model.safetensors":[{len(DATA)},"{sha}"]' in seen
    blob = tmp_path / ".cache/huggingface/hub" / f"models--{REPO.replace('/', '--')}" / "blobs" / sha
    assert blob.samefile(source), "it takes no more room"


def test_a_model_that_is_a_folder_goes_there_and_nothing_is_written_over(tmp_path: Path) -> None:
    sha, source = hashlib.sha256(DATA).hexdigest(), tmp_path / "kit/model/config.json"
    source.parent.mkdir(parents=True)
    source.write_bytes(DATA)
    one = {"name": "config.json", "sha256": sha, "blob": "file"}
    spec = {"kit": "~/kit", "folder": "~/llama", "repo": "~/llama", "files": [one]}
    for _ in range(2):
        code, said = run(tmp_path, "kit_place", spec)
        assert code == 0, said
    assert (tmp_path / "llama/config.json").read_bytes() == DATA
    (tmp_path / "llama/config.json").unlink()
    (tmp_path / "llama/config.json").write_text("a person's own")
    code, said = run(tmp_path, "kit_place", spec)
    assert code == 1
    assert "kit: failed: differs: the content differs from the kit's, and is not overwritten" in said
    assert (tmp_path / "llama/config.json").read_text() == "a person's own"


def test_a_folder_of_this_machine_is_packed(tmp_path: Path) -> None:
    (tmp_path / "llama/sub").mkdir(parents=True)
    (tmp_path / "kit").mkdir()
    with pytest.raises(UsageError, match=r"no config\.json in .*llama on this machine"):
        copy_model(str(tmp_path / "llama"), tmp_path / "kit")
    for name in ("config.json", "sub/README.md"):
        (tmp_path / "llama" / name).write_text(name)
    model = copy_model(str(tmp_path / "llama"), tmp_path / "kit")
    assert (model.revision, sorted(model.blobs)) == ("", ["config.json", "sub/README.md"])
    assert [one.name for one in listed(tmp_path / "kit")] == ["model/config.json", "model/sub/README.md"]
