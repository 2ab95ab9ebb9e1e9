"""Where the processes of a cluster run: on the hosts themselves, or in one container on each of them.

Everything that differs between the two is in here: how a process that outlives the wizard is started, found
again, followed and ended, where programs and models are, and the words for it. A milestone exists once and
asks its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Check, Cmd, Node, Result
from wizard_steps.node import meeting, ras, ray_token
from wizard_steps.node.remote import Look
from wizard_steps.node.spec import Spec

#: The roles of what is started on a node: Ray (or the container that waits for vLLM), and vLLM.
RAY, SERVE = "ray", "serve"
#: Key of a look at what was started before in the same walk.
ALIVE = "alive"
#: Those of the weights: what fetches the model, and what hands it from node to node.
FETCH, SHARE = "fetch", "share"
#: What a raylet leaves behind when it ends as `ray stop` ends it.
LEFT = "the raylet has ended and `ray start` runs on: somebody ran `ray stop`, or ended the raylet"
Stop = Callable[[str], bool]


class Service(Struct, frozen=True):
    """A process that outlives the wizard: what would be started, and the port it listens on.

    ``of``: what it hangs on, as the id of a start; "" where it hangs on nothing.
    """

    node: Node
    role: str
    port: int
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    of: str = ""


class Attended(Struct, frozen=True):
    """sh texts for a systemd unit whose program lives elsewhere, in a container: what starts it (secrets on
    standard input), ends it, lasts as long as it runs, prints `ray status` there, and asks the engine."""

    start: str
    stop: str
    lasts: str
    status: str
    engine: str


class Place(ABC):
    """One interface for both. ``facts`` is what the gates before have taught."""

    #: Whether Ray and vLLM live in containers.
    contained: bool
    #: What holds torch, for a reader: the kind, and the step that settles it.
    kind: str
    torch_step: str

    def __init__(self, cluster: Cluster, facts: Mapping[str, Any]) -> None:
        self.cluster = cluster
        self.facts = facts

    @property
    def without_ray(self) -> bool:
        """vLLM's own launcher, a rank on every node, instead of Ray."""
        return self.cluster.without_ray or bool(self.facts.get("executor", "") == "mp")

    @property
    def ways(self) -> Collection[str]:
        """For the expected files, see ``expected.WAYS``."""
        return (
            "docker" if self.contained else "host",
            "without-ray" if self.without_ray else "ray",
            "replicas" if self.cluster.serve.data_parallel > 1 else "one-replica",
        )

    @property
    def wants_token(self) -> bool:
        return ray_token.wanted(self.cluster) and not self.without_ray

    @property
    @abstractmethod
    def torch_of(self) -> str:
        """The very environment, for a reader."""

    @property
    @abstractmethod
    def in_use(self) -> str:
        """What runs where ours runs already; ``{}`` are the nodes."""

    @property
    @abstractmethod
    def python(self) -> str:
        """The Python that runs vLLM, as an sh word."""

    @property
    @abstractmethod
    def model_home(self) -> str:
        """As sh text: the hub's cache on a node."""

    @property
    def may_copy(self) -> bool:
        """Whether a model that is a folder may be written where ``run`` runs."""
        return not self.contained

    @abstractmethod
    def program(self, name: str) -> str:
        """``ray`` or ``vllm``, as a word of argv."""

    @abstractmethod
    def run(self, node: Node, cmd: Cmd) -> Cmd:
        """A command where Ray runs, with what it needs to talk to it."""

    @abstractmethod
    def trial(self, node: Node, cmd: Cmd) -> Cmd:
        """A command with the programs, GPUs and limits Ray will have, before anything of ours runs."""

    @abstractmethod
    def look(self, service: Service, key: str = "look") -> Cmd:
        """What is there already: ours, a leader, who listens. ``remote.Look`` reads it."""

    @abstractmethod
    def launch(self, service: Service) -> Cmd: ...

    @abstractmethod
    def follow(
        self, service: Service, key: str, timeout: float, stop: Stop, beside: str = "", quiet: bool = False
    ) -> Cmd:
        """Its log from the first line, until ``stop`` says so or it has ended; see ``remote.follow``.

        ``quiet``: its processes are looked at when the log is silent.
        """

    @abstractmethod
    def mine(self, node: Node) -> str:
        """sh text that defines ``ours``: our processes of Ray and vLLM on a node, where they run."""

    @abstractmethod
    def stop(self, node: Node, role: str, key: str = "stop", grace: int = 10) -> Cmd: ...

    def attended(self, service: Service) -> Attended | None:
        """How a unit starts, watches and ends it; None where the unit's script becomes the program."""
        return None

    @abstractmethod
    def workers(self, node: Node, role: str, key: str) -> Cmd:
        """Which workers of vLLM run there; ``role`` is what started them."""

    @abstractmethod
    def log_of(self, node: Node, role: str) -> str:
        """How a person reads the log of a role on its node."""

    def kept_log(self, node: Node) -> str:
        """Where the log of a Ray that was replaced lies on its node."""
        return f"{self.log_of(node, RAY)}.1"

    def last_log(self, node: Node, look: str) -> str:
        """The log of a Ray that has ended, by what a look at it printed."""
        return self.log_of(node, RAY)

    @abstractmethod
    def typed(self, node: Node, command: str) -> str:
        """How a person runs a command of Ray or vLLM on a node."""

    @abstractmethod
    def serving(self, nodes: Sequence[Node], head: Node) -> Sequence[Node]:
        """Where `milepost down` looks for vLLM: it does not know what the gates had taught."""

    def spec(self, service: Service) -> Spec:
        """What it would be started with, to compare with what runs."""
        return Spec(service.argv, service.env, service.of)

    def seen(self, service: Service, look: Result | None) -> Look:
        """What a look has found."""
        return Look(look.text if look is not None else "")

    def gone(self, node: Node, look: str) -> str:
        """What became of what held Ray, by what a look at it printed; "" where it runs."""
        seen = Look(look)
        if seen.left:
            return LEFT
        return "" if seen.leader else "the Ray that milepost started has ended"

    def before(self, node: Node, look: str) -> str:
        """What became of an earlier start that is replaced now; "" where there is nothing to tell."""
        return LEFT if Look(look).left else ""

    def again(self, look: str) -> str:
        """That what holds Ray was started again since milepost did, by what a look printed."""
        return ""

    def killed(self, look: str) -> int:
        """How many processes the kernel had killed for memory where Ray runs, by a look before the work."""
        return 0

    def oom_kills(self, node: Node, look: str) -> Check | None:
        """What the kernel killed for memory where Ray runs, by what a look at it printed."""
        return None

    def who(self, look: Look, text: str) -> str:
        """Who may hold a port that is not ours; ``text`` is what the look printed."""
        if look.holder:
            return f"process {look.holder}"
        lines = [*look.others, *(f"process {line}" for line in look.kin + look.unseen)]
        return "; ".join(lines) or "unknown: not visible to this user"

    def ends(self, text: str) -> str:
        """What ends the container that holds a port, by what a look printed; "" where none was seen to."""
        return ""

    def obstacle(self, service: Service, look: Result) -> Check | None:
        """Why nothing may be started here, beside what listens on the port."""
        return None

    def named(self, check: Check) -> Check:
        """A failed look or launch by the name it has in this place. What it means is for the diagnosis."""
        return check

    def by_hand(self, node: Node, env: Mapping[str, str], head_ip: str) -> str:
        """The one line of vLLM's own tools that would start the same; "" where there is none."""
        return ""

    def beside(self, node: Node, launch: str) -> str:
        """What is wrong though the start went well, by what it printed; "" where nothing is."""
        return ""

    def holder(self, node: Node) -> str:
        """The container that holds Ray and vLLM on a node, in words; "" on a host."""
        return ""

    def _watch(self, service: Service) -> str:
        """For ``remote.follow``: looks at the log and the processes when the log is silent."""
        log = f"{service.role}.log"
        return ras.watch(self.python, self.mine(service.node), log) + meeting.watch(log)

    @property
    def idle(self) -> bool:
        """Whether nothing has to stand before vLLM: on hosts without Ray."""
        return self.without_ray and not self.contained
