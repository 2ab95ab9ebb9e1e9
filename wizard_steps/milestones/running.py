"""What already runs against what would be started: the same, another one, or one that hangs on what is gone.

Of ours that differs a person decides: restart it, keep it and write its values into the cluster file, keep it
with the file as it is, or stop here. A walk without a person stops. What
hangs on a start that is gone (the head was started anew) is of no use to anybody: it is restarted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wizard_steps.engine.step import Known
from wizard_steps.milestones import adopt
from wizard_steps.milestones.common import placed
from wizard_steps.model import Check, Node, Option, Question, Results
from wizard_steps.node import spec
from wizard_steps.node.place import Service
from wizard_steps.node.remote import Look
from wizard_steps.node.spec import Spec

DIFFERS = "differs"
#: Differences that a question or a check shows of one node.
_SHOWN = 6
_CHOICES = (
    Option("restart", "Restart it", "with the values of the cluster file; what it does now is interrupted"),
    Option("keep", "Keep it, and the file as it is", "the gate passes with a warning"),
    Option("stop", "Stop here", "nothing is changed"),
)
_WRITE = "Keep it, and write its values into the cluster file"
#: The check of a service that was written and does not run, or not this.
WRITTEN = "service"
#: The fact that holds the systemd services, by node, which run the server.
KEPT_BY = "kept_by"
_WANTED = "the values of the cluster file"
_HINT = (
    "walk in a terminal and choose there, or with --headless --on-difference=restart (or keep, write); "
    "`milepost down` ends it"
)
_UNWRITABLE = "not written: the cluster file has no field for all of it. Restart it, or keep it as it is"


def look_of(done: Results, node: Node) -> Look:
    result = done.get("look", node)
    return Look(result.text if result else "")


def _then(known: Known, done: Results, service: Service) -> Spec | None:
    """What runs was started with; None where nothing of ours runs, or nobody knows."""
    return placed(known).seen(service, done.get("look", service.node)).spec


def differences(known: Known, done: Results, service: Service) -> list[str]:
    """Of a leader of ours: ``NAME: what runs -> what the cluster file says``."""
    then = _then(known, done, service)
    return spec.differences(then, placed(known).spec(service)) if then is not None else []


def stale(known: Known, done: Results, service: Service) -> bool:
    """Whether it hangs on a start that is gone."""
    then = _then(known, done, service)
    return then is not None and spec.stale(then, placed(known).spec(service))


def question(known: Known, done: Results, services: adopt.Services, free: Sequence[Node]) -> Question | None:
    """What a person has to decide of what runs on the ``free`` nodes; None when nothing differs or it is
    decided."""
    if DIFFERS in done.answers:
        return None
    differing = [s for s in services(known) if s.node in free and refused(known, done, s)]
    lines = [f"{s.node.name}: {_short(differences(known, done, s))}" for s in differing]
    if not lines:
        return None
    text = "What milepost started here runs with other values than the cluster file has now. "
    why = "Left of each arrow is what runs, right of it what the cluster file says."
    then = {s.node.name: seen for s in services(known) if s.node in free and (seen := _then(known, done, s))}
    offer = adopt.offer(known, services, then)
    why += f" The cluster file has no field that keeps this: {_short(offer.left)}." if offer.left else ""
    options = (_CHOICES[0], *_writing(offer.edits), *_CHOICES[1:])
    return Question(
        DIFFERS, text + " | ".join(lines), "choice", options, "restart", why=why, unattended="stop"
    )


def _writing(edits: adopt.Edits) -> Iterator[Option]:
    """Offered where the cluster file has a field for all that differs."""
    if edits:
        fields = ", ".join(f"{field} = {value or 'empty'}" for field, value in edits[:_SHOWN])
        more = f" and {len(edits) - _SHOWN} more" if len(edits) > _SHOWN else ""
        yield Option(
            "write", _WRITE, f"{fields}{more}; the walk continues at the step that these belong to", edits
        )


def keeps(known: Known, done: Results, service: Service) -> bool:
    """Whether what runs may stay: it is the same, or a person said so."""
    if not look_of(done, service.node).leader or stale(known, done, service):
        return False
    return not differences(known, done, service) or done.answers.get(DIFFERS) == "keep"


def refused(known: Known, done: Results, service: Service) -> bool:
    """Whether nothing may be done here: it differs, and nobody said what to do."""
    differs = not stale(known, done, service) and bool(differences(known, done, service))
    return differs and done.answers.get(DIFFERS) not in ("restart", "keep")


def check(known: Known, done: Results, service: Service, name: str) -> Check | None:
    """Both sides, where something of ours runs and stays, or may not be touched; None elsewhere."""
    found, node = differences(known, done, service), service.node.name
    if refused(known, done, service):
        hint = _UNWRITABLE if done.answers.get(DIFFERS) == "write" else _HINT
        return Check(name, False, f"runs with other values: {_short(found)}", _WANTED, node, hint)
    if not keeps(known, done, service):
        return None
    text = "already running, and ours"
    if found:
        text += f"; kept with other values than the file has: {_short(found)}"
    elif _then(known, done, service) is None:
        text += "; what it was started with is not known"
    proved = text == "already running, and ours"
    look = done.get("look", service.node)
    if look is not None and (again := placed(known).again(look.text)):
        text += f"; {again}"
    return Check(name, True, text, _WANTED, node, warning=not proved)


def written(known: Known, done: Results, services: Sequence[Service]) -> list[Check]:
    """A warning for each systemd service that starts other values at the next boot than the file has, or that
    does not run what runs now: a walk that starts it anew ends the service, which stays enabled."""
    checks = []
    for service in services:
        look, launch = look_of(done, service.node), done.get("launch", service.node)
        if look.written is None:
            continue
        found = spec.differences(look.written, placed(known).spec(service))
        said = [f"at the next boot the systemd service starts other values: {_short(found)}"] if found else []
        if launch.ok if launch is not None else look.leader and not look.service:
            said.append(
                "started by a walk: the systemd service does not run now, and nothing starts this again "
                "when it ends"
            )
        if said:
            hint = (
                "`milepost enable` writes the services again and starts them; `milepost disable` removes them"
            )
            wanted = "the service runs, with the values of the cluster file"
            checks.append(
                Check(WRITTEN, True, "; ".join(said), wanted, service.node.name, hint, warning=True)
            )
    return checks


def kept_by(done: Results, services: Sequence[Service]) -> dict[str, dict[str, str]]:
    """The fact of what systemd runs, by node, where it runs all of them and nothing was started anew in its
    place: nobody has to make services then."""
    found = {service.node.name: look_of(done, service.node).service for service in services}
    return {KEPT_BY: found} if all(found.values()) and not done.has("launch") else {}


def _short(found: Sequence[str]) -> str:
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more
