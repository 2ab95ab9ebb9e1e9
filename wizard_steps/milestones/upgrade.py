"""upgrade: whether another version fits the machines and there is a way back, before anything changes.

Optional: `milepost upgrade` walks it after preflight, which judges driver, CUDA and GPUs by the new version.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from wizard_steps.cluster.file import Cluster
from wizard_steps.engine.step import Known
from wizard_steps.facts.needs import Needs, needs, older, satisfies
from wizard_steps.milestones.common import Placed, everywhere, failure, placed
from wizard_steps.milestones.install import versions_command
from wizard_steps.model import Check, Cmd, Node, Question, Result, Results, Round, Verdict
from wizard_steps.node import units
from wizard_steps.node.docker import docker, image_of
from wizard_steps.node.lines import fields, number
from wizard_steps.node.places import place_of

#: The question whose answer says what is upgraded: the version, a blank, its venv or image.
FROM = "upgrade-from"
#: The fact that holds the systemd units of the cluster, by node.
SERVICES = "services"
#: KiB that an environment with vLLM, torch and CUDA takes, roughly.
_ROOM = 12 << 20


def answer(cluster: Cluster) -> str:
    """What FROM is answered with, for the cluster file before the upgrade."""
    place = image_of(cluster) if place_of(cluster).contained else cluster.venv
    return f"{cluster.serve.vllm_version} {place}"


class Upgrade(Placed):
    id = "upgrade"
    title = "Does the new version fit"
    short = "new version"
    keys = ("old", "machine")

    def rounds(self, known: Known, done: Results) -> Round | None:
        if FROM not in done.answers:
            why = "The environment that runs has to stay, for the way back."
            text = "Which version is upgraded, and where is it?"
            return Round(
                questions=(
                    Question(
                        FROM, text, default=answer(known.cluster), why=why, unattended=answer(known.cluster)
                    ),
                )
            )
        _, place = _before(done)
        if placed(known).contained:
            if not done.has("old"):
                return everywhere(known.nodes, _image(known, place))
        elif not done.has("old"):
            return everywhere(known.nodes, versions_command(place, "old", known.cluster.without_ray))
        if not placed(known).contained and not done.has("machine"):
            return everywhere(known.nodes, _machine(known.cluster.venv))
        if not done.has("look"):
            return everywhere(known.nodes, lambda node: units.look(known.cluster, node))
        return None

    def judge(self, known: Known, done: Results) -> Verdict:
        old, place = _before(done)
        new = known.cluster.serve.vllm_version
        checks = [_release(old, new), *_flags(known)]
        for node in known.nodes:
            checks.append(_way_back(known, done, node, old, place))
            if not placed(known).contained:
                checks += _room(known, done, node)
        ok = all(check.ok for check in checks)
        good = f"vLLM {new} fits {len(known.nodes)} nodes; {place} stays for the way back"
        found = {node.name: names for node in known.nodes if (names := _services(done.get("look", node)))}
        return Verdict(ok, good if ok else f"vLLM {new} is not installed", tuple(checks), {SERVICES: found})


def _before(done: Results) -> tuple[str, str]:
    version, _, place = done.answers.get(FROM, "").partition(" ")
    return version, place


def _image(known: Known, image: str) -> Cmd:
    line = (
        f"{docker(known.cluster)} image inspect --format {shlex.quote('image: {{.Id}}')} {shlex.quote(image)}"
    )
    return Cmd("old", f"{line} 2>&1\n", timeout=30, show=line)


def _machine(venv: str) -> Cmd:
    """The Python that the new venv is made with, and the room where it will be."""
    place = shlex.quote(venv)
    version = "python3 -I -c 'import platform; print(platform.python_version())' 2>&1 | tail -n 1"
    text = (
        f'echo "python3: $({version})"\n'
        f"p={place}; [ -x $p/bin/python ] && echo there: yes\n"
        'while [ ! -d "$p" ] && [ "$p" != / ]; do p=$(dirname "$p"); done\n'
        'echo "free: $(df -Pk "$p" 2>/dev/null | awk \'NR == 2 {print $4}\')"; echo "at: $p"\n'
    )
    return Cmd("machine", text, timeout=30, show=f"python3 -V; df -k {place}")


def _release(old: str, new: str) -> Check:
    """What the two releases are made of, by the version data."""
    then, now = needs(old), needs(new)
    name, wanted = "release", "a release whose needs are known"
    if now is None:
        said = f"vLLM {new}: which torch, CUDA, driver and Python it needs is not known here"
        hint = "read its release notes; the gates after this one find out on the machines"
        return Check(name, True, said, wanted, hint=hint, warning=True)
    said = f"vLLM {old} -> {new}: {'; '.join(_changes(then, now)) or 'the same torch, CUDA and Python'}"
    if older(new, old):
        return Check(name, True, f"{said}; this is an older release", "a newer release", warning=True)
    return Check(name, True, said)


def _changes(then: Needs | None, now: Needs) -> Iterator[str]:
    told: Mapping[str, str] = {
        "torch": "torch",
        "driver": "lowest driver",
        "compute_cap": "lowest compute capability",
        "python_low": "lowest Python",
    }
    for field, words in told.items():
        before, after = getattr(then, field, "unknown"), getattr(now, field)
        if before != after:
            yield f"{words} {before} -> {after}"
    if then is not None and then.ray and not now.ray:
        yield "Ray is no longer installed with it"


def _flags(known: Known) -> Iterator[Check]:
    """vLLM's flags come and go; whether this release takes them is seen when it starts."""
    flags = known.cluster.serve.extra_flags
    if flags:
        new = known.cluster.serve.vllm_version
        said = f"not proved before it starts: that vLLM {new} takes {shlex.join(flags)}"
        yield Check("serve.extra_flags", True, said, "flags of this release", warning=True)


def _way_back(known: Known, done: Results, node: Node, old: str, place: str) -> Check:
    result = done.get("old", node)
    wanted = f"vLLM {old} in {place}"
    hint = "walk the cluster file as it is first: what is upgraded has to be there on every node"
    if result is None or not result.ok:
        check = failure(result, node, hint)
        return Check("way back", False, check.found, wanted, node.name, hint)
    found = fields(result.text)
    if placed(known).contained:
        return Check("way back", True, f"{place}, {found.get('image', '')[7:19]}", wanted, node.name)
    version = found.get("vllm", "missing")
    ok = satisfies(version, old) or (known.cluster.simulated and "SIMULATED" in version)
    return Check("way back", ok, f"vLLM {version}", wanted, node.name, "" if ok else hint)


def _room(known: Known, done: Results, node: Node) -> Iterator[Check]:
    result = done.get("machine", node)
    if result is None or not result.ok:
        yield failure(result, node)
        return
    found, new = fields(result.text), known.cluster.serve.vllm_version
    if found.get("there") == "yes":
        yield Check("environment", True, f"{known.cluster.venv} is there already", node=node.name)
        return
    python, need = found.get("python3", "missing"), needs(new)
    if need is not None:
        good = need.takes_python(python)
        hint = f"make {known.cluster.venv} with another Python on every node, then run this again"
        yield Check("Python", good, python, need.python_span, node.name, "" if good else hint)
    free = number(found.get("free", ""))
    said = f"{free >> 20} GiB free at {found.get('at', '')}"
    yield Check("disk", True, said, f"{_ROOM >> 20} GiB", node.name, warning=free < _ROOM)


def _services(result: Result | None) -> list[str]:
    lines = result.lines if result is not None and result.ok else []
    return [line.removeprefix("unit: ") for line in lines if line.startswith("unit: ")]
