"""What ``nvidia-smi`` says: the plain table, the csv query, the process list, and its failures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.facts import gpu_table
from wizard_steps.facts.gpu_failures import Problem, failure, lost_gpu, remark, remedy
from wizard_steps.facts.gpu_table import Slice, complaint, number_of
from wizard_steps.facts.network import clean

__all__ = [
    "APPS_QUERY",
    "QUERY",
    "Gpu",
    "GpuFacts",
    "GpuProcess",
    "Problem",
    "Slice",
    "merged",
    "parse_compute_apps",
    "parse_nvidia_smi",
    "remedy",
]

#: The columns asked for, in this order (``--format=csv,noheader,nounits``).
QUERY = "index,name,uuid,memory.total,memory.used,driver_version,compute_cap"

#: The columns of the process list.
APPS_QUERY = "pid,process_name,used_memory,gpu_uuid"

#: GPUs that drive a screen and compute nothing (the fifth card of a DGX Station).
_SCREEN_ONLY = ("DGX Display",)


class Gpu(Struct, frozen=True):
    """One GPU. Memory in MiB, as nvidia-smi counts it; 0 where it tells none.

    ``broken`` is the driver's word for a GPU that does not answer, ``sensors`` for a reading that is missing.
    ``shared``: its memory is the machine's own (GB10, Thor, Jetson), and ``memory_mib`` that of the machine.
    ``ecc``: uncorrected memory errors since the driver was loaded. ``prohibited``: its compute mode lets no
    program compute on it.
    """

    index: int
    name: str
    memory_mib: int
    used_mib: int = 0
    uuid: str = ""
    compute_cap: str = ""
    mig: bool = False
    ecc: int = 0
    broken: str = ""
    sensors: str = ""
    shared: bool = False
    prohibited: bool = False

    @property
    def screen(self) -> bool:
        """Only there for a monitor."""
        return any(word in self.name for word in _SCREEN_ONLY)

    @property
    def usable(self) -> bool:
        return not self.broken and not self.screen


class GpuProcess(Struct, frozen=True):
    """A process that holds GPU memory (MiB; 0 when the driver does not tell).

    ``kind``: C computes, G draws, C+G both; empty where the source does not tell.
    """

    pid: int
    name: str
    used_mib: int = 0
    gpu: str = ""
    kind: str = ""


class GpuFacts(Struct, frozen=True):
    """``cuda`` is the newest CUDA runtime the driver serves; empty when it was not told.

    ``lost`` is a line about a GPU that the table does not show any more, ``remark`` a harmless one.
    """

    problem: Problem = "ok"
    message: str = ""
    driver: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()
    processes: tuple[GpuProcess, ...] = ()
    slices: tuple[Slice, ...] = ()
    lost: str = ""
    remark: str = ""

    @property
    def memory_mib(self) -> int:
        """Memory of the smallest GPU that told it: what a split over all of them can count on."""
        return min((gpu.memory_mib for gpu in self.gpus if gpu.memory_mib and gpu.usable), default=0)


def parse_nvidia_smi(text: str, code: int = 0) -> GpuFacts:
    """The plain ``nvidia-smi`` table, or the csv of QUERY with or without heading and units.

    A text that is neither is a failure with its first telling line in ``message``; ``code`` is the exit code,
    which tells a shell's "not found" in any language.
    """
    lines = clean(text).splitlines()
    rows = list(gpu_table.rows(lines))
    gpus = tuple(_csv(lines)) or tuple(map(_of_row, rows))
    driver, cuda = _versions(lines)
    beside = [line for line in lines if not _is_csv(line)]
    driver = driver or _csv_driver(lines)
    if not gpus:
        problem, message = failure(lines, code)
        return GpuFacts(problem, message, driver, cuda)
    return GpuFacts(
        driver=driver,
        cuda=cuda,
        gpus=gpus,
        processes=tuple(
            GpuProcess(one.pid, one.name, one.used, one.gpu, one.kind) for one in gpu_table.processes(lines)
        ),
        slices=tuple(gpu_table.slices(lines)),
        lost=lost_gpu(beside),
        remark=remark(beside),
    )


def merged(table: GpuFacts, query: GpuFacts, memory_mib: int = 0, used_mib: int = 0) -> GpuFacts:
    """Both answers as one: the query's exact numbers and what only the table has, MIG and ECC among it.

    ``memory_mib`` and ``used_mib`` are the machine's own memory, which a GPU that tells none shares.
    """
    if not query.gpus and not table.gpus:
        return query if table.problem == "failed" and query.problem not in ("ok", "failed") else table
    rows = {gpu.index: gpu for gpu in table.gpus}
    gpus = [_both(gpu, rows.get(gpu.index)) for gpu in query.gpus or table.gpus]
    return replace(
        table,
        problem="ok",
        message="",
        driver=query.driver or table.driver,
        gpus=tuple(_with_memory(gpu, memory_mib, used_mib) for gpu in gpus),
        lost=table.lost or query.lost,
    )


def _both(exact: Gpu, row: Gpu | None) -> Gpu:
    if row is None:
        return exact
    broken = exact.broken or row.broken
    sensors = "" if broken else row.sensors
    return replace(exact, mig=row.mig, ecc=row.ecc, broken=broken, sensors=sensors, prohibited=row.prohibited)


def _with_memory(gpu: Gpu, memory_mib: int, used_mib: int) -> Gpu:
    """A sound GPU that tells no memory has none of its own. A slice of a MIG device tells none either."""
    if gpu.memory_mib or gpu.broken or gpu.mig or not memory_mib:
        return gpu
    return replace(gpu, memory_mib=memory_mib, used_mib=used_mib, shared=True)


def parse_compute_apps(text: str) -> list[GpuProcess]:
    """``nvidia-smi --query-compute-apps=<APPS_QUERY> --format=csv,noheader,nounits``."""
    found = []
    for line in clean(text).splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        pid = number_of(cells[0])
        if len(cells) >= 3 and pid is not None and cells[0].isdigit():
            gpu = cells[3] if len(cells) > 3 else ""
            found.append(GpuProcess(pid, cells[1], number_of(cells[2]) or 0, gpu, "C"))
    return found


#: Drivers from 610 on name the kernel's and the user's half apart.
_DRIVER = re.compile(r"\b(?:Driver|KMD) Version:[ ]{0,8}(\d{1,5}(?:\.\d{1,5}){1,3})")
_CUDA = re.compile(r"\bCUDA (?:UMD )?Version:[ ]{0,8}(\d{1,3}\.\d{1,3})")


def _versions(lines: Sequence[str]) -> tuple[str, str]:
    """Driver and CUDA version of the table's head; empty where it has none, or ERR!."""
    driver = cuda = ""
    for line in lines:
        if "NVIDIA-SMI" in line:
            driver = driver or _first(_DRIVER, line[:512])
            cuda = cuda or _first(_CUDA, line[:512])
    return driver, cuda


