"""What a walk would do, from the cluster file alone: no machine is asked anything.

Every milestone is given empty answers, as from nodes on which nothing is installed or running, so that each
command that may be needed is in the plan. A walk leaves out what it finds done already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.advisor.effect import picture_of
from wizard_steps.cluster.file import Cluster
from wizard_steps.cluster.replicas import deal
from wizard_steps.engine.step import ENDS, STARTS, Known, Step
from wizard_steps.facts.rules_software import WORKER_PORTS
from wizard_steps.milestones import fabric_mesh
from wizard_steps.model import WIZARD, Cmd, Node, Question, Result, Results
from wizard_steps.node import api_key
from wizard_steps.node.docker import DERIVED, image_of
from wizard_steps.node.places import place_of
from wizard_steps.plan import optional, plan_for

#: Rounds of questions and commands that a milestone gets at most.
ROUNDS = 24


class PlannedCommand(Struct, frozen=True):
    """One command on one node. ``typed`` as a person would type it, or in brackets what a helper does;
    ``changes``: what it changes on the node, empty when it only reads. ``follows``: reads a log until it
    says what is waited for. ``text`` is what is sent. ``by_hand``: see Step.for_script."""

    node: str
    key: str
    typed: str
    text: str
    changes: str = ""
    follows: bool = False
    by_hand: str | None = None


class PlannedMilestone(Struct, frozen=True):
    id: str
    title: str
    commands: tuple[PlannedCommand, ...]
    #: What a person would be asked, and the answer that the plan goes on with.
    questions: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[PlannedCommand, ...]:
        """Its commands that change something on a node."""
        return tuple(one for one in self.commands if one.changes and one.node != WIZARD.name)


class PlannedPort(Struct, frozen=True):
    """A port that has to be free on a node, and who must reach it."""

    node: str
    port: str
    what: str
    reached_by: str


class Plan(Struct, frozen=True):
    name: str
    path: str
    executor: str
    nodes: tuple[Node, ...]
    milestones: tuple[PlannedMilestone, ...]
    ports: tuple[PlannedPort, ...]
    downloads: tuple[str, ...]
    left_running: tuple[str, ...]
    #: What is not known before a node was asked.
    assumed: tuple[str, ...]
    #: Machines, ranks, stages and replicas, as text.
    picture: tuple[str, ...] = ()
    simulated: bool = False
    #: Clients have to give an API key.
    keyed: bool = False


def plan(cluster: Cluster, also: Sequence[str] = (), steps: Sequence[Step] = ()) -> Plan:
    """Pure: reads nothing but the cluster file's values. ``also``: ids of optional milestones. ``steps``:
    others than the cluster's own."""
    known = Known(cluster, {"fabric_ips": {node.name: address(node) for node in cluster.node_list}})
    steps = steps or [*plan_for(cluster), *optional(*also)]
    milestones: tuple[PlannedMilestone, ...] = ()
    for step in steps:
        milestone, facts = _milestone(step, known)
        milestones, known = (*milestones, milestone), replace(known, facts={**known.facts, **facts})
    image = str(known.facts.get("image", ""))
    running = dict.fromkeys(
        f"{command.node}: {command.changes.removeprefix('starts ')}"
        for milestone in milestones
        for command in milestone.commands
        if command.key == STARTS and command.changes.startswith("starts ")
    )
    return Plan(
        name=cluster.name,
        path=cluster.path,
        executor="mp" if cluster.without_ray else "ray",
        nodes=cluster.node_list,
        milestones=milestones,
        ports=tuple(ports(cluster)),
        downloads=tuple(downloads(cluster, image)),
        left_running=tuple(running),
        assumed=tuple(_assumed(cluster, image)),
        picture=tuple(picture_of(cluster)),
        simulated=cluster.simulated,
        keyed=api_key.wanted(cluster),
    )


def address(node: Node) -> str:
    """The node's address for GPU traffic, or a word that stands for it."""
    return node.fabric_ip or f"IP-OF-{node.name}"


def _milestone(step: Step, known: Known) -> tuple[PlannedMilestone, Mapping[str, Any]]:
    """A milestone, and the facts that the next ones go on with."""
    done, questions = Results(), list[str]()
    commands: list[PlannedCommand] = []
    for _ in range(ROUNDS):
        wanted = step.rounds(known, done)
        if wanted is None:
            break
        questions += [_asked(question) for question in wanted.questions]
        new = [_command(step, known, node, cmd) for node, cmd in wanted.work if cmd.key not in ENDS]
        commands = list(dict.fromkeys([*commands, *new]))  # a look that is done twice is one
        answers = {question.id: question.default for question in wanted.questions}
        done = done.plus([_answer(step, node, cmd) for node, cmd in wanted.work], answers)
    milestone = PlannedMilestone(step.id, step.title, tuple(commands), tuple(questions))
    return milestone, step.expects(known, done)


def _answer(step: Step, node: Node, cmd: Cmd) -> Result:
    reason = "dry" if cmd.mutates else "exit"
    return Result(node, cmd.key, step.bare.get(cmd.key, ""), 0, reason)  # type: ignore[arg-type]


