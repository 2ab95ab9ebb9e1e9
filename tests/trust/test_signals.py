"""Ctrl-C is answered while a node floods its output over SSH, and nothing of the wizard stays."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from tests.helpers.headless_help import start, write
from tests.helpers.on_terminal import OnTerminal
from tests.helpers.sshd import Bed, needs_sshd

pytestmark = [needs_sshd, pytest.mark.timeout(180)]

FLOOD = {
    "lines": "exec yes 'a line that comes again and again, for ever'",
    "one line": "exec tr '\\000' x < /dev/zero",
    "control characters": "exec tr '\\000' '\\235' < /dev/zero",
    "returns": "exec tr '\\000' '\\015' < /dev/zero",
    "digits": "exec tr '\\000' 7 < /dev/zero",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("flood", FLOOD.values(), ids=FLOOD)
async def test_a_flood_does_not_hold_the_wizard(
    flood: str, number: int, ssh_bed: Bed, tmp_path: Path
) -> None:
    """The node's nvidia-smi is the flood; both the look at the node and its own milestone run it."""
    begun = tmp_path / "begun"
    file = flooding(flood, begun, ssh_bed, tmp_path)
    process = await start(tmp_path, str(file), "--headless", "--walk", str(tmp_path / "walk"))
    try:
        for _ in range(600):
            if begun.exists() or process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        if process.returncode is None:
            process.send_signal(number)
        said, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 130, said.decode()[-2000:]
    assert b"Traceback" not in said


@pytest.mark.long
@pytest.mark.parametrize("flood", FLOOD.values(), ids=FLOOD)
async def test_ctrl_c_is_answered_on_the_screen_too(flood: str, ssh_bed: Bed, tmp_path: Path) -> None:
    """Ctrl-C as a terminal sends it: the wizard asks, and Stop ends the walk."""
    begun = tmp_path / "begun"
    file = flooding(flood, begun, ssh_bed, tmp_path)
    with OnTerminal([str(file), "--yes", "--walk", str(tmp_path / "walk")], tmp_path) as wizard:
        await wizard.until(lambda: begun.exists(), "the flood")
        await asyncio.sleep(1)
        wizard.type(b"\x03")
        await wizard.until(lambda: b"Stop the walk?" in wizard.screen, "the question")
        wizard.type(b"\x1b[B\r")
        await wizard.until(lambda: wizard.ended, "its end")
        assert wizard.process.returncode == 130


def flooding(flood: str, begun: Path, ssh_bed: Bed, folder: Path) -> Path:
    """The cluster file of a node whose nvidia-smi never stops, and makes ``begun`` first."""
    write_program(folder / "bin" / "nvidia-smi", f": > {begun}\n{flood}")
    write_program(
        folder / "login", f'PATH={folder}/bin:$PATH; export PATH; exec sh -c "$SSH_ORIGINAL_COMMAND"'
    )
    return write(ssh_bed.cluster(ssh_bed.sshd(f"ForceCommand {folder}/login").port), folder)


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
