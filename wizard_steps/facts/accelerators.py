"""Which accelerators the machine itself has, whatever their drivers say: PCI, device files, WSL, Jetson."""

from __future__ import annotations

import re

from msgspec import Struct

from wizard_steps.model import counted

#: PCI vendors of accelerators: who it is, and what it is called.
_VENDORS = {
    "0x10de": "NVIDIA GPU",
    "0x1002": "AMD GPU",
    "0x8086": "Intel GPU",
    "0x1ae0": "Google TPU",
    "0x1da3": "Intel Gaudi",
    "0x19e5": "Huawei Ascend NPU",
    "0x1d0f": "AWS Neuron device",
    "0x1e52": "Tenstorrent card",
    "0x1d95": "Graphcore IPU",
}
_FILES = {
    "/dev/kfd": "AMD GPU",
    "/dev/neuron0": "AWS Neuron device",
    "/dev/davinci0": "Huawei Ascend NPU",
}


class Accelerators(Struct, frozen=True):
    """``kinds``: how many of each kind were seen. ``wsl``: a Windows machine's GPU; ``jetson``: its name."""

    kinds: dict[str, int] = {}
    wsl: bool = False
    jetson: str = ""
    looked: bool = False

    @property
    def nvidia(self) -> bool:
        return "NVIDIA GPU" in self.kinds or bool(self.jetson)

    @property
    def others(self) -> dict[str, int]:
        return {kind: count for kind, count in self.kinds.items() if kind != "NVIDIA GPU"}


def parse_accelerators(text: str) -> Accelerators:
    """From what scripts/facts_accelerators.sh prints. Displays of a mainboard (Intel's own, a BMC's) are no
    accelerators."""
    kinds: dict[str, int] = {}
    files: set[str] = set()
    model = ""
    for line in text.splitlines():
        words = line[:256].split()
        if len(words) == 5 and words[0] == "pci":
            kind = _VENDORS.get(words[2].lower(), "")
            if kind and not _on_board(words[1], words[2], words[4]):
                kinds[kind] = kinds.get(kind, 0) + 1
        elif len(words) == 2 and words[0] == "file":
            files.add(words[1])
        elif words[:1] == ["model"]:
            model = " ".join(words[1:])
    for file, kind in _FILES.items():
        if file in files:
            kinds.setdefault(kind, 1)
    if any(re.fullmatch(r"/dev/accel[0-9]*", file) for file in files) and not kinds:
        kinds["Google TPU"] = 1
    jetson = model if "NVIDIA" in model or "/dev/nvmap" in files else ""
    return Accelerators(kinds, "/dev/dxg" in files, jetson, bool(text.strip()))


def sentence(found: Accelerators) -> str:
    """What there is instead of a working NVIDIA GPU, in one sentence; empty where it is not known."""
    if found.others and not found.nvidia:
        what = " and ".join(counted(number, kind) for kind, number in found.others.items())
        return f"{what} found: milepost drives NVIDIA GPUs only, so far"
    if found.wsl:
        return "this is WSL: its GPU belongs to the Windows driver"
    if found.jetson:
        return f"{found.jetson}: its GPU comes with JetPack's own driver"
    if found.nvidia:
        count = found.kinds.get("NVIDIA GPU", 0)
        return f"{counted(count, 'NVIDIA GPU')} on the PCI bus, but no working driver"
    return "no accelerator was found on the PCI bus" if found.looked else ""


def _on_board(place: str, vendor: str, kind: str) -> bool:
    """Intel's graphics in the processor are always at 00:02.0. Other makers' plain VGA is a display: AMD's
    without a compute driver, the console of an EC2 instance, the one in Huawei's iBMC."""
    if vendor.lower() == "0x8086":
        return place.endswith("00:02.0")
    return vendor.lower() != "0x10de" and kind.startswith("0x0300")
