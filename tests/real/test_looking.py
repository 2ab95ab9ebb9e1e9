"""`check`, `--dry-run` and `down --dry-run` change no file: not on two hosts, whatever runs there, and not here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.test_rebooted import cluster_file, pair  # noqa: F401 (the fixture)
from tests.real.walks import down, environment, milepost, to_ray_status

pytestmark = [pytest.mark.real_hosts, pytest.mark.long, pytest.mark.timeout(600)]
#: What is a host's own. Ray and milepost's processes go on writing their logs and sockets.
TREES = "/root /home /tmp /opt /etc/hosts /etc/hostname /dev/shm"
LOOK = (
    f"find {TREES} -xdev '(' -path /tmp/ray -o -name '*.log' -o -path /dev/shm/'*' ')' -prune -o "
    "-printf '%p %y %m %u %s %T@ %C@ %l\\n' | sort"
)


def everything(bed: Hosts, here: Path) -> dict[str, str]:
    found = {name: bed.run(name, LOOK).stdout for name in ("a", "b")}
    words = ["find", str(here), str(bed.home), "-printf", "%p %y %m %s %T@ %C@ %l\n"]
    found["here"] = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return found


def look(bed: Hosts, here: Path) -> None:
    before = everything(bed, here)
    assert all(len(text.splitlines()) > 3 for text in before.values()), before
    file = str(here / "milepost.toml")
    for words in (["check", file], [file, "--dry-run"], ["down", file, "--dry-run"], ["plan", file]):
        done = subprocess.run(
            milepost(*words), cwd=here, env=environment(bed.home), capture_output=True, text=True, timeout=180
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        after = everything(bed, here)
        for place, text in before.items():
            assert set(after[place].splitlines()) ^ set(text.splitlines()) == set(), (words, place)


def test_looking_changes_no_file_anywhere(pair: Hosts, tmp_path: Path) -> None:  # noqa: F811
    here = tmp_path / "here"
    here.mkdir()
    file = cluster_file(pair, here)
    look(pair, here)
    to_ray_status(pair, file, tmp_path / "walk")
    look(pair, here)
    assert down(file, pair.home).returncode == 0
    look(pair, here)