def _asked(question: Question) -> str:
    label = next((o.label for o in question.options if o.value == question.default), question.default)
    return f"{question.text} (the plan continues with: {label})" if label else question.text


def _command(step: Step, known: Known, node: Node, cmd: Cmd) -> PlannedCommand:
    changes = ""
    if cmd.mutates:
        started = step.leaves_running(known, node) if cmd.key == STARTS else ""
        changes = f"starts {started}" if started else step.effects.get(cmd.key.removesuffix("-2"), "")
        changes = changes or "changes something on the node"
    typed, hand = cmd.show or cmd.text.strip(), step.for_script(known, node, cmd.key) if changes else None
    return PlannedCommand(node.name, cmd.key, typed, cmd.text, changes, cmd.stop is not None, hand)


def ports(cluster: Cluster) -> Iterator[PlannedPort]:
    """Fixed ports and ranges. Source for Ray's: its port list, `ray start --help`; vLLM: --master-port."""
    head, others = cluster.head.name, "the other nodes" if len(cluster.nodes) > 1 else "itself"
    if cluster.without_ray and deal(cluster).kind != "inside":
        yield PlannedPort(head, str(cluster.master_port), "where vLLM's ranks meet (--master-port)", others)
    elif not cluster.without_ray:
        yield PlannedPort(head, str(cluster.ray.port), "Ray's head (GCS)", others)
        yield PlannedPort(
            head, str(cluster.ray.dashboard_port), "Ray's dashboard", cluster.ray.dashboard_host
        )
        for node in cluster.node_list:
            yield PlannedPort(
                node.name, f"{WORKER_PORTS[0]}-{WORKER_PORTS[-1]}", "Ray's worker processes", others
            )
    if cluster.serve.data_parallel > 1:
        port = str(cluster.serve.data_parallel_port)
        yield PlannedPort(
            cluster.server.name, port, "where the replicas meet (--data-parallel-rpc-port)", others
        )
    for node in cluster.node_list if len(cluster.nodes) > 1 else ():
        yield PlannedPort(node.name, "random, above 1023", "NCCL and Gloo between the GPUs", others)
        among = () if cluster.without_ray else WORKER_PORTS
        tried = ", ".join(str(port) for port in fabric_mesh.PORTS if port not in among)
        yield PlannedPort(node.name, tried, "tried while the network is proved (TCP, all_reduce)", others)
    if len(cluster.nodes) > 1 and cluster.weights.fetch != "each":
        for node in cluster.node_list:
            what = "the model's files, while they are copied"
            yield PlannedPort(node.name, str(cluster.weights.port), what, others)
    yield PlannedPort(
        cluster.server.name, str(cluster.serve.port), "vLLM's API", f"clients ({cluster.serve.host})"
    )


def downloads(cluster: Cluster, image: str) -> Iterator[str]:
    """What comes from outside where it is not there yet. ``image``: what the containers are started from."""
    every, serve = "every node", cluster.serve
    if place_of(cluster).contained:
        yield f"{every}: the image {image_of(cluster)}, with `docker pull`"
        if image.startswith(DERIVED):
            yield f"{every}: ray[default] {cluster.ray.version}, into an image of its own: {image}"
    else:
        ray = "" if cluster.without_ray else f" and ray[default] {cluster.ray.version}"
        need = "it needs" if cluster.without_ray else "they need"
        yield f"{every}: vllm {serve.vllm_version}{ray} with what {need}, from the Python package index"
    yield _model(cluster)


def _model(cluster: Cluster) -> str:
    model, weights = cluster.serve.model, cluster.weights
    if model.startswith(("/", "./", "~")):
        copied = " (bare metal: a node that has not the folder copies it from one that has it)"
        return f"no model: {model} has to be on every node{'' if place_of(cluster).contained else copied}"
    where = cluster.env.get("HF_ENDPOINT") or "the Hugging Face hub"
    if weights.fetch == "each":
        return f"every node that loads a part of it: the model {model}, from {where}"
    first = weights.node or cluster.server.name
    return f"{first}: the model {model}, once, from {where}; the other nodes copy it over the GPU network"


def _assumed(cluster: Cluster, image: str) -> Iterator[str]:
    missing = [node.name for node in cluster.node_list if not node.fabric_ip]
    if missing:
        yield f"addresses: IP-OF-NODE stands for what the network milestone finds ({', '.join(missing)})"
    yield (
        "network interface and GPU choice: the walk adds NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME and, for a "
        "part of a node's GPUs, CUDA_VISIBLE_DEVICES, once it has seen the nodes"
    )
    if image.startswith(DERIVED):
        yield (
            f"whether {image_of(cluster)} has Ray: the plan adds it (docker.ray). The new image's name has a "
            "hash of the digest of the first one, which is not known yet"
        )
    if len(cluster.nodes) > 1:
        yield (
            "measurements of the network: pings with jumbo frames, the GPUs of each node alone, perftest and "
            "nccl-tests follow where the nodes turn out to have what they need"
        )
    if cluster.serve.api_key:
        yield "VLLM_API_KEY is handed over on standard input, and is in no command"
