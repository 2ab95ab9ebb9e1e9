"""Unlike facts across nodes: often THE finding, even when each value alone is fine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from wizard_steps.facts.finding import Finding, Verdict
from wizard_steps.facts.host import Home
from wizard_steps.node.lines import plain

#: Fact -> (verdict when nodes differ, what that leads to).
UNLIKE: dict[str, tuple[Verdict, str]] = {
    "Python": ("fail", "Ray refuses nodes whose Python differs, even in the patch version"),
    "ray": ("fail", "Ray refuses to join: version mismatch"),
    "vllm": ("fail", "workers and head must run the same vLLM"),
    "torch": ("fail", "mixed torch builds fail or hang in collectives"),
    "NCCL": ("fail", "NCCL versions must agree"),
    "openai": ("warn", "only the probe uses it"),
    "driver": ("fail", "mixed drivers are a known cause of NCCL failures"),
    "CUDA": ("warn", "mixed drivers are a known cause of NCCL failures"),
    "GPUs": ("warn", "the smallest and slowest GPU sets the pace for all"),
    "GPU links": ("warn", "the node with the slowest links sets the pace"),
    "RDMA": ("warn", "NCCL uses RDMA only where both ends have it"),
    "MTU": ("warn", "large packets can get lost between them: normal pings pass, NCCL and Ray hang"),
    "system": ("warn", "usually harmless, but worth knowing if only one node fails"),
    "model": ("fail", "every node must load the same files"),
    "Ray token": ("fail", "Ray refuses workers whose token differs from the head's (InvalidAuthToken)"),
    "docker": ("warn", "all nodes should run the same image"),
}

#: What to do about it, where that is not plain from the sentence.
HINTS = {
    "Ray token": (
        'copy the head\'s ~/.ray/auth_token to the other nodes (mode 0600), or set ray.auth = "token" in '
        "the cluster file: milepost then creates one"
    ),
    "Python": "make the environment with the same Python on every node",
    "MTU": "set the same MTU on all nodes and switches; `ping -M do -s 8972` to another node tests 9000",
    "model": "download or copy the same revision to every node",
}

#: A fact that one node lacks is not unlike; except for these, where having and not having collide.
ABSENT_COUNTS = frozenset({"Ray token"})

#: Facts whose ``found`` says what is wrong, not a value, when they are not well.
COMPARED: dict[str, tuple[Verdict, ...]] = {"GPUs": ("ok", "warn"), "model": ("ok",), "docker": ("ok",)}


def unlike(findings: Sequence[Finding], head: str) -> Iterator[Finding]:
    """One finding for each fact of UNLIKE that differs, naming the odd nodes out."""
    values: dict[str, dict[str, str]] = {}
    for one in findings:
        if one.fact in UNLIKE and one.verdict != "unknown" and _counts(one):
            values.setdefault(one.fact, {})[one.node] = _value(one)
    for fact, by_node in values.items():
        if len(set(by_node.values())) > 1:
            verdict, effect = UNLIKE[fact]
            yield Finding(fact, "", verdict, _sentence(fact, by_node, head), effect, HINTS.get(fact, ""))


def same_machine(boot_ids: Mapping[str, str]) -> Iterator[Finding]:
    """Two names for one kernel: containers or namespaces, or the same host written twice."""
    owners: dict[str, list[str]] = {}
    for node, boot_id in boot_ids.items():
        if boot_id:
            owners.setdefault(boot_id, []).append(node)
    for nodes in owners.values():
        if len(nodes) > 1:
            found = f"{_names(nodes)} run on one kernel"
            message = "one machine under several names (fine only for containers and labs)"
            yield Finding("machines", "", "warn", found, message)


def shared_homes(homes: Mapping[str, Home], boot_ids: Mapping[str, str]) -> Iterator[Finding]:
    """One home of several nodes. It is no fault: milepost keeps a folder for each node. A person should know
    that the environment and the hub's cache there are one for all of them."""
    owners: dict[tuple[str, ...], list[str]] = {}
    for node, home in homes.items():
        if home.inode:
            # Two tmpfs of one machine have one source and inode; a server's folder has a device per client.
            machine = () if home.remote else (boot_ids.get(node, node), str(home.device or node))
            owners.setdefault((home.source, home.kind, str(home.inode), *machine), []).append(node)
    for nodes in owners.values():
        if len(nodes) > 1:
            home = homes[nodes[0]]
            where = f"{plain(home.source)} ({plain(home.kind)})"
            said = f"{_names(nodes)} have one home folder, {where}: what is put there is on all of them"
            yield Finding("home", "", "ok", f"{said}; milepost keeps a folder for each node")


def _value(one: Finding) -> str:
    """What is compared: of GPUs their kind and memory. How many a node has is the cluster file's business."""
    return one.found.partition(" x ")[2].partition(";")[0] or one.found if one.fact == "GPUs" else one.found


def _counts(one: Finding) -> bool:
    if one.verdict not in COMPARED.get(one.fact, ("ok", "warn", "fail")):
        return False
    if one.fact in ABSENT_COUNTS:
        return True
    return one.found not in ("absent", "not downloaded yet", "") and not one.found.startswith("none,")


def _sentence(fact: str, by_node: Mapping[str, str], head: str) -> str:
    """``node c has driver 570.86, the others 580.95``: the most frequent value rules; ties go to the head."""
    counts = Counter(by_node.values())
    usual = max(counts, key=lambda value: (counts[value], value == by_node.get(head)))
    groups: dict[str, list[str]] = {}
    for node, value in by_node.items():
        if value != usual:
            groups.setdefault(value, []).append(node)
    rest = [node for node, value in by_node.items() if value == usual]
    odd = "; ".join(
        f"{_names(nodes)} {'has' if len(nodes) == 1 else 'have'} {_called(fact, value)}"
        for value, nodes in groups.items()
    )
    others = f"the others {usual}" if len(rest) > 1 else f"{rest[0]} has {usual}"
    return f"{odd}; {others}"


def _called(fact: str, value: str) -> str:
    return f"{fact} {value}" if re.fullmatch(r"\d+(\.\w+)+(\+\w+)?", value) else value


def _names(nodes: Sequence[str]) -> str:
    shown = ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")
    return f"node {shown}" if len(nodes) == 1 else f"nodes {shown}"
