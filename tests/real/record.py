"""Records the healthy walk with real vLLM anew: ``python -m tests.real.record [FOLDER]``.

FOLDER is snapshots/walks/real-vllm-cpu by default; what it held is replaced once the new walk has passed and
a replay of it passes too. Needs root, Linux and .ci/setup-real; takes two minutes on two idle cores.
Names and addresses are those of the test bed, as they were.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.real import vllm_env
from tests.real.hosts import Hosts
from tests.real.walks import HeadlessWalk, environment, milepost
from wizard_steps.recording.journal import Meta

DEFAULT = Path(__file__).resolve().parents[2] / "snapshots/walks/real-vllm-cpu"
#: The X of 10.X.0.0/23: the same in every recording, so that a new one differs only in what changed.
OCTET = 77
SPLIT = {"tensor_parallel": 2, "pipeline_parallel": 2}


def main(target: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="milepost-recording-", dir="/var/tmp")) / "walk"
    with Hosts(names=("a", "b"), octet=OCTET) as bed:
        # The settle time is the default of the cluster file: this is what a person would see.
        cluster_file = bed.cluster_file(settle=45, serve=SPLIT)
        with HeadlessWalk(cluster_file, folder, bed.home) as walk:
            code = walk.wait(1800)
        if code:
            sys.exit(f"the walk did not pass (exit {code}):\n{walk.output[-4000:]}")
    describe(
        folder / "meta.json",
        title="Healthy: two hosts, TP=2 PP=2, real vLLM on CPU",
        note="What a good walk looks like with real vLLM: four workers over two hosts, placed by Ray, and a chat "
        "that came back.",
        versions={
            "vllm": f"{vllm_env.VLLM} (vllm-cpu, with milepost's lab platform plugin)",
            "ray": vllm_env.RAY,
            "torch": vllm_env.TORCH,
        },
        provenance=(
            "Recorded by tests/real/record.py on two hosts made of Linux namespaces, each with its own sshd. "
            "Real: SSH, Ray, vllm serve, the chat. SIMULATED: the GPUs (a stand-in nvidia-smi, and logical "
            "GPUs of Ray). vLLM is the CPU build, with a platform plugin that lets Ray place it. The model "
            "is a tiny Llama with random weights: its words are noise."
        ),
    )
    keep(folder, target)


def keep(folder: Path, target: Path, *flags: str) -> None:
    """Put a recording that replays in its place; what was there is replaced. Exits when it does not replay.

    ``flags`` of the replay: a walk that fails is well when it fails as recorded.
    """
    command = milepost("--replay", str(folder), "--quiet", *flags)
    replay = subprocess.run(command, env=environment(folder.parent), check=False)
    if replay.returncode:
        sys.exit(f"its replay does not pass (exit {replay.returncode}); the recording is in {folder}")
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(folder, target)
    shutil.rmtree(folder.parent)
    print(f"recorded {target}")


def describe(path: Path, **said: object) -> None:
    """Say in the recording's meta.json what was real in it and what was not: fields of ``Meta``."""
    meta = msgspec.structs.replace(msgspec.json.decode(path.read_bytes(), type=Meta), simulated=True, **said)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)
