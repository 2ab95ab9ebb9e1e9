"""``systemctl``, ``loginctl`` and ``systemd-analyze`` of a lab node. SIMULATED: no systemd runs it, and
it does not reboot. Real are the units that are read, the processes they start, and that one that ends is
started again. Units are in the folder MILEPOST_UNITS, which the lab sets; nothing of this machine is touched.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

SIMULATED = "SIMULATED by the milepost lab"
UNITS = Path(os.environ.get("MILEPOST_UNITS", "/nonexistent"))
#: Seconds before a service is started again at most, that nobody waits long in a lab; and of a stop.
PAUSE, STOP = 2.0, 60.0


class LabUnit:
    """A unit file, and what is known of its service."""

    def __init__(self, name: str) -> None:
        self.name = Path(name).name
        self.file = UNITS / self.name
        self._state = UNITS / "run" / f"{self.name}.json"
        self._rows = [row.partition("=") for row in self._text().splitlines() if "=" in row]

    def _text(self) -> str:
        try:
            return self.file.read_text(encoding="utf-8")
        except OSError:
            return ""

    def all(self, key: str) -> list[str]:
        """The words of a setting, which may be there more than once."""
        return [word for name, _, value in self._rows if name == key for word in value.split()]

    def argv(self, key: str = "ExecStart") -> list[str]:
        value = next((value for name, _, value in self._rows if name == key), "")
        return [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(value)]

    def number(self, key: str, default: float) -> float:
        words = self.all(key)
        return float(words[0]) if words and words[0].isdigit() else default

    @property
    def state(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._state.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def tell(self, **values: object) -> None:
        self._state.parent.mkdir(exist_ok=True)
        new = self._state.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({**self.state, **values}), encoding="utf-8")
        new.replace(self._state)

    @property
    def active(self) -> str:
        """systemd's ActiveState."""
        said = str(self.state.get("active", "inactive"))
        return said if said in ("inactive", "failed") or alive(self.state.get("pid")) else "failed"

    @property
    def parts(self) -> Iterator[LabUnit]:
        """The units that are stopped and restarted with this one."""
        for path in sorted(UNITS.glob("*.service")):
            if self.name in (one := LabUnit(path.name)).all("PartOf"):
                yield one

    def start(self) -> None:
        for name in self.all("Wants"):
            if (UNITS / name).exists():
                LabUnit(name).start()
        if self.active in ("active", "activating"):
            return
        self.tell(active="activating", pid=0)
        command = [sys.executable, "-I", __file__, "supervise", self.name]
        nothing = subprocess.DEVNULL
        process = subprocess.Popen(
            command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
        until(lambda: self.state.get("pid") == process.pid or process.poll() is not None)

    def stop(self) -> None:
        for one in self.parts:
            one.stop()
        pid = self.state.get("pid")
        if alive(pid):
            os.kill(int(str(pid)), signal.SIGTERM)
            until(lambda: not alive(pid), self.number("TimeoutStopSec", STOP) + 10)
        self.tell(active="inactive", pid=0, restarts=0)

    def restart(self) -> None:
        with_it = [one for one in self.parts if one.active != "inactive"]
        self.stop()
        for one in (self, *with_it):
            one.start()


def supervise(unit: LabUnit) -> None:
    """Runs a service and starts it again until it is stopped, or has been started too often."""
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True
        end(unit.state.get("invocation"), signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    restarts = 0
    while not asked:
        invocation = str(uuid.uuid4())
        unit.tell(invocation=invocation, restarts=restarts)
        nothing = subprocess.DEVNULL
        child = subprocess.Popen(unit.argv(), env={**os.environ, "INVOCATION_ID": invocation}, stdin=nothing)
        unit.tell(active="active", pid=os.getpid())
        while child.poll() is None and not asked:
            time.sleep(0.2)
        if halt := unit.argv("ExecStop"):
            subprocess.run(halt, check=False)
        # As with a control group: nothing of a service outlives it.
        end(invocation, signal.SIGTERM)
        until(partial(ended, invocation), unit.number("TimeoutStopSec", STOP))
        end(invocation, signal.SIGKILL)
        child.wait()
        restarts += 1
        if asked or unit.all("Restart") != ["always"] or restarts >= unit.number("StartLimitBurst", 5):
            break
        unit.tell(active="activating")
        time.sleep(min(PAUSE, unit.number("RestartSec", PAUSE)))
    unit.tell(active="inactive" if asked else "failed", pid=0)


def of(invocation: object) -> list[int]:
    """The processes of one start of a service, as systemd marks them."""
    wanted, found = f"INVOCATION_ID={invocation}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes().split(b"\0") and alive(path.parent.name):
                found.append(int(path.parent.name))
    return found


def ended(invocation: str) -> bool:
    return not of(invocation)


def end(invocation: object, number: int) -> None:
    for pid in of(invocation) if invocation else ():
        with suppress(OSError):
            os.kill(pid, number)


def alive(pid: object) -> bool:
    """Whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{int(str(pid))}/stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return False
    return stat.rpartition(")")[2].split()[:1] != ["Z"]


def until(done: Callable[[], bool], limit: float = STOP) -> None:
    end_at = time.monotonic() + limit
    while not done() and time.monotonic() < end_at:
        time.sleep(0.1)


def systemctl(words: Sequence[str]) -> int:
    values = [word for word in words if not word.startswith("-")]
    verb, names = (values[0], values[1:]) if values else ("", [])
    if verb == "is-system-running":
        print("running")
    elif verb == "show":
        wanted = words[words.index("-p") + 1]
        unit = LabUnit(names[-1])
        print(unit.active if wanted == "ActiveState" else unit.state.get("restarts", 0))
    elif verb in ("start", "stop", "restart"):
        for unit in map(LabUnit, names):
            if not unit.file.exists():
                print(f"Failed to {verb} {unit.name}: Unit {unit.name} not found. ({SIMULATED})")
                return 5
            getattr(unit, verb)()
    elif verb in ("enable", "disable"):
        for unit in map(LabUnit, names):
            if verb == "disable" and "--now" in words:
                unit.stop()
            print(f"{verb}d {unit.name} ({SIMULATED})")
    elif verb not in ("daemon-reload", "reset-failed"):
        print(f"systemctl ({SIMULATED}): does not do {verb or 'that'}: a lab node is this machine")
        return 1
    return 0


def main(words: Sequence[str]) -> int:
    name, rest = words[0], list(words[1:])
    if name == "supervise":
        supervise(LabUnit(rest[0]))
        return 0
    if name == "systemctl":
        return systemctl(rest)
    if name == "loginctl" and "show-user" in rest:
        print("yes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
