"""What the nodes are that a kit is for: given by a person, or asked of each node. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from wizard_steps.errors import MilepostError
from wizard_steps.facts.needs import needs, older
from wizard_steps.facts.node import NodeAnswer
from wizard_steps.node.kit import target_of

#: The oldest glibc that manylinux tags name: 2.5 for x86_64, 2.17 for others.
_OLDEST = {"x86_64": 5, "i686": 5}


class PackTarget(Struct, frozen=True):
    """What the nodes are: Python "3.12", machine "x86_64", glibc "2.35"."""

    python: str
    machine: str
    glibc: str

    @property
    def platforms(self) -> list[str]:
        """The platform tags that fit, the best first."""
        newest, oldest = int(self.glibc.partition(".")[2]), _OLDEST.get(self.machine, 17)
        old = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        found = []
        for minor in range(newest, oldest - 1, -1):
            found.append(f"manylinux_2_{minor}_{self.machine}")
            found += [f"{old[minor]}_{self.machine}"] if minor in old else []
        return [*found, f"linux_{self.machine}"]


def of_nodes(answers: Mapping[str, NodeAnswer], contained: bool) -> PackTarget:
    """By what ``kit.kind`` printed on each node. ``contained``: an image asks for the machine alone.

    Raises MilepostError where a node did not say it, or where one kit cannot be for all of them.
    """
    for name, answer in answers.items():
        if answer.problem:
            given = "--machine" if contained else "--python, --machine and --glibc"
            raise MilepostError(
                f"{name} cannot be asked what it is: {answer.problem}. Give {given} as the nodes have them"
            )
    seen = {name: target_of(answer.text) for name, answer in answers.items()}
    machine = _same("machine", {name: one.machine for name, one in seen.items()})
    if contained:
        return PackTarget("", machine, "")
    python = _same("Python", {name: one.python for name, one in seen.items()})
    glibcs = {name: one.glibc for name, one in seen.items()}
    if bare := next((name for name, glibc in glibcs.items() if not glibc), ""):
        raise MilepostError(f"{bare}: no glibc there: vLLM's wheels need it, so take the path docker for it")
    oldest, *others = glibcs.values()
    for glibc in others:
        oldest = glibc if older(glibc, oldest) else oldest
    return PackTarget(python, machine, oldest)


def check(target: PackTarget, vllm: str, problem: Callable[[str], Exception]) -> None:
    """Raises what ``problem`` makes of the words where this vLLM has no wheels for such nodes."""
    known = needs(vllm)
    if known is not None and target.python and not known.takes_python(target.python):
        raise problem(f"vLLM {vllm} takes Python {known.python_span}; the nodes have {target.python}")


def _same(what: str, values: Mapping[str, str]) -> str:
    """The value of all nodes."""
    if missing := next((name for name, value in values.items() if not value), ""):
        raise MilepostError(f"{missing}: did not say its {what}: is python3 there?")
    if len(set(values.values())) > 1:
        each = ", ".join(f"{name} {value}" for name, value in values.items())
        raise MilepostError(
            f"the nodes differ in their {what}: {each}. One kit is for one kind, and so is one cluster"
        )
    return next(iter(values.values()))
