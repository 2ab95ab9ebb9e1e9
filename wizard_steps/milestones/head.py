"""head: start Ray on the head node. Its dashboard stays on localhost: whoever reaches it can run commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wizard_steps.engine.step import Known
from wizard_steps.milestones import raystart
from wizard_steps.milestones.common import placed
from wizard_steps.model import Check, Node, Results, Round, Verdict, Work
from wizard_steps.node import ray_token
from wizard_steps.node.place import Service


def argv(known: Known) -> list[str]:
    ray = known.cluster.ray
    return [
        placed(known).program("ray"),
        "start",
        "--head",
        f"--port={ray.port}",
        f"--dashboard-host={ray.dashboard_host}",
        f"--dashboard-port={ray.dashboard_port}",
        *raystart.base_flags(known, known.head),
        *ray.head_flags,
        *raystart.own_flags(known, known.head),
    ]


class Head(raystart.StartsRay):
    id = "head"
    title = "Start the head"
    short = "Ray head"
    owns = (
        r"ray\.(port|dashboard_port|dashboard_host|head_flags|auth)",
        r"nodes\[\d+\]\.ray_flags",
        r"env\..*",
    )
    formerly = (("docker_head", {}),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        return raystart.rounds(known, done, services)

    def judge(self, known: Known, done: Results) -> Verdict:
        place = placed(known)
        if place.idle:
            return Verdict(True, "no Ray on this path: there is nothing to start before vLLM")
        checks = raystart.judge(known, done, services(known))
        ok = all(check.ok for check in checks)
        if place.without_ray:
            said = "the head's container waits for vLLM" if ok else "no container of ours on the head"
            facts = raystart.taught(known, done, [known.head]) if ok else {}
            return Verdict(ok, said, tuple(checks), facts)
        address = f"{known.head_ip}:{known.cluster.ray.port}"
        summary = f"the head listens at {address}" if ok else f"no head of ours at {address}"
        checks += [*raystart.by_hand(known, [known.head]), *dashboard_checks(known)]
        return Verdict(ok, summary, tuple(checks), _facts(known, done) if ok else {})

    def leaves_running(self, known: Known, node: Node) -> str:
        return raystart.leaves(known, node, "Ray head")

    def undo(self, known: Known) -> Sequence[Work]:
        return [(known.head, cmd) for cmd in raystart.undo(known, known.head)]


def services(known: Known) -> list[Service]:
    """Ray of the head, as it would be started."""
    return [raystart.service(known, known.head, argv(known))]


def _facts(known: Known, done: Results) -> dict[str, Any]:
    """What the gate of the head teaches: where it listens, and the hash of its token where it has one."""
    token = ray_token.hash_of(done.get("token", known.head))
    address = f"{known.head_ip}:{known.cluster.ray.port}"
    taught = raystart.taught(known, done, [known.head])
    return {"ray_address": address, **taught, **({"ray_token": token} if token else {})}


def dashboard_checks(known: Known) -> list[Check]:
    """A warning, never a failure: the file asked for it."""
    ray, head = known.cluster.ray, known.head
    if ray.dashboard_host in ("127.0.0.1", "localhost", "::1"):
        return []
    lock = "behind the Ray token" if ray_token.wanted(known.cluster) else "WITHOUT any login"
    found = (
        f"it listens on {ray.dashboard_host}:{ray.dashboard_port} {lock}; whoever reaches it can "
        "run commands on the nodes (ShadowRay, CVE-2023-48022)"
    )
    hint = 'set ray.dashboard_host = "127.0.0.1"; `milepost dashboard` opens it through SSH'
    return [Check("dashboard", True, found, "127.0.0.1", head.name, hint, warning=True)]
