"""How well the GPUs are: memory errors, pages and rows to be retired, slowdown, MIG, the kernel's Xid lines.

``nvidia-smi -q`` has it on every driver, in sections told by their indentation; what a driver does not know
is missing or ``N/A``, which is no finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

#: The lines of `nvidia-smi -q` that are kept; it prints some hundred for each GPU. Every section's own line
#: (four blanks) is among them: without the next one's, a value would be taken for the section before.
SCRIPT = (
    "nvidia-smi -q | grep -E -e '^GPU [0-9A-Fa-f]' -e '^    [A-Za-z]' "
    "-e '^ +(Current|Pending|Uncorrectable|Total|SRAM Uncorrectable|"
    "DRAM Uncorrectable|Volatile|Aggregate|Pending Page Blacklist|Pending|"
    "Remapping Failure Occurred|HW Thermal Slowdown|HW Power Brake Slowdown|SW Thermal Slowdown) *(:|$)'"
)
#: The kernel's own words; ordinary users may read them on some systems only.
XID_SCRIPT = "dmesg 2>/dev/null | grep -F 'NVRM: Xid' | tail -n 20; true"

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
    154: "the GPU asks to be reset",
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
    faults, worries, mig, volatile = [], [], False, False
    for section, name, value in values:
        if section == "ECC Errors":
            volatile = name == "Volatile" or (volatile and name != "Aggregate")
        if section == "MIG Mode" and name == "Current":
            mig = value == "Enabled"
        elif section == "Remapped Rows" and name == "Remapping Failure Occurred" and value == "Yes":
            faults.append("a memory row could not be remapped: the card has to be replaced")
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
    return Health(bus, mig, tuple(faults), tuple(dict.fromkeys(worries)))


_XID = re.compile(r"NVRM: Xid \(PCI:([0-9A-Fa-f:.]{1,16})\): (\d{1,4})")


def parse_xids(text: str) -> Iterator[Xid]:
    """Lines of the kernel's log, oldest first."""
    for line in text.splitlines():
        found = _XID.search(line[:512])
        if found:
            yield Xid(found[1], int(found[2]), line.strip()[:200])
