"""What a node says of ranks that hang (scripts/stall.py), and how NCCL's monitor RAS names them.

RAS answers on port 28028 of localhost since NCCL 2.24. Its text has changed from release to release, so only
the lines that name a rank or a process are read (NCCL's src/ras/client_support.cc).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from wizard_steps.model import Cmd
from wizard_steps.node.lines import number, plain
from wizard_steps.node.program import program

PORT = 28028
#: Seconds without a new line of a log after which its processes are looked at, and at which steps again.
QUIET, STEP = 20, 5
#: What ``watch`` prints where a process was stopped twice, or did not answer RAS three times: communicators
#: that are being made are incomplete for a while.
STALLED = "milepost: the log is silent, and a process of it does not answer"
#: Ranks that are named, and lines of an answer that are read.
_MOST, _LINES = 8, 2000

_COMM = re.compile(r"#\d+-\d+ \([0-9a-f]{1,16}\) (INCOMPLETE|ERROR|MISMATCH)")
_PROCESS = re.compile(r"Process (\d{1,10}) on node (\S{1,64}) managing GPUs? (.{1,80})")
_RANK = re.compile(
    r"Rank (\d{1,7})(?P<said> has .{1,60}?| reported .{1,80}?)? -- "
    r"(?:GPU (?P<gpu>.{1,40}?) managed by process (?P<pid>\d{1,10}) on node (?P<node>\S{1,64})|\[process)"
)
_GROUP = re.compile(r"\d{1,7} ranks (have .{1,60}|reported .{1,80})")
_COUNTS = re.compile(r"Communicator ranks have different (\w{1,20}) operation counts")
_LAUNCHED = re.compile(r"launched up to operation (\d{1,18})")
_STATUS = re.compile(r"status (\w{1,10})")
_MISSING = re.compile(r"The missing ranks?: ([\d, ]{1,200})")
_TABLE = re.compile(r"\d+ +\d+ +\d+ +[\d-]+ +\d+ +\d+ +(\w+) +([A-Z,]+)")


class Suspect(Struct, frozen=True):
    """A rank (-1 where only its process is known) that others may wait for. ``address``: of its node.

    ``sure``: it does not answer, or reports an error; else it is only behind the others.
    """

    rank: int
    why: str
    gpu: str = ""
    pid: int = 0
    address: str = ""
    sure: bool = True

    @property
    def name(self) -> str:
        return f"rank {self.rank}" if self.rank >= 0 else f"process {self.pid}"

    def words(self, node: str) -> str:
        """``rank 1 on b (GPU 0, process 4711) does not answer NCCL RAS``."""
        inside = [f"GPU {self.gpu}" if self.gpu else "", f"process {self.pid}" if self.pid else ""]
        about = ", ".join(filter(None, inside if self.rank >= 0 else inside[:1]))
        return f"{self.name} on {node}{f' ({about})' if about else ''} {self.why}"


class RasReport(Struct, frozen=True):
    """``answered``: RAS was there. ``said``: why not, or its summary of the communicators."""

    answered: bool
    said: str
    suspects: tuple[Suspect, ...] = ()


def _named(mine: str) -> str:
    """sh text: ``mine`` is sh text that defines ours; ``w`` gets those of vLLM as NAME=PID."""
    return (
        f"{mine}w=\nfor p in $(ours); do\n"
        "t=$(tr '\\0 ' '\\n\\n' 2>/dev/null <\"/proc/$p/cmdline\" | head -n 1 | head -c 40)\n"
        "t=$(printf %s \"$t\" | tr -dc 'A-Za-z0-9_:.-')\n"
        'case $t in VLLM::*|ray::RayWorker*|ray::Engine*) w="$w $t=$p";; esac\ndone\n'
    )


def _asked(python: str, mine: str) -> str:
    """sh text that has the node say what vLLM's processes do."""
    code = shlex.quote(program("stall.py"))
    return f"{_named(mine)}{python} -I -c {code} {PORT} $w 2>&1\n"


def unstopped(python: str, mine: str, limit: float) -> Cmd:
    """Beside a log on another node: ends once a process of vLLM stays stopped here for QUIET seconds."""
    text = (
        "n=0\nwhile sleep 10; do\n"
        f"{_named(mine)}s=\nfor x in $w; do\n"
        "grep -q '^State:.T' \"/proc/${x##*=}/status\" 2>/dev/null && s=1\ndone\n"
        '[ -n "$s" ] && n=$((n+10)) || n=0\n'
        f"[ $n -lt {QUIET} ] || break\ndone\n[ $n -ge {QUIET} ] || exit 0\n"
        f"{_asked(python, mine)}echo {shlex.quote(STALLED)}\n"
    )
    return Cmd("stopped", text, timeout=limit, quiet=True, show="(is a process of vLLM stopped here?)")


def processes(python: str, mine: str) -> Cmd:
    """Asks a node about vLLM's processes there, see ``mine`` of ``remote``."""
    show = f"(vLLM's processes, py-spy, NCCL RAS on localhost:{PORT}: verbose status)"
    return Cmd("stall", f"{_asked(python, mine)}exit 0\n", timeout=60, show=show)


def watch(python: str, mine: str, log: str) -> str:
    """sh text for ``remote.follow``: asks once the file ``log`` is silent for QUIET seconds, and twice more.

    It ends with the tail that takes the place of the shell that started it.
    """
    return (
        f"( ask() {{ {_asked(python, mine)} }}\nn=0; last=; bad=\n"
        f"while sleep {STEP} && [ -e /proc/$$/exe ]; do\n"
        f's=$(wc -c <{log}); [ "$s" = "$last" ] && n=$((n+{STEP})) || {{ n=0; bad=; }}; last=$s\n'
        f"case $n in {QUIET}|{QUIET + STEP}|{QUIET + 2 * STEP}) ;; *) continue;; esac\n"
        'o=$(ask); printf \'%s\\n\' "milepost: no new line in this log for $n s" "$o"\n'
        "case $o in *' is stopped'*) bad=${bad}s;;\n"
        "*'ras| INCOMPLETE'*|*'ras| DEAD'*) bad=${bad}r;; *) bad=;; esac\n"
        f"case $bad in *ss|rrr) echo {shlex.quote(STALLED)}; bad=;; esac\n"
        "done ) </dev/null 2>/dev/null &\n"
    )


