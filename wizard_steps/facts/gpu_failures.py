"""What ``nvidia-smi`` says when it fails, and what a person can do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

#: ok: it answered. The rest name what stands in the way; ``remedy`` has a sentence for each.
Problem = Literal[
    "ok",
    "not-installed",
    "not-runnable",
    "no-driver",
    "no-library",
    "mismatch",
    "no-devices",
    "not-permitted",
    "blocked",
    "lost",
    "nvml",
    "no-power",
    "other-vendor",
    "failed",
]

#: Words of the driver, the library, a shell or a container engine. The first line that has some counts.
_FAILURES: tuple[tuple[str, Problem], ...] = (
    (r"couldn't communicate with the NVIDIA driver|Driver Not Loaded", "no-driver"),
    (r"couldn't find libnvidia-ml|libnvidia-ml\.so|NVML Shared Library Not Found", "no-library"),
    (r"Driver/library version mismatch|API mismatch", "mismatch"),
    (r"GPU access blocked by the operating system|Failed to initialize NVML: N/A", "blocked"),
    (r"Insufficient External Power", "no-power"),
    (r"ROCm System Management|\b(?:rocm|amd|xpu|npu|hl|mx|tt)-smi\b|mthreads-gmi", "other-vendor"),
    (r"device handle for GPU|GPU is lost|fallen off the bus|GPU requires reset", "lost"),
    (r"Reboot the system to recover", "lost"),
    (r"No devices (?:were )?found|No supported GPUs", "no-devices"),
    (r"command not found|nvidia-smi: not found|not found: nvidia-smi", "not-installed"),
    (r"nvidia-smi: No such file", "not-installed"),
    (r"'nvidia-smi' not found|nvidia-smi: Command not found|Unknown command:? '?nvidia-smi", "not-installed"),
    (r"executable file not found", "not-installed"),
    (r"Exec format error|cannot execute|Segmentation fault", "not-runnable"),
    (r"error while loading shared libraries", "not-runnable"),
    (r"suff[a-z]{1,6} permissions|Permission denied|No permission", "not-permitted"),
    (r"Failed to initialize NVML|NVML: |Unknown Error", "nvml"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(words, re.IGNORECASE), problem) for words, problem in _FAILURES)

_REMEDIES: dict[Problem, str] = {
    "ok": "",
    "not-installed": "nvidia-smi is not installed: install the NVIDIA driver (or it is not a GPU machine)",
    "not-runnable": "nvidia-smi is there but does not run: is the driver package that of this machine's "
    "architecture? Reinstall it",
    "no-driver": "the NVIDIA kernel module is not loaded: reinstall the driver for this kernel, then reboot",
    "no-library": "the driver's library libnvidia-ml.so is not found: reinstall the driver's user-space "
    "packages; a container must be started with GPU access",
    "mismatch": "the driver was upgraded while the old kernel module is loaded: reboot this node",
    "no-devices": "the driver runs but sees no GPU: check lspci, the card, and the VM's passthrough",
    "not-permitted": "this user may not use the GPU: check the permissions of /dev/nvidia*",
    "blocked": "Windows keeps the GPU from WSL: update the NVIDIA driver in Windows, then `wsl --shutdown`; "
    "do not install a Linux driver inside WSL",
    "lost": "a GPU no longer answers: `sudo dmesg | grep -i xid` names the fault; reset it "
    "(sudo nvidia-smi --gpu-reset), reboot, or power the machine off and on",
    "nvml": "the library cannot talk to the driver: in a container, restart that (systemd may have taken "
    "its devices); on the machine itself, reboot",
    "no-power": "the card gets too little power: plug in all of its power cables, then start the machine",
    "other-vendor": "these are the words of another maker's tool (AMD, Intel, Ascend, ...): milepost drives "
    "NVIDIA GPUs only, so far",
    "failed": "nvidia-smi failed: read its message",
}

#: Words about a card beside which the table is right. NVIDIA calls a corrupted infoROM harmless to compute.
_REMARKS = re.compile(r"infoROM is corrupted|^WARNING: .{0,200}\bGPU", re.IGNORECASE)
#: The date over the table, the table itself.
_NO_MESSAGE = re.compile(r"[|+]|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} +\d")
_LONGEST = 400


def remedy(problem: Problem) -> str:
    """What a person can do about it; empty for ok."""
    return _REMEDIES[problem]


def failure(lines: Sequence[str], code: int = 0) -> tuple[Problem, str]:
    """What is wrong, and the line that says it. ``code`` 124 is `timeout`'s, 126 and 127 are a
    shell's."""
    for line in lines:
        problem = _problem(line[:_LONGEST])
        if problem:
            return problem, line.strip()[:_LONGEST]
    telling = (line.strip() for line in lines if line.strip() and not _NO_MESSAGE.match(line.strip()))
    message = next(telling, "")[:_LONGEST]
    if code == 124 and not message:
        return "lost", "nvidia-smi did not answer in time: the driver hangs"
    if code in (126, 127):
        return ("not-installed" if code == 127 else "not-runnable"), message or f"exit {code}"
    if any("|" in line and "NVIDIA-SMI" in line for line in lines):
        return "no-devices", message or "the table lists no GPU"
    return "failed", message or "nvidia-smi printed nothing"


def lost_gpu(lines: Sequence[str]) -> str:
    """A line beside a good table about a GPU that is not in it any more; or nothing."""
    told = (line.strip()[:_LONGEST] for line in lines if not line.lstrip().startswith(("|", "+")))
    return next((line for line in told if _problem(line) == "lost"), "")


def remark(lines: Sequence[str]) -> str:
    """A line beside a good table that is worth a word and no more; or nothing."""
    told = (line.strip()[:_LONGEST] for line in lines if not line.lstrip().startswith(("|", "+")))
    return next((line for line in told if _REMARKS.search(line)), "")


def _problem(line: str) -> Problem | None:
    return next((problem for pattern, problem in _PATTERNS if pattern.search(line)), None)
