"""Where the processes of a cluster run: on the hosts themselves, or in one container on each of them.

Everything that differs between the two is in here: how a process that outlives the wizard is started, found
again, followed and ended, where programs and models are, and the words for it. A milestone exists once and
asks its place.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Check, Cmd, Node, Result
from wizard_steps.node import docker, ray_token, remote
from wizard_steps.node.docker_words import hint
from wizard_steps.node.spec import Spec

#: The roles of what is started on a node: Ray (or the container that waits for vLLM), and vLLM.
RAY, SERVE = "ray", "serve"
#: Seconds an engine may need to start a container of a large image, on top of the command's own limit.
START = 60.0
#: The hub's cache of a user's own, as sh text.
_HUB = '"${HF_HUB_CACHE:-${HF_HOME:-$HOME/.cache/huggingface}/hub}"'

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
        return ("docker" if self.contained else "host", "without-ray" if self.without_ray else "ray")

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
    def follow(self, service: Service, key: str, timeout: float, stop: Stop, beside: str = "") -> Cmd:
        """Its log from the first line, until ``stop`` says so or it has ended; see ``remote.follow``."""

    @abstractmethod
    def stop(self, node: Node, role: str, key: str = "stop", grace: int = 10) -> Cmd: ...

    @abstractmethod
    def log_of(self, node: Node, role: str) -> str:
        """How a person reads the log of a role on its node."""

    @abstractmethod
    def serving(self, nodes: Sequence[Node], head: Node) -> Sequence[Node]:
        """Where `milepost down` looks for vLLM: it does not know what the gates had taught."""

    def spec(self, service: Service) -> Spec:
        """What it would be started with, to compare with what runs."""
        return Spec(service.argv, service.env, service.of)

    def obstacle(self, service: Service, look: Result) -> Check | None:
        """Why nothing may be started here, beside what listens on the port."""
        return None

    def explain(self, check: Check, text: str) -> Check:
        """A failed look or launch in the words of this place; ``text`` is what was printed."""
        return check

    def by_hand(self, node: Node, ip: str, head_ip: str) -> str:
        """The one line of vLLM's own tools that would start the same; "" where there is none."""
        return ""

    def holder(self, node: Node) -> str:
        """The container that holds Ray and vLLM on a node, in words; "" on a host."""
        return ""

    @property
    def idle(self) -> bool:
        """Whether nothing has to stand before vLLM: on hosts without Ray."""
        return self.without_ray and not self.contained


class OnHost(Place):
    contained = False
    kind, torch_step = "venv", "install"

    @property
    def torch_of(self) -> str:
        return f"this venv ({self.cluster.venv})"

    @property
    def in_use(self) -> str:
        what = "vLLM" if self.without_ray else "Ray"
        return what + " of this cluster runs on {} and uses the network"

    @property
    def python(self) -> str:
        return shlex.quote(self.program("python"))

    @property
    def model_home(self) -> str:
        return _HUB

    def program(self, name: str) -> str:
        return f"{self.cluster.venv}/bin/{name}"

    def run(self, node: Node, cmd: Cmd) -> Cmd:
        return replace(cmd, text=ray_token.setup(self.cluster, node) + cmd.text)

    def trial(self, node: Node, cmd: Cmd) -> Cmd:
        return cmd

    def look(self, service: Service, key: str = "look") -> Cmd:
        return remote.look(self.cluster, service.node, service.role, service.port, key)

    def launch(self, service: Service) -> Cmd:
        node = service.node
        setup = "" if self.without_ray else ray_token.setup(self.cluster, node)
        return remote.launch(
            self.cluster, node, service.role, service.argv, service.env, setup=setup, of=service.of
        )

    def follow(self, service: Service, key: str, timeout: float, stop: Stop, beside: str = "") -> Cmd:
        return remote.follow(self.cluster, service.node, service.role, key, timeout, stop, beside)

    def stop(self, node: Node, role: str, key: str = "stop", grace: int = 10) -> Cmd:
        return remote.stop(self.cluster, node, role, key, grace)

    def log_of(self, node: Node, role: str) -> str:
        return f"~/.milepost/{self.cluster.name}/{role}.log"

    def serving(self, nodes: Sequence[Node], head: Node) -> Sequence[Node]:
        return nodes if self.without_ray else [head]


