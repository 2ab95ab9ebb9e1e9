"""`milepost check` and the image's gate on the engines there are: one rule, and so the same words."""

from __future__ import annotations

import pytest

from tests.node.test_docker import cluster
from wizard_steps.engine.step import Known
from wizard_steps.facts import software
from wizard_steps.facts.finding import Finding
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.rules_software import judge
from wizard_steps.facts.sections import FactSection
from wizard_steps.milestones import docker_judge
from wizard_steps.model import Check, Result, Results

TOOLKIT = "install nvidia-container-toolkit"
DEVICE = 'docker.gpu_flags = ["--device", "nvidia.com/gpu=all"]'
#: What an engine prints, and what both say of it; "" where both are content.
ENGINES = {
    "runtime": ("Docker version 28.2.2\nkind: docker\nrootless: no\nruntimes: runc nvidia\n", ""),
    "hook": (
        "Docker version 24.0.7\nkind: docker\nrootless: no\nruntimes: runc\n"
        "hook: /usr/bin/nvidia-container-runtime-hook\n",
        "",
    ),
    "cdi": ("Docker version 27.1.0\nkind: docker\nruntimes: runc\ncdi: /etc/cdi/nvidia.yaml\n", DEVICE),
    # As it was seen: Docker 28 refuses --gpus, and takes --device.
    "cdi of docker 28": (
        "Docker version 28.5.2+dfsg4, build 9cc6dea\nkind: docker\nrootless: no\n"
        "runtimes: io.containerd.runc.v2 runc \nlog-driver: json-file\ncdi-dirs: /etc/cdi \n"
        "cdi: its own list\ncpu: x86_64\nrdma: 0\n",
        DEVICE,
    ),
    "nothing": ("Docker version 28.2.2\nkind: docker\nruntimes: runc\n", TOOLKIT),
    "podman 4": ("podman version 4.3.1\nkind: podman\nrootless: no\n", DEVICE),
    "podman 5.8": (
        "podman version 5.8.6\nkind: podman\nrootless: no\nlog-driver: k8s-file\ncdi: /etc/cdi/nvidia.yaml\n",
        "",
    ),
    "podman 5": ("podman version 5.4.2\nkind: podman\nrootless: yes\ncdi: /etc/cdi/nvidia.yaml\n", ""),
}


def checked(engine: str) -> Finding:
    it = cluster()
    version = engine.split()[2]
    text = f"{version}\n{engine}image sha256:{'1' * 64}\n"
    facts = NodeFacts(docker=software.parse_docker(FactSection(text, 0)))
    return next(one for one in judge(it.head, facts, it) if one.fact == "docker")


def gated(engine: str, gpus: int, more: str = "") -> list[Check]:
    it = cluster()
    inside = f"container: started\npython: 3.12.3\nvllm: 0.33.0\nshm: 10737418 KiB\n{more}smi: none\ngpus: {gpus}\n"
    done = Results(
        [
            Result(it.head, "engine", f"{engine}netns: net:[1]\nengine: answers\n", 0),
            Result(it.head, "image", "image: sha256:1\narch: amd64\ndigests: []\nbase: \n", 0),
            Result(it.head, "inside", inside, 0),
        ]
    )
    return docker_judge.node_checks(Known(it), done, it.head, "", "mp")


def refused(engine: str, words: str) -> Check:
    it = cluster()
    done = Results(
        [
            Result(it.head, "engine", f"{engine}engine: answers\n", 0),
            Result(it.head, "image", "image: sha256:1\n", 0),
            Result(it.head, "inside", words, 125),
        ]
    )
    (found,) = docker_judge.node_checks(Known(it), done, it.head, "", "mp")
    return found


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_refuses_the_flags_gets_the_same_hint(name: str) -> None:
    text, words = ENGINES[name]
    driver = (
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]]'
    )
    check = refused(text, f"{driver}\n\nRun 'docker run --help' for more information\n")
    assert "could not select device driver" in check.found
    assert words in check.hint
    assert check.hint, "the diagnosis knows these words where the engine says nothing"
    other = refused(text, "docker: Error response from daemon: no space left on device\n")
    assert DEVICE not in other.hint


@pytest.mark.parametrize("name", ENGINES)
def test_both_say_the_same_of_an_engine(name: str) -> None:
    text, words = ENGINES[name]
    finding = checked(text)
    assert finding.verdict == ("warn" if words else "ok"), finding
    assert words in finding.hint
    (without,) = [check for check in gated(text, 0) if check.name == "GPUs"]
    assert not without.ok
    assert words in without.hint
    (works,) = [check for check in gated(text, 8) if check.name == "GPUs"]
    assert works.ok, "what works, works: only the look inside decides"


def test_rootless_docker_is_a_warning_before_and_a_failure_where_it_is_seen() -> None:
    text = ENGINES["runtime"][0].replace("rootless: no", "rootless: yes")
    finding = checked(text)
    assert finding.verdict == "warn"
    assert "a network of its own" in finding.message
    bad = [check for check in gated(text, 8, "netns: net:[2]\n") if not check.ok]
    assert [check.name for check in bad] == ["network"]
    assert [check for check in gated(text, 8, "netns: net:[1]\n") if not check.ok] == []


def test_recordings_of_before_are_read() -> None:
    found = software.parse_docker(FactSection("28.2.2\nruntimes io.containerd.runc.v2 nvidia runc \n", 0))
    assert found.engine.runtimes[1] == "nvidia"
    assert (found.engine.kind, found.engine.version) == ("docker", "28.2.2")
