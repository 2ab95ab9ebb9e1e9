"""Nodes as folders of this machine: the programs of the weights run in them as on a node, with an own home and
an address of loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers.requirements import require
from wizard_steps.lab import tiny
from wizard_steps.lab.hub import Hub, Trouble
from wizard_steps.lab.layout import free_ports
from wizard_steps.node import weights

REPO = "org/tiny"
SPEC: dict[str, Any] = {"repo": REPO, "revision": "main", "folder": "", "local": False, "consolidated": True}
WORD = "a-word-of-this-walk"


class Bed:
    """``hub`` serves a small model; ``node(name)`` is the home of one."""

    def __init__(self, folder: Path, trouble: Trouble | None = None) -> None:
        if importlib.util.find_spec("huggingface_hub") is None:
            require("huggingface_hub is not installed")
        self.folder, self.port = folder, free_ports(1)[0]
        tiny.write(folder / "model")
        self.hub = Hub(folder / "model", REPO, trouble=trouble)
        self.running: list[subprocess.Popen[str]] = []

    def home(self, name: str) -> Path:
        return self.folder / name

    def model(self, name: str) -> Path:
        return self.home(name) / ".cache/huggingface/hub" / f"models--{REPO.replace('/', '--')}"

    def start(self, name: str, program: str, spec: dict[str, Any], stdin: str = "", **env: str) -> Any:
        state = self.home(name) / "state"
        state.mkdir(parents=True, exist_ok=True)
        boot, texts = weights.program(program)
        # As launch.sh does it: what names the process is there before it says its first word.
        named = "cat /proc/sys/kernel/random/uuid > fetch.start; echo $$ > fetch.pid; "
        role = f'{named if program == "weights_fetch" else ""}exec "$@"'
        process = subprocess.Popen(
            ["sh", "-c", role, "sh", sys.executable, "-c", boot, texts, json.dumps(spec)],
            cwd=state,
            env={
                "HOME": str(self.home(name)),
                "PATH": os.environ["PATH"],
                "HF_ENDPOINT": self.hub.url,
                # On a busy machine a test is about what comes, not about when.
                "HF_HUB_ETAG_TIMEOUT": "300",
                "HF_HUB_DOWNLOAD_TIMEOUT": "300",
                **env,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(process)
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def run(
        self, name: str, program: str, spec: dict[str, Any] | None = None, **more: str
    ) -> tuple[int, str]:
        process = self.start(name, program, spec or SPEC, **more)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def chain(self, *names: str) -> list[Any]:
        """A share on each: the first has the model, each other one takes it from the one before."""
        ip = {name: f"127.0.0.{number}" for number, name in enumerate(names, start=1)}
        found = []
        for at, name in enumerate(names):
            sources = [[ip[one], self.port] for one in ([names[at - 1], names[0]] if at > 1 else names[:at])]
            more = {
                "ip": ip[name],
                "port": self.port,
                "sources": sources,
                "followers": int(at + 1 < len(names)),
            }
            found.append(self.start(name, "weights_share", {**SPEC, **more}, MILEPOST_COPY_TOKEN=WORD))
        return found

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.hub.close()


@contextmanager
def bed(folder: Path, trouble: Trouble | None = None) -> Iterator[Bed]:
    made = Bed(folder, trouble)
    try:
        yield made
    finally:
        made.close()


def ends(process: Any) -> str:
    """Its output, once it has ended."""
    output, _ = process.communicate(timeout=300)
    return str(output)


def listening(ip: str, port: int, seconds: float = 30.0) -> None:
    """Until somebody listens there."""
    end = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((ip, port)) == 0:
                return
        assert time.monotonic() < end, f"nobody listens on {ip}:{port}"
        time.sleep(0.05)
