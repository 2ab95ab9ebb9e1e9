"""What differs from node to node: environment, the GPUs in use, flags of `ray start`. Pure.

``chosen`` is the choice of the nvidia-smi gate in the words of CUDA_VISIBLE_DEVICES; empty: all are used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from wizard_steps.cluster.values import Cluster
from wizard_steps.model import Node

#: CUDA's own choice of GPUs: indices, or UUIDs as `nvidia-smi -L` prints them.
VISIBLE = "CUDA_VISIBLE_DEVICES"
#: CUDA counts the fastest GPU first unless it is told to count as nvidia-smi does.
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def environment(cluster: Cluster, node: Node) -> dict[str, str]:
    """The cluster file's env for one node: what its own table says wins over what all get."""
    return {**cluster.env, **cluster.entry(node).env}


def outward(cluster: Cluster, node: Node) -> dict[str, str]:
    """The same for what brings packages, an image or a model from outside: with the proxy of [install]. What
    serves never has it: gRPC would take a proxy for the way to other nodes too."""
    proxy = cluster.install.proxy
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy") if proxy else ()
    return {**environment(cluster, node), **dict.fromkeys(names, proxy)}


def visible(cluster: Cluster, node: Node, chosen: str = "") -> str:
    """CUDA_VISIBLE_DEVICES of the node's processes: the file's, else the chosen GPUs; empty: all of them."""
    return environment(cluster, node).get(VISIBLE, "") or chosen


def settings(cluster: Cluster, node: Node, chosen: str = "") -> dict[str, str]:
    """``environment`` and, where only some of the GPUs are used, which."""
    own = environment(cluster, node)
    devices = own.get(VISIBLE, "") or chosen
    return {**ORDER, **own, VISIBLE: devices} if devices else own


def ray_flags(cluster: Cluster, node: Node, chosen: str = "") -> list[str]:
    """What `ray start` gets on this node beside the flags that all get. Ray itself would count every GPU."""
    own = cluster.entry(node).ray_flags
    shared = cluster.ray.head_flags if node.role == "head" else cluster.ray.worker_flags
    told = any(flag.startswith("--num-gpus") for flag in (*shared, *own))
    some = not node.gpus or bool(visible(cluster, node, chosen))
    return [*([f"--num-gpus={node.gpus}"] if some and not told else []), *own]


def named(devices: str) -> list[str]:
    """The single devices of a CUDA_VISIBLE_DEVICES."""
    return [word.strip() for word in devices.split(",") if word.strip()]


def places(devices: str, uuids: Sequence[str]) -> list[int]:
    """Places in ``uuids`` (one a GPU, in the order of nvidia-smi) of the GPUs in use; all when none is named.

    Names that fit no GPU are left out.
    """
    words = named(devices)
    if not words:
        return list(range(len(uuids)))
    found: list[int] = []
    for word in words:
        if re.fullmatch(r"[0-9]{1,4}", word):
            found += [int(word)] if int(word) < len(uuids) else []
        else:
            found += [place for place, uuid in enumerate(uuids) if uuid and uuid.startswith(word)][:1]
    return list(dict.fromkeys(found))
