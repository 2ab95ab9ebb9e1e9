"""Reads what a look at a container of ours printed (see container.py): its state, and who is beside it."""

from __future__ import annotations

import re
import shlex

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Check, Node, counted
from wizard_steps.node.docker import container, docker
from wizard_steps.node.lines import fields, number
from wizard_steps.node.spec import Spec

#: What scripts/oom.sh prints: how many processes, and the container's own limit in bytes, 0 for none.
_KILLED = r": (\d{1,9}); limit: (\d{1,18})$"
_OOM_KILLS, _FOR_MEMORY = f"^oom-kills{_KILLED}", f"^ended-for-memory{_KILLED}"
#: What a look prints of a container that holds the port.
LISTENS = ", which listens on port "


def obstacle(cluster: Cluster, node: Node, look: str) -> Check | None:
    """Why no container may be started, by what ``look`` printed."""
    name = container(cluster, node)
    if "container: not ours" in look.splitlines():
        hint = f"milepost did not start it: rename or remove it, or choose another `name` than {name!r} gives"
        return Check("container", False, f"{name} exists", "a free name", node.name, hint)
    if "container: other settings" in look.splitlines():
        found = f"{name} runs with other settings (image, environment or flags)"
        hint = "`milepost down` ends it; or put the settings back"
        return Check("container", False, found, "the settings of the cluster file", node.name, hint)
    found, back = _away(cluster, node, fields(look).get("container", ""))
    if found:
        return Check("container", False, found, "running", node.name, f"{back}; or `milepost down` ends it")
    return None


def _away(cluster: Cluster, node: Node, state: str) -> tuple[str, str]:
    """What somebody did to a container of ours that is alive, and how to take it back; two "" for others."""
    name, it = container(cluster, node), docker(cluster)
    if state == "paused":
        return (
            f"container {name} is paused: somebody ran `docker pause`",
            f"`{it} unpause {name}` continues it",
        )
    if state.startswith("renamed to "):
        now = shlex.quote(state.removeprefix("renamed to "))
        return (
            f"container {name} was renamed to {now}, and runs",
            f"`{it} rename {now} {name}` takes that back",
        )
    return "", ""


def is_gone(look: str) -> bool:
    """Whether there is no container of ours any more."""
    return fields(look).get("container", "") in ("gone", "none")


def has_ended(look: str) -> bool:
    """Whether a container of ours is there, and it or its Ray does not run."""
    return fields(look).get("container", "").startswith(("ended", "restarted", "never ran", "runs without"))


def ended(cluster: Cluster, node: Node, look: str) -> str:
    """What became of a container of ours that does not run, by what ``look`` printed; "" where it runs."""
    found, name = fields(look), container(cluster, node)
    state = found.get("container", "")
    if is_gone(look):
        return f"container {name} is gone: somebody removed it"
    if state == "never ran":
        return f"container {name} was made and has never run: its start failed"
    if state == "runs without Ray":
        return f"Ray in container {name} has ended: somebody ran `ray stop` in it, or killed its raylet"
    if not has_ended(look):
        return ", ".join(filter(None, _away(cluster, node, state)))
    code = state.rpartition(" ")[2]
    when = f" at {found['ended'].replace('_', ' ')[:19]}" if found.get("ended") else ""
    by_kernel = re.search(_FOR_MEMORY, look, re.MULTILINE)
    if by_kernel or found.get("oom-killed") == "true":
        how = "OOMKilled, " if found.get("oom-killed") == "true" else ""
        limit = f", {_limit(by_kernel[2])}" if by_kernel else ""
        return f"container {name} was killed by the kernel for memory ({how}exit code {code}{limit}){when}"
    why = {
        "137": "killed (SIGKILL): by the kernel for memory, by `docker kill` or by a stop that took too long",
        "143": "stopped by somebody (SIGTERM)",
        "0": "ended by itself or stopped by somebody",
    }.get(code, "its first process failed")
    # Ray drains its node and leaves with 1.
    if code == "1" and re.search(r"^log: .*\breceived SIGTERM\b", look, re.MULTILINE):
        why = "stopped by somebody (SIGTERM)"
    why += "; the engine starts it again and again" if state.startswith("restarted") else ""
    return f"container {name} has ended with exit code {code}{when}: {why}"


def oom_kills(cluster: Cluster, node: Node, look: str) -> Check | None:
    """What the kernel killed for memory in a container of ours that runs; None where it killed nothing."""
    found = re.search(_OOM_KILLS, look, re.MULTILINE)
    if found is None:
        return None
    return Check(
        "memory",
        False,
        f"the kernel has killed {counted(int(found[1]), 'process')} in container {container(cluster, node)} "
        f"for memory since it was started ({_limit(found[2])})",
        "none",
        node.name,
        "`sudo dmesg -T | grep -i 'killed process'` names them. "
        + ("Raise or leave out its --memory" if int(found[2]) else "The machine itself had no memory left"),
    )


def killed_before(look: str) -> int:
    """What the kernel had killed in a container that runs, by a look before the work."""
    return number(fields(look).get("killed-before", ""))


def _limit(memory: str) -> str:
    return f"limit {int(memory) / 2**30:.2f} GiB" if int(memory) else "it has no limit of its own"


def started_again(look: str) -> str:
    """That a container which runs is not in its first life, and since when; "" where it is."""
    found = re.search(r"^again: (\S{10,60}), made at (\S{10,60})$", look, re.MULTILINE)
    if found is None:
        return ""
    at, made = (text.replace("_", " ")[:19].replace("T", " ") for text in found.groups())
    return f"started again at {at}, made at {made}: `docker restart`, its restart policy, or a reboot"


def with_image(spec: Spec | None, look: str) -> Spec | None:
    """The spec of a running container with the image that it really runs, whatever its tag is now."""
    image = fields(look).get("image-id", "").removeprefix("sha256:")
    return replace(spec, image=image) if spec is not None else None


def neighbours(look: str) -> list[str]:
    """Other containers that use the host's ports."""
    return [line.removeprefix("beside: ") for line in look.splitlines() if line.startswith("beside: ")]


def listener(look: str) -> str:
    """The container that holds the port; "" where none does, or where that could not be seen."""
    return next((name.partition(LISTENS)[0] for name in neighbours(look) if LISTENS in name), "")
