"""A plan as a shell script for one node: for a person who would rather type it than have it run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from wizard_steps.engine.step import STARTS
from wizard_steps.node.api_key import NAME as KEY
from wizard_steps.planning import Plan, PlannedCommand, PlannedMilestone

#: What stands for an address that the plan does not know, see planning.address.
_OPEN = "IP-OF-"
#: Nothing is started with a word in place of an address. It must not find itself, nor what is said above.
_GUARD = """\
if grep -v '^#' "$0" | grep -q 'IP-OF[-]'; then
  echo "$0: write each node's address for GPU traffic in place of IP-OF and its name first"
  exit 1
fi"""


def script(planned: Plan, node: str) -> str:
    """POSIX sh: what changes ``node``, in order; what only reads, as comments. It asks before each milestone
    that changes something, for the other nodes have to be as far."""
    body = [
        row
        for number, milestone in enumerate(planned.milestones, start=1)
        for row in _milestone(planned, node, milestone, f"{number}. {milestone.title}")
    ]
    lines = [
        "#!/bin/sh",
        f"# {planned.name}: what a walk would run on {node}. `milepost plan` made it and asked no machine.",
        "# Run it in a terminal on each node: it waits for Enter before a milestone that changes something.",
        "# Go milestone by milestone: each one on all nodes, the head first.",
        *(f"# assumed: {line}" for line in planned.assumed),
        "set -e",
        *([_GUARD] if any(_OPEN in row for row in body if not row.startswith("#")) else ()),
        "milestone() { printf '\\n==== %s\\nEnter, once all nodes are here: ' \"$1\"; read -r _; }",
    ]
    return "\n".join([*lines, *body]) + "\n"


def _milestone(planned: Plan, node: str, milestone: PlannedMilestone, title: str) -> list[str]:
    mine = [command for command in milestone.commands if command.node == node]
    if not mine:
        return []
    changes = any(command.changes for command in mine)
    # What the command here leaves running writes to this file, and not to milepost's own.
    log = f"milepost-{milestone.id}.log" if any(map(_detached, mine)) else ""
    by_hand = any(command.by_hand is not None for command in mine)
    lines = ["", f"milestone {shlex.quote(title)}" if changes else f"# ==== {title}"]
    lines += [f"# question: {_line(question)}" for question in milestone.questions]
    for command in mine:
        if command.follows and not by_hand:
            lines.append(f"# watch until it is ready: {f'tail -F {log}' if log else _line(command.typed)}")
        elif not command.follows:
            lines += _as_script(command, log, planned.keyed)
    return lines


def _detached(command: PlannedCommand) -> bool:
    """Whether it stays in the foreground: a container goes to the background by itself."""
    in_front = not command.typed.startswith("(") and " run -d " not in command.typed
    return command.key == STARTS and in_front


def _as_script(command: PlannedCommand, log: str, keyed: bool) -> Sequence[str]:
    typed, shown = command.typed.strip(), _line(command.typed)
    if not command.changes:
        return [f"# look: {shown}"]
    if command.by_hand is not None:
        return [f"# {command.changes}: {shown}", command.by_hand or "# nothing to do on this node"]
    if typed.startswith("("):
        return [f"# {command.changes}: {shown}", f"sh -c {shlex.quote(command.text.strip())} < /dev/null"]
    if _detached(command):
        return [f"# {command.changes}; it keeps running", *_started(typed, log, keyed)]
    return [f"# {command.changes}", typed]


def _started(typed: str, log: str, keyed: bool) -> Sequence[str]:
    """In the background. The API key comes from the environment, and enters a container on standard input."""
    plain = f"nohup env {typed} > {log} 2>&1 < /dev/null &"
    if not keyed or "vllm serve" not in typed:
        return [plain]
    wanted = f': "${{{KEY}:?export it first: without it the API would be open}}"; export {KEY}'
    inside = re.match(r"(?P<exec>.+? exec) (?P<name>\S+) (?P<words>.+)", typed, re.DOTALL)
    if inside is None:
        return [wanted, plain]
    read = f'IFS= read -r {KEY} && export {KEY} && exec "$@"'
    line = f"{inside['exec']} -i {inside['name']} sh -c {shlex.quote(read)} sh {inside['words']}"
    return [wanted, f"printf '%s\\n' \"${KEY}\" | nohup {line} > {log} 2>&1 &"]


def _line(text: str) -> str:
    return " ".join(text.split())
