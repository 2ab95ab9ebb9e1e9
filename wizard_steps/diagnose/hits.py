"""What a scan found on one line, and what later lines of the same text say of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.diagnose.compiled import Compiled, Veto
from wizard_steps.diagnose.lines import Stamp, parse
from wizard_steps.diagnose.whereabouts import Where

#: So many lines at the end of a text without a word of trouble show that a program went on.
CALM = 5
#: What a line says that tells of trouble, at whatever level.
TROUBLE = re.compile(
    r"error|exception|fatal|fail|refused|rejected|denied|abort|crash|died|dead|killed|timed? ?out"
    r"|could not|couldn't|cannot|can't|unable|traceback|exit(?:ed)? (?:code|status)|invalid|no such"
    r"|not found|missing|not ready|  File \"",
    re.IGNORECASE,
)

#: What the last lines say of all that was run.
SUCCESS = re.compile(
    r"\bsucceeded\b|successfully (?:completed|finished|deployed|started|built)"
    r"|(?:completed|finished|ended|exited) successfully"
    r"|exit(?:ed)?(?: with)? (?:code|status):? 0\b|\bexitcode=0\b",
    re.IGNORECASE,
)
#: Effects that are told with no more confidence than this have many causes, harmless ones too; so have those
#: that are only warned of.
_UNSURE = 0.7


class Hit(Struct, frozen=True):
    """A rule matched a line. ``number`` counts from 1; ``where`` is what the text says of its node."""

    rule: Compiled
    number: int
    text: str
    where: Where
    stamp: Stamp | None
    groups: dict[str, str]
    order: int
    kind: str
    #: The expression that matched.
    pattern: str = ""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def takes(veto: Veto, hit: Hit, number: int, node: str) -> bool:
    """Whether a line of ``node`` takes back what was found; what it says of one node holds for that one."""
    if hit.rule.rule.id not in veto.rules:
        return False
    if veto.within is None:
        return True
    return number - hit.number <= veto.within and (
        not node or not hit.where.node or node in (hit.where.node, hit.where.printer)
    )


def outlived(hit: Hit) -> Hit | None:
    """A hit after which the server came up all the same: a remark at most."""
    if hit.rule.rule.lasting or (hit.kind == "hint" and hit.rule.rule.kind == "cause"):
        return hit
    return replace(hit, kind="hint") if hit.kind == "cause" else None


def calmed(hits: Sequence[Hit], tail: Sequence[str], first: int) -> list[Hit]:
    """What no rule knows well is a remark where the text goes on and ends as usual, or in a success.

    ``tail`` are the last lines of the text, the first of them its line number ``first``.
    """
    lines = [(number, line) for number, line in enumerate(tail, first) if line.strip()]
    end = _calm_end(lines)
    return [replace(hit, kind="hint") if _vague(hit) and hit.number < end else hit for hit in hits]


def _calm_end(lines: Sequence[tuple[int, str]]) -> int:
    """The line from which on all is well; 0 when it is not."""
    last = lines[-CALM:]
    trouble = max((number for number, line in lines if TROUBLE.search(line)), default=0)
    well = max((number for number, line in last if SUCCESS.search(line)), default=0)
    if well >= trouble > 0:
        return well
    return last[0][0] if len(last) == CALM and trouble < last[0][0] else 0


def _vague(hit: Hit) -> bool:
    rule = hit.rule.rule
    if hit.kind in ("guess", "unknown"):
        return hit.rule.raised is None
    if hit.kind == "effect" and rule.confidence <= _UNSURE:
        return True
    return hit.kind in ("cause", "effect") and not rule.lasting and parse(hit.text).level == "warning"
