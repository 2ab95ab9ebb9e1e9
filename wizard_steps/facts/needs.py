"""What each vLLM release since 0.6 needs from a node: the wheels on the Python package index, for NVIDIA.

torch, Python, and Ray or not: the metadata of vllm's wheels (Requires-Dist, Requires-Python), read
2026-11-25 for one release of each minor version: 0.6.6.post1, 0.7.3, 0.8.5.post1, 0.9.2, 0.10.2, 0.11.2,
0.14.1, 0.15.1, 0.17.1, else the .0. Older patches may pin an older torch. CUDA and NCCL: the metadata of that
torch's wheels, "" where NCCL was not read. Driver: NVIDIA's minor version compatibility (CUDA release notes):
525.60.13 runs programs of any CUDA 12, 580.65.06 those of CUDA 13. Compute capability: vLLM's installation
page: 7.0, and 7.5 since CUDA 13, which compiles for nothing older.
"""

from __future__ import annotations

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


#: torch -> major CUDA of its wheel, NCCL.
_TORCH = {
    "2.5.1": (12, "2.21.5"),
    "2.6.0": (12, "2.21.5"),
    "2.7.0": (12, "2.26.2"),
    "2.8.0": (12, "2.27.3"),
    "2.9.0": (12, "2.27.5"),
    "2.9.1": (12, ""),
    "2.10.0": (12, "2.27.5"),
    "2.11.0": (13, "2.28.9"),
    "2.13.0": (13, ""),
    "2.14.0": (13, "2.30.7"),
}
#: CUDA -> lowest driver, what it has to serve, lowest compute capability.
_CUDA = {12: ("525.60.13", "12.0", "7.0"), 13: ("580.65.06", "13.0", "7.5")}
#: vLLM -> torch, lowest Python, first Python that is too new ("4": none is named), Ray required.
_RELEASES: dict[str, tuple[str, str, str, bool]] = {
    "0.6": ("2.5.1", "3.9", "4", True),
    "0.7": ("2.5.1", "3.9", "4", True),
    "0.8": ("2.6.0", "3.9", "3.13", True),
    "0.9": ("2.7.0", "3.9", "3.13", True),
    "0.10": ("2.8.0", "3.9", "3.14", True),
    "0.11": ("2.9.0", "3.10", "3.14", True),
    "0.12": ("2.9.0", "3.10", "3.14", True),
    "0.13": ("2.9.0", "3.10", "3.14", True),
    **dict.fromkeys(("0.14", "0.15", "0.16"), ("2.9.1", "3.10", "3.14", True)),
    "0.17": ("2.10.0", "3.10", "3.14", True),
    **dict.fromkeys(("0.18", "0.19"), ("2.10.0", "3.10", "3.14", False)),
    **dict.fromkeys(
        ("0.20", "0.21", "0.22", "0.23", "0.24", "0.25", "0.26"), ("2.11.0", "3.10", "3.15", False)
    ),
    **dict.fromkeys(("0.27", "0.28", "0.29", "0.30", "0.31"), ("2.13.0", "3.10", "3.15", False)),
    "0.32": ("2.13.0", "3.11", "3.15", False),
    "0.33": ("2.14.0", "3.11", "3.15", False),
}


def needs(vllm: str) -> Needs | None:
    """For a version such as ``0.33.0``; None when this release is not known here."""
    release = version_of(vllm).release
    found = _RELEASES.get(".".join(map(str, release[:2])))
    if found is None:
        return None
    torch, low, high, ray = found
    cuda, nccl = _TORCH[torch]
    driver, serves, capability = _CUDA[cuda]
    return Needs(driver, serves, capability, low, high, torch, nccl, ray)


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
