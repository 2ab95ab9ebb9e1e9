"""Runs milepost itself, headless, in a process of its own, and reads what it journals while it walks.

    with HeadlessWalk(cluster_file, folder) as walk:
        walk.until_passed("workers", limit=90)
        ...                                   plant a fault
        verdict = walk.until_failed("status", limit=60)

Times are read off milepost's own journal (seconds since its walk began), and converted to this process's
clock through the first event seen, which is exact to about 20 ms.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.real.hosts import Hosts

Event = dict[str, Any]


def milepost(*arguments: str) -> list[str]:
    """The command line of the installed ``milepost`` beside this interpreter."""
    script = Path(sys.executable).with_name("milepost")
    found = str(script) if script.exists() else shutil.which("milepost")
    if not found:
        raise RuntimeError("the milepost command is not installed beside this interpreter")
    return [found, *arguments]


def environment(home: Path, extra: dict[str, str] | None = None) -> dict[str, str]:
    """A person's environment with nothing of this machine's own: no agent, no keys, no configuration."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
    return {**keep, "HOME": str(home), "XDG_STATE_HOME": str(home / ".local/state"), **(extra or {})}


class HeadlessWalk:
    """One ``milepost CLUSTER --headless --walk FOLDER``."""

    def __init__(
        self,
        cluster_file: Path,
        folder: Path,
        home: Path,
        arguments: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.home = home
        self._argv = milepost(str(cluster_file), "--headless", "--walk", str(folder), *arguments)
        self._env = environment(home, env)
        self._log = folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._zero: float | None = None
        self._events: list[Event] = []
        self._at = 0

    def __enter__(self) -> HeadlessWalk:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env, cwd=self.home
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process and self._process.poll() is None:
            self.interrupt()

    # ---- what it says

    @property
    def output(self) -> str:
        """Everything it printed."""
        return self._log.read_text(errors="replace")

    def events(self) -> list[Event]:
        """All whole events journalled so far."""
        path = self.folder / "events.jsonl"
        if not path.exists():
            return self._events
        with path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        fresh = [json.loads(line) for line in whole.splitlines()]
        if fresh and self._zero is None:
            self._zero = time.monotonic() - fresh[0]["t"]
        self._events += fresh
        return self._events

    def now(self) -> float:
        """The walk's own time, in seconds since it began."""
        self.events()
        return time.monotonic() - (self._zero if self._zero is not None else time.monotonic())

    def until(self, wanted: Callable[[Event], bool], limit: float, what: str) -> Event:
        """The first event, past or to come, that is ``wanted``. AssertionError when there is none in time."""
        assert self._process is not None
        deadline = time.monotonic() + limit
        while True:
            over = self._process.poll() is not None
            for event in self.events():
                if wanted(event):
                    return event
            assert not over, (
                f"milepost ended with {self._process.returncode} before {what}:\n{self.output[-6000:]}"
            )
            assert time.monotonic() < deadline, f"no {what} within {limit:.0f} s:\n{self.output[-6000:]}"
            time.sleep(0.02)

    def until_started(self, step: str, limit: float) -> Event:
        return self.until(
            lambda e: e["event"] == "step-started" and e["step"] == step, limit, f"start of {step}"
        )

    def until_command(self, step: str, key: str, limit: float) -> Event:
        """The start of a command of a step."""
        return self.until(
            lambda e: e["event"] == "command-started" and e["step"] == step and e["key"].startswith(key),
            limit,
            f"{key} of {step}",
        )

    def until_judged(self, step: str, limit: float) -> Event:
        return self.until(lambda e: e["event"] == "judged" and e["step"] == step, limit, f"verdict of {step}")

    def until_passed(self, step: str, limit: float) -> Event:
        event = self.until_judged(step, limit)
        assert event["verdict"]["passed"], f"{step}: {told(event)}\n{self.output[-6000:]}"
        return event

    def until_shut(self, step: str, limit: float) -> Event:
        """The verdict of a gate that stays shut; AssertionError if it opens."""
        event = self.until_judged(step, limit)
        assert not event["verdict"]["passed"], f"{step} passed: {told(event)}"
        return event

    def until_any_shut(self, limit: float) -> Event:
        """The first verdict of a gate that stays shut, whichever gate that is."""
        return self.until(
            lambda e: e["event"] == "judged" and not e["verdict"]["passed"], limit, "gate that stays shut"
        )

    # ---- how it ends

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, limit: float) -> int:
        """Its exit code. AssertionError when it goes on for longer than ``limit`` seconds."""
        assert self._process is not None
        try:
            return self._process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"milepost still runs after {limit:.0f} s:\n{self.output[-6000:]}") from None

    def interrupt(self) -> int:
        """Ctrl-C, and SIGKILL when that does not end it in 10 seconds."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def told(event: Event) -> str:
    """A verdict's words: its summary and every failed check."""
    verdict = event["verdict"]
    parts = [verdict["summary"]]
    for check in verdict["checks"]:
        if not check["ok"]:
            wanted = f" (wanted: {check['wanted']})" if check.get("wanted") else ""
            hint = f" -> {check['hint']}" if check.get("hint") else ""
            parts.append(
                f"{check.get('node', '')} {check['name']}: {check.get('found', '')}{wanted}{hint}".strip()
            )
    return "\n".join(parts)


def down(cluster_file: Path, home: Path, limit: float = 90.0) -> subprocess.CompletedProcess[str]:
    """``milepost down CLUSTER``."""
    argv = milepost("down", str(cluster_file))
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=limit, env=environment(home), stdin=subprocess.DEVNULL
    )


def pack(cluster_file: Path, kit: Path, home: Path, env: dict[str, str]) -> None:
    """``milepost pack`` with the model. AssertionError when it fails."""
    argv = milepost("pack", str(cluster_file), "-o", str(kit), "--model")
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=240,
        env=environment(home, env),
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def to_ray_status(bed: Hosts, file: Path, folder: Path) -> HeadlessWalk:
    """A walk that is interrupted once Ray's gate has passed."""
    with HeadlessWalk(file, folder, bed.home) as walk:
        walk.until_passed("ray_status", 300)
        walk.interrupt()
        return walk


def launched(walk: HeadlessWalk) -> list[tuple[str, str]]:
    """(step, node) of everything that the walk started."""
    return [
        (event["step"], event["node"])
        for event in walk.events()
        if event["event"] == "command-started" and event["key"] == "launch"
    ]
