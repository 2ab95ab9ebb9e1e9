"""No value of the cluster file and no word of a node reaches a shell: real milestones build their commands
from hostile values, and every text that holds one is run by a real sh, where a canary would sing."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from tests.helpers.case_runner import CaseDecider
from wizard_steps.cluster.file import Cluster, Docker, NodeEntry, Ray, Serve, parse
from wizard_steps.engine.clock import ZeroClock
from wizard_steps.engine.engine import Engine
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.model import WIZARD, Chunk, Cmd, Exit, Node
from wizard_steps.node.tcp import connect, listen
from wizard_steps.plan import plan_for
from wizard_steps.recording.journal import MemoryJournal

PAYLOADS = {
    "single quote": "v'; touch {c}; '",
    "double quote": 'v"; touch {c}; "',
    "substitution": "v$(touch {c})",
    "backquotes": "v`touch {c}`",
    "new line": "v\ntouch {c}\n",
    "comment": "v; touch {c} #",
    "list": "v && touch {c} || touch {c} & touch {c} | touch {c}",
    "backslash": "v\\'; touch {c}; \\'",
}
#: Stand-ins in the sandbox's PATH: none of the real ones may run, and each writes down what it was given.
COMMANDS = ("python3", "docker", "curl", "nvidia-smi", "ray", "vllm", "sudo", "ip", "hf")
STUB = '#!/bin/sh\nprintf "%s\\0" "$@" >> "$ARGV"\nexit 0\n'

#: What a node says so that the walk goes on to the next round; the first of a (key, path) counts.
SAID = {
    "addr": "lo UNKNOWN 127.0.0.1/8\n{hostile} UP 10.0.0.1/24 10.0.0.2/24\n",
    "speed": "{hostile} 100000 {hostile}\n",
    "versions": "venv: missing\n",
    "look": "ours:\nport 1: free\ncontainer: none\nother: {hostile}\n",
    "have": "image: missing\n",
    "image": "image: sha256:{hostile}\n",
    "inside": "container: started\npython: 3.12.1\nray: missing\nvllm: {hostile}\n",
    "start": "Ray runtime started.\n",
    "log": "Application startup complete.\n",
    "status": "Active:\n 1 node_a\nPending:\n",
}


class Sandbox:
    """Runs sh texts where only a canary file can tell that more was run than was meant."""

    def __init__(self, folder: Path) -> None:
        self.home, self.bin, self.canaries = folder / "home", folder / "bin", folder / "canaries"
        for made in (self.home, self.bin, self.canaries):
            made.mkdir()
        self.argv = folder / "argv"
        for name in COMMANDS:
            (self.bin / name).write_text(STUB)
            (self.bin / name).chmod(0o755)
        # What watches for as long as it can sleep ends at once.
        (self.bin / "sleep").write_text("#!/bin/sh\nexit 1\n")
        (self.bin / "sleep").chmod(0o755)
        self.ran = 0

    def sh(self, text: str) -> None:
        self.ran += 1
        path = f"{self.bin}:/usr/bin:/bin"
        env = {"HOME": str(self.home), "PATH": path, "ARGV": str(self.argv), "MILEPOST_PYTHON": "python3"}
        subprocess.run(
            ["/bin/sh", "-c", text],
            env=env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    def given(self) -> list[str]:
        """All words the stand-ins were given."""
        return self.argv.read_bytes().decode().split("\0") if self.argv.exists() else []

    def sang(self) -> list[str]:
        return sorted(path.name for path in self.canaries.iterdir())


class Hostile:
    """A transport whose nodes say the payload wherever they can; keeps every command text."""

    def __init__(self, hostile: str, said: dict[str, str]) -> None:
        self.hostile, self.said = hostile, said
        self.texts: dict[str, None] = {}

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        self.texts[cmd.text] = None
        text = self.said.get(cmd.key.removesuffix("-2"), "{hostile}\n")
        yield Chunk(text.replace("{hostile}", self.hostile).encode())
        yield Exit(0, "stopped" if cmd.stop else "exit")

    async def close(self) -> None: ...


def hostile_cluster(path: str, value: Callable[[str], str]) -> Cluster:
    """Every field that takes text holds a payload. Built past the checks of the file, as a second wall."""
    nodes = tuple(
        NodeEntry(
            host=value("host"),
            gpus=8,
            role=role,
            name=f"{role}-{value('name')}",
            user=value("user"),
            fabric_ip=value("fabric_ip") + role,
        )
        for role in ("head", "worker")
    )
    return Cluster(
        nodes=nodes,
        name=value("cluster-name"),
        path=path,  # type: ignore[arg-type]
        venv="/no-such-venv/" + value("venv"),
        serve=Serve(
            model="/no-such-model/" + value("model"),
            served_model_name=value("served_model_name"),
            host=value("serve-host"),
            extra_flags=(value("extra_flags"),),
            vllm_version=value("vllm_version"),
        ),
        ray=Ray(
            dashboard_host=value("dashboard_host"),
            version=value("ray-version"),
            head_flags=(value("head_flags"),),
            worker_flags=(value("worker_flags"),),
        ),
        docker=Docker(
            image=value("image"),
            hf_home="~/" + value("hf_home"),
            shm_size=value("shm_size"),
            command="docker",
            gpu_flags=(value("gpu_flags"),),
            ulimits=(value("ulimits"),),
            extra_flags=(value("docker-extra_flags"),),
            ray="build",
        ),
        env={"HOSTILE": value("env-value")},
    )


async def texts_of(cluster: Cluster, hostile: str, said: dict[str, str]) -> list[str]:
    """The text of every command of the whole walk, the undo included; no gate stops it."""
    transport = Hostile(hostile, said)
    engine = Engine(plan_for(cluster), cluster, transport, CaseDecider({}), ZeroClock(), MemoryJournal())
    await engine.walk(gated=False)
    known = Known(cluster, {**engine.state.facts, "interfaces": {n.name: hostile for n in cluster.node_list}})
    undo = [cmd.text for step in plan_for(cluster) for _, cmd in step.undo(known)]
    ways = [listen(known, hostile, 1, 1), connect(known, hostile, 1, [hostile], "out")]
    return [*transport.texts, *undo, *(cmd.text for cmd in ways)]


@pytest.mark.parametrize("path", ["bare-metal", "docker"])
@pytest.mark.parametrize("payload", PAYLOADS)
async def test_no_field_of_the_cluster_file_reaches_a_shell(path: str, payload: str, tmp_path: Path) -> None:
    box = Sandbox(tmp_path)

    def value(name: str) -> str:
        return PAYLOADS[payload].replace("{c}", str(box.canaries / name))

    cluster = hostile_cluster(path, value)
    texts = await texts_of(cluster, value("said-by-a-node"), SAID)
    # Without Ray in the container there is another launcher, with Ray there is no build: both are walked.
    texts += await texts_of(cluster, value("said-by-a-node"), {**SAID, "inside": "ray: 2.60.0\n"})
    risky = [text for text in dict.fromkeys(texts) if str(box.canaries) in text]
    await asyncio.gather(*(asyncio.to_thread(box.sh, text) for text in risky))
    assert box.ran > (20 if path == "bare-metal" else 15)
    assert box.sang() == []
    # That it was quoted, not dropped: the words arrive whole.
    words = box.given()
    wanted = "venv" if path == "bare-metal" else "image"
    assert any(value(wanted) in word for word in words)


def test_the_canary_sings_when_a_value_is_not_quoted(tmp_path: Path) -> None:
    box = Sandbox(tmp_path)
    canary = str(box.canaries / "x")
    for payload in PAYLOADS.values():
        word = payload.replace("{c}", canary)
        for text in (f"echo '{word}'", f'echo "{word}"', f"echo {word}"):
            box.sh(text)
        assert box.sang() == ["x"], payload
        os.unlink(canary)


BASE = '[[nodes]]\nname = "a"\nhost = "h"\nrole = "head"\ngpus = 8\n'


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (BASE.replace('"h"', '"-oProxyCommand=touch x"'), "nodes[0].host"),
        (BASE.replace('"h"', '"a b"'), "nodes[0].host"),
        (BASE.replace('"h"', '"$(touch x)"'), "nodes[0].host"),
        (BASE.replace('"h"', '"h;touch${IFS}x"'), "nodes[0].host"),
        (BASE.replace('"h"', '"h`id`"'), "nodes[0].host"),
        (BASE.replace('"h"', '"h|id"'), "nodes[0].host"),
        (BASE.replace('"h"', "\"h'x'\""), "nodes[0].host"),
        (BASE.replace('"h"', '"h\\u001b[2J"'), "nodes[0].host"),
        (BASE + 'user = "-oX"\n', "nodes[0].user"),
        (BASE + 'user = "a;id"\n', "nodes[0].user"),
        (BASE + 'user = "a$(id)"\n', "nodes[0].user"),
        (BASE + 'fabric_ip = "10.0.0.1;id"\n', "nodes[0].fabric_ip"),
        (BASE.replace('name = "a"', 'name = "../../etc"'), "nodes[0].name"),
        (BASE.replace('name = "a"', 'name = "a/b"'), "nodes[0].name"),
        ('name = "../x"\n' + BASE, "name"),
        (BASE + '[env]\n"A;id" = "x"\n', "env"),
        (BASE + '[env]\nHF_TOKEN = "hf_x"\n', "env.HF_TOKEN"),
        (BASE + '[serve]\nextra_flags = ["--api-key=s"]\n', "serve.extra_flags[0]"),
        (BASE + "[serve]\nport = 70000\n", "serve.port"),
        (BASE + '[docker]\nimage = "a\\nRUN id"\n', "docker.image"),
        (BASE + '[docker]\nshm_size = "1g --privileged"\n', "docker.shm_size"),
    ],
)
def test_the_cluster_file_refuses_it_by_name(text: str, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "c.toml")
    assert field in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("host", ["10.0.0.1", "gpu-a.example.org", "fe80::1%eth0", "my_alias", "node+1"])
def test_ordinary_host_names_stay_allowed(host: str) -> None:
    assert parse(BASE.replace('"h"', f'"{host}"')).nodes[0].host == host


async def test_the_wizards_own_commands_run_nothing_else(tmp_path: Path) -> None:
    """What runs on the person's own machine: the probe. The model's name is in its command line."""
    box = Sandbox(tmp_path)
    name = PAYLOADS["single quote"].replace("{c}", str(box.canaries / "probe"))
    cluster = hostile_cluster("bare-metal", lambda field: name)
    transport = Hostile(name, SAID)
    steps = [step for step in plan_for(cluster) if step.id == "probe"]
    await Engine(steps, cluster, transport, CaseDecider({}), ZeroClock(), MemoryJournal()).walk(gated=False)
    for text in transport.texts:
        box.sh(text)
    assert WIZARD.role == "wizard"
    assert box.sang() == []
    assert name in box.given()