def _of_row(row: gpu_table.GpuRow) -> Gpu:
    return Gpu(
        row.index,
        row.name,
        row.total or 0,
        row.used or 0,
        mig=row.mig,
        ecc=row.ecc,
        broken=row.broken,
        sensors=row.sensors,
        prohibited=row.prohibited,
    )


def _csv_cells(lines: Sequence[str]) -> Iterator[list[str]]:
    for line in lines:
        if _is_csv(line):
            yield [cell.strip() for cell in line[:2048].split(",")]


def _is_csv(line: str) -> bool:
    first, *rest = line[:2048].split(",")
    place = first.strip()
    return len(rest) == QUERY.count(",") and place.isascii() and place.isdigit() and len(place) < 5


def _csv(lines: Sequence[str]) -> Iterator[Gpu]:
    for cells in _csv_cells(lines):
        broken = next((word for cell in cells[1:5] if (word := complaint(cell))), "")
        yield Gpu(
            index=int(cells[0]),
            name=cells[1],
            memory_mib=number_of(cells[3]) or 0,
            used_mib=number_of(cells[4]) or 0,
            uuid=cells[2],
            compute_cap=cells[6] if re.fullmatch(r"\d{1,3}\.\d{1,3}", cells[6]) else "",
            broken=broken or complaint(cells[6]),
        )


def _csv_driver(lines: Sequence[str]) -> str:
    told = (cells[5] for cells in _csv_cells(lines))
    return next((one for one in told if re.fullmatch(r"\d{1,5}(?:\.\d{1,5}){1,3}", one)), "")


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
