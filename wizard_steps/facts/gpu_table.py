"""The plain ``nvidia-smi`` table, of every generation: three lines a GPU, parted by rules.

    |   0  NVIDIA H100 80GB HBM3          On  |   00000000:18:00.0 Off |                    0 |
    | N/A   34C    P0             70W /  700W |   70012MiB /  81559MiB |      0%      Default |
    |                                         |                        |             Disabled |

Drivers before 450 have no third line, those before 300 no persistence mode. Lines are taken apart by words,
never by patterns over the whole line: a node may print a megabyte in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

#: Last word of the first cell: persistence mode, or the driver model under Windows.
_MODES = frozenset({"On", "Off", "N/A", "WDDM", "TCC", "MCDM"})
#: What stands where a value should, and means that the GPU does not answer. Longest words first.
BROKEN = ("GPU requires reset", "GPU is lost", "Unknown Error", "ERR!")
#: Characters of a line that are looked at; a real one has about 100.
_WIDTH = 512


class GpuRow(Struct, frozen=True):
    """One GPU of the table. Memory in MiB, None where no number was printed.

    ``broken`` is the driver's word where the GPU itself does not answer; ``sensors`` where only a fan, a
    temperature or a power reading is missing. ``ecc``: uncorrected errors since the driver was loaded.
    ``prohibited``: the compute mode lets no program compute on it.
    """

    index: int
    name: str
    total: int | None = None
    used: int | None = None
    mig: bool = False
    ecc: int = 0
    broken: str = ""
    sensors: str = ""
    prohibited: bool = False


class Slice(Struct, frozen=True):
    """One MIG device: the GPU it is a part of, and its memory in MiB (None: not told)."""

    gpu: int
    memory: int | None


class TableProcess(Struct, frozen=True):
    """One row of the process list. ``kind`` is C (compute), G (graphics) or both; memory in MiB or 0."""

    gpu: str
    pid: int
    kind: str
    name: str
    used: int


def rows(lines: Sequence[str]) -> Iterator[GpuRow]:
    """The GPUs, in the order of the table."""
    head: list[str] = []
    rest: list[list[str]] = []
    for line in (*lines, "+"):
        cells = _cells(line)
        if len(cells) == 3 and _is_head(cells):
            if head:
                yield _row(head, rest)
            head, rest = cells, []
        elif len(cells) == 3 and head:
            rest.append(cells)
        elif head:
            yield _row(head, rest)
            head, rest = [], []
        if len(cells) == 1 and cells[0].strip().startswith("Processes:"):
            return


def slices(lines: Sequence[str]) -> Iterator[Slice]:
    """The MIG devices of the table below the GPUs: four cells, the first is GPU, GI, CI and device."""
    inside = False
    for line in lines:
        cells = _cells(line)
        inside = inside or (len(cells) == 1 and cells[0].strip() == "MIG devices:")
        if not inside or len(cells) != 4:
            continue
        numbers = cells[0].split()
        if len(numbers) == 4 and all(number.isascii() and number.isdigit() for number in numbers):
            yield Slice(number_of(numbers[0]) or 0, _memory(cells[1])[1])


def processes(lines: Sequence[str]) -> Iterator[TableProcess]:
    """``GPU [GI CI] PID Type Name Memory``; names may hold blanks."""
    for line in lines:
        cells = _cells(line)
        words = cells[0].split() if len(cells) == 1 else []
        at = next((n for n, word in enumerate(words) if word in ("C", "G", "C+G", "M+C", "M")), 0)
        if at < 2 or len(words) < at + 3 or number_of(words[0]) is None:
            continue
        pid = number_of(words[at - 1])
        if pid is not None:
            name = " ".join(words[at + 1 : -1])
            yield TableProcess(words[0], pid, words[at], name, number_of(words[-1]) or 0)


def number_of(word: str) -> int | None:
    """The number that a word such as ``81559MiB`` or ``0`` begins with; None where there is none."""
    digits = ""
    for letter in word.strip()[:12]:
        if not ("0" <= letter <= "9"):
            break
        digits += letter
    return int(digits) if digits else None


def complaint(cell: str) -> str:
    """The driver's word for a GPU that does not answer, or nothing."""
    return next((word for word in BROKEN if word.lower() in cell.lower()), "")


def _cells(line: str) -> list[str]:
    """What stands between the bars of a line; empty for rules and other text."""
    plain = line[:_WIDTH].strip()
    return plain[1:-1].split("|") if len(plain) > 1 and plain[0] == plain[-1] == "|" else []


def _is_head(cells: Sequence[str]) -> bool:
    """``0 NAME On | BUS Off | ECC``: a number and a name, and beside it a bus address or ``N/A``."""
    words, bus = cells[0].split(), cells[1].split()
    if len(words) < 2 or not (words[0].isascii() and words[0].isdigit()) or len(words[0]) > 4 or not bus:
        return False
    return bus[0].count(":") >= 2 or bus[0] in ("N/A", "ERR!", "[N/A]")


def _row(head: Sequence[str], rest: Sequence[Sequence[str]]) -> GpuRow:
    words = head[0].split()
    name = words[1:-1] if len(words) > 2 and words[-1] in _MODES else words[1:]
    values, third = (rest[0] if rest else ("", "", "")), (rest[1] if len(rest) > 1 else ("", "", ""))
    used, total = _memory(values[1])
    # The name, the bus, ECC and the memory are the GPU; fans and power meters may fail by themselves.
    broken = next((word for cell in (*head, values[1]) if (word := complaint(cell))), "")
    sensors = next((word for cell in (values[0], values[2], third[2]) if (word := complaint(cell))), "")
    mode = third[2].split()
    return GpuRow(
        index=int(words[0]),
        name=" ".join(name),
        total=total,
        used=used,
        mig=bool(mode) and mode[0].startswith("Enabled"),
        ecc=number_of(head[2]) or 0,
        broken=broken,
        sensors="" if broken else sensors,
        prohibited="Prohibited" in values[2],
    )


def _memory(cell: str) -> tuple[int | None, int | None]:
    """``70012MiB /  81559MiB``; older drivers say MB."""
    used, slash, total = cell.partition("/")
    return (number_of(used), number_of(total)) if slash else (None, None)
