"""Records the walks in snapshots/walks anew on the embedded lab: python tests/record_walks.py [NAME ...]

SSH and Ray in them are real, the GPUs and vLLM are the lab's stand-ins: every walk says SIMULATED. A walk
that ends otherwise than its lesson says is not kept. Names, addresses and paths become placeholders.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msgspec.structs import replace  # noqa: E402

from tui.cli.plain import PlainReport  # noqa: E402
from wizard_steps.cluster.file import Cluster  # noqa: E402
from wizard_steps.engine.decide import FileDecider  # noqa: E402
from wizard_steps.lab import Lab  # noqa: E402
from wizard_steps.recording import events as ev  # noqa: E402
from wizard_steps.recording import notes  # noqa: E402
from wizard_steps.recording.journal import Walk, load  # noqa: E402
from wizard_steps.recording.redact import Redactor  # noqa: E402
from wizard_steps.session import LiveWalk  # noqa: E402
from wizard_steps.transport.ssh_ask import NoAsker  # noqa: E402
from wizard_steps.walks import identify, rename, save  # noqa: E402
from wizard_steps.walks.texts import Draft, draft  # noqa: E402

TARGET = ROOT / "snapshots" / "walks"
Change = Callable[[Cluster], Cluster]


#: Returns when it listens: the walk goes on at once.
SQUATTER = (
    "nohup python3 -m http.server {port} --bind {ip} >/dev/null 2>&1 & "
    "until grep -qi :$(printf %04X {port}).*:0000.0A /proc/net/tcp; do sleep 0.2; done"
)


@dataclass(frozen=True)
class Lesson:
    """``fails`` is the gate that must stay shut, "" for none. ``plant`` = (step, node, sh): run on that node
    as soon as that gate has passed; {port} and {ip} are those of the server."""

    name: str
    title: str
    about: str
    fails: str = ""
    change: Change = lambda cluster: cluster
    plant: tuple[str, str, str] | None = None


def node(number: int, **values: Any) -> Change:
    def change(cluster: Cluster) -> Cluster:
        nodes = list(cluster.nodes)
        nodes[number] = replace(nodes[number], **values)
        return replace(cluster, nodes=tuple(nodes))

    return change


def serve(**values: Any) -> Change:
    return lambda cluster: replace(cluster, serve=replace(cluster.serve, **values))


def hidden(cluster: Cluster) -> Cluster:
    flags = tuple("--num-gpus=4" if f.startswith("--num-gpus") else f for f in cluster.ray.worker_flags)
    return replace(cluster, ray=replace(cluster.ray, worker_flags=flags))


LESSONS = (
    Lesson("healthy-bare-metal", "Healthy: two machines, 16 GPUs", "How it looks when every gate opens."),
    Lesson(
        "ssh-refused",
        "One machine does not answer over SSH",
        "The first gate: who can be reached at all.",
        fails="reach",
        change=node(1, port=1),
    ),
    Lesson(
        "wrong-ip",
        "The address in the cluster file is another machine's",
        "Copied from a neighbour's file: the address for GPU traffic is not on this node.",
        fails="preflight",
        change=node(1, fabric_ip="127.0.0.99"),
    ),
    Lesson(
        "fewer-gpus-than-promised",
        "nvidia-smi shows fewer GPUs than the cluster file promises",
        "Eight are there, sixteen were promised.",
        fails="preflight",
        change=node(0, gpus=16),
    ),
    Lesson(
        "hidden-gpus",
        "All workers joined, and four GPUs are missing",
        "nvidia-smi saw sixteen GPUs, Ray counts twelve.",
        fails="ray_status",
        change=hidden,
    ),
    Lesson(
        "port-taken",
        "Something else has the server's port",
        "A web server from last week still listens where vLLM should.",
        fails="serve",
        plant=("ray_status", "lab-head", SQUATTER),
    ),
    Lesson(
        "model-missing",
        "The model is not where the cluster file says",
        "A model given as a path must be on every node.",
        fails="preflight",
        change=serve(model="/models/llama"),
    ),
    Lesson(
        "wrong-model-name",
        "Healthy, and it serves under another name",
        "/health answers 200; the model id that clients ask for is not the one that is served.",
        fails="curl",
        change=serve(extra_flags=("--served-model-name=another-name",)),
    ),
)


async def record(lesson: Lesson, folder: Path) -> None:
    async with Lab.start(real_vllm=False) as lab:
        cluster = lesson.change(lab.cluster)
        walk = LiveWalk(cluster, folder)
        report = PlainReport(walk.journal.spool, verbose=False)

        def on_event(event: ev.AnyEvent, state: Any) -> None:
            report(event, state)
            if lesson.plant and isinstance(event, ev.Judged) and event.step == lesson.plant[0]:
                words = lesson.plant[2].format(port=cluster.serve.port, ip=cluster.serve.host)
                subprocess.run(["sh", "-c", f"{lab.ssh_command(lesson.plant[1])} '{words}'"], check=True)

        try:
            await walk.engine(FileDecider(), NoAsker(), on_event).walk()
        finally:
            await walk.close()


def failed_at(walk: Walk) -> str:
    return next((e.step for e in walk.events if isinstance(e, ev.Judged) and not e.verdict.passed), "")


def finished(lesson: Lesson, walk: Walk) -> Draft:
    """With neutral names, the title, and the notes that the walk has already."""
    item = draft(walk)
    own = {sys.prefix: "/opt/milepost/.venv", str(ROOT): "/opt/milepost", sys.base_prefix: "/usr/local"}
    paths = [rename.Rename("name", old, new) for old, new in own.items() if old not in ("/usr", "/")]
    item = rename.rename(item, paths, "paths of the machine it was recorded on")
    item = rename.rename(item, identify.placeholders(item), "placeholders for names and accounts")
    meta = replace(
        item.walk.meta,
        title=lesson.title,
        note=lesson.about,
        provenance="milepost's embedded lab; tests/record_walks.py records it anew",
    )
    # Written for people, not recorded: they stay as they are.
    kept = notes.load(TARGET / lesson.name)
    return replace(item, walk=replace(item.walk, meta=meta, notes=kept), evidence={})


def one(lesson: Lesson) -> bool:
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(record(lesson, Path(name) / "walk"))
        walk = load(Path(name) / "walk")
        if failed_at(walk) != lesson.fails:
            print(f"!! {lesson.name}: shut was {failed_at(walk)!r}, not {lesson.fails!r}")
            return False
        item = finished(lesson, walk)
        if unsure := asyncio.run(save.refuse_drift(walk, item.walk)):
            print(f"!! {lesson.name}: {unsure}")
            return False
        shutil.rmtree(TARGET / lesson.name, ignore_errors=True)
        TARGET.mkdir(parents=True, exist_ok=True)
        save.save(item, TARGET / lesson.name, Redactor.from_environment())
    print(f"== {lesson.name}: kept")
    return True


def main(names: list[str]) -> int:
    unknown = set(names) - {lesson.name for lesson in LESSONS}
    if unknown:
        print(f"no such lesson: {', '.join(sorted(unknown))}")
        return 2
    kept = [one(lesson) for lesson in LESSONS if not names or lesson.name in names]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
