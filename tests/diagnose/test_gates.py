"""What the gates of a recorded walk found, where no rule knows an output."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.diagnose.test_command import _run
from tui.cli import main as cli

WALKS = Path(__file__).parents[2] / "snapshots" / "walks"


@pytest.mark.parametrize(
    ("walk", "says"),
    [
        ("wrong-ip", "no interface has this fabric_ip"),
        ("fewer-gpus-than-promised", "the cluster file says 16"),
        ("idle-worker", "this node did nothing"),
    ],
)
def test_a_gate_that_failed_without_a_message_says_what_it_found(
    walk: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(str(WALKS / walk)) == 1
    shown = capsys.readouterr().out
    assert "what the gate found" in shown
    assert says in shown
    assert "try: " in shown


def test_a_known_message_stands_before_the_gate(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(str(WALKS / "one-way-firewall"), "--json") == 1
    kinds = [finding["kind"] for finding in json.loads(capsys.readouterr().out)]
    assert kinds[0] == "cause"
    assert kinds[-1] == "gate"


def test_a_walk_that_passed_has_nothing_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(str(WALKS / "healthy-bare-metal")) == 0
    assert "No known failure" in capsys.readouterr().out


def test_a_bundle_is_read_like_its_walk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "b.tar.gz"
    assert cli.main(["bundle", str(WALKS / "wrong-ip"), "-o", str(bundle)]) == 0
    capsys.readouterr()
    assert _run(str(bundle)) == 1
    packed = capsys.readouterr().out
    assert "1. gate on node-2 (what the gate found)" in packed
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path, filter="data")
    assert _run(str(next(tmp_path.glob("*/walk")).parent)) == 1
    assert capsys.readouterr().out == packed


@pytest.mark.parametrize("damage", [b"", b"not a recording\n", b'{"event":"walk-started"'])
def test_what_only_looks_like_a_walk_is_read_as_logs(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(damage)
    (tmp_path / "a.log").write_text("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n")
    assert _run(str(tmp_path)) == 1
