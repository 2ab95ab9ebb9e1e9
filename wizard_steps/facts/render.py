"""A report as text of at most 76 columns, and as plain JSON values."""

from __future__ import annotations

import textwrap
from typing import Any

import msgspec

from wizard_steps.facts.finding import ORDER, Finding, Verdict
from wizard_steps.facts.judge import Report
from wizard_steps.model import counted

WIDTH = 76
_LABELS: dict[Verdict, str] = {"ok": "ok", "unknown": "?", "warn": "warn", "fail": "FAIL"}
_INDENT = " " * 20
#: Facts such as addresses differ on every node: so many values that are fine are shown.
SAME = 4


def as_text(report: Report) -> list[str]:
    """A row for each fact and value; nodes are named where they differ."""
    count = len(report.nodes)
    title = f"{counted(count, 'node')}: {_names(list(report.nodes))}"
    lines = ["SIMULATED lab, no real GPUs"] if report.simulated else []
    lines += [*textwrap.wrap(title, WIDTH, subsequent_indent="  "), ""]
    for fact in dict.fromkeys(one.fact for one in report.findings):
        lines += _fact([one for one in report.findings if one.fact == fact], count)
    return [*lines, "", *network_lines(report), *summary(report)]


def summary(report: Report) -> list[str]:
    """The verdict in a sentence, wrapped to the width of the report."""
    fails, warns, unknown = (len(report.of(verdict)) for verdict in ("fail", "warn", "unknown"))
    if not fails:
        text = f"Ready to start: nothing fails, {counted(warns, 'warning')}, {unknown} unknown."
    else:
        where: dict[str, list[str]] = {}
        for one in report.of("fail"):
            where.setdefault(one.fact, []).append(one.node or "nodes differ")
        names = "; ".join(f"{fact} ({_names(nodes)})" for fact, nodes in where.items())
        text = f"Not ready: {fails} fail, {warns} warn: {names}."
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def network_lines(report: Report) -> list[str]:
    """What the chosen or recommended network means on each node."""
    if not report.env:
        return []
    lines = ["For the GPU traffic each node gets:"]
    shown = list(report.env.items())
    for node, env in shown[:8]:
        lines += textwrap.wrap(
            f"{node}: {' '.join(f'{name}={value}' for name, value in env.items())}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    if len(shown) > 8:
        lines.append(f"  ... and {len(shown) - 8} more nodes (--json lists all)")
    return [*lines, ""]


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values, with its verdict."""
    data: dict[str, Any] = msgspec.to_builtins(report)
    return {"verdict": report.verdict, "passed": report.passed, **data}


def _fact(findings: list[Finding], count: int) -> list[str]:
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for one in findings:
        if one.node:
            groups.setdefault((one.verdict, one.found, one.message, one.hint), []).append(one)
    ordered = sorted(groups.values(), key=lambda group: -ORDER.index(group[0].verdict))
    lines: list[str] = []
    healthy = [group for group in ordered if group[0].verdict == "ok"]
    if len(healthy) > SAME:
        ordered = ordered[: len(ordered) - len(healthy) + SAME]
    for group in ordered:
        names = [one.node for one in group]
        lines += _row(group[0], "" if len(names) == count else _names(names))
    if len(healthy) > SAME:
        lines.append(f"{_INDENT}... and {len(healthy) - SAME} more values that are fine")
    for one in findings:
        if not one.node:
            lines += _row(one, "")
    return lines


def _row(one: Finding, names: str) -> list[str]:
    head = f"{_LABELS[one.verdict]:<5} {one.fact:<13} "
    text = f"{names}: {one.found}" if names else one.found
    lines = textwrap.wrap(text or "-", WIDTH - 20)
    rows = [head + lines[0], *(_INDENT + line for line in lines[1:])]
    for mark, extra in (("", one.message), ("-> ", one.hint)):
        if extra:
            rows += [_INDENT + line for line in textwrap.wrap(mark + extra, WIDTH - 20)]
    return rows


def _names(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
