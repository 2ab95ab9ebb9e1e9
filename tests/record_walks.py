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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import asyncssh  # noqa: E402
from msgspec.structs import replace  # noqa: E402

from tui.cli.plain import PlainReport  # noqa: E402
from wizard_steps.cluster.values import Cluster  # noqa: E402
from wizard_steps.engine.decide import FileDecider, GivenAnswer  # noqa: E402
from wizard_steps.lab import Lab, faults  # noqa: E402
from wizard_steps.lab.layout import OLDER, Executor  # noqa: E402
from wizard_steps.milestones import running, upgrade  # noqa: E402
from wizard_steps.plan import optional, plan_for, preparing  # noqa: E402
from wizard_steps.recording import events as ev  # noqa: E402
from wizard_steps.recording import notes  # noqa: E402
from wizard_steps.recording.journal import Walk, load  # noqa: E402
from wizard_steps.recording.redact import Redactor  # noqa: E402
from wizard_steps.session import LiveWalk  # noqa: E402
from wizard_steps.transport.ssh_ask import NoAsker  # noqa: E402
from wizard_steps.walks import identify, rename, save  # noqa: E402
from wizard_steps.walks.texts import Draft, draft  # noqa: E402

TARGET = ROOT / "snapshots" / "walks"
#: The lab's machines share one file system.
CERTIFICATES, NAME = Path("/tmp/milepost-tls"), "llm.example.org"


@dataclass(frozen=True)
class Lesson:
    """``name`` is the fault of the lab, but for a healthy walk. ``more``: optional milestones after the others.
    ``upgrade``: instead, the part of `milepost upgrade` that comes before anything is interrupted. ``added``: the
    head serves alone before; the walk is the one after `milepost add-node`. ``tls``: vLLM has a certificate."""

    name: str
    title: str
    about: str
    executor: Executor = "ray"
    replicas: int = 1
    more: tuple[str, ...] = ()
    upgrade: bool = False
    added: bool = False
    tls: bool = False

    @property
    def fault(self) -> str:
        return "" if self.name.startswith("healthy") else self.name

    @property
    def fails(self) -> str:
        """The gate that must stay shut, "" for none."""
        found = faults.find(self.fault) if self.fault else None
        return found.gate if found and not found.warns else ""


LESSONS = (
    Lesson("healthy-bare-metal", "Healthy: two machines, 16 GPUs", "How it looks when every gate opens."),
    Lesson(
        "healthy-without-ray",
        "Healthy without Ray: a rank on each of two machines",
        "vLLM's own launcher: no head, no workers, no ray status.",
        executor="mp",
    ),
    Lesson(
        "healthy-replicas",
        "Healthy: two replicas behind one API, without Ray",
        "A whole copy of the model on each machine; vLLM's counters prove that both make tokens.",
        executor="mp",
        replicas=2,
    ),
    Lesson(
        "healthy-weights",
        "Healthy: the model is fetched once and copied to the other machine",
        "The plan before the fetch, one download, a copy that begins before it ends, hashes on both machines.",
    ),
    Lesson(
        "rank-killed",
        "Without Ray: one rank is killed while it loads",
        "The head's log says nothing of it. Which machine was it?",
    ),
    Lesson(
        "ssh-refused",
        "One machine does not answer over SSH",
        "The first gate: which machines can be reached.",
    ),
    Lesson(
        "wrong-ip",
        "The address in the cluster file is another machine's",
        "Copied from another machine's file: the address for GPU traffic is not on this node.",
    ),
    Lesson(
        "same-host-ip",
        "Two machines with one address",
        "The cluster file gives the worker the head's address.",
    ),
    Lesson(
        "fewer-gpus-than-promised",
        "nvidia-smi shows fewer GPUs than the cluster file says",
        "Eight are there, the file says sixteen.",
    ),
    Lesson(
        "hidden-gpus",
        "All workers joined, and four GPUs are missing",
        "nvidia-smi saw sixteen GPUs, Ray counts twelve.",
    ),
    Lesson(
        "ray-version-differs",
        "The worker's Ray is older than the head's",
        "Ray compares versions when a worker joins, and refuses.",
    ),
    Lesson(
        "worker-twice",
        "More GPUs than there are: a worker was started twice",
        "Two machines with eight GPUs each, and Ray counts 24.",
    ),
    Lesson(
        "raylet-killed",
        "16 GPUs were counted, and then a raylet was killed",
        "Ray goes on counting a dead node for a while; the gate looks longer than that.",
    ),
    Lesson(
        "token-mismatch",
        "Two machines with different Ray tokens",
        "Ray would refuse the worker; the check sees it before anything is started.",
    ),
    Lesson(
        "gated-model",
        "A model whose licence must be accepted first",
        "The hub answers 401 before anything is downloaded.",
    ),
    Lesson(
        "port-taken",
        "Something else has the server's port",
        "A web server from last week still listens where vLLM should.",
    ),
    Lesson(
        "model-missing",
        "The model is not where the cluster file says",
        "A model given as a path must be on every node.",
    ),
    Lesson(
        "disk-full",
        "A disk without space, seen before anything is downloaded",
        "The worker's disk has 0 MiB left; logs, caches and the model have nowhere to go.",
    ),
    Lesson(
        "wrong-model-name",
        "Healthy, and it serves under another name",
        "/health answers 200; the model id that clients ask for is not the one that is served.",
    ),
    Lesson(
        "worker-vanishes",
        "A worker machine is lost once the server is ready",
        "/health answers 200, and the first chat gets an error.",
    ),
    Lesson(
        "key-and-invocations",
        "An API key, and what it does not guard",
        "/v1 asks for the key; /invocations runs the model without it.",
    ),
    Lesson(
        "idle-worker",
        "The server answers, and one machine does nothing",
        "Chats are answered; under load only one machine's GPUs work.",
    ),
    Lesson(
        "healthy-exposed",
        "What answers from outside, past SSH and without a key",
        "After the last gate every port of both machines is tried from the wizard's machine.",
        executor="mp",
        more=("exposed",),
    ),
    Lesson(
        "healthy-tls",
        "HTTPS: vLLM with a certificate of its own",
        "Every request of the gates goes to https, and so do the lines for clients.",
        executor="mp",
        more=("exposed",),
        tls=True,
    ),
    Lesson(
        "healthy-upgrade",
        "An upgrade before anything is interrupted",
        "The new release is judged and installed beside the old one, which stays for the way back.",
        executor="mp",
        upgrade=True,
    ),
    Lesson(
        "healthy-node-added",
        "A second machine for a server that runs",
        "The new node joins Ray and gets the model from the head; only vLLM is started again, with one stage more.",
        added=True,
    ),
)


