"""The locks pin every extra that a locked package asks for.

pip before 23.3 does not apply `asyncssh==2.24.1` to `asyncssh[bcrypt]`. It then takes the newest release, which has
no hash in the lock, and the installation fails on the day of that release.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?==", re.M)


def _pins(lock: Path) -> dict[str, set[str]]:
    return {
        canonicalize_name(name): set(filter(None, extras.split(",")))
        for name, extras in PIN.findall(lock.read_text())
    }


def _asked(package: str, extras: set[str]) -> list[Requirement]:
    """What the installed package requires when it is installed with these extras."""
    try:
        lines = requires(package) or []
    except PackageNotFoundError:  # for another platform or Python
        return []
    found = [Requirement(line) for line in lines]
    return [
        r
        for r in found
        if not r.marker or any(r.marker.evaluate({"extra": extra}) for extra in {"", *extras})
    ]


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_every_extra_is_pinned(lock: Path) -> None:
    pins = _pins(lock)
    assert "textual" in pins
    missing = [
        f"{package} asks for {asked.name}[{','.join(sorted(asked.extras))}]"
        for package, extras in pins.items()
        for asked in _asked(package, extras)
        if not asked.extras <= pins.get(canonicalize_name(asked.name), asked.extras)
    ]
    assert not missing