class InContainer(Place):
    """Ray is the first process of the container, vLLM is started in it by `docker exec`."""

    contained = True
    kind, torch_step = "image", "the check of the image"

    @property
    def image(self) -> str:
        """The image the gate before has settled on."""
        return str(self.facts.get("image") or docker.image_of(self.cluster))

    @property
    def torch_of(self) -> str:
        return "this image"

    @property
    def in_use(self) -> str:
        return "containers of this cluster run on {} and use the network"

    @property
    def python(self) -> str:
        return "python3"

    @property
    def model_home(self) -> str:
        return docker.hf_home(self.cluster) + "/hub"

    def program(self, name: str) -> str:
        return name

    def run(self, node: Node, cmd: Cmd) -> Cmd:
        return docker.inside(self.cluster, node, cmd)

    def trial(self, node: Node, cmd: Cmd) -> Cmd:
        """In a container of its own, which leaves with the command."""
        line = docker.passing_line(self.cluster, node, self.image)
        shown = f"(in a container of {self.image}) {cmd.show}"
        text = f"exec {line} {shlex.quote(cmd.text)}\n"
        return replace(cmd, text=text, show=shown, timeout=cmd.timeout + START)

    def _line(self, service: Service) -> str:
        """The `docker run`; without Ray a wait for vLLM. Empty where nothing would be started."""
        main = docker.HOLD if self.without_ray else service.argv
        if not service.argv:
            return ""
        return docker.run_line(self.cluster, service.node, self.image, service.env, main)

    def look(self, service: Service, key: str = "look") -> Cmd:
        if service.role == RAY:
            return docker.look(self.cluster, service.node, self._line(service), service.port, key)
        # A container that is not there has nothing inside; a dry run goes on and lists the start.
        look = remote.look(self.cluster, service.node, service.role, service.port, key)
        return docker.inside_if_running(self.cluster, service.node, look)

    def launch(self, service: Service) -> Cmd:
        if service.role == RAY:
            return docker.launch(self.cluster, service.node, self._line(service))
        node, role = service.node, service.role
        start = remote.launch(self.cluster, node, role, service.argv, service.env, of=service.of)
        return docker.inside(self.cluster, node, start)

    def follow(self, service: Service, key: str, timeout: float, stop: Stop, beside: str = "") -> Cmd:
        if service.role == RAY:
            return docker.logs(self.cluster, service.node, key, timeout, stop)
        node = service.node
        return self.run(node, remote.follow(self.cluster, node, service.role, key, timeout, stop, beside))

    def stop(self, node: Node, role: str, key: str = "stop", grace: int = 10) -> Cmd:
        if role == RAY:
            return docker.remove(self.cluster, node)
        stop = remote.stop(self.cluster, node, role, key, grace)
        return docker.inside_if_running(self.cluster, node, stop)

    def log_of(self, node: Node, role: str) -> str:
        if role == RAY:
            return f"`{docker.docker(self.cluster)} logs {docker.container(self.cluster, node)}`"
        return f"~/.milepost/{self.cluster.name}/{role}.log in {docker.container(self.cluster, node)}"

    def serving(self, nodes: Sequence[Node], head: Node) -> Sequence[Node]:
        return nodes

    def obstacle(self, service: Service, look: Result) -> Check | None:
        return docker.obstacle(self.cluster, service.node, look.text) if service.role == RAY else None

    def by_hand(self, node: Node, ip: str, head_ip: str) -> str:
        if self.without_ray:
            return ""
        return docker.script_line(self.cluster, node, self.image, head_ip, ip)

    def holder(self, node: Node) -> str:
        return f"container {docker.container(self.cluster, node)}"

    def explain(self, check: Check, text: str) -> Check:
        name = {"look": "docker", "launch": "container"}.get(check.name, check.name)
        return replace(check, name=name, hint=hint(text) or check.hint)


def place_of(cluster: Cluster, facts: Mapping[str, Any] | None = None) -> Place:
    """The place of a cluster file's path."""
    return (InContainer if cluster.path == "docker" else OnHost)(cluster, facts or {})
