"""``nvidia-smi`` of a lab node. SIMULATED: there are no GPUs. Understands the plain table, -L,
--query-gpu, --query-compute-apps and ``topo -m``; refuses the rest."""

from __future__ import annotations

import functools
import http.client
import os
import re
import ssl
import sys
import time
import urllib.request
import uuid
from collections.abc import Sequence

SIMULATED = "SIMULATED by the milepost lab"
NAME = "NVIDIA H100 80GB HBM3"
DRIVER, CUDA, MEMORY_MIB = "580.159.04", "13.0", 81559
WIDTH = 89

_UNITS = {
    "memory.total": " MiB",
    "memory.used": " MiB",
    "memory.free": " MiB",
    "utilization.gpu": " %",
    "power.draw": " W",
    "clocks.sm": " MHz",
}


def count() -> int:
    return int(os.environ.get("LAB_GPUS", "8"))


def bus(index: int) -> str:
    return f"00000000:{0x10 + index * 8:02X}:00.0"


def gpu_uuid(index: int) -> str:
    """The same GPU has the same id each time it is asked for, as in life."""
    return f"GPU-{uuid.uuid5(uuid.NAMESPACE_OID, os.environ.get('LAB_NODE', 'lab') + str(index))}"


def busy() -> bool:
    """Whether the lab's server works on a request: it says so itself."""
    if os.environ.get("LAB_FAULT") == "idle-worker" and os.environ.get("LAB_NODE") == "lab-worker":
        return False
    try:
        text = metrics("http") or metrics("https")
    except (KeyError, ValueError):
        return False
    running = re.findall(r"^vllm:num_requests_running\S* ([0-9.]+)$", text, re.MULTILINE)
    return any(float(number) > 0 for number in running)


def metrics(scheme: str) -> str:
    """What the lab's server says of itself; "" where it speaks otherwise or is not there."""
    https = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
    try:
        with opener.open(f"{scheme}://{os.environ['LAB_SERVE']}/metrics", timeout=2) as page:
            return str(page.read(1 << 20).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException):
        return ""


@functools.cache
def activity() -> tuple[int, int, int, int]:
    """Use in per cent, watts, degrees, MHz. Invented, but for whether there is something to do."""
    return (93, 520, 61, 1755) if busy() else (0, 70, 30, 345)


def _live(name: str) -> dict[str, str]:
    """What changes while the GPU works; the server is asked only for these."""
    fields = ("utilization.gpu", "power.draw", "temperature.gpu", "clocks.sm")
    if name in fields:
        return {name: str(activity()[fields.index(name)])}
    return {"clocks_event_reasons.active": "0x0000000000000000"}


def value(name: str, index: int) -> str:
    """One cell of --query-gpu. Raises KeyError for a field the stand-in does not have."""
    return {
        "index": str(index),
        "name": f"{NAME} (SIMULATED)",
        "uuid": gpu_uuid(index),
        "memory.total": str(MEMORY_MIB),
        "memory.used": "0",
        "memory.free": str(MEMORY_MIB),
        "driver_version": DRIVER,
        "compute_cap": "9.0",
        "pci.bus_id": bus(index),
        **_live(name),
    }[{"gpu_name": "name", "gpu_uuid": "uuid", "gpu_bus_id": "pci.bus_id"}.get(name, name)]


def _row(text: str) -> str:
    return f"| {text:<{WIDTH - 2}} |"


def table() -> list[str]:
    edge = "+" + "-" * WIDTH + "+"
    left, middle, right = WIDTH - 24 - 22 - 2, 24, 22
    three = "+" + "-" * left + "+" + "-" * middle + "+" + "-" * right + "+"
    lines = [
        time.strftime("%a %b %e %H:%M:%S %Y"),
        edge,
        _row(f"NVIDIA-SMI {DRIVER}{'':13}Driver Version: {DRIVER}{'':5}CUDA Version: {CUDA}"),
        _row(f"{SIMULATED}: these GPUs do not exist"),
        three,
        f"| GPU  Name{'Persistence-M':>{left - 11}} | {'Bus-Id          Disp.A':<{middle - 2}} "
        f"| {'Volatile Uncorr. ECC':<{right - 2}} |",
        f"| Fan  Temp   Perf{'Pwr:Usage/Cap':>{left - 18}} | {'Memory-Usage':>{middle - 2}} "
        f"| {'GPU-Util  Compute M.':<{right - 2}} |",
        "|" + "=" * left + "+" + "=" * middle + "+" + "=" * right + "|",
    ]
    for index in range(count()):
        lines += [
            f"| {index:>3}  {NAME:<{left - 11}} On  |   {bus(index)} Off | {'0':>{right - 2}} |",
            f"| N/A   30C    P0{'70W /  700W':>{left - 17}} | {f'0MiB / {MEMORY_MIB:>6}MiB':>{middle - 2}} "
            f"| {'0%      Default':>{right - 2}} |",
            three,
        ]
    none = _row(" No running processes found")
    return [*lines, "", edge, _row("Processes:"), "|" + "=" * WIDTH + "|", none, edge]


def query(fields: Sequence[str], options: Sequence[str]) -> list[str]:
    """Rows for --query-gpu=FIELDS --format=csv[,noheader][,nounits]."""
    units = "nounits" not in options
    lines = []
    if "noheader" not in options:
        heads = [f"{f} [{_UNITS[f].strip()}]" if units and f in _UNITS else f for f in fields]
        lines.append(", ".join(heads))
    for index in range(count()):
        cells = [value(f, index) + (_UNITS.get(f, "") if units else "") for f in fields]
        lines.append(", ".join(cells))
    return lines


def topology() -> list[str]:
    names = [f"GPU{index}" for index in range(count())]
    lines = ["\t" + "\t".join([*names, "CPU Affinity", "NUMA Affinity", "GPU NUMA ID"])]
    for row in range(count()):
        cells = [" X " if row == column else "NV18" for column in range(count())]
        lines.append("\t".join([names[row], *cells, "0", "0", "N/A"]))
    legend = ["  X    = Self", "  NV#  = Connection traversing a bonded set of # NVLinks"]
    return [*lines, "", "Legend:", "", *legend, "", f"# {SIMULATED}"]


def main(argv: Sequence[str]) -> int:
    options = dict(word.partition("=")[::2] for word in argv if word.startswith("--"))
    shape = options.get("--format", "").split(",")
    if not argv:
        print("\n".join(table()))
    elif list(argv) == ["-L"]:
        print("\n".join(f"GPU {i}: {NAME} (SIMULATED) (UUID: {gpu_uuid(i)})" for i in range(count())))
    elif list(argv) == ["topo", "-m"]:
        print("\n".join(topology()))
    elif "csv" in shape and "--query-gpu" in options:
        fields = [field.strip() for field in options["--query-gpu"].split(",")]
        try:
            print("\n".join(query(fields, shape)))
        except KeyError as error:
            print(f'Field "{error.args[0]}" is not a valid field to query. ({SIMULATED})')
            return 2
    elif "csv" in shape and "--query-compute-apps" in options:
        if "noheader" not in shape:
            print(options["--query-compute-apps"].replace(",", ", "))
    else:
        print(f"nvidia-smi ({SIMULATED}): does not know {' '.join(argv)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
