"""The cluster file of an upgrade: what changes, where the new environment is, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.file import Cluster, parse
from wizard_steps.cluster.newer import newer
from wizard_steps.errors import UsageError

BARE = parse(CLUSTER)
DOCKER = parse('path = "docker"\n' + CLUSTER)


def test_a_new_vllm_gets_a_venv_beside_the_old_one() -> None:
    new = newer(BARE, vllm="0.34.0")
    assert (new.serve.vllm_version, new.venv) == ("0.34.0", "/opt/vllm-venv-0.34.0")
    again = newer(new, vllm="0.35.0", ray="2.61.0")
    assert (again.venv, again.ray.version) == ("/opt/vllm-venv-0.35.0-ray2.61.0", "2.61.0")
    assert newer(again, vllm="0.36.0").venv == "/opt/vllm-venv-0.36.0"
    assert newer(BARE, vllm="0.34.0", venv="/data/new").venv == "/data/new"


def test_a_new_revision_of_the_model_leaves_the_environment_alone() -> None:
    new = newer(BARE, revision="refs/pr/3")
    assert new.venv == BARE.venv
    assert new.serve.extra_flags == ("--revision=refs/pr/3",)
    assert newer(new, revision="main").serve.extra_flags == ("--revision=main",)


def _with_image(image: str) -> Cluster:
    return parse(f'path = "docker"\n{CLUSTER}\n[docker]\nimage = "{image}"\n')


def test_on_the_docker_path_the_image_changes() -> None:
    assert newer(DOCKER, vllm="0.34.0").docker.image == ""
    mine = _with_image("reg:5000/vllm:v0.33.0-ray")
    assert newer(mine, vllm="0.34.0").docker.image == "reg:5000/vllm:v0.34.0-ray"
    assert newer(mine, image="reg:5000/vllm:other").docker.image == "reg:5000/vllm:other"


@pytest.mark.parametrize(
    ("cluster", "words", "said"),
    [
        (BARE, {"vllm": "latest"}, "is no version"),
        (BARE, {"vllm": BARE.serve.vllm_version, "venv": BARE.venv}, "nothing to upgrade"),
        (BARE, {"vllm": "0.34.0", "venv": BARE.venv}, "the environment in use"),
        (BARE, {"image": "x:1"}, "goes with path"),
        (BARE, {"revision": "a b"}, "no branch, tag or commit"),
        (DOCKER, {"venv": "/v"}, "it is --image"),
        (_with_image("mine:latest"), {"vllm": "0.34.0"}, "say which one with --image"),
    ],
)
def test_what_does_not_fit_is_refused(cluster: Cluster, words: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        newer(cluster, **words)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_nothing_typed_raises_anything_else(vllm: str, venv: str, revision: str) -> None:
    with contextlib.suppress(UsageError):
        newer(BARE, vllm=vllm, venv=venv, revision=revision)
