"""The debugging switches: NCCL says what it does, from the next start on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wizard_steps.cluster.file import Cluster

SWITCHES = {"NCCL_DEBUG": "INFO"}
INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")


def debugging(cluster: Cluster) -> bool:
    """Whether the switches are on."""
    return all(cluster.env.get(name) == value for name, value in SWITCHES.items())


def toggling(cluster: Cluster) -> dict[str, str]:
    """The fields of the cluster file that turn the switches over; an empty value takes one away."""
    on = not debugging(cluster)
    return {f"env.{name}": value if on else "" for name, value in SWITCHES.items()}


def explained(cluster: Cluster, facts: Mapping[str, Any]) -> str:
    """What will be set at the next start of Ray or vLLM, and where the interfaces come from."""
    if not debugging(cluster):
        return "Debugging is off: from the next start of Ray or vLLM on, NCCL_DEBUG is not set."
    own = [f"{name}={cluster.env[name]}" for name in INTERFACES if name in cluster.env]
    chosen = {str(node): str(name) for node, name in facts.get("interfaces", {}).items() if name}
    lines = ["From the next start of Ray or vLLM on:", "NCCL_DEBUG=INFO"]
    if own:
        lines += own
    elif chosen and not cluster.simulated:
        names = sorted(set(chosen.values()))
        value = names[0] if len(names) == 1 else ", ".join(f"{v} on {n}" for n, v in chosen.items())
        lines += [f"{name}={value}" for name in INTERFACES]
    else:
        lines.append(f"{' and '.join(INTERFACES)}: not set; the IP step or the env table sets them")
    return "\n".join(lines)
