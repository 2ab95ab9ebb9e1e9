"""What the container of the head and those of the workers share: look, start, follow the log, judge."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from wizard_steps.engine.step import Known
from wizard_steps.milestones import docker_probe, raystart
from wizard_steps.milestones.common import failure, fields
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round
from wizard_steps.node import docker, ray_token
from wizard_steps.node.remote import Look


def image(known: Known) -> str:
    """The image the gate before has settled on."""
    return str(known.facts.get("image") or docker.image_of(known.cluster))


def without_ray(known: Known) -> bool:
    return known.facts.get("executor", "") == "mp" or known.cluster.docker.ray == "none"


def run_line(known: Known, node: Node, argv: Sequence[str]) -> str:
    """The `docker run` of a node: Ray as its main process, or a wait for vLLM where there is no Ray."""
    main = docker.HOLD if without_ray(known) else argv
    return docker.run_line(known.cluster, node, image(known), raystart.environment(known, node), main)


def rounds(known: Known, done: Results, lines: dict[str, str], nodes: Sequence[Node]) -> Round | None:
    """look, start where it is not ours already, follow its log (without Ray: see that it runs)."""
    cluster = known.cluster
    if not done.has("look"):
        work = [(n, docker.look(cluster, n, lines[n.name], cluster.ray.port)) for n in nodes]
        return Round(work=tuple(work))
    key = "up" if without_ray(known) else "start"
    if done.has(key):
        return None
    free = [n for n in nodes if blocked(known, done, n) is None]
    todo = [n for n in free if not _look(done, n).leader]
    if raystart.wants_token(known) and free and not done.has("token"):
        return raystart.tokens(known, free, todo)
    todo = [n for n in todo if raystart.has_token(known, done, n)]
    if todo and not done.has("launch"):
        return Round(work=tuple((n, docker.launch(cluster, n, lines[n.name])) for n in todo))
    free = [n for n in free if raystart.has_token(known, done, n)]
    ready = [n for n in free if n not in todo or _ok(done.get("launch", n))]
    return Round(work=tuple((n, _last(known, n)) for n in ready)) if ready else None


def _last(known: Known, node: Node) -> Cmd:
    if without_ray(known):
        return up_command(known, node)
    return docker.logs(known.cluster, node, raystart.START_LIMIT, raystart.ended)


def undo(known: Known, node: Node) -> list[Cmd]:
    """Removes our container on a node; the token goes as well."""
    remove = docker.remove(known.cluster, node)
    return [remove, ray_token.forget(known.cluster)] if ray_token.wanted(known.cluster) else [remove]


def up_command(known: Known, node: Node) -> Cmd:
    """Two looks a moment apart: a container whose first process fails is gone after a blink."""
    name, it = docker.container(known.cluster, node), docker.docker(known.cluster)
    line = f"{it} container inspect -f 'container: {{{{.Name}}}} running: {{{{.State.Running}}}}' {name}"

    def running(result: Result) -> bool:
        return result.ok and "running: true" in result.text

    return Cmd("up", f"exec {line}\n", timeout=20, every=1.0, settle=2.0, until=running, show=line)


def blocked(known: Known, done: Results, node: Node) -> Check | None:
    """Why nothing may be started on this node: no answer, or something there that is not ours."""
    result = done.get("look", node)
    if result is None or not result.ok:
        text = result.text if result else ""
        check = failure(result, node)
        return replace(check, name="docker", hint=docker_probe.hint(text))
    name = docker.container(known.cluster, node)
    state = fields(result.text).get("container", "")
    if state == "not ours":
        hint = f"milepost did not start it: rename or remove it, or choose another `name` than {name!r} gives"
        return Check("container", False, f"{name} exists", "a free name", node.name, hint)
    if state == "other settings":
        found = f"{name} runs with other settings (image, environment or flags)"
        hint = "`milepost down` ends it; or put the settings back"
        return Check("container", False, found, "the settings of the cluster file", node.name, hint)
    return None if without_ray(known) else raystart.blocked(known, done, node)


def judge(known: Known, done: Results, nodes: Sequence[Node]) -> list[Check]:
    free = [node for node in nodes if blocked(known, done, node) is None]
    return [_one(known, done, node) for node in nodes] + raystart.token_checks(known, done, free)


def _one(known: Known, done: Results, node: Node) -> Check:
    problem = blocked(known, done, node)
    if problem is not None:
        return problem
    launch = done.get("launch", node)
    if launch is not None and not launch.ok:
        check = failure(launch, node)
        return Check("container", False, check.found, "started", node.name, docker_probe.hint(launch.text))
    if without_ray(known):
        return _up(done, node)
    check = raystart.judge(known, done, [node])[0]
    result = done.get("start", node)
    if not check.ok and result is not None and "not found" in result.text:
        return replace(check, hint=docker_probe.hint("ray: not found"))
    if not check.ok and result is not None and "Version mismatch" in result.text:
        return replace(check, hint="another image on this node: go back to the check of the image")
    return check


def _up(done: Results, node: Node) -> Check:
    result = done.get("up", node)
    if result is not None and result.ok and "running: true" in result.text:
        found = "already running, and ours" if _look(done, node).leader else "started"
        return Check("container", True, found, "running", node.name)
    hint = "`docker logs` of that container says why its first process ended"
    found = result.lines[-1] if result is not None and result.lines else failure(result, node).found
    return Check("container", False, found, "running", node.name, hint)


def script_checks(known: Known, nodes: Sequence[Node]) -> list[Check]:
    """The run_cluster.sh lines that would do the same, for people who prefer them. Never a failure."""
    if without_ray(known):
        return []
    it = [(n, docker.script_line(known.cluster, n, image(known), known.head_ip, known.ip(n))) for n in nodes]
    return [Check("run_cluster.sh", True, line, "the same by hand", n.name) for n, line in it if line]


def _look(done: Results, node: Node) -> Look:
    result = done.get("look", node)
    return Look(result.text if result else "")


def _ok(result: Result | None) -> bool:
    return result is not None and (result.ok or result.reason == "dry")
