"""The contract of a milestone: a pure description of what to run and how to judge what came back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Node, Results, Round, Verdict, Work

#: The file of a bundle that tells what the nodes are, for ``Bundled``.
FACTS, ABOUT_FACTS = "facts.txt", "what each node reported about itself: OS, addresses, GPUs, versions"
#: Keys of the command that starts what keeps running, and of those that end it.
STARTS, ENDS = "launch", ("stop", "clear")


class Known(Struct, frozen=True):
    """What is known when a step begins: the cluster file and the facts earlier gates produced."""

    cluster: Cluster
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.cluster.node_list

    @property
    def head(self) -> Node:
        return self.cluster.head

    @property
    def workers(self) -> tuple[Node, ...]:
        return self.cluster.workers

    def ip(self, node: Node) -> str:
        """The address that carries this node's GPU traffic: chosen at the IP gate, or from the file."""
        chosen = self.facts.get("fabric_ips", {})
        return str(chosen.get(node.name) or node.fabric_ip)

    @property
    def server(self) -> Node:
        """Where `vllm serve` runs."""
        return self.cluster.server

    def devices(self, node: Node) -> str:
        """The GPUs that the nvidia-smi gate chose on a node, as for CUDA_VISIBLE_DEVICES; empty: all."""
        chosen = self.facts.get("devices", {})
        return str(chosen.get(node.name, "")) if isinstance(chosen, Mapping) else ""

    @property
    def head_ip(self) -> str:
        return self.ip(self.head)


class Bundled(Struct, frozen=True):
    """Output that a ticket needs: what the last use of each of ``keys`` printed on each node, in one file."""

    keys: tuple[str, ...]
    name: str
    about: str


class Step:
    """One milestone. Subclass it, give it ``id`` and ``title``, and fill in the two pure functions.

    ``rounds`` is called with the results so far until it returns None: a step that must look before
    it acts asks for its look in the first round and decides in the second. It never sleeps or loops;
    waiting is said in the Cmd. Expected text comes from ``snapshots/expected/<id>.md``.
    """

    id: str = ""
    title: str = ""
    #: The title where there is little room: at most 14 characters. Without it the title is cut.
    short: str = ""
    #: The stages of a start-up in their order, see ``phase_of``.
    phases: tuple[str, ...] = ()
    #: What of its output a ticket needs.
    bundled: tuple[Bundled, ...] = ()
    #: Fields of the cluster file this step settles (regexes): editing one later comes back to this step.
    owns: tuple[str, ...] = ()
    #: Keys of the commands that the expected file may name, ``pair-*`` for a family: a block for another key
    #: is refused before the walk begins. Empty: only the gate sees that a block has nothing to compare.
    keys: tuple[str, ...] = ()
    #: For old recordings: (an id this step was recorded under, {a command key of then: that of today}); keys
    #: that are the same are left out. The step's own id stands for renamed keys alone. An old id or key is
    #: never used again for something else.
    formerly: tuple[tuple[str, Mapping[str, str]], ...] = ()

    #: The paths on which it is left out without Ray. (In containers head and workers start these either way.)
    only_ray: tuple[str, ...] = ()
    #: What commands that change a node do, by key, for a plan. (What starts something is said by
    #: ``leaves_running``.)
    effects: Mapping[str, str] = {}
    #: What a node on which nothing was done yet would answer, by key, for a plan; "" where it is not here.
    bare: Mapping[str, str] = {}

    def rounds(self, known: Known, done: Results) -> Round | None:
        """What to run next, or None when there is enough to judge."""
        raise NotImplementedError

    def judge(self, known: Known, done: Results) -> Verdict:
        """The facts of the gate. Missing expected lines are added by the engine."""
        raise NotImplementedError

    def expects(self, known: Known, done: Results) -> Mapping[str, Any]:
        """Facts for the gates after it that a plan goes on with, where no node was asked."""
        return {}

    def for_script(self, known: Known, node: Node, key: str) -> str | None:
        """What a person types on a node in place of a helper of ours, for a script: "" where there is nothing
        to do, None where the command is typed as it is shown."""
        return None

    def variables(self, known: Known, node: Node) -> Mapping[str, str]:
        """Values for ``{{name}}`` in the expected text, for one node. The names must not depend on what is
        known: a value that is not known yet is a placeholder such as ``<ip>``."""
        return standard_variables(known, node)

    def ways(self, known: Known) -> Collection[str]:
        """Which of the bracketed parts of the expected file hold, see ``expected.WAYS``."""
        return ()

    def phase_of(self, line: str) -> str | None:
        """Which of ``phases`` a line of output belongs to; None when it says nothing about that."""
        return None

    def leaves_running(self, known: Known, node: Node) -> str:
        """What keeps running on a node when this step has passed, in words; "" when nothing does.

        What it starts has the key STARTS, what ends it one of ENDS.
        """
        return ""

    def undo(self, known: Known) -> Sequence[Work]:
        """Commands that remove what this step started (and only that). ``milepost down`` runs them."""
        return ()


def standard_variables(known: Known, node: Node) -> dict[str, str]:
    """The variables every expected file may use."""
    cluster = known.cluster
    return {
        "node": node.name,
        "host": node.host,
        "user": node.user,
        "ip": known.ip(node) or "<ip>",
        "head_ip": known.head_ip or "<head_ip>",
        "gpus": str(node.gpus),
        "total_gpus": str(cluster.total_gpus),
        "nodes": str(len(cluster.node_list)),
        "venv": cluster.venv,
        "ray_port": str(cluster.ray.port),
        "dashboard_port": str(cluster.ray.dashboard_port),
        "ray_version": cluster.ray.version,
        "vllm_version": cluster.serve.vllm_version,
        "model": cluster.serve.model,
        "served_model": cluster.serve.name,
        "port": str(cluster.serve.port),
        "master_port": str(cluster.master_port),
        "meeting_port": str(cluster.meeting_port),
        "dp": str(cluster.serve.data_parallel),
        "dp_port": str(cluster.serve.data_parallel_port),
        "tp": str(cluster.serve.tensor_parallel),
        "pp": str(cluster.serve.pipeline_parallel),
        "world": str(cluster.serve.tensor_parallel * cluster.serve.pipeline_parallel),
    }
