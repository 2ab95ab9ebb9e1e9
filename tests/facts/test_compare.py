"""What nodes have in common, and where they differ: cases that need no whole set of facts."""

from __future__ import annotations

import pytest

from wizard_steps.facts import compare
from wizard_steps.facts.host import Home


@pytest.mark.parametrize(
    ("homes", "shared"),
    [
        ((Home("tmpfs", "tmpfs", 1, 41), Home("tmpfs", "tmpfs", 1, 42)), False),
        ((Home("tmpfs", "tmpfs", 1, 41), Home("tmpfs", "tmpfs", 1, 41)), True),
        # As recorded before the device was asked for.
        ((Home("/dev/vda", "ext4", 7), Home("/dev/vda", "ext4", 7)), False),
        ((Home("nas:/home", "nfs4", 7, 51), Home("nas:/home", "nfs4", 7, 63)), True),
    ],
)
def test_one_home_inside_one_machine_needs_one_device(homes: tuple[Home, Home], shared: bool) -> None:
    by_node = dict(zip("ab", homes, strict=True))
    found = list(compare.shared_homes(by_node, {"a": "same-boot", "b": "same-boot"}))
    assert bool(found) is shared
