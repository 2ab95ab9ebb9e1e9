"""The node of one matched line: who is meant, who printed it, and what may tell it later."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.diagnose import nodes
from wizard_steps.diagnose.around import Around
from wizard_steps.diagnose.lines import Line
from wizard_steps.diagnose.rule_file import Rule


class Where(Struct, frozen=True):
    """``node`` is what the line says for certain; ``near`` what its surroundings say; ``printer`` who printed
    the line, where its cause sits elsewhere; ``whose`` the rank or id of Ray whose node a roster may know.
    ``loose`` says that no program is known to have printed the line: prose, or a part of a longer message."""

    node: str = ""
    near: str = ""
    printer: str = ""
    whose: str = ""
    loose: bool = False


def by_itself(rule: Rule, text: str, line: Line, own: dict[str, str], gathered: dict[str, str]) -> Where:
    """What the line says without its surroundings. Takes the group ``node`` out of ``own`` and ``gathered``:
    what the pattern, or one of the expressions around it, matched."""
    named = own.pop("node", "") or nodes.subject(line.message)
    gathered_node = gathered.pop("node", "")
    other = nodes.elsewhere(own.get(rule.at, "") or gathered.get(rule.at, "")) if rule.at else ""
    if other and not (line.node and nodes.is_local(other)):
        return Where(other, printer=line.node if line.node != other else "")
    if rule.here:
        return Where(named or line.node)
    if rule.family == "ssh" and (called := nodes.said(line.message)):
        # The machine that was called, not the one that called it.
        return Where(near=called, printer=line.node if line.node != called else "")
    if node := named or line.node or gathered_node:
        return Where(node, whose="" if named else nodes.named_id(line.message))
    # What Ray's own parts say is told by whichever of them has a console: also of other machines.
    loose = line.message == text.lstrip() or text.lstrip().startswith(("(raylet) ", "(autoscaler"))
    return Where(whose=nodes.whose(text.lstrip()), loose=loose)


def with_surroundings(where: Where, rule: Rule, line: Line, own: dict[str, str], around: Around) -> Where:
    """The same with what a heading, a prompt or a launcher's line around it says, where that is missing."""
    if rule.here:
        return where if where.node else Where(near=around.caller())
    if rule.family == "ssh" and not where.near:
        called = around.called_node() or around.said_node()
        return (
            replace(where, node="", near=called, printer=where.node if where.node != called else "")
            if called
            else where
        )
    if where.node:
        if not rule.at or where.printer or line.node or where.node != nodes.elsewhere(own.get(rule.at, "")):
            return where
        printer = around.said_node()
        if printer and nodes.is_local(where.node):
            return Where(printer, whose=where.node)
        return replace(where, printer=printer if printer != where.node else "")
    peer, said = nodes.elsewhere(own.get("peer", "")), nodes.said(line.message)
    first = "" if nodes.NOT_HERE.search(line.message) else said
    return replace(where, near=where.near or first or around.said_node(where.loose) or said or peer)
