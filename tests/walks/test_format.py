"""The walk folder on disk: packed output, crashes in mid-write, notes, what a stranger's walk may not do."""

from __future__ import annotations

import gzip
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.walk_maker import make, settled_plan
from wizard_steps.errors import WalkError
from wizard_steps.recording import bgzf, notes
from wizard_steps.recording import events as ev
from wizard_steps.recording import journal as walks
from wizard_steps.recording.spool import DiskSpool

__all__ = ["settled_plan"]

ROOT = Path(__file__).parents[2]


def packed(data: bytes) -> io.BytesIO:
    file = io.BytesIO()
    bgzf.pack(io.BytesIO(data), file)
    return file


@pytest.mark.parametrize("size", [0, 1, 0xFEFF, 0xFF00, 0xFF01, 300_000])
def test_packed_output_is_gzip_and_any_place_in_it_can_be_read(size: int) -> None:
    chance = random.Random(size)
    data = chance.randbytes(size)
    file = packed(data)
    assert gzip.decompress(file.getvalue()) == data
    reader = bgzf.BgzfReader(file)
    assert reader.size == size
    for _ in range(50):
        start, end = sorted((chance.randint(0, size + 9), chance.randint(0, size + 9)))
        assert reader.read(file, start, end) == data[start:end]


def test_cut_or_changed_packed_output_is_damage() -> None:
    whole = packed(bytes(range(256)) * 1000).getvalue()
    for n in (0, 1, 17, 18, 200, len(whole) - 28, len(whole) - 1):
        with pytest.raises(bgzf.Damaged):
            bgzf.BgzfReader(io.BytesIO(whole[:n]))
    changed = bytearray(whole)
    changed[40] ^= 0xFF
    file = io.BytesIO(changed)
    with pytest.raises(bgzf.Damaged):
        bgzf.BgzfReader(file).read(file, 0, 100)
    with pytest.raises(bgzf.Damaged, match="not a blocked gzip"):
        bgzf.BgzfReader(io.BytesIO(gzip.compress(b"x" * 100)))


def test_a_closed_walk_is_packed_small_and_reads_as_before(tmp_path: Path) -> None:
    folder = walks.WalkFolder(tmp_path / "w", walks.new_meta())
    lines = [f"line {n}: Application startup\n".encode() for n in range(20_000)]
    places = [folder.spool.append("a.serve.log.log", line) for line in lines]
    small = folder.spool.append("a.reach.whoami.log", b"user: u\n")
    folder.append(BEGIN)
    folder.append(ev.StepStarted(0.0, "reach", 1))
    folder.close()
    folder.close()
    out = {path.name: path.stat() for path in (tmp_path / "w" / "out").iterdir()}
    assert set(out) == {"a.serve.log.log.gz", "a.reach.whoami.log"}
    assert out["a.serve.log.log.gz"].st_size < sum(map(len, lines)) / 4
    assert all(stat.st_mode & 0o077 == 0 for stat in out.values())
    read = walks.load(tmp_path / "w").read
    for n in (0, 1, 9_999, 19_999):
        assert read("a.serve.log.log", *places[n]) == lines[n]
    assert read("a.reach.whoami.log", *small) == b"user: u\n"
    # The screen goes on reading through the same spool after the walk has ended.
    assert folder.spool.read("a.serve.log.log", *places[7]) == lines[7]


def test_killed_while_packing_leaves_the_plain_file_in_charge(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path)
    spool.append("a.log", b"plain" * 2000)
    spool.close()
    (tmp_path / "a.log.gz.part").write_bytes(b"half a block")
    assert DiskSpool(tmp_path).read("a.log", 0, 10) == b"plainplain"
    (tmp_path / "a.log.gz").write_bytes(packed(b"plain" * 2000).getvalue())
    assert DiskSpool(tmp_path).read("a.log", 0, 10) == b"plainplain"
    (tmp_path / "a.log").unlink()
    assert DiskSpool(tmp_path).read("a.log", 9_990, 10_000) == b"plainplain"


