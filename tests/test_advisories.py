"""The locks against a clone of the advisory database (tests/advisories.py): what is vulnerable is found and named.

The clone is made here, with SIMULATED advisories in the format of the real one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests import advisories

RANGE = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.31.0"}]}


def _clone(folder: Path, **entry: object) -> Path:
    """A database with one advisory, for `Some.Package`."""
    of = folder / "clone" / "vulns" / "some-package" / "PYSEC-0000-1.yaml"
    of.parent.mkdir(parents=True)
    package = {"name": "Some.Package", "ecosystem": "PyPI"}
    of.write_text(
        yaml.safe_dump(
            {"id": "PYSEC-0000-1", "aliases": ["CVE-0000-1"], "affected": [{"package": package, **entry}]}
        )
    )
    identity = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "t"), ("EMAIL", "t@example.org"), ("DATE", "2020-01-02T00:00:00Z"))
    }
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "--no-gpg-sign", "-m", "one"]):
        subprocess.run(["git", *words], cwd=folder / "clone", env={**os.environ, **identity}, check=True)
    return folder / "clone"


def _compare(clone: Path, lock: str) -> tuple[int, str]:
    (clone.parent / "some.lock").write_text(lock)
    done = subprocess.run(  # the tests' own folder: modules of the project are found from it
        [sys.executable, "-m", "tests.advisories", clone, clone.parent / "some.lock"],
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("version", "entry", "hit"),
    [
        ("2.30.0", {"ranges": [RANGE]}, True),
        ("2.30.1.post1", {"ranges": [RANGE]}, True),
        ("2.31.0", {"ranges": [RANGE]}, False),
        ("10.0", {"ranges": [RANGE]}, False),
        ("1.5", {"versions": ["1.4", "1.5"]}, True),
        ("1.6", {"versions": ["1.4", "1.5"]}, False),
        ("3.0", {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "2.0"}]}]}, True),
        (
            "3.0",
            {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "2"}, {"last_affected": "3"}]}]},
            True,
        ),
        (
            "3.1",
            {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "2"}, {"last_affected": "3"}]}]},
            False,
        ),
        ("3.0", {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, False),
    ],
)
def test_a_pin_is_compared(tmp_path: Path, version: str, entry: dict[str, object], hit: bool) -> None:
    code, said = _compare(_clone(tmp_path, **entry), f"some-package[extra]=={version} \\\n    --hash=x\n")
    assert code == int(hit), said
    assert (f"KNOWN VULNERABILITY some-package {version}: PYSEC-0000-1, CVE-0000-1" in said) is hit
    assert "of 2020-01-02" in said
    assert "OLD" in said
    if hit and "ranges" in entry and RANGE in entry["ranges"]:  # type: ignore[operator]
        assert "fixed in 2.31.0" in said


def test_a_package_without_an_advisory_is_named(tmp_path: Path) -> None:
    code, said = _compare(_clone(tmp_path, ranges=[RANGE]), "other==1.0\nsome-package==3.0\n")
    assert code == 0
    assert "4 pinned versions compared; without any advisory: other, ray, vllm" in said


@pytest.mark.parametrize("lock", ["", "# nothing\n", "some-package==not a version\n"])
def test_what_cannot_be_read_proves_nothing(tmp_path: Path, lock: str) -> None:
    code, said = _compare(_clone(tmp_path, ranges=[RANGE]), lock)
    assert (code, said.startswith("advisories: "), "Traceback" in said) == (2, True, False), said


def test_a_folder_that_is_no_clone_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    code, said = _compare(tmp_path / "clone", "some-package==1.0\n")
    assert (code, said.startswith("advisories: "), "Traceback" in said) == (2, True, False), said


def test_an_ignored_advisory_needs_a_reason(tmp_path: Path) -> None:
    ignored = tmp_path / "ignored.txt"
    ignored.write_text("# why\n\nCVE-0000-1 only with its server, which is not used\n")
    assert advisories.ignored(ignored) == {"CVE-0000-1"}
    clone, pinned = _clone(tmp_path, ranges=[RANGE]), {("some-package", "1.0")}
    assert advisories.look_up(clone, pinned, {"CVE-0000-1"})[0] == []
    assert advisories.look_up(clone, pinned, {"CVE-0000-2"})[0] != []
    ignored.write_text("CVE-0000-1\n")
    with pytest.raises(ValueError, match="without a reason"):
        advisories.ignored(ignored)
