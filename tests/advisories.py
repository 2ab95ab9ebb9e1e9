"""The pins of lock files against a clone of the Python Packaging Advisory Database, without a network:

    python -m tests.advisories CLONE LOCK...

CLONE is a git clone of github.com/pypa/advisory-database (bare or not). The vLLM and Ray that milepost installs
on nodes are looked up as well. Exit 1: a pinned version has a known vulnerability. Exit 2: the clone, a lock or
the list of ignored advisories cannot be read; nothing is proved then.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]
from packaging.utils import canonicalize_name
from packaging.version import Version

from wizard_steps.cluster.versions import RAY, VLLM

#: One advisory a line, with the reason why it does not apply here: ``ID reason``.
IGNORED = Path(__file__).with_name("advisories-ignored.txt")
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.M)
#: Days after which the database is called old.
OLD = 30


class Hit(NamedTuple):
    package: str
    version: str
    ids: list[str]
    fixed: list[str]

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no fixed version is known"
        return f"{self.package} {self.version}: {', '.join(self.ids)}; {fixed}"


def git(clone: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", clone, *words], capture_output=True, text=True, check=True).stdout


def pins(lock: Path) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = {
        (canonicalize_name(name), version) for name, version in PIN.findall(lock.read_text())
    }
    if not found:
        raise ValueError(f"{lock}: no pinned package in it")
    return found


def ignored(path: Path = IGNORED) -> set[str]:
    lines = [line.split(None, 1) for line in path.read_text().splitlines() if not line.startswith("#")]
    if any(len(words) == 1 for words in lines):
        raise ValueError(f"{path}: an advisory without a reason")
    return {words[0] for words in lines if words}


def affected(version: Version, advisory: dict[str, Any], package: str) -> Iterator[tuple[bool, list[str]]]:
    """For each entry about this package: whether the version is in it, and the versions that mend it."""
    for entry in advisory.get("affected") or []:
        if canonicalize_name(entry["package"]["name"]) != package:
            continue
        listed = {str(v) for v in entry.get("versions") or []}
        ranges = [r for r in entry.get("ranges") or [] if r["type"] == "ECOSYSTEM"]
        fixed = [str(e["fixed"]) for r in ranges for e in r["events"] if "fixed" in e]
        yield str(version) in listed or any(_within(version, r["events"]) for r in ranges), fixed


def _within(version: Version, events: list[dict[str, Any]]) -> bool:
    """As the OSV schema says: events in order of their versions, the last one that applies decides."""
    inside = False
    order = {"introduced": 0, "fixed": 1, "last_affected": 2}
    told = [
        (Version(str(at)), order[kind], kind)
        for event in events
        for kind, at in event.items()
        if kind in order
    ]
    for at, _, kind in sorted(told):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def look_up(clone: Path, wanted: set[tuple[str, str]], skip: set[str]) -> tuple[list[Hit], list[str]]:
    """The hits, and the packages of which the database has no advisory at all."""
    files: dict[str, list[str]] = {name: [] for name, _ in wanted}
    paths = git(clone, "ls-tree", "-r", "--name-only", "HEAD", "vulns/").splitlines()
    if not paths:
        raise ValueError(f"{clone}: no advisories in it")
    for path in paths:
        files.get(canonicalize_name(path.split("/")[1]), []).append(path)
    hits = []
    for name, text in sorted(wanted):
        for path in files[name]:
            advisory = yaml.load(git(clone, "show", f"HEAD:{path}"), Loader=yaml.BaseLoader)  # texts only
            ids = [advisory["id"], *advisory.get("aliases", [])]
            if advisory.get("withdrawn") or skip & set(ids):
                continue
            found = list(affected(Version(text), advisory, name))
            if any(inside for inside, _ in found):
                hits.append(
                    Hit(name, text, ids, sorted({v for _, fixed in found for v in fixed}, key=Version))
                )
    return hits, sorted(name for name in files if not files[name])


def main(clone: Path, locks: list[Path]) -> int:
    wanted = {("vllm", VLLM), ("ray", RAY)}.union(*map(pins, locks))
    commit, day = git(clone, "log", "-1", "--format=%h %cs").split()
    hits, unknown = look_up(clone, wanted, ignored())
    age = (datetime.now(UTC).date() - date.fromisoformat(day)).days
    old = f": OLD, what came out in those {age} days is not in it" if age > OLD else ""
    print(f"advisory database of PyPA (CC-BY-4.0), {commit} of {day}, {age} days old{old}")
    print(f"{len(wanted)} pinned versions compared; without any advisory: {', '.join(unknown) or 'none'}")
    for hit in hits:
        print(f"KNOWN VULNERABILITY {hit}")
    return 1 if hits else 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]]))
    except subprocess.CalledProcessError as error:
        print(f"advisories: {sys.argv[1]}: {error.stderr.strip()}", file=sys.stderr)
    except (OSError, LookupError, AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
        print(f"advisories: {type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(2)