def lines_of(text: str) -> list[str]:
    """RAS's own lines among those of ``scripts/stall.py``."""
    found = [line.strip() for line in text.splitlines()[:_LINES]]
    lines = [plain(line[4:]).strip() for line in found if line.startswith("ras|")]
    starts = [index for index, line in enumerate(lines) if line.startswith("NCCL version")]
    # It may have been asked several times: the last answer counts.
    return lines[starts[-1] :] if starts else lines


def report(text: str) -> RasReport:
    """Reads what ``status`` printed; any text ends in a report."""
    lines = lines_of(text)
    if not any("ommunicators..." in line or line.startswith("NCCL version") for line in lines):
        last = next((line for line in reversed(lines) if line), "no answer")
        return RasReport(False, last[:160])
    tables = [row for line in lines if (row := _TABLE.match(line))]
    said = ", ".join(dict.fromkeys(f"{row[1]} {row[2]}" for row in tables)) or "no communicator yet"
    return RasReport(True, said, tuple(_ordered(_suspects(lines)))[:_MOST])


def _ordered(found: Sequence[Suspect]) -> list[Suspect]:
    """A process that is named without its rank is the one of a rank that is named with it."""
    known = {(one.pid, one.address) for one in found if one.rank >= 0}
    rest = [one for one in found if one.rank >= 0 or (one.pid, one.address) not in known]
    return sorted(dict.fromkeys(rest), key=lambda one: not one.sure)


def _suspects(lines: Sequence[str]) -> list[Suspect]:
    found: list[Suspect] = []
    kind = why = ""
    for index, line in enumerate(lines):
        if line in ("INCOMPLETE", "DEAD", "TIMEOUT", "Warnings"):
            kind, why = line, _WHY.get(line, "")
        elif comm := _COMM.match(line):
            kind, why = comm[1], _WHY.get(comm[1], "")
            if kind == "MISMATCH":
                found += _behind(lines[index + 1 :])
        elif kind in ("INCOMPLETE", "DEAD") and (row := _PROCESS.match(line)):
            found.append(Suspect(-1, why, row[3], number(row[1]), row[2]))
        elif kind == "INCOMPLETE" and (row := _RANK.match(line)):
            found.append(_rank(row, why))
        elif kind == "INCOMPLETE" and (row := _MISSING.match(line)):
            found = _with_ranks(found, row[1], why)
        elif kind == "ERROR" and (row := _RANK.match(line)):
            said = (row["said"] or "reports an error").strip()
            # "Remote process error": it is another rank that broke.
            found.append(_rank(row, said, sure="emote process" not in said))
    return found


_WHY = {
    "INCOMPLETE": "does not answer NCCL RAS",
    "DEAD": "is dead: NCCL RAS has not reached it for 60 s",
}


def _rank(row: re.Match[str], why: str, sure: bool = True) -> Suspect:
    return Suspect(number(row[1]), why, row["gpu"] or "", number(row["pid"] or ""), row["node"] or "", sure)


def _with_ranks(found: list[Suspect], ranks: str, why: str) -> list[Suspect]:
    """NCCL up to 2.25 lists the ranks apart from their processes."""
    numbers = [number(word.strip()) for word in ranks.split(",") if word.strip()]
    if len(numbers) == 1 and len(found) == 1:
        return [replace(found[0], rank=numbers[0])]
    return [*found, *(Suspect(rank, why) for rank in numbers[:_MOST])]


def _behind(lines: Sequence[str]) -> Iterator[Suspect]:
    """The ranks of one communicator that have launched fewer operations, or are in an earlier status."""
    rows: list[tuple[re.Match[str] | None, str]] = []
    operation = group = ""
    for line in lines:
        if _COMM.match(line):
            break
        if counts := _COUNTS.match(line):
            yield from _slowest(rows, operation)
            operation, rows, group = counts[1], [], ""
        elif line == "Communicator ranks have different status":
            operation, rows, group = "status", [], ""
        elif row := _GROUP.match(line):
            group = row[1]
            rows.append((None, group))
        elif row := _RANK.match(line):
            rows.append((row, (row["said"] or group).strip()))
    yield from _slowest(rows, operation)


#: How far a communicator has come.
_STAGES = {"NOCOMM": 0, "INIT": 1, "RUNNING": 2}


def _far(said: str, operation: str) -> int:
    if operation == "status":
        status = _STATUS.search(said)
        return _STAGES.get(status[1] if status else "", 3)
    launched = _LAUNCHED.search(said)
    return number(launched[1]) if launched else 0


def _slowest(rows: Sequence[tuple[re.Match[str] | None, str]], operation: str) -> Iterator[Suspect]:
    most = max((_far(said, operation) for _, said in rows), default=0)
    least = min((_far(said, operation) for _, said in rows), default=0)
    for row, said in rows:
        here = _far(said, operation)
        if row is None or here == most or here != least:
            continue
        status = _STATUS.search(said)
        kind = "" if operation == "collective" else f"{operation} "
        why = f"has launched {here} {kind}operations, the others {most}"
        if operation == "status":
            why = f"is in the status {status[1] if status else 'unknown'}, the others are further"
        yield _rank(row, why, sure=False)
