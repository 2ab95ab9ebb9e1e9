"""What a pinned vLLM build needs from a node.

From the metadata of the wheels themselves: vllm 0.33.0 requires torch==2.14.0 and Python >=3.11,<3.15;
torch 2.14.0 requires cuda-toolkit==13.0.3 and nvidia-nccl-cu13==2.30.7. NVIDIA's CUDA 13.0 release notes ask
for driver 580.65.06 or newer on Linux; CUDA 13 compiles for compute capability 7.5 and newer, which vLLM's
installation page names too.
"""

from __future__ import annotations

import re

from msgspec import Struct


class Needs(Struct, frozen=True):
    """Lowest driver, CUDA runtime it must serve, compute capability, and the Python range [low, high)."""

    driver: str
    cuda: str
    compute_cap: str
    python_low: str
    python_high: str
    torch: str
    nccl: str


_KNOWN = {"0.33": Needs("580.65.06", "13.0", "7.5", "3.11", "3.15", "2.14.0", "2.30.7")}


def needs(vllm: str) -> Needs | None:
    """For a version such as ``0.33.0``; None when this release is not known here."""
    return _KNOWN.get(".".join(vllm.split(".")[:2]))


def version(text: str) -> tuple[int, ...]:
    """``580.65.06`` as numbers, to compare; what follows ``+`` or a letter is left out."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+a-zA-Z]", text, maxsplit=1)[0]))


def older(found: str, wanted: str) -> bool:
    """True when ``found`` is lower than ``wanted``, compared number by number."""
    return bool(found) and version(found) < version(wanted)
