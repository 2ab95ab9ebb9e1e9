"""How well the GPUs are: memory errors, pages and rows to be retired, slowdown, MIG, the kernel's Xid lines.

``nvidia-smi -q`` has it on every driver, in sections told by their indentation; what a driver does not know
is missing or ``N/A``, which is no finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from wizard_steps.facts.gpu_table import complaint

#: The lines of `nvidia-smi -q` that are kept; it prints some hundred for each GPU. Every section's own line
#: (four blanks) is among them: without the next one's, a value would be taken for the section before.
SCRIPT = (
    "nvidia-smi -q | grep -E -e '^GPU [0-9A-Fa-f]' -e '^    [A-Za-z]' "
    "-e '^ +(Current|Pending|Uncorrectable|Total|SRAM Uncorrectable|"
    "DRAM Uncorrectable|Volatile|Aggregate|Pending Page Blacklist|Pending|"
    "Remapping Failure Occurred|HW Thermal Slowdown|HW Power Brake Slowdown|SW Thermal Slowdown|"
    "SRAM Threshold Exceeded|Channel Repair Pending|TPC Repair Pending|Unrepairable Memory|License Status) "
    "*(:|$)'"
)

#: Faults of hardware or driver, by number (NVIDIA's Xid catalogue); the others are mostly the program's.
XIDS = {
    48: "an uncorrectable memory error",
    61: "an internal fault of the GPU's microcontroller",
    62: "an internal fault of the GPU's microcontroller",
    63: "a memory page or row is to be retired",
    64: "a memory page or row could not be retired",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    92: "many single-bit memory errors",
    94: "a contained memory error",
    95: "an uncontained memory error",
    119: "the GPU's firmware (GSP) does not answer",
    120: "the GPU's firmware (GSP) has failed",
    140: "an unrecovered memory error",
    **dict.fromkeys(range(144, 151), "an NVLink error"),
    154: "the GPU asks to be reset",
    156: "a part of the GPU is to be retired",
    157: "a part of the GPU could not be retired",
}
#: The kernel's own words; ordinary users may read them on some systems only. A program's own faults (13, 31,
#: 43) come in floods: they may not push the others out.
XID_SCRIPT = (
    f"dmesg 2>/dev/null | grep -E 'NVRM: Xid [^)]*[)]: ({'|'.join(map(str, XIDS))}),' | tail -n 200; true"
)
#: What `Yes` means behind a name: whether it is a fault, and why.
_YES = {
    "Remapping Failure Occurred": (True, "a memory row could not be remapped: the card has to be replaced"),
    "Unrepairable Memory": (True, "its memory cannot be repaired: the card has to be replaced"),
    "SRAM Threshold Exceeded": (True, "too many errors of its on-chip memory: the card has to be replaced"),
    "Channel Repair Pending": (False, "a memory channel waits to be repaired: reset the GPU or reboot"),
    "TPC Repair Pending": (False, "a part of the GPU waits to be repaired: reset the GPU or reboot"),
}
_SLOW = ("HW Thermal Slowdown", "HW Power Brake Slowdown", "SW Thermal Slowdown")


class Health(Struct, frozen=True):
    """What one GPU says of itself. ``faults`` shut a gate, ``worries`` do not."""

    bus: str
    mig: bool = False
    faults: tuple[str, ...] = ()
    worries: tuple[str, ...] = ()


class Xid(Struct, frozen=True):
    """The kernel's line about a GPU."""

    bus: str
    number: int
    line: str


def parse_health(text: str) -> list[Health]:
    """The GPUs in the order of ``nvidia-smi``; the empty list where there is no answer."""
    found: list[tuple[str, list[tuple[str, str, str]]]] = []
    section = ""
    for line in text.splitlines():
        plain = line[:256].rstrip()
        if plain.startswith("GPU ") and ":" in plain:
            found.append((plain[4:].strip(), []))
            section = ""
            continue
        name, _, value = plain.partition(" : ")
        indent = len(name) - len(name.lstrip())
        if not found or not indent:
            continue
        if indent <= 4:
            section = name.strip()
        found[-1][1].append((section, name.strip(), value.strip()))
    return [_health(bus, values) for bus, values in found]


def _health(bus: str, values: Sequence[tuple[str, str, str]]) -> Health:
    faults: list[str] = []
    worries: list[str] = []
    mig = volatile = False
    for section, name, value in values:
        if section == "ECC Errors":
            volatile = name == "Volatile" or (volatile and name != "Aggregate")
        if section == "MIG Mode" and name == "Current":
            mig = value == "Enabled"
        elif name in _YES and (said := complaint(value)):
            faults.append(f"the driver says: {said}")
        elif name in _YES and value == "Yes":
            grave, text = _YES[name]
            (faults if grave else worries).append(text)
        elif name == "License Status" and value.startswith("Unlicensed ("):
            worries.append(
                f"vGPU {value}: without its licence it is slowed down after a while, and CUDA may fail"
            )
        elif section == "Remapped Rows" and name == "Pending" and value == "Yes":
            worries.append("a memory row waits to be remapped: reset the GPU or reboot")
        elif section == "Retired Pages" and name.startswith("Pending") and value == "Yes":
            worries.append("a memory page waits to be retired: reset the GPU or reboot")
        elif name == section == "GPU Recovery Action" and value not in ("", "None", "N/A"):
            faults.append(f"the driver asks for: {value}")
        elif (
            section == "ECC Errors" and volatile and "ncorrectable" in name and value not in ("0", "N/A", "")
        ):
            worries.append(f"{name}: {value} memory errors since the driver was loaded")
        elif "Reasons" in section and name in _SLOW and value == "Active":
            worries.append(f"{name}: it runs slower than it could (cooling or power)")
    return Health(bus, mig, tuple(dict.fromkeys(faults)), tuple(dict.fromkeys(worries)))


_XID = re.compile(r"NVRM: Xid \(PCI:([0-9A-Fa-f:.]{1,16})\): (\d{1,4})")


def parse_xids(text: str) -> Iterator[Xid]:
    """Lines of the kernel's log, oldest first."""
    for line in text.splitlines():
        found = _XID.search(line[:512])
        if found:
            yield Xid(found[1], int(found[2]), line.strip()[:200])
