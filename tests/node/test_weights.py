"""The programs of the weights: real huggingface_hub against a hub on loopback, copies between homes on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.mutated import outputs
from tests.helpers.waiting import wait_for
from tests.helpers.weights_nodes import REPO, SPEC, WORD, Bed, bed, ends, listening
from wizard_steps.lab.hub import COMMIT, Hub, Trouble
from wizard_steps.model import Node, Result
from wizard_steps.node import weights
from wizard_steps.node.scripts import weights_fetch, weights_files, weights_hand, weights_hub

NODE = Node("a", "a")
SHARD = "model-00001-of-00002.safetensors"


def look(made: Bed, name: str) -> weights.WeightsSeen:
    code, output = made.run(name, "weights_look")
    found = weights.seen(Result(NODE, "disk", output, code))
    assert found is not None, output
    return found


def size(made: Bed) -> int:
    return sum(path.stat().st_size for path in made.hub.files().values())


def test_fetched_once_and_handed_along_a_chain(tmp_path: Path) -> None:
    with bed(tmp_path) as made:
        fetch, shares = made.start("a", "weights_fetch", SPEC), made.chain("a", "b", "c")
        assert "weights: complete: 6 files" in ends(fetch)
        assert all("weights: failed" not in ends(share) for share in shares)
        assert made.hub.sent == size(made), "every byte came from the hub once"
        views = [look(made, name) for name in "abc"]
        assert all(view.commit == COMMIT and view.files == views[0].files for view in views)
        assert all(sha for view in views for _, sha in view.files.values())


def test_huggingface_hub_takes_a_copy_for_its_own(tmp_path: Path) -> None:
    with bed(tmp_path) as made:
        assert made.run("a", "weights_fetch")[0] == 0
        for share in made.chain("a", "b"):
            ends(share)
        from huggingface_hub import snapshot_download

        cache = made.model("b").parent
        found = Path(snapshot_download(REPO, cache_dir=cache, local_files_only=True))
        assert (found / SHARD).read_bytes() == made.hub.files()[SHARD].read_bytes()
        assert os.readlink(found / SHARD).startswith("../../blobs/")


@pytest.mark.parametrize(
    ("trouble", "token", "spec", "kind"),
    [
        (Trouble(gated=True), "", {}, "token: "),
        (Trouble(gated=True), "hf_x", {}, "gated: "),
        (Trouble(), "", {"revision": "v9"}, "revision: "),
        (Trouble(), "", {"repo": "org/other"}, "token: "),
    ],
)
def test_what_the_hub_refuses(
    tmp_path: Path, trouble: Trouble, token: str, spec: dict[str, str], kind: str
) -> None:
    with bed(tmp_path, trouble) as made:
        line = f"HF_TOKEN={token}\n" if token else ""
        code, output = made.run("a", "weights_hub", {**SPEC, **spec}, stdin=line)
        found = weights.failed(Result(NODE, "hub", output, code))
    assert code == 1
    assert f"{found[0]}: " == kind, output
    assert token == "" or token not in output


def test_what_there_is_to_fetch_and_a_busy_hub(tmp_path: Path) -> None:
    with bed(tmp_path, Trouble(token="hf_right", busy=1)) as made:
        code, output = made.run("a", "weights_hub", stdin="HF_TOKEN=hf_right\n")
        found = weights.listed(Result(NODE, "hub", output, code))
    if found is None:  # huggingface_hub itself does not try again at a 429 of this request
        assert "weights: failed: busy: " in output
    else:
        assert found.commit == COMMIT
        assert found.size == size(made)


def test_a_redirect_to_another_host_gets_no_token(tmp_path: Path) -> None:
    with bed(tmp_path, Trouble(token="hf_right")) as made:
        other = Hub(made.hub.folder, "org/elsewhere")
        made.hub.trouble.other = other.url
        try:
            code, output = made.run("a", "weights_fetch", HF_TOKEN="hf_right")
        finally:
            other.close()
    assert code == 0, output
    assert any(line.startswith("GET /elsewhere/") for line in other.asked)
    assert not any(line.endswith(" token") for line in other.asked)


def test_a_cut_line_goes_on(tmp_path: Path) -> None:
    with bed(tmp_path, Trouble(cut=1 << 20, cuts=2)) as made:
        code, output = made.run("a", "weights_fetch")
        assert code == 0, output
        assert made.hub.trouble.cuts == 0
        assert made.hub.sent < size(made) + (4 << 20), "no file came twice"


def test_a_corrupt_file_is_found_removed_and_comes_anew(tmp_path: Path) -> None:
    with bed(tmp_path) as made:
        assert made.run("a", "weights_fetch")[0] == 0
        for share in made.chain("a", "b"):
            ends(share)
        for name, again in (("b", lambda: [ends(one) for one in made.chain("a", "b")][1]), ("a", None)):
            blob = (made.model(name) / "snapshots" / COMMIT / SHARD).resolve()
            blob.write_bytes(b"\0" * blob.stat().st_size)
            assert look(made, name).files[SHARD][1] == "", "what has changed is not verified any more"
            output = again() if again else made.run(name, "weights_fetch")[1]
            assert f"weights: removed, the content differs from its hash: {made.model(name)}" in output
            assert "weights: complete" in output
            assert look(made, name).files[SHARD][1]


@pytest.mark.parametrize("right", [True, False])
def test_a_part_of_a_file_is_gone_on_with_or_found_wrong(tmp_path: Path, right: bool) -> None:
    with bed(tmp_path) as made:
        assert made.run("a", "weights_fetch")[0] == 0
        blob = (made.model("a") / "snapshots" / COMMIT / SHARD).resolve()
        half = blob.read_bytes()[: 3 << 20]
        part = made.model("b") / "blobs" / (blob.name + weights_files.PART)
        part.parent.mkdir(parents=True)
        part.write_bytes(half if right else b"\0" * len(half))
        inode = part.stat().st_ino
        output = [ends(one) for one in made.chain("a", "b")][1]
        copied = made.model("b") / "blobs" / blob.name
        assert "weights: complete" in output
        assert ("taken again" in output) is not right
        # The numbers of removed files are given out again: only one side of it says something.
        assert not right or copied.stat().st_ino == inode
        assert copied.read_bytes() == blob.read_bytes()


def test_who_has_not_the_word_is_given_nothing(tmp_path: Path) -> None:
    with bed(tmp_path) as made:
        assert made.run("a", "weights_fetch")[0] == 0
        spec = {**SPEC, "ip": "127.0.0.1", "port": made.port, "sources": [], "followers": 1}
        made.start("a", "weights_share", spec, MILEPOST_COPY_TOKEN=WORD)

        def get(path: str, word: str) -> int:
            url = f"http://127.0.0.1:{made.port}{path}"
            headers = {"Authorization": f"Bearer {word}"} if word else {}
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
                return int(answer.status)

        listening("127.0.0.1", made.port)
        assert get("/files", WORD) == 200
        for path, word, code in (
            ("/files", "", 403),
            ("/files", WORD + "x", 403),
            ("/file/0", "", 403),
            ("/../../etc/passwd", WORD, 404),
            ("/file/999", WORD, 404),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(path, word)
            assert refused.value.code == code


def begun(made: Bed) -> subprocess.Popen[str]:
    """A fetch that has begun to download: what it makes is noted before it is made."""
    fetch = made.start("a", "weights_fetch", SPEC)
    notes = made.home("a") / "state" / weights_fetch.PARTS
    wait_for(lambda: notes.is_file() and bool(notes.read_text()), "a first download", 60)
    return fetch


def cut(made: Bed) -> list[Path]:
    return list((made.model("a") / "blobs").glob("*.incomplete"))


def test_an_ended_fetch_leaves_no_part_that_nothing_can_go_on_from(tmp_path: Path) -> None:
    with bed(tmp_path, Trouble(rate=1)) as made:
        fetch = begun(made)
        fetch.send_signal(signal.SIGTERM)
        output = ends(fetch)
        assert fetch.returncode == 143, output
        assert not cut(made)


def test_what_a_killed_fetch_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    with bed(tmp_path, Trouble(rate=1)) as made:
        fetch = begun(made)
        wait_for(lambda: bool(cut(made)), "a part of a file", 60)
        fetch.kill()
        fetch.wait()
        left = cut(made)
        theirs = made.model("a") / "blobs" / f"{'0' * 64}.0123abcd.incomplete"
        theirs.write_bytes(b"of somebody else")
        made.hub.trouble.rate = 0
        code, output = made.run("a", "weights_fetch")
        assert code == 0, output
        assert cut(made) == [theirs]
        assert all(f"weights: removed, a cut download: {one}\n" in output for one in left)


def test_a_copy_ends_when_the_fetch_it_waits_for_has_failed(tmp_path: Path) -> None:
    with bed(tmp_path, Trouble(rate=1)) as made:
        fetch = begun(made)
        copy = made.chain("a", "b")[1]
        blobs = made.model("b") / "blobs"
        wait_for(lambda: bool(list(blobs.glob(f"*{weights_files.PART}"))), "a copy that has begun", 60)
        fetch.kill()
        fetch.wait()
        assert "weights: failed: source: the node that fetches the model has failed" in ends(copy)


def test_a_folder_is_copied_and_nothing_is_written_over(tmp_path: Path) -> None:
    with bed(tmp_path) as made:
        folders = {name: str(tmp_path / name / "model") for name in "abc"}
        Path(folders["c"]).mkdir(parents=True)
        (Path(folders["c"]) / "config.json").write_text("mine")
        os.rename(made.hub.folder, tmp_path / "source")
        made.home("a").mkdir()
        os.rename(tmp_path / "source", folders["a"])
        spec = {**SPEC, "repo": "", "folder": folders["a"], "local": True}
        assert made.run("a", "weights_fetch", spec)[0] == 0
        own = {"ip": "127.0.0.1", "port": made.port, "sources": [], "followers": 2}
        made.start("a", "weights_share", {**spec, **own}, MILEPOST_COPY_TOKEN=WORD)
        for name, said in (
            ("b", "weights: complete"),
            ("c", "weights: failed: differs: 4 bytes in place of"),
        ):
            own = {"ip": "", "port": 0, "sources": [["127.0.0.1", made.port]], "followers": 0}
            share = made.start(
                name, "weights_share", {**spec, **own, "folder": folders[name]}, MILEPOST_COPY_TOKEN=WORD
            )
            assert said in ends(share)
        assert (Path(folders["b"]) / SHARD).read_bytes() == (Path(folders["a"]) / SHARD).read_bytes()
        assert (Path(folders["c"]) / "config.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("names", "mistral", "found"),
    [
        (["a.safetensors", "pytorch_model.bin", "config.json"], True, ["a.safetensors", "config.json"]),
        (["pytorch_model.bin", "config.json", "rust_model.ot"], True, ["config.json", "pytorch_model.bin"]),
        (["consolidated.safetensors", "model.safetensors", "t.json"], True, ["consolidated.safetensors", "t.json"]),
        (["consolidated.safetensors", "model.safetensors"], False, ["consolidated.safetensors", "model.safetensors"]),
        (["model.safetensors", "original/consolidated.00.pth", "original/p.json"], True, ["model.safetensors", "original/p.json"]),
        (["model.safetensors", "metal/model.bin", "onnx/model.onnx"], True, ["model.safetensors"]),
    ],
)  # fmt: skip
def test_the_files_that_vllm_loads(names: list[str], mistral: bool, found: list[str]) -> None:
    assert weights_hub.wanted(names, mistral) == found


@given(st.text() | st.none() | st.integers())
def test_a_name_that_leaves_the_folder_is_no_name(name: object) -> None:
    if weights_hand.safe(name):
        assert os.path.normpath(os.path.join("/m", str(name))).startswith("/m/")


def test_names_that_leave_are_refused() -> None:
    for name in ("../x", "/etc/x", "a/../../x", "", "a//b", "a\0b", ".", 3):
        assert not weights_hand.safe(name)
    assert weights_hand.safe("original/params.json")


@given(
    outputs(
        ['weights-json: {"files":{"a":[1,"x"]},"free":1}', 'weights-json: {"commit":"c","files":{},"rate":1}']
    )
)
def test_whatever_a_node_prints_is_read_or_not(text: str) -> None:
    result = Result(NODE, "disk", text, 0)
    weights.seen(result), weights.listed(result), weights.failed(result)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))  # fmt: skip
def test_whatever_json_it_is(value: object) -> None:
    names = (
        "files",
        "free",
        "folder",
        "commit",
        "inodes",
        "fs",
        "source",
        "at",
        "writable",
        "parts",
        "orphans",
    )
    text = weights.MARK + json.dumps(dict.fromkeys(names, value))
    assert weights.seen(Result(NODE, "disk", text, 0)) is None or isinstance(value, dict | int)
