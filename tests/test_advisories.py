"""Locks against known vulnerabilities (tests/advisories.py): what is vulnerable is found and named.

The clone is made here, with SIMULATED advisories in the format of the real one.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests import advisories

LOCKS = sorted(Path(__file__).parents[1].glob("requirements*.lock"))
RANGE = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.31.0"}]}
Compare = Callable[..., tuple[int, str]]


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


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compare:
    """Writes the data out of a clone with one advisory, for some-package and other; then compares a lock."""
    monkeypatch.setattr(advisories, "DATA", tmp_path / "data.json")

    def run(lock: str, **entry: object) -> tuple[int, str]:
        (tmp_path / "covered.lock").write_text("some-package==1\nother==1\n")
        clone = str(_clone(tmp_path, **entry))
        assert advisories.main(["--write", clone, str(tmp_path / "covered.lock")]) == 0, capsys.readouterr()
        (tmp_path / "some.lock").write_text(lock)
        capsys.readouterr()
        code = advisories.main([str(tmp_path / "some.lock")])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


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
def test_a_pin_is_compared(compare: Compare, version: str, entry: dict[str, object], hit: bool) -> None:
    code, said = compare(f"some-package[extra]=={version} \\\n    --hash=x\n", **entry)
    assert code == int(hit), said
    assert (f"KNOWN VULNERABILITY some-package {version}: PYSEC-0000-1, CVE-0000-1" in said) is hit
    assert "had on 2020-01-02" in said
    assert "OLD DATA" in said
    if hit and RANGE in entry.get("ranges", []):  # type: ignore[operator]
        assert "fixed in 2.31.0" in said


def test_a_package_without_an_advisory_is_covered(compare: Compare) -> None:
    code, said = compare("other==1.0\nsome-package==3.0\n", ranges=[RANGE])
    assert code == 0
    assert "checked 4 pinned versions against 1 " in said


def test_a_package_that_the_data_do_not_cover_proves_nothing(compare: Compare) -> None:
    code, said = compare("added-later==1.0\n", ranges=[RANGE])
    assert code == 2
    assert "does not cover added-later: write it anew with" in said


def test_a_withdrawn_advisory_is_none(compare: Compare, tmp_path: Path) -> None:
    compare("other==1.0\n", ranges=[RANGE])
    of = tmp_path / "clone" / "vulns" / "some-package" / "PYSEC-0000-1.yaml"
    assert advisories._facts(of.read_text(), "some-package") is not None
    assert advisories._facts(of.read_text() + "withdrawn: '2021-01-01'\n", "some-package") is None


@pytest.mark.parametrize("lock", ["", "# nothing\n", "some-package==not a version\n"])
def test_what_cannot_be_read_proves_nothing(compare: Compare, lock: str) -> None:
    code, said = compare(lock, ranges=[RANGE])
    assert (code, said.startswith("advisories: ")) == (2, True), said


def test_a_folder_that_is_no_clone_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advisories, "DATA", tmp_path / "data.json")
    assert advisories.main(["--write", str(tmp_path), str(LOCKS[0])]) == 2
    assert advisories.main(["--write"]) == 2
    assert not advisories.DATA.exists()


def test_the_locks_of_today_are_covered_and_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert advisories.main([str(lock) for lock in LOCKS]) == 0, capsys.readouterr()


def test_an_old_lock_is_told_by_the_data_of_today(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.lock").write_text("requests==2.30.0\ncertifi==2026.10.18\n")
    assert advisories.main([str(tmp_path / "old.lock")]) == 1
    said = capsys.readouterr().out
    assert "requests 2.30.0: PYSEC-2023-74" in said
    assert "certifi 2026.10.18: GHSA-6q48-6c7w-9gw2" in said


def test_every_newer_advisory_is_on_a_pinned_package() -> None:
    named = {entry["package"] for entry in advisories.newer()}
    assert named <= {name for name, _ in advisories.pins(LOCKS)}


def test_an_ignored_advisory_needs_a_reason(tmp_path: Path) -> None:
    ignored = tmp_path / "ignored.txt"
    ignored.write_text("# why\n\nCVE-0000-1 only with its server, which is not used\n")
    assert advisories.ignored(ignored) == {"CVE-0000-1"}
    known = {"some": [{"ids": ["CVE-0000-1"], "ranges": [RANGE["events"]]}]}
    assert advisories.compare({("some", "1.0")}, known, {"CVE-0000-1"}) == []
    assert advisories.compare({("some", "1.0")}, known, {"CVE-0000-2"}) != []
    ignored.write_text("CVE-0000-1\n")
    with pytest.raises(ValueError, match="without a reason"):
        advisories.ignored(ignored)