BEGIN = ev.WalkStarted(0.0, "bare-metal", (("reach", "reach"),))
WRITER = """
import sys
from pathlib import Path
from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import WalkFolder, new_meta
folder = WalkFolder(Path(sys.argv[1]), new_meta())
folder.append(ev.WalkStarted(0.0, "bare-metal", (("s", "s"),)))
folder.append(ev.CommandStarted(0.0, 1, "s", "a", "k", "yes", 0, "a.s.k.log"))
for n in range(10**9):
    start, end = folder.spool.append("a.s.k.log", b"x" * 997 + b"\\n")
    folder.append(ev.Output(float(n), 1, "a", start, end))
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("there", [False, True])
def test_a_walk_that_never_began_leaves_nothing_behind(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "walk"
    if there:
        folder.mkdir()
    walks.WalkFolder(folder, walks.new_meta()).close()
    assert folder.exists() is there
    assert not walks.is_walk(folder)
    again = walks.WalkFolder(folder, walks.new_meta())
    again.append(BEGIN)
    again.close()
    assert walks.load(folder).events


@pytest.mark.parametrize("after", [0.05, 0.12, 0.31])
def test_sigkill_in_mid_write_loses_at_most_the_last_event(tmp_path: Path, after: float) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "w")], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(after)
    writer.send_signal(signal.SIGKILL)
    said = (first + writer.stdout.read()).split()
    writer.wait()
    walk = walks.load(tmp_path / "w")
    promised = int(said[-1]) + 1
    assert promised >= 3
    events = walk.events[2:]
    assert promised <= len(events) <= promised + 1
    for n, event in enumerate(events):
        assert isinstance(event, ev.Output)
        assert (event.t, len(walk.read("a.s.k.log", event.start, event.end))) == (n, 998)


def test_an_output_shorter_than_its_events_is_damage_not_a_verdict(tmp_path: Path) -> None:
    make(tmp_path / "w", {"reach": "no-python"})
    path = tmp_path / "w" / "out" / "a.reach.whoami.log"
    os.truncate(path, 10)
    walk = walks.load(tmp_path / "w")
    place = next(e for e in walk.events if isinstance(e, ev.Output) and e.node == "a")
    with pytest.raises(WalkError, match="ends before byte"):
        walk.read("a.reach.whoami.log", place.start, place.end)


def test_a_link_in_a_strangers_walk_brings_in_no_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("private")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.log").symlink_to(tmp_path / "mine")
    (tmp_path / "out" / "b.log.gz").symlink_to(tmp_path / "mine")
    spool = DiskSpool(tmp_path / "out")
    for name in ("a.log", "b.log"):
        with pytest.raises(WalkError, match="cannot be read"):
            spool.read(name, 0, 7)


def test_notes_are_appended_also_after_a_writer_was_killed(tmp_path: Path) -> None:
    assert notes.load(tmp_path) == ()
    notes.append(tmp_path, notes.now("serve", "look at the third line"))
    with (tmp_path / notes.FILE).open("ab") as file:
        file.write(b'{"step": "ser')
    notes.append(tmp_path, notes.now("serve", "what would you try?", kind="ask", attempt=2))
    found = notes.load(tmp_path)
    assert [n.text for n in found] == ["look at the third line", "what would you try?"]
    assert [n.text for n in notes.of_step(found, "serve", 1)] == ["look at the third line"]
    assert notes.of_step(found, "serve", 1, "ask") == ()
    assert [n.text for n in notes.of_step(found, "serve", 2, "ask")] == ["what would you try?"]


def test_a_note_can_be_written_while_the_walk_is_recorded(tmp_path: Path) -> None:
    folder = walks.WalkFolder(tmp_path / "w", walks.new_meta())
    folder.append(BEGIN)
    folder.append(ev.StepStarted(0.0, "reach", 1))
    folder.note(notes.now("reach", "the switch was being rebooted"))
    folder.append(ev.StepStarted(1.0, "reach", 2))
    folder.close()
    walk = walks.load(tmp_path / "w")
    assert [note.text for note in walk.notes] == ["the switch was being rebooted"]
    assert len(walk.events) == 3
