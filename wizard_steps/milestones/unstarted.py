"""Why a start of Ray failed: its last words, the disks of a host, and what became of a container."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wizard_steps.engine.step import Known
from wizard_steps.milestones.common import placed
from wizard_steps.model import Cmd, Node, Result, Results, Round
from wizard_steps.node.place import ALIVE, Service

#: Below this many MiB a file system counts as full. Ray only says that its node timed out.
FULL = 64
SPACE = Cmd(
    key="space",
    text='df -Pk /tmp "$HOME" /dev/shm 2>/dev/null\nexit 0\n',
    quiet=True,
    timeout=20,
    show="df -k /tmp ~ /dev/shm",
)


def ask(known: Known, done: Results, failed: Sequence[Service]) -> Round | None:
    """Looks at the containers that failed; on hosts, measures the disks."""
    if not failed or done.has(SPACE.key) or done.has(ALIVE):
        return None
    place = placed(known)
    return Round(work=tuple((s.node, place.look(s, ALIVE) if place.contained else SPACE) for s in failed))


def gone(known: Known, done: Results, node: Node) -> str:
    """What became of the container of a start that failed, where it was looked at."""
    result = done.get(ALIVE, node)
    return placed(known).gone(node, result.text) if result is not None and result.ok else ""


def last_words(result: Result) -> str:
    """The last line that names an error; frames of a traceback and blank lines name none."""
    lines = [line.strip() for line in result.lines if line.strip()]
    named = re.compile(r"[\w.]*(?:Error|Exception)\b.*: |.*: (?:command )?not found$")
    errors = [number for number, line in enumerate(lines) if named.match(line)]
    if not errors:
        return lines[-1] if lines else "no output"
    last = lines[errors[-1]]
    # Ray's words about two versions go on in the lines below.
    return " ".join([last, *lines[errors[-1] + 1 :][:5]]) if last.endswith(":") else last


def full_disk(done: Results, node: Node) -> str:
    """Words for a file system of the node that has no room left, or nothing."""
    space = done.get(SPACE.key, node)
    for line in space.lines if space else []:
        words = line.split()
        if len(words) >= 6 and words[3].isdigit() and int(words[3]) < FULL * 1024:
            room = f"{int(words[3]) // 1024} MiB"
            return (
                f"No space left on device: {words[5]} has {room} free. Ray keeps its session in /tmp/ray, "
                "its objects in /dev/shm; free some, or move it (--temp-dir in ray.worker_flags, head_flags)"
            )
    return ""
