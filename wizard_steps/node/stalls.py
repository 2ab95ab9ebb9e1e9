"""What a node printed of its ranks when they made no progress: see scripts/all_reduce.py and stall.py."""

from __future__ import annotations

import re

from msgspec import Struct

from wizard_steps.node.lines import number, plain

_STAGE = re.compile(r"(rank \d{1,7}): at (.{1,60}) for (\d{1,7}) s$")
_STATE = re.compile(r"process (rank \d{1,7}|[\w:.-]{1,40}): (\d{1,10}) (.{1,60})$")
_STACK = re.compile(r"stack (rank \d{1,7}|[\w:.-]{1,40}): (.{1,200})$")
_LAST = re.compile(r"last of (rank \d{1,7}): (.{1,200})")
#: Lines that are read, and stages from the first to the last.
_MOST = 4000
_STAGES = ("import torch", "take GPU", "meet the other ranks", "all_reduce")
#: States of a process that does not go on by itself.
_GONE = ("is stopped", "is gone", "has ended")


class Stall(Struct, frozen=True):
    """One rank at the time when its node looked: ``seconds`` in ``stage``, and what its process did.

    ``name``: ``rank 1``, or what a process of vLLM calls itself.
    """

    name: str
    stage: str = ""
    seconds: int = 0
    pid: int = 0
    state: str = ""
    frame: str = ""
    last: str = ""

    @property
    def gone(self) -> bool:
        return self.state.startswith(_GONE)

    @property
    def far(self) -> int:
        """How many stages it has behind it."""
        return next((i for i, name in enumerate(_STAGES) if self.stage.startswith(name)), 0)


def read(text: str) -> list[Stall]:
    """By name; what was printed last of a rank counts."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines()[:_MOST]:
        for pattern, names in (
            (_STAGE, ("stage", "seconds")),
            (_STATE, ("pid", "state")),
            (_STACK, ("frame",)),
            (_LAST, ("last",)),
        ):
            if row := pattern.match(line.strip()):
                one = found.setdefault(row[1], {})
                values = dict(zip(names, map(plain, row.groups()[1:]), strict=True))
                # The innermost frame comes first.
                found[row[1]] = {**one, **values} if pattern is not _STACK else {**values, **one}
    return [
        Stall(
            name,
            one.get("stage", ""),
            number(one.get("seconds", "")),
            number(one.get("pid", "")),
            one.get("state", ""),
            one.get("frame", ""),
            one.get("last", ""),
        )
        for name, one in found.items()
    ]
