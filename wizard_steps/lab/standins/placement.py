"""The stand-in's real part in Ray: connect, and take TP x PP GPUs with the placement group vLLM makes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util import placement_group, placement_group_table, remove_placement_group

#: Seconds: vLLM's first wait (each next one is twice as long) and its limit.
FIRST_WAIT, LIMIT = 10, 1800


def bundles(world: int, ip: str) -> list[dict[str, float]]:
    """One GPU each; the first must be on the node that serves the API, which makes the address matter."""
    specs: list[dict[str, float]] = [{"GPU": 1.0} for _ in range(world)]
    specs[0][f"node:{ip}"] = 0.001
    return specs


def connect() -> None:
    """Join RAY_ADDRESS as a driver. Raises ConnectionError when there is no cluster.

    An address, and "auto" too, never starts a cluster of its own.
    """
    ray.init(address=os.environ.get("RAY_ADDRESS") or "auto", log_to_driver=False)


def place(world: int, log: Callable[..., None]) -> Any:
    """The ready placement group. Raises ValueError when the GPUs do not come free within LIMIT seconds."""
    log("No current placement group found. Creating a new placement group.")
    total: float = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
    if world > total:
        log(
            f"The number of required GPUs ({world}) exceeds the total number of available GPUs "
            f"({total:g}) in the cluster.",
            "WARNING",
        )
    ip = os.environ.get("VLLM_HOST_IP") or str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    specs = bundles(world, ip)
    group = placement_group(specs, strategy="PACK")
    try:
        _wait(group, specs, log)
    except BaseException:
        free(group)
        raise
    nodes = placement_group_table(group)["bundles_to_node_id"].values()
    spread = {node: list(nodes).count(node) for node in nodes}
    log(f"placement group ready: {world} GPUs on {len(spread)} nodes ({sorted(spread.values())})")
    return group


def _wait(group: Any, specs: list[dict[str, float]], log: Callable[..., None]) -> None:
    start, interval = time.monotonic(), FIRST_WAIT
    ready = group.ready()
    while time.monotonic() - start < LIMIT:
        done, _ = ray.wait([ready], timeout=interval)
        if done:
            return
        interval *= 2
        log(
            f"Waiting for creating a placement group of specs for {int(time.monotonic() - start)} seconds. "
            f"specs={specs}. Check `ray status` and `ray list nodes` to see if you have enough resources, "
            "and make sure the IP addresses used by ray cluster are the same as VLLM_HOST_IP environment "
            "variable specified in each node if you are running on a multi-node."
        )
    raise ValueError(f"Cannot provide a placement group of {specs} within {LIMIT} seconds. See `ray status`")


def reachable(group: Any) -> bool:
    """Whether every node of the group still answers: its raylet takes connections."""
    used = set(placement_group_table(group)["bundles_to_node_id"].values())
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["NodeID"] in used:
            with socket.socket() as probe:
                probe.settimeout(2)
                if probe.connect_ex((node["NodeManagerAddress"], node["NodeManagerPort"])) != 0:
                    return False
    return True


def intact(group: Any) -> bool:
    """Whether all GPUs of the group are still there."""
    try:
        return bool(placement_group_table(group).get("state") == "CREATED")
    except Exception as error:  # Ray raises several kinds when its head is gone; any of them means no.
        raise RuntimeError(f"EngineDeadError: Ray does not answer: {error}") from None


def free(group: Any) -> None:
    remove_placement_group(group)
    ray.shutdown()
