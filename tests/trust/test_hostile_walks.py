"""Recordings of strangers through every command: one sentence and exit 2 at worst, and nothing active comes out."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import hostile
from tests.helpers.walk_maker import make, settled_plan
from tui.cli.main import main
from wizard_steps.errors import MilepostError
from wizard_steps.recording import bgzf
from wizard_steps.recording import journal as walks
from wizard_steps.recording.safe import HIDDEN
from wizard_steps.recording.spool import DiskSpool
from wizard_steps.walks.watching import Playback

__all__ = ["settled_plan"]

_HIDDEN = re.compile(f"[{HIDDEN}]")
FORMATS = ("asciicast", "html", "markdown", "sh", "svg")
#: Seconds after which a command hangs.
LIMIT = 60


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk with verdicts, polls, an answer and a gate that stayed shut."""
    folder = tmp_path_factory.mktemp("hostile") / "good"
    make(folder, {"serve": "too-many-gpus"})
    (folder / "evidence").mkdir(exist_ok=True)
    (folder / "evidence" / "01-reach.txt").write_text("passed\n")
    return folder


def commands(walk: Path, good: Path, to: Path) -> Iterator[list[str]]:
    """Every command that reads a recording, with where it writes."""
    name = str(walk)
    yield ["--replay", name]
    yield ["--replay", name, "--quiet", "--annotations", "--junit", str(to / "junit.xml")]
    yield ["--replay", name, "--json"]
    yield ["diff", name, str(good), "--all"]
    yield ["diff", str(good), name, "--json"]
    yield ["expected", name, "--into", str(Path(__file__).parents[2] / "snapshots" / "expected")]
    yield ["edit", name, "--report"]
    yield ["edit", name, "--placeholders", "--redact", "-o", str(to / "edited")]
    yield ["edit", name, "--note", "reach", "a note"]
    yield ["bundle", name, "-o", str(to / "bundle.tar.gz")]
    for form in FORMATS:
        yield ["export", name, "--to", form, "-o", str(to / f"walk.{form}")]
    yield ["export", name, "--to", "svg", "--kept", "-o", str(to / "kept")]


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """A command's exit status and all that it printed. An error of Python's goes through and fails the test."""
    with no_hang():
        code = main(words)
    out, err = capsys.readouterr()
    said = out + err
    assert code in (0, 1, 2, 3, 130), (words, said)
    assert not _HIDDEN.search(said), (words, _HIDDEN.search(said))
    if code == 2 and "--json" not in words:
        assert err.startswith("milepost: "), (words, said)
    return code, said


