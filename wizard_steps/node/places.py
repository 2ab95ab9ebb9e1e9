"""The two places: the hosts themselves, and one container on each of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Check, Cmd, Node, Result
from wizard_steps.node import container, container_state, docker, ray_token, remote
from wizard_steps.node.docker import Given
from wizard_steps.node.lines import number
from wizard_steps.node.place import ALIVE, RAY, SERVE, Attended, Place, Service, Stop
from wizard_steps.node.remote import Look
from wizard_steps.node.spec import Spec

#: Seconds an engine may need to start a container of a large image, on top of the command's own limit.
START = 60.0
#: The hub's cache of a user's own, as sh text.
_HUB = '"${HF_HUB_CACHE:-${HF_HOME:-$HOME/.cache/huggingface}/hub}"'


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

    def follow(
        self, service: Service, key: str, timeout: float, stop: Stop, beside: str = "", quiet: bool = False
    ) -> Cmd:
        node, watch = service.node, self._watch(service) if quiet else ""
        return remote.follow(self.cluster, node, service.role, key, timeout, stop, beside, watch)

    def mine(self, node: Node) -> str:
        return remote.mine(self.cluster, node, SERVE, RAY)

    def stop(self, node: Node, role: str, key: str = "stop", grace: int = 10) -> Cmd:
        return remote.stop(self.cluster, node, role, key, grace)

    def workers(self, node: Node, role: str, key: str) -> Cmd:
        return remote.workers(self.cluster, node, role, key)

    def log_of(self, node: Node, role: str) -> str:
        return f"~/.milepost/{self.cluster.name}/{node.name}/{role}.log"

    def typed(self, node: Node, command: str) -> str:
        return f"`{shlex.quote(self.cluster.venv)}/bin/{command}`"

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

    def given(self, node: Node) -> Given:
        """What the gate before has seen of a node's engine."""
        found = self.facts.get("engines", {}).get(node.name, {})
        return Given(bool(found.get("rdma")), bool(found.get("rotates")))

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
        return container.inside(self.cluster, node, cmd)

    def trial(self, node: Node, cmd: Cmd) -> Cmd:
        """In a container of its own, which leaves with the command. `docker run` would pull a missing image
        without a word."""
        it, missing = docker.docker(self.cluster), f"{self.image} is not on this node yet"
        there = f"{it} image inspect {shlex.quote(self.image)} >/dev/null 2>&1"
        line = docker.passing_line(self.cluster, node, self.image, self.given(node))
        shown = f"(in a container of {self.image}) {cmd.show}"
        guard = f"{there} || {{ {it} ps -q >/dev/null || exit; echo {shlex.quote(missing)}; exit 1; }}\n"
        text = f"{guard}exec {line} {shlex.quote(cmd.text)}\n"
        return replace(cmd, text=text, show=shown, timeout=cmd.timeout + START)

    def _line(self, service: Service, labels: Mapping[str, str] | None = None) -> str:
        """The `docker run`. Empty where nothing would be started."""
        if not service.argv:
            return ""
        node, main = service.node, self._main(service)
        given = self.given(node)
        return docker.run_line(self.cluster, node, self.image, service.env, main, given, labels)

    def _main(self, service: Service) -> Sequence[str]:
        """Ray; without Ray a wait for vLLM."""
        return docker.HOLD if self.without_ray else service.argv

    def spec(self, service: Service) -> Spec:
        if service.role != RAY:
            return super().spec(service)
        image = str(self.facts.get("image_ids", {}).get(service.node.name, ""))
        node, main = service.node, self._main(service)
        words = docker.settings(self.cluster, node, self.image, main, self.given(node))
        return Spec(words, service.env, "" if self.without_ray else service.of, image)

    def seen(self, service: Service, look: Result | None) -> Look:
        found = super().seen(service, look)
        if service.role == RAY and look is not None:
            found.spec = container_state.with_image(found.spec, look.text)
        return found

    def gone(self, node: Node, look: str) -> str:
        return container_state.ended(self.cluster, node, look)

    def before(self, node: Node, look: str) -> str:
        return self.gone(node, look) if container_state.has_ended(look) else ""

    def again(self, look: str) -> str:
        return container_state.started_again(look)

    def killed(self, look: str) -> int:
        return container_state.killed_before(look)

    def oom_kills(self, node: Node, look: str) -> Check | None:
        return container_state.oom_kills(self.cluster, node, look)

    def who(self, look: Look, text: str) -> str:
        names = container_state.neighbours(text)
        beside = f"; other containers that use the host's ports: {', '.join(names)}" if names else ""
        return super().who(look, text) + beside

    def ends(self, text: str) -> str:
        name = container_state.listener(text)
        return f"`{docker.docker(self.cluster)} stop {name}` ends that container" if name else ""

    def look(self, service: Service, key: str = "look") -> Cmd:
        # systemd, where it starts the container, is outside.
        around = remote.look_at_service(self.cluster, service.node, service.role)
        if service.role == RAY:
            name = service.node.name
            then = str(self.facts.get("starts", {}).get(name, "")) if key == ALIVE else ""
            killed = number(str(self.facts.get("oom_kills", {}).get(name, ""))) if key == ALIVE else 0
            line = self._line(service)
            found = container.look(self.cluster, service.node, line, service.port, key, then, killed)
            return replace(found, text=around + found.text)
        # A container that is not there has nothing inside; a dry run goes on and lists the start.
        look = remote.look(self.cluster, service.node, service.role, service.port, key)
        inside = container.inside_if_running(self.cluster, service.node, look)
        beside = container.beside(self.cluster, service.node, service.port)
        return replace(inside, text=around + beside + inside.text)

    def launch(self, service: Service) -> Cmd:
        if service.role == RAY:
            line = self._line(service, {container.STARTED: self.spec(service).line()})
            return container.launch(self.cluster, service.node, line, self._line(service))
        node, role = service.node, service.role
        logs = container.also_in_docker_logs(self.cluster, role)
        start = remote.launch(self.cluster, node, role, service.argv, service.env, setup=logs, of=service.of)
        return container.inside(self.cluster, node, start)

    def follow(
        self, service: Service, key: str, timeout: float, stop: Stop, beside: str = "", quiet: bool = False
    ) -> Cmd:
        if service.role == RAY:
            return container.logs(self.cluster, service.node, key, timeout, stop)
        node, watch = service.node, self._watch(service) if quiet else ""
        cmd = remote.follow(self.cluster, node, service.role, key, timeout, stop, beside, watch)
        log = f"{docker.log_inside(self.cluster, node)}/{service.role}.log"
        return self.run(node, replace(cmd, show=f"tail -F {shlex.quote(log)}"))

    def mine(self, node: Node) -> str:
        # Everything in it is ours.
        return "ours() { cd /proc && echo [0-9]*; }\n"

    def stop(self, node: Node, role: str, key: str = "stop", grace: int = 10) -> Cmd:
        end = self._end(node, role, key, grace)
        service = remote.stop_service(self.cluster, node, role)
        return replace(end, text=f"{service}{end.text}", timeout=end.timeout + remote.UNIT_STOPS + 10)

    def _end(self, node: Node, role: str, key: str, grace: int) -> Cmd:
        if role == RAY:
            return container.remove(self.cluster, node, key)
        stop = remote.stop(self.cluster, node, role, key, grace)
        return container.inside_if_running(self.cluster, node, stop)

    def attended(self, service: Service) -> Attended | None:
        cluster, node, role = self.cluster, service.node, service.role
        # What it hangs on is another start after each boot.
        start = self.launch(replace(service, of="")).text
        pid = f"pid=$(cat {remote.state_dir(cluster, node)}/{role}.pid) || exit 1\n"
        wait = f'{pid}exec tail --pid="$pid" -s 2 -f /dev/null\n'
        inside = container.inside(cluster, node, Cmd("wait", wait)).text
        it, name = docker.docker(cluster), shlex.quote(docker.container(cluster, node))
        lasts = f"{it} wait {name}\n" if role == RAY else f"( {inside})\n"
        address = shlex.quote(f"--address={service.env.get('RAY_ADDRESS', 'auto')}")
        status = self.run(node, Cmd("status", f"ray status {address}\n")).text
        engine = f"{it} ps -q >/dev/null 2>&1"
        return Attended(start, self._end(node, role, "stop", 10).text, lasts, status, engine)

    def workers(self, node: Node, role: str, key: str) -> Cmd:
        return self.run(node, remote.workers(self.cluster, node, role, key, whole=True))

    def log_of(self, node: Node, role: str) -> str:
        return f"`{docker.docker(self.cluster)} logs {docker.container(self.cluster, node)}`"

    def kept_log(self, node: Node) -> str:
        return f"~/.milepost/{self.cluster.name}/{node.name}/container.log"

    def last_log(self, node: Node, look: str) -> str:
        kept = docker.ray_sessions(self.cluster, node)
        return kept if container_state.is_gone(look) and kept else self.log_of(node, RAY)

    def typed(self, node: Node, command: str) -> str:
        return f"`{docker.docker(self.cluster)} exec {docker.container(self.cluster, node)} {command}`"

    def serving(self, nodes: Sequence[Node], head: Node) -> Sequence[Node]:
        return nodes

    def obstacle(self, service: Service, look: Result) -> Check | None:
        return (
            container_state.obstacle(self.cluster, service.node, look.text) if service.role == RAY else None
        )

    def by_hand(self, node: Node, env: Mapping[str, str], head_ip: str) -> str:
        if self.without_ray:
            return ""
        return docker.script_line(self.cluster, node, self.image, head_ip, env, self.given(node))

    def beside(self, node: Node, launch: str) -> str:
        bad = [line for line in launch.splitlines() if line.startswith(container.READ_ONLY)]
        return "; ".join(bad)

    def holder(self, node: Node) -> str:
        return f"container {docker.container(self.cluster, node)}"

    def named(self, check: Check) -> Check:
        name = {"look": "docker", "launch": "container"}.get(check.name, check.name)
        return replace(check, name=name)


def place_of(cluster: Cluster, facts: Mapping[str, Any] | None = None) -> Place:
    """The place of a cluster file's path."""
    return (InContainer if cluster.path == "docker" else OnHost)(cluster, facts or {})
