"""The node of one matched line: who is meant, who printed it, and what may tell it later."""

from __future__ import annotations

from msgspec import Struct

from wizard_steps.diagnose import nodes
from wizard_steps.diagnose.around import Around
from wizard_steps.diagnose.lines import Line
from wizard_steps.diagnose.rules import Rule


class Where(Struct, frozen=True):
    """``node`` is what the line says for certain; ``near`` what its surroundings say; ``printer`` who printed
    the line, where its cause sits elsewhere; ``whose`` the rank or id of Ray whose node a roster may know.
    ``loose`` says that no program is known to have printed the line: prose, or a part of a longer message."""

    node: str = ""
    near: str = ""
    printer: str = ""
    whose: str = ""
    loose: bool = False


def where(
    rule: Rule, text: str, line: Line, own: dict[str, str], gathered: dict[str, str], around: Around
) -> Where:
    """Takes the group ``node`` out of ``own`` and ``gathered``: what the pattern, or one of the expressions
    around it, matched."""
    named = own.pop("node", "") or nodes.subject(line.message)
    gathered_node = gathered.pop("node", "")
    if rule.at and (other := nodes.elsewhere(own.get(rule.at, "") or gathered.get(rule.at, ""))):
        printer = line.node or around.said_node()
        if printer and nodes.is_local(other):
            return Where(printer, whose=other)
        return Where(other, printer=printer if printer != other else "")
    if rule.family == "ssh" and (called := nodes.said(line.message) or around.said_node()):
        # The machine that was called, not the one that called it.
        return Where(near=called, printer=line.node if line.node != called else "")
    node = named or line.node or gathered_node
    if node:
        return Where(node, whose="" if named else nodes.named_id(line.message))
    peer = nodes.elsewhere(own.get("peer", ""))
    near = nodes.said(line.message) or around.said_node() or peer
    return Where(near=near, whose=nodes.whose(line.message), loose=line.message == text.lstrip())