async def record(lesson: Lesson, folder: Path) -> None:
    async with Lab.start(
        real_vllm=False, fault=lesson.fault, executor=lesson.executor, replicas=lesson.replicas
    ) as lab:
        also = optional(lesson.fails, *lesson.more)
        cluster = encrypted(lab.cluster) if lesson.tls else lab.cluster
        steps, decider = [*plan_for(cluster), *also] if also else [], FileDecider()
        if lesson.upgrade:
            decider = GivenAnswer(upgrade.FROM, f"{OLDER} {lab.layout.older}")
            steps = preparing(lab.cluster)
        if lesson.added:
            await alone(lab, folder.with_name("alone"))
            decider = GivenAnswer(running.DIFFERS, "restart")
        walk = LiveWalk(cluster, folder, steps=steps)
        await walked(walk, decider)


def encrypted(cluster: Cluster) -> Cluster:
    """The same with a certificate that was signed by nobody else, made on the spot."""
    words = f"req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={NAME} -addext subjectAltName=DNS:{NAME}"
    CERTIFICATES.mkdir(exist_ok=True)
    files = ["-keyout", str(CERTIFICATES / "key.pem"), "-out", str(CERTIFICATES / "cert.pem")]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    flags = (f"--ssl-certfile={CERTIFICATES}/cert.pem", f"--ssl-keyfile={CERTIFICATES}/key.pem")
    serve = replace(cluster.serve, extra_flags=(*cluster.serve.extra_flags, *flags))
    return replace(cluster, serve=serve)


async def alone(lab: Lab, folder: Path) -> None:
    """The head serves with its own GPUs."""
    serve = replace(lab.cluster.serve, pipeline_parallel=1)
    await walked(
        LiveWalk(replace(lab.cluster, nodes=lab.cluster.nodes[:1], serve=serve), folder), FileDecider()
    )


async def walked(walk: LiveWalk, decider: FileDecider) -> None:
    report = PlainReport(walk.journal.spool, verbose=False)
    try:
        await walk.engine(decider, NoAsker(), report).walk()
    finally:
        await walk.close()


def failed_at(walk: Walk) -> str:
    return next((e.step for e in walk.events if isinstance(e, ev.Judged) and not e.verdict.passed), "")


def finished(lesson: Lesson, walk: Walk) -> Draft:
    """With neutral names, the title, and the notes that the walk has already."""
    item = draft(walk)
    packages = str(Path(asyncssh.__file__).parents[4])
    own = {
        packages: "/opt/milepost/packages",
        sys.prefix: "/opt/milepost/.venv",
        str(ROOT): "/opt/milepost",
        sys.base_prefix: "/usr/local",
    }
    # What lies under the first is renamed with it.
    inside = [old for old in own if old != str(ROOT) and Path(old).is_relative_to(ROOT)]
    paths = [rename.Rename("name", old, new) for old, new in own.items() if old not in ("/usr", "/", *inside)]
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
