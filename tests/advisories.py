"""The pins of lock files against known vulnerabilities, without a network:

    python -m tests.advisories LOCK...
    python -m tests.advisories --write CLONE LOCK...

The first compares with `advisories.json` and `advisories-newer.toml` beside this file. The vLLM and Ray that
milepost installs on nodes are looked up as well. Exit 1: a pinned version has a known vulnerability. Exit 2: a file
cannot be read, or a pinned package is not covered by `advisories.json`; nothing is proved then. The second writes
`advisories.json` anew, from a git clone (bare or not) of github.com/pypa/advisory-database.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from wizard_steps.cluster.versions import RAY, VLLM
from wizard_steps.model import counted

HERE = Path(__file__).parent
#: What `--write` made: the affected versions of every pinned package, and no package left out.
DATA = HERE / "advisories.json"
#: Advisories published after those, added by hand; not complete.
NEWER = HERE / "advisories-newer.toml"
#: One advisory a line, with the reason why it does not apply here: ``ID reason``.
IGNORED = HERE / "advisories-ignored.txt"
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.M)
#: Days after which the data is called old.
OLD = 30
#: What an event of a range does, in the order in which events of one version apply (OSV schema).
EVENTS = ("introduced", "fixed", "last_affected")


class Hit(NamedTuple):
    package: str
    version: str
    ids: list[str]
    fixed: list[str]

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no fixed version is known"
        return f"{self.package} {self.version}: {', '.join(self.ids)}; {fixed}"


def pins(locks: list[Path]) -> set[tuple[str, str]]:
    """Package and version of every pin, with the vLLM and Ray for the nodes."""
    found = {("vllm", VLLM), ("ray", RAY)}
    for lock in locks:
        pinned = {(str(canonicalize_name(name)), version) for name, version in PIN.findall(lock.read_text())}
        if not pinned:
            raise ValueError(f"{lock}: no pinned package in it")
        found |= pinned
    return found


def ignored(path: Path = IGNORED) -> set[str]:
    lines = [line.split(None, 1) for line in path.read_text().splitlines() if not line.startswith("#")]
    if any(len(words) == 1 for words in lines):
        raise ValueError(f"{path}: an advisory without a reason")
    return {words[0] for words in lines if words}


def within(version: Version, events: list[dict[str, str]]) -> bool:
    """As the OSV schema says: events in order of their versions, the last one that applies decides."""
    inside = False
    told = [(Version(at), EVENTS.index(kind), kind) for event in events for kind, at in event.items()]
    for at, _, kind in sorted(told):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def affects(version: Version, advisory: dict[str, Any]) -> bool:
    return str(version) in advisory.get("versions", []) or any(
        within(version, events) for events in advisory.get("ranges", [])
    )


def compare(
    wanted: set[tuple[str, str]], known: dict[str, list[dict[str, Any]]], skip: set[str]
) -> list[Hit]:
    return [
        Hit(name, text, advisory["ids"], [e["fixed"] for r in advisory["ranges"] for e in r if "fixed" in e])
        for name, text in sorted(wanted)
        for advisory in known.get(name, [])
        if not skip & set(advisory["ids"]) and affects(Version(text), advisory)
    ]


def _git(clone: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", clone, *words], capture_output=True, text=True, check=True).stdout


def _facts(text: str, package: str) -> dict[str, Any] | None:
    """Ids and affected versions out of an advisory; None for one that was withdrawn."""
    advisory = yaml.load(text, Loader=yaml.BaseLoader)  # texts only: 1.10 is no number
    if advisory.get("withdrawn"):
        return None
    entries = [e for e in advisory["affected"] if canonicalize_name(e["package"]["name"]) == package]
    ranges = [
        [{kind: at for kind, at in event.items() if kind in EVENTS} for event in r["events"]]
        for entry in entries
        for r in entry.get("ranges") or []
        if r["type"] == "ECOSYSTEM"
    ]
    return {
        "ids": [advisory["id"], *advisory.get("aliases", [])],
        "ranges": ranges,
        "versions": [v for entry in entries for v in entry.get("versions") or [] if not _covered(v, ranges)],
    }


def _covered(version: str, ranges: list[list[dict[str, str]]]) -> bool:
    """Whether a listed version needs no mention: a range has it, or no pin can ever be equal to it."""
    try:
        return any(within(Version(version), events) for events in ranges)
    except InvalidVersion:
        return True


def write(clone: Path, locks: list[Path]) -> None:
    packages: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in sorted(pins(locks))}
    paths = _git(clone, "ls-tree", "-r", "--name-only", "HEAD", "vulns/").splitlines()
    if not paths:
        raise ValueError(f"{clone}: no advisories in it")
    for path in paths:
        name = str(canonicalize_name(path.split("/")[1]))
        facts = _facts(_git(clone, "show", f"HEAD:{path}"), name) if name in packages else None
        if facts:
            packages[name].append(facts)
    commit, day = _git(clone, "log", "-1", "--format=%H %cs").split()
    head = {
        "source": "Python Packaging Advisory Database, https://github.com/pypa/advisory-database",
        "licence": "CC-BY-4.0, https://creativecommons.org/licenses/by/4.0/",
        "changes": "only the ids and affected versions, only of packages that the locks pin",
        "commit": commit,
        "date": day,
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(packages[name])}" for name in packages]
    DATA.write_text(json.dumps(head, indent=1)[:-2] + ',\n "packages": {\n' + ",\n".join(lines) + "\n }\n}\n")
    print(f"{DATA}: {counted(len(lines), 'package')}, {day}")


def newer() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = tomllib.loads(NEWER.read_text())["advisory"]
    return entries


def check(locks: list[Path]) -> int:
    wanted, shipped = pins(locks), json.loads(DATA.read_text())
    known, added = shipped["packages"], newer()
    if missing := sorted({name for name, _ in wanted} - set(known)):
        raise ValueError(
            f"{DATA} does not cover {', '.join(missing)}: write it anew with"
            " `python -m tests.advisories --write CLONE requirements*.lock`"
        )
    by_hand: dict[str, list[dict[str, Any]]] = {}
    for advisory in added:
        by_hand.setdefault(advisory["package"], []).append(advisory)
    hits = [hit for source in (known, by_hand) for hit in compare(wanted, source, ignored())]
    count = sum(len(known[name]) for name in {name for name, _ in wanted})
    day = date.fromisoformat(shipped["date"])
    age = (datetime.now(UTC).date() - day).days
    print(
        f"checked {counted(len(wanted), 'pinned version')} against {count} advisories on them that"
        f" PyPA's database had on {day} (CC-BY-4.0, commit {shipped['commit'][:12]}), and"
        f" {len(added)} newer ones added by hand"
    )
    if age > OLD:
        print(f"OLD DATA: what came out in the {age} days since is not in it, but for those added by hand")
    for hit in hits:
        print(f"KNOWN VULNERABILITY {hit}")
    return 1 if hits else 0


def main(words: list[str]) -> int:
    try:
        if words[:1] == ["--write"]:
            write(Path(words[1]), [Path(word) for word in words[2:]])
            return 0
        return check([Path(word) for word in words])
    except subprocess.CalledProcessError as error:
        print(f"advisories: {error.stderr.strip()}", file=sys.stderr)
    except (OSError, LookupError, AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
        print(f"advisories: {type(error).__name__}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
