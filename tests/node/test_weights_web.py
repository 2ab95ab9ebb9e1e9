"""A model from a server that is no hub, on loopback: a plain folder, and one that answers as ModelScope does."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER
from tests.helpers.weights_nodes import SPEC, Bed, bed, ends
from wizard_steps.cluster.file import parse
from wizard_steps.errors import UsageError
from wizard_steps.lab.hub import Trouble
from wizard_steps.model import Node, Result
from wizard_steps.node import weights
from wizard_steps.node.scripts import weights_web
from wizard_steps.node.scripts.weights_files import Failed

NODE = Node("a", "a")


def spec(made: Bed, kind: str) -> dict[str, Any]:
    return {**SPEC, "web": {"plain": f"{made.hub.url}/plain/", "scope": f"modelscope+{made.hub.url}"}[kind]}


@pytest.mark.parametrize("kind", ["plain", "scope"])
def test_fetched_once_and_handed_on(tmp_path: Path, kind: str) -> None:
    # The connection of a large file breaks in its middle: what has come does not come again.
    with bed(tmp_path, Trouble(cut=200_000, cuts=int(kind == "plain"))) as made:
        it = spec(made, kind)
        code, output = made.run("a", "weights_hub", it)
        listed = weights.listed(Result(NODE, "hub", output, code))
        assert listed is not None, output
        code, output = made.run("a", "weights_fetch", it)
        assert code == 0, output
        total = sum(path.stat().st_size for path in made.hub.files().values())
        assert made.hub.sent < total + 400_000
        for share in made.chain("a", "b"):
            assert "weights: failed" not in ends(share)
        for name in "ab":
            code, output = made.run(name, "weights_look", it)
            view = weights.seen(Result(NODE, "disk", output, code))
            assert view is not None
            assert view.commit == listed.commit
            assert {n: size for n, (size, sha) in view.files.items() if sha} == listed.files
        from huggingface_hub import snapshot_download

        found = Path(snapshot_download(it["repo"], cache_dir=made.model("b").parent, local_files_only=True))
        for name, path in made.hub.files().items():
            assert (found / name).read_bytes() == path.read_bytes()


def test_a_list_of_sums_is_what_counts(tmp_path: Path) -> None:
    with bed(tmp_path) as made:
        (tmp_path / "model/SHA256SUMS").write_text(f"{'0' * 64}  config.json\n{'1' * 64} *../x\n")
        found = weights_web.listing(spec(made, "plain"), list)
    assert [(one["name"], one["sha256"], one["blob"]) for one in found] == [
        ("config.json", "0" * 64, "0" * 64)
    ]


@pytest.mark.parametrize(
    ("web", "words"),
    [
        ("/nothing/", "address: {}/nothing/ answers 40"),
        ("/plain/config.json", "address: {}/plain/config.json/ answers 404"),
    ],
)
def test_what_is_no_such_folder_is_told_with_its_address(tmp_path: Path, web: str, words: str) -> None:
    with bed(tmp_path) as made:
        code, output = made.run("a", "weights_hub", {**SPEC, "web": made.hub.url + web})
        assert code == 1
        assert f"weights: failed: {words.format(made.hub.url)}" in output


@given(st.text())
def test_whatever_a_server_lists_stays_inside(text: str) -> None:
    asked: list[str] = []

    def head(base: str, name: str, sha: str) -> dict[str, Any]:
        asked.append(name)
        return {"name": name, "size": 1, "sha256": sha, "url": base + name}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights_web, "_text", lambda url: text + '<a href="config.json">')
        patch.setattr(weights_web, "_head", head)
        for web in ("http://h/m/", "modelscope+http://h"):
            with contextlib.suppress(Failed):
                weights_web.listing({"web": web, "repo": "o/m", "revision": "main"}, list)
    assert all(".." not in name.split("/") and not name.startswith("/") for name in asked)


@pytest.mark.parametrize(
    ("web", "words"),
    [
        ("ftp://h/m", "is no address"),
        ("https://u:p@h/m", "has a name or password in it"),
        ("https://h/m m", "is no address"),
    ],
)
def test_what_is_no_address_is_refused(web: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(f'{CLUSTER}\n[weights]\nfrom = "{web}"\n')