def tried(walk: Path, good: Path, to: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """The exit status of every command, by its words; every file that was written is inactive."""
    to.mkdir()
    codes = {}
    for words in commands(walk, good, to):
        codes[" ".join(word for word in words if not word.startswith("/"))], said = run(words, capsys)
        for line in said.splitlines():
            if "--annotations" not in words:
                assert not re.match(r"\s*::", line), (words, line)
            elif line.startswith("::"):
                assert re.match(r"::(error|warning|notice) file=", line), line
            assert not re.search(r"##[a-z]*\[", line), (words, line)
    for path in (path for path in to.rglob("*") if path.is_file() and path.parent.name != "out"):
        if path.suffix not in (".gz", ".jsonl", ".json"):
            assert not _HIDDEN.search(path.read_text()), path
        if path.suffix in (".xml", ".svg"):
            ElementTree.fromstring(path.read_text())
    return codes


async def watched(walk: Path) -> None:
    """What the watching screen plays, told from the beginning to the end at once."""
    playback = Playback(walks.load(walk))
    told: list[Any] = []
    engine = playback.engine(None, None, lambda event, state: told.append(event))  # type: ignore[arg-type]
    playback.player.target = len(playback.walk.events)
    task = asyncio.create_task(engine.walk())
    await asyncio.sleep(0.05)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert playback.titles()
    assert len(told) == len(playback.walk.events)


@pytest.mark.parametrize("name", hostile.NAMED)
def test_every_command_takes_a_hostile_walk(
    name: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = tmp_path / "walk"
    shutil.copytree(good, walk)
    hostile.NAMED[name](walk)
    tried(walk, good, tmp_path / "made", capsys)
    with contextlib.suppress(MilepostError), no_hang():
        asyncio.run(watched(walk))


def test_a_good_walk_is_no_hostile_one(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = tmp_path / "walk"
    shutil.copytree(good, walk)
    codes = tried(walk, good, tmp_path / "made", capsys)
    assert {name for name, code in codes.items() if code == 2} <= {"export --to svg --kept -o"}, codes
    asyncio.run(watched(walk))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from([hostile.EVIL, "../../etc/passwd", "reach", [], {}, [[]], {"a": {"b": []}}]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_anywhere(
    data: st.DataObject,
    good: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A few values of the events, at any depth, become any other."""
    folder = tmp_path_factory.mktemp("any")
    walk = folder / "walk"
    shutil.copytree(good, walk)
    path = walk / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        _spoil(data, data.draw(st.sampled_from(events)))
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    tried(walk, good, folder / "made", capsys)
    with contextlib.suppress(MilepostError), no_hang():
        asyncio.run(watched(walk))
    shutil.rmtree(folder)


def _spoil(data: st.DataObject, value: Any) -> None:
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            value[key] = data.draw(JUNK)
            return
        value = inner


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_bytes_anywhere(
    data: st.DataObject,
    good: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file of the walk is cut, or a piece of it becomes any bytes."""
    folder = tmp_path_factory.mktemp("bytes")
    walk = folder / "walk"
    shutil.copytree(good, walk)
    path = data.draw(st.sampled_from(sorted(p for p in walk.rglob("*") if p.is_file())))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, max(0, len(whole) - 1)))
    gone = data.draw(st.integers(0, 40))
    path.write_bytes(whole[:at] + data.draw(st.binary(max_size=12)) + whole[at + gone :])
    tried(walk, good, folder / "made", capsys)
    shutil.rmtree(folder)


def test_nothing_of_a_linked_folder_comes_along(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = tmp_path / "walk"
    shutil.copytree(good, walk)
    private = tmp_path / "private"
    shutil.copytree(walk / "out", private)
    for path in private.iterdir():
        path.write_bytes(b"PRIVATE " * 200)
    for name in ("out", "evidence"):
        shutil.rmtree(walk / name)
        (walk / name).symlink_to(private)
    (private / "01.txt").write_text("PRIVATE")
    to = tmp_path / "made"
    tried(walk, good, to, capsys)
    for path in (path for path in to.rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert b"PRIVATE" not in (gzip.decompress(data) if path.suffix == ".gz" else data), path


def test_a_bomb_is_no_output(tmp_path: Path) -> None:
    zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(0xFF00)
    body = zeros.compress(block) + zeros.flush()
    head = struct.pack("<4sIBBH2sHH", b"\x1f\x8b\x08\x04", 0, 0, 255, 6, b"BC", 2, 18 + len(body) + 8 - 1)
    one = head + body + struct.pack("<II", zlib.crc32(block), len(block))
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    tail = struct.pack("<4sIBBH2sHH", b"\x1f\x8b\x08\x04", 0, 0, 255, 6, b"BC", 2, 18 + len(end) + 8 - 1)
    (tmp_path / "a.log.gz").write_bytes(one * 20_000 + tail + end + bytes(8))
    with pytest.raises(MilepostError, match="which no output does"):
        DiskSpool(tmp_path).read("a.log", 0, 10)
    assert issubclass(bgzf.Damaged, ValueError)


def test_a_bundle_of_a_hostile_walk_has_only_its_own_files(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = tmp_path / "walk"
    shutil.copytree(good, walk)
    hostile.texts(walk)
    (walk / "evil.txt").write_text("not of the format")
    (walk / "out" / "link.log").symlink_to("/etc/passwd")
    code, said = run(["bundle", str(walk), "-o", str(tmp_path / "b.tar.gz")], capsys)
    assert code == 0, said
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        names = archive.getnames()
        assert not any("evil" in name or "link" in name for name in names)
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            assert not _HIDDEN.search(file.read().decode()), member.name


def test_a_bundle_holds_what_the_events_point_at(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a sparse file of 10 GiB; and no token that invisible characters in JSON's spelling hide."""
    walk = tmp_path / "walk"
    shutil.copytree(good, walk)
    for path in (walk / "out").glob("*.log"):
        os.truncate(path, 10 << 30)
    token = "hf_pLaNtEdInANote0123456789"
    hidden = "\\u200d".join(token)
    (walk / "notes.jsonl").write_text(f'{{"step":"reach","text":"{hidden}"}}\n')
    to = tmp_path / "bundle.tar.gz"
    assert run(["bundle", str(walk), "-o", str(to)], capsys)[0] == 0
    with tarfile.open(to) as archive:
        held = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    assert sum(map(len, held.values())) < 10 << 20
    notes = next(data for name, data in held.items() if name.endswith("notes.jsonl"))
    assert notes == b'{"step":"reach","text":"[REDACTED]"}\n'
