"""units: head, workers and server as systemd services, so that they come back after a crash or a reboot.

Optional: `milepost enable` walks it after the others, which have taught addresses and GPUs. What the wizard
started is ended and started again as services; then each is restarted, and the server has to come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones import head, vllm, workers
from wizard_steps.milestones.common import failure, placed
from wizard_steps.model import Check, Cmd, Node, Option, Question, Result, Results, Round, Verdict, Work
from wizard_steps.node import units
from wizard_steps.node.lines import fields
from wizard_steps.node.place import RAY, SERVE
from wizard_steps.node.remote import service_name, state_dir
from wizard_steps.node.unit_script import Unit

#: Seconds a server gets to come back after a service was restarted, beside its own time to load. Ray notices
#: a lost node after about 20 s, vLLM later.
_NOTICE = 300.0
_ASK = "write"
#: The fact that holds the start of vLLM that the services made, once all were proved.
SERVED_BY = "served_by"


def planned(known: Known) -> list[Unit]:
    """The units of all nodes: Ray on each and the server, or without Ray a rank on each; in containers these
    hang on the unit of their container."""
    place = placed(known)
    own = [_rank(known, node) for node in known.nodes] if place.without_ray else [_server(known)]
    found = [*(() if place.idle else _rays(known)), *own]
    return [replace(unit, attended=place.attended(unit.service)) for unit in found]


def _rays(known: Known) -> Iterator[Unit]:
    port = known.cluster.ray.port
    for service in (*head.services(known), *workers.services(known)):
        node = service.node
        alone = node.role == "head" or placed(known).without_ray
        first = "" if alone else f"{known.head_ip}:{port}"
        title = f"{'the container' if placed(known).without_ray else 'Ray'} on {node.name}"
        yield Unit(service, title, node.gpus, known.ip(node), first)


def _server(known: Known) -> Unit:
    service = vllm.service(known, known.server)
    total = known.cluster.total_gpus
    return Unit(service, "vllm serve", 0, known.ip(known.server), "", total, RAY)


def _rank(known: Known, node: Node) -> Unit:
    after = RAY if placed(known).contained else ""
    title = f"vllm serve on {node.name}"
    return Unit(vllm.service(known, node), title, node.gpus, known.ip(node), after=after)


def _of(known: Known, node: Node) -> list[Unit]:
    return [unit for unit in planned(known) if unit.node == node]


def _groups(known: Known) -> list[tuple[str, list[Unit]]]:
    """What is restarted together, one after the other: the workers, the head, the server. Without Ray all
    ranks at once: they have to meet anew."""
    found = planned(known)
    if placed(known).without_ray:
        return [("server", found)]
    mine = [unit for unit in found if unit.role == SERVE and unit.node == known.server]
    first = [unit for unit in found if unit not in mine and unit.node.role == "head"]
    rest = [unit for unit in found if unit not in mine and unit.node.role != "head"]
    named = (("workers", rest), ("head", first), ("server", mine))
    return [(name, group) for name, group in named if group]


class Units(Step):
    id = "units"
    title = "Services that survive a reboot"
    short = "services"
    keys = ("write", "start", "ready-*", "restart-*")
    effects: Mapping[str, str] = {
        "write": "writes systemd units, and the scripts and secrets they need, and enables them",
        "end-serve": "ends the server that the wizard started",
        "end-ray": "ends the Ray that the wizard started",
        "start": "starts the services",
        **{f"restart-{name}": "restarts the service" for name in ("workers", "head", "server")},
    }

    def rounds(self, known: Known, done: Results) -> Round | None:
        nodes, place = known.nodes, placed(known)
        if not done.has("look"):
            return Round(work=tuple((node, units.look(known.cluster, node)) for node in nodes))
        if _blocked(known, done):
            return None
        if _ASK not in done.answers:
            return Round(questions=(_question(known),))
        if done.answers[_ASK] != "yes":
            return None
        if not done.has("write"):
            work = [(node, units.write(known.cluster, of)) for node in nodes if (of := _of(known, node))]
            return Round(work=tuple(work))
        if not _all_good(done, "write"):
            return None
        if not done.has("end-serve"):
            on = place.serving(nodes, known.server)
            return Round(work=tuple((n, place.stop(n, SERVE, "end-serve", 8)) for n in on))
        if not place.idle and not done.has("end-ray"):
            return Round(work=tuple((n, place.stop(n, RAY, "end-ray")) for n in (*known.workers, known.head)))
        if not done.has("start"):
            work = [
                (node, units.act(known.cluster, node, "start", [unit.role for unit in of], "start"))
                for node in nodes
                if (of := _of(known, node))
            ]
            return Round(work=tuple(work))
        if any(r.reason == "dry" for r in done.of("start").values()):
            return None
        return _proof(known, done) or _states(known, done)

    def undo(self, known: Known) -> Sequence[Work]:
        return [(node, units.stop_all(known.cluster, node)) for node in known.nodes]

    def judge(self, known: Known, done: Results) -> Verdict:
        problems = _blocked(known, done)
        if problems:
            return Verdict(False, "services cannot be made", tuple(problems))
        if done.answers.get(_ASK, "yes") != "yes":
            return Verdict(False, "nothing was written", (Check("units", False, "declined", "written"),))
        checks = list(_written(known, done))
        if _all_good(done, "write"):
            checks += _came_back(known, done)
        ok = all(check.ok for check in checks)
        if ok and placed(known).without_ray:
            said = "not proved: vLLM without Ray may go on answering /health while a rank has restarted"
            hint = "after a rank has ended restart all of them: `systemctl restart` on each node"
            checks.append(
                Check("one rank alone", True, said, "the server comes back", hint=hint, warning=True)
            )
        if ok:
            said = "not proved: a real reboot (`milepost enable --reboot-test NODE` reboots one)"
            checks.append(Check("reboot", True, said, "the server comes back", warning=True))
        made = len(planned(known))
        good = f"{made} services on {len(known.nodes)} nodes; each was restarted, and the server came back"
        last = done.get(f"ready-{_groups(known)[-1][0]}", known.server)
        by = fields(last.text).get("instance", "") if last is not None else ""
        good = f"SIMULATED: {good}" if known.cluster.simulated else good
        said = good if ok else "the services do not work as they should"
        return Verdict(ok, said, tuple(checks), {SERVED_BY: by})


def _question(known: Known) -> Question:
    count = len(planned(known))
    names = ", ".join(service_name(known.cluster, unit.node, unit.role) for unit in planned(known)[:8])
    return Question(
        id=_ASK,
        text=f"Write {count} systemd units, and end what runs to start it again as services?",
        kind="choice",
        options=(Option("yes", "Write them", names), Option("no", "Stop here", "nothing is changed")),
        default="yes",
        why="Users of the server are interrupted while it starts again, and at each test of a service.",
        unattended="yes",
    )


def _all_good(done: Results, key: str) -> bool:
    return all(result.ok or result.reason == "dry" for result in done.of(key).values())


def _proof(known: Known, done: Results) -> Round | None:
    """Ready after the start; then for each group: restart it, and ready again with a new start of vLLM."""
    before = ""
    for name, group in [("start", []), *_groups(known)]:
        restart, key = f"restart-{name}", f"ready-{name}"
        if group and not done.has(restart):
            work = [
                (node, units.act(known.cluster, node, "restart", roles, restart))
                for node in known.nodes
                if (roles := [unit.role for unit in group if unit.node == node])
            ]
            return Round(work=tuple(work))
        if not _all_good(done, restart if group else "start"):
            return None
        if not done.has(key):
            return Round(work=((known.server, ready(known, key, before)),))
        result = done.get(key, known.server)
        if result is None or not (result.ok or result.reason == "dry"):
            return None
        before = fields(result.text).get("instance", before)
    return None


def _states(known: Known, done: Results) -> Round | None:
    """After a start from which no server came: what became of each service."""
    waited = [
        r for name, _ in [("start", []), *_groups(known)] if (r := done.get(f"ready-{name}", known.server))
    ]
    if done.has("state") or all(result.ok for result in waited):
        return None
    work = [(node, units.state(known.cluster, of)) for node in known.nodes if (of := _of(known, node))]
    return Round(work=tuple(work))


def _down(known: Known, done: Results) -> Iterator[Check]:
    """The services that do not run, or had to be started again; a server that waits for Ray runs."""
    for node in known.nodes:
        result = done.get("state", node)
        said = fields(result.text) if result is not None and result.ok else {}
        for unit in _of(known, node):
            found = said.get(unit.role, "")
            if found and not found.startswith("active, restarts 0"):
                ok = found.startswith("active,")
                yield Check(f"service {unit.role}", ok, found, "active", node.name, warning=ok)


def ready(known: Known, key: str, before: str) -> Cmd:
    """Polls until the API answers from another start of vLLM than ``before``."""
    log = f"{state_dir(known.cluster, known.server)}/{SERVE}"
    text = (
        f'echo "instance: $(head -n 1 {log}.start 2>/dev/null)"\n'
        f"if {vllm.health(known)}; then echo 'health: 200'; else echo 'health: no answer'; "
        f"tail -n 1 {log}.log 2>/dev/null | cut -c1-200; fi\n"
    )

    def back(result: Result) -> bool:
        found = fields(result.text)
        return found.get("health") == "200" and found.get("instance", "") not in ("", before)

    limit = float(known.cluster.serve.ready_timeout) + _NOTICE
    show = f"curl {known.server.name}:/health"
    asked = Cmd(key, text, timeout=limit, every=3.0, until=back, settle=9.0, show=show)
    # A container that is not up yet answers nothing, and is asked again.
    return placed(known).run(known.server, asked) if placed(known).contained else asked


def _blocked(known: Known, done: Results) -> list[Check]:
    checks = []
    for node in known.nodes:
        result = done.get("look", node)
        if result is None or not result.ok:
            checks.append(failure(result, node))
            continue
        found = fields(result.text)
        if found.get("systemd") != "yes":
            said = f"the first process is {found.get('init', 'unknown')}"
            hint = "this needs a machine that systemd runs; in a container start milepost's commands by hand"
            checks.append(Check("systemd", False, said, "systemd runs the machine", node.name, hint))
    if placed(known).contained and (policy := known.cluster.docker.restart):
        hint = 'set docker.restart = "" and walk: the engine and systemd would both start the container'
        checks.append(Check("docker.restart", False, policy, "empty", hint=hint))
    return checks


def _written(known: Known, done: Results) -> Iterator[Check]:
    for node in known.nodes:
        result, look = done.get("write", node), done.get("look", node)
        if not _of(known, node):
            continue
        if result is None or not result.ok:
            yield _not_written(result, node)
            continue
        said = [line.removeprefix("verify: ") for line in result.lines if line.startswith("verify: ")]
        names = ", ".join(service_name(known.cluster, node, unit.role) for unit in _of(known, node))
        yield Check("units", True, f"written and enabled: {names}", node=node.name)
        if said:
            yield Check("systemd-analyze", True, "; ".join(said[:3]), "no remark", node.name, warning=True)
        about = fields(look.text) if look is not None else {}
        if about.get("uid") != "0" and "lingering: not switched on" in result.text:
            hint = f"as root there: loginctl enable-linger {node.user or 'USER'}"
            found = "off: user services start only when this user logs in"
            yield Check("lingering", False, found, "on", node.name, hint)


def _not_written(result: Result | None, node: Node) -> Check:
    """A login that is no session has no systemd of its own, and nobody to start units."""
    check = failure(result, node)
    if result is not None and "Failed to connect to bus" in result.text:
        hint = f"as root there: loginctl enable-linger {node.user or 'USER'}, then run this again"
        return Check("systemd --user", False, check.found, "it runs for this user", node.name, hint)
    return check


def _came_back(known: Known, done: Results) -> Iterator[Check]:
    """What was seen of each start, until the first that failed."""
    for name, group in [("start", []), *_groups(known)]:
        key = f"restart-{name}" if group else "start"
        bad = [r for r in done.of(key).values() if not r.ok]
        yield from (failure(result, result.node) for result in bad)
        result = done.get(f"ready-{name}", known.server)
        what = "started as services" if not group else f"restarted: {', '.join(u.title for u in group[:8])}"
        wanted = "a new vllm serve answers /health"
        if bad:
            return
        if result is None or not result.ok:
            last = failure(result, known.server)
            yield from _down(known, done)
            log = placed(known).log_of(known.server, SERVE)
            hint = f"`systemctl status` and `journalctl -u` there; its own words: {log}"
            yield Check(name, False, f"{what}; then {last.found}", wanted, known.server.name, hint)
            return
        took = result.ended - result.started
        yield Check(
            name, True, f"{what}; the server answered again after {took:.0f} s", wanted, known.server.name
        )
