"""A disk that fills up while a walk is recorded, at every size: what was kept is whole, and replays."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.walk_maker import settled_plan
from wizard_steps.errors import WalkError
from wizard_steps.recording import journal as walks
from wizard_steps.recording.spool import write_all
from wizard_steps.session import _new_folder

__all__ = ["settled_plan"]
ROOT = Path(__file__).parents[2]

#: In a mount namespace of its own: for each size a file system of just that size, a walk recorded into it, and
#: what is left replayed. Prints SIZE WHAT.
FILL = """
import asyncio, subprocess, sys
from pathlib import Path
from tests.helpers.walk_maker import HEALTHY, make
from wizard_steps import plan
from wizard_steps.errors import WalkError
from wizard_steps.recording import journal as walks
from wizard_steps.recording.events import Output
from wizard_steps.walks.replay import replay
plan.PATHS["bare-metal"] = tuple(s for s in plan.PATHS["bare-metal"] if s.id in HEALTHY)
place = Path(sys.argv[1])
long = "Ubuntu 24.04.2 LTS\\n" + "".join(f"line {n} of what a node prints\\n" for n in range(250))
for size in (*range(4, 260, 4), 16384):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(place)], check=True)
    folder, said = place / "walk", "recorded"
    try:
        make(folder, {}, (), swap=(("Ubuntu 24.04.2 LTS", long),))
    except WalkError as error:
        said = "full"
        assert "No space left" in str(error), error
    # Closing the recording removes one in which nothing happened.
    if walks.is_walk(folder) and (folder / "events.jsonl").stat().st_size:
        walk = walks.load(folder)
        spools = {e.run: e.spool for e in walk.events if hasattr(e, "spool")}
        for event in walk.events:
            if isinstance(event, Output):
                walk.read(spools[event.run], event.start, event.end)
        done = asyncio.run(replay(walk))
        said += f" {len(walk.events)} events, replay {done.code} {done.drift}"
    else:
        said += " nothing kept"
    print(size, said, flush=True)
    subprocess.run(["umount", "-l", str(place)], check=True)
"""


def test_every_size_of_disk(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    words = ["unshare", "-m", "--propagation", "private", sys.executable, "-c", FILL, str(place)]
    if subprocess.run(
        [*words[:4], "mount", "-t", "tmpfs", "none", str(place)], capture_output=True
    ).returncode:
        pytest.skip("needs a mount namespace of its own")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 65
    assert "recorded" in lines[-1], "the largest disk holds it all"
    full = [line for line in lines if " full " in line]
    assert len(full) > 10
    for line in full:
        assert line.endswith("nothing kept") or " replay 130" in line or " replay 1 " in line, line


def test_a_short_write_is_taken_back(tmp_path: Path) -> None:
    """The kernel takes a part and says how much; nothing of it may stay."""
    script = (
        "import os, resource, signal, sys\n"
        "from wizard_steps.recording.spool import write_all\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "write_all(file, b'x' * 600)\n"
        "try:\n    write_all(file, b'y' * 600)\n"
        "except OSError as error:\n    print('said', error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "f")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.startswith("said"), done.stderr
    assert (tmp_path / "f").read_bytes() == b"x" * 600


def test_what_a_write_takes_in_pieces_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data)[:7]))
    file = os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT)
    write_all(file, b"0123456789" * 10)
    assert (tmp_path / "f").read_bytes() == b"0123456789" * 10


def test_walks_that_start_in_the_same_second_get_a_folder_each(tmp_path: Path) -> None:
    base = tmp_path / "walks" / "it-20261125-101010"
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: _new_folder(base, walks.new_meta()), range(16)))
    assert len({journal.folder for journal in made}) == 16
    for journal in made:
        assert (journal.folder / "meta.json").stat().st_size
        journal.close()


def test_a_thousand_walks_in_the_folder(tmp_path: Path) -> None:
    base = tmp_path / "walk"
    for n in range(1000):
        (tmp_path / (f"walk-{n + 1}" if n else "walk")).mkdir()
    assert _new_folder(base, walks.new_meta()).folder.name == "walk-1001"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WalkError, match="cannot be made"):
        _new_folder(tmp_path / "file" / "walk", walks.new_meta())


def test_a_folder_of_ones_own_loses_nothing_when_a_walk_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "precious.txt").write_text("mine")
    journal = walks.WalkFolder(folder, walks.new_meta())
    journal.spool.append("a.s.k.log", b"x")
    journal.forget()
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["precious.txt"]
