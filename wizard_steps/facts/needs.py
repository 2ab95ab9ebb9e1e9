"""What each vLLM release since 0.6 needs from a node: its wheel on the Python package index, for NVIDIA.

torch, Python, Ray or not, CUDA and NCCL: vllm_needs.toml, which names its source. Driver: NVIDIA's minor
version compatibility (CUDA release notes): 525.60.13 runs programs of any CUDA 12, 580.65.06 any CUDA 13.
Compute capability: vLLM's installation page: 7.0, and 7.5 since CUDA 13, which compiles for nothing older.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from msgspec import Struct
from packaging.version import InvalidVersion, Version


class Needs(Struct, frozen=True):
    """Lowest driver, the CUDA it must serve, compute capability, the Python range [low, high), and whether
    the package requires Ray by itself."""

    driver: str
    cuda: str
    compute_cap: str
    python_low: str
    python_high: str
    torch: str
    nccl: str
    ray: bool = False

    def takes_python(self, version: str) -> bool:
        return not older(version, self.python_low) and older(version, self.python_high)

    @property
    def python_span(self) -> str:
        """For a reader."""
        return f"{self.python_low} or newer, below {self.python_high}"


#: Major CUDA -> lowest driver, what it has to serve, lowest compute capability.
_CUDA = {12: ("525.60.13", "12.0", "7.0"), 13: ("580.65.06", "13.0", "7.5")}
#: "Too new" where a release names no such Python.
_ANY = "4"


@lru_cache(maxsize=1)
def releases() -> Mapping[Version, Needs]:
    """Every release that was read."""
    data = tomllib.loads(Path(__file__).with_name("vllm_needs.toml").read_text(encoding="utf-8"))
    found = dict[Version, Needs]()
    for row in data["releases"]:
        torch, (low, high) = data["torch"][row["torch"]], row["python"]
        driver, serves, capability = _CUDA[major(torch["cuda"])]
        it = Needs(driver, serves, capability, low, high or _ANY, row["torch"], torch["nccl"], row["ray"])
        found |= {Version(name): it for name in row["versions"]}
    return found


def needs(vllm: str) -> Needs | None:
    """For a version such as ``0.33.0``; one that was not read is taken for the nearest of its minor version,
    an older one first. None when nothing is known of that."""
    it = version_of(vllm)
    near = [one for one in releases() if one.release[:2] == it.release[:2]]
    known = max((one for one in near if one <= it), default=min(near, default=None))
    return None if known is None else releases()[known]


def version_of(text: str) -> Version:
    """A version of whatever kind; what a node printed and nobody can read is lower than all."""
    try:
        return Version(text.strip())
    except InvalidVersion:
        return Version("0")


def major(text: str) -> int:
    """``13`` of ``13.0``; 0 for what is no version."""
    return version_of(text).major


def older(found: str, wanted: str) -> bool:
    """True when ``found`` is lower than ``wanted`` (PEP 440; a build's own suffix does not count)."""
    return bool(found) and version_of(version_of(found).public) < version_of(wanted)


def installed(version: str, wanted: str, simulated: bool) -> bool:
    """Whether what a node has is what the cluster file wants; a lab's stand-in says that it is one."""
    return satisfies(version, wanted) or (simulated and "SIMULATED" in version)


def satisfies(found: str, wanted: str) -> bool:
    """True when pip would take ``found`` for ``==wanted``: ``0.33.0+cu129`` is a build of ``0.33.0``."""
    read = version_of(found)
    return found == wanted or (read.release != (0,) and version_of(read.public) == version_of(wanted))
