"""What ``nvidia-smi`` says: the plain table, the csv query, the process list, and its failures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from wizard_steps.facts.network import clean

#: ok: it answered. The rest name what stands in the way; ``remedy`` has a sentence for each.
Problem = Literal["ok", "not-installed", "no-driver", "mismatch", "no-devices", "not-permitted", "failed"]

#: The columns asked for, in this order (``--format=csv,noheader,nounits``).
QUERY = "index,name,uuid,memory.total,memory.used,driver_version,compute_cap"

#: The columns of the process list.
APPS_QUERY = "pid,process_name,used_memory,gpu_uuid"


class Gpu(Struct, frozen=True):
    """One GPU. Memory in MiB, as nvidia-smi counts it."""

    index: int
    name: str
    memory_mib: int
    used_mib: int = 0
    uuid: str = ""
    compute_cap: str = ""


class GpuProcess(Struct, frozen=True):
    """A process that holds GPU memory (MiB; 0 when the driver does not tell)."""

    pid: int
    name: str
    used_mib: int = 0
    gpu: str = ""


class GpuFacts(Struct, frozen=True):
    """``cuda`` is the newest CUDA runtime the driver serves; empty when it was not told."""

    problem: Problem = "ok"
    message: str = ""
    driver: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()
    processes: tuple[GpuProcess, ...] = ()

    @property
    def memory_mib(self) -> int:
        """Memory of the smallest GPU: what a split over all of them can count on."""
        return min((gpu.memory_mib for gpu in self.gpus), default=0)


_FAILURES: tuple[tuple[str, Problem], ...] = (
    (r"couldn't communicate with the NVIDIA driver", "no-driver"),
    (r"Driver/library version mismatch", "mismatch"),
    (r"No devices (?:were )?found", "no-devices"),
    (r"Insufficient Permissions|Permission denied", "not-permitted"),
    (r"nvidia-smi: (?:command )?not found|nvidia-smi: No such file|not found: nvidia-smi", "not-installed"),
    (r"Failed to initialize NVML|NVML: |the device handle|GPU is lost|Unknown Error", "failed"),
)

_REMEDIES: dict[Problem, str] = {
    "ok": "",
    "not-installed": "nvidia-smi is not installed: install the NVIDIA driver (or it is not a GPU machine)",
    "no-driver": "the NVIDIA kernel module is not loaded: reinstall the driver for this kernel, then reboot",
    "mismatch": "the driver was upgraded while the old kernel module is loaded: reboot this node",
    "no-devices": "the driver runs but sees no GPU: check lspci, the card, and the VM's passthrough",
    "not-permitted": "this user may not use the GPU: check the permissions of /dev/nvidia*",
    "failed": "nvidia-smi failed: read its message; a lost GPU needs a reboot or a power cycle",
}


def remedy(problem: Problem) -> str:
    """What a person can do about it; empty for ok."""
    return _REMEDIES[problem]


def parse_nvidia_smi(text: str) -> GpuFacts:
    """The plain ``nvidia-smi`` table, or the csv of QUERY with or without heading and units.

    A text that is neither is a failure with its first telling line in ``message``.
    """
    plain = clean(text)
    lines = plain.splitlines()
    gpus = tuple(_csv(lines)) or tuple(_table(lines))
    driver = _first(r"Driver Version:\s*([0-9][0-9.]*)", plain) or _csv_driver(lines)
    # Newer drivers write "CUDA UMD Version".
    cuda = _first(r"CUDA (?:UMD )?Version:\s*([0-9][0-9.]*)", plain)
    if gpus:
        return GpuFacts("ok", "", driver, cuda, gpus, tuple(_processes(lines)))
    problem, message = _failure(lines)
    return GpuFacts(problem, message, driver, cuda)


def parse_compute_apps(text: str) -> list[GpuProcess]:
    """``nvidia-smi --query-compute-apps=<APPS_QUERY> --format=csv,noheader,nounits``."""
    found = []
    for line in clean(text).splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) >= 3 and cells[0].isdigit():
            gpu = cells[3] if len(cells) > 3 else ""
            found.append(GpuProcess(int(cells[0]), cells[1], _mib(cells[2]), gpu))
    return found


def _failure(lines: list[str]) -> tuple[Problem, str]:
    for line in lines:
        for pattern, problem in _FAILURES:
            if re.search(pattern, line, re.IGNORECASE):
                return problem, line.strip()
    message = next((line.strip() for line in lines if line.strip()), "")
    return ("failed", message) if message else ("failed", "nvidia-smi printed nothing")


def _table(lines: list[str]) -> Iterator[Gpu]:
    """A GPU is two rows: ``| 0  NAME  On | bus …`` and then the one with ``used / total``.

    Machines whose GPU shares the host's memory print ``Not Supported`` there: memory 0, unknown.
    """
    head: tuple[int, str] | None = None
    for line in lines:
        if re.match(r"\|\s*Processes:", line):
            return
        first = re.match(r"\|\s*(\d+)\s+(.+?)\s+(?:On|Off|N/A)\s*\|\s*[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:", line)
        if first:
            head = (int(first[1]), first[2])
            continue
        memory = re.search(r"(\d+)\s*MiB\s*/\s*(\d+)\s*MiB", line)
        if head and memory:
            yield Gpu(head[0], head[1], int(memory[2]), int(memory[1]))
            head = None
        elif head and "Not Supported" in line:
            yield Gpu(head[0], head[1], 0)
            head = None


def _processes(lines: list[str]) -> Iterator[GpuProcess]:
    for line in lines:
        row = re.match(r"\|\s*(\d+)\s+\S+\s+\S+\s+(\d+)\s+[CGM+]+\s+(.+?)\s+(\d+MiB|N/A)\s*\|", line)
        if row:
            yield GpuProcess(int(row[2]), row[3], _mib(row[4]), row[1])


def _csv_cells(lines: list[str]) -> Iterator[list[str]]:
    width = QUERY.count(",") + 1
    for line in lines:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == width and cells[0].isdigit():
            yield cells


def _csv(lines: list[str]) -> Iterator[Gpu]:
    for cells in _csv_cells(lines):
        yield Gpu(int(cells[0]), cells[1], _mib(cells[3]), _mib(cells[4]), cells[2], cells[6])


def _csv_driver(lines: list[str]) -> str:
    return next((cells[5] for cells in _csv_cells(lines)), "")


def _mib(cell: str) -> int:
    """``81559 MiB``, ``81559`` or ``[N/A]`` (unified memory, MIG) as a number; unknown is 0."""
    return int(_first(r"(\d+)", cell) or 0)


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
