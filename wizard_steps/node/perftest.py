"""perftest (ib_write_bw, ib_send_lat) between two nodes and nccl-tests (all_reduce_perf) inside one.

Used where they are installed, never required: they tell whether the cards and the cable are fast when NCCL is
not. Each side prints ``rail DEVICE`` before the output of the tools.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from msgspec import Struct

from wizard_steps.model import Cmd
from wizard_steps.node import remote
from wizard_steps.node.lines import plain

#: The first port of both tools; each rail takes two. Below Linux's ephemeral ports.
PORT = 29600
#: Rails that are measured, seconds for one measurement, and bytes of a message (2000 of them).
RAILS, LIMIT, SIZE = 8, 20, 1 << 20
#: What a client says while the server is not there yet.
_EARLY = '*"Couldn\'t connect"*|*"Unable to open file descriptor"*|*"Connection refused"*'
_UNITS = {"Gb/sec": 1.0, "MiB/sec": 8 * 1.048576e-3, "MB/sec": 8 * 1.048576e-3}
_BAD = re.compile(
    r"(?i)\b(?:couldn't|could not|cannot|unable|failed|failure|invalid|did not detect|completion with error|"
    r"timed out|error while loading)\b"
)
_ROW = re.compile(r"(\d{1,12})\s{1,20}(\d{1,12})((?:\s{1,30}[\d.]{1,20}){2,8})$")
#: ``size count type redop root`` and the times and rates out of place and in place; newer ones add columns.
_NCCL = re.compile(
    r"(\d{1,15})\s{1,20}\d{1,15}\s{1,20}\w{1,12}\s{1,20}\w{1,12}\s{1,20}-?\d{1,6}"
    r"\s{1,20}[\d.e+]{1,12}\s{1,20}[\d.e+]{1,12}\s{1,20}([\d.]{1,12})\s"
)
_WRONG = re.compile(r"# ?Out of bounds values\s{0,30}: (\d{1,15}) (\w{2,8})")


class PerftestPort(Struct, frozen=True):
    """One side of a rail. ``gid``: its index of a RoCE port, -1 for InfiniBand."""

    device: str
    gid: int = -1


class PerftestRate(Struct, frozen=True):
    """What a rail did: ``gbit`` in Gbit/s, ``usec`` of a typical small message; 0.0: not measured."""

    device: str
    gbit: float = 0.0
    usec: float = 0.0
    problem: str = ""


class InsideReport(Struct, frozen=True):
    """all_reduce_perf of one node: its best bus bandwidth in GB/s, and how many values were wrong."""

    gbytes: float = 0.0
    wrong: int = 0
    problem: str = ""


def command(key: str, ports: Sequence[PerftestPort], latency: bool, server: str = "", show: str = "") -> Cmd:
    """One side of ib_write_bw over each port; with ``server``, an address, the side that connects."""
    lines = [_RUN]
    for place, port in enumerate(ports[:RAILS]):
        device, _, number = port.device.partition(":")
        to, card = (f" {server}" if server else ""), f"-d {shlex.quote(device)} -F"
        card += f" -i {shlex.quote(number)}" if number else ""
        card += f" -x {port.gid}" if port.gid >= 0 else ""
        lines.append(f"echo {shlex.quote(f'rail {port.device}')}")
        lines.append(f"t ib_write_bw {card} -p {PORT + 2 * place} -s {SIZE} -n 2000 --report_gbits{to}")
        if latency:
            lines.append(f"t ib_send_lat {card} -p {PORT + 2 * place + 1} -s 2 -n 1000{to}")
    side = f"to {server}" if server else "waits"
    names = ", ".join(port.device for port in ports[:RAILS])
    shown = show or f"(ib_write_bw over {names}, {side})"
    count = min(len(ports), RAILS) * (1 + latency)
    return Cmd(key, "\n".join([*lines, "exit 0\n"]), timeout=15 + count * LIMIT, show=shown)


_RUN = f"""t() {{
  n=0
  while :; do
    o=$(timeout {LIMIT} "$@" 2>&1)
    case $o in {_EARLY}) n=$((n+1)); [ $n -lt 20 ] && sleep 0.5 && continue;; esac
    printf '%s\\n' "$o"; return
  done
}}"""


def read(text: str) -> list[PerftestRate]:
    """What ``command`` printed, by rail; any text ends in a list."""
    found: list[PerftestRate] = []
    unit = latency = 0.0
    column = 3
    for raw in text.splitlines()[:4000]:
        line = plain(raw).strip()
        if line.startswith("rail "):
            found.append(PerftestRate(line[5:69].strip()))
            unit = latency = 0.0
        elif line.startswith("#bytes"):
            name = re.search(r"BW average\[(\w{1,4}/sec)\]", line)
            unit, latency = _UNITS.get(name[1], 0.0) if name else 0.0, float("usec" in line)
            column = 2 if "tps" in line else 4
        elif found and (row := _ROW.match(line)):
            numbers = row[3].split()
            one = found[-1]
            if unit and len(numbers) >= 2:
                found[-1] = PerftestRate(one.device, round(_float(numbers[1]) * unit, 2), one.usec)
            elif latency and len(numbers) > column - 2:
                found[-1] = PerftestRate(one.device, one.gbit, _float(numbers[column - 2]))
        elif found and not found[-1].problem and not found[-1].gbit and _BAD.search(line):
            found[-1] = PerftestRate(found[-1].device, problem=line[:160])
    return found


def inside(path: str, gpus: int, env: Mapping[str, str]) -> Cmd:
    """all_reduce_perf over all GPUs of one node. ``path`` of it on the node."""
    words = f"{shlex.quote(path)} -b 512M -e 512M -g {gpus}"
    text = f"exec env {remote.environment(env)} timeout 60 {words} 2>&1\n"
    return Cmd("nccltests", text, timeout=75, show=f"{words}")


def read_inside(text: str) -> InsideReport:
    """What ``inside`` printed; any text ends in a value."""
    best, wrong, problem, last = 0.0, 0, "", ""
    for raw in text.splitlines()[:4000]:
        line = plain(raw).strip()
        if row := _NCCL.match(line):
            best = max(best, _float(row[2]))
        elif said := _WRONG.match(line):
            wrong = max(wrong, int(said[1]))
        elif line and not line.startswith("#"):
            problem, last = problem or (line[:160] if _BAD.search(line) else ""), line[:160]
    return InsideReport(best, wrong, "" if best else problem or last or "no result")


def _float(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,12}(?:\.\d{1,9})?", text) else 0.0
