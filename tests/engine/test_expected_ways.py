"""Bracketed headings and blocks of an expected file hold only on the ways they name."""

from __future__ import annotations

import pytest

from wizard_steps.engine.expected import parse
from wizard_steps.errors import MilepostError
from wizard_steps.model import Node

TEXT = """# T
## Why
always
## Why [docker]
in containers
## Why [docker without-ray]
both
```expect up [without-ray]
line
```
```expect start head [ray]
line
```
"""


@pytest.mark.parametrize(
    ("ways", "why", "keys"),
    [
        ((), "always", []),
        (("host", "ray"), "always", ["start"]),
        (("docker", "ray"), "always\n\nin containers", ["start"]),
        (("docker", "without-ray"), "always\n\nin containers\n\nboth", ["up"]),
    ],
)
def test_parts_hold_where_all_their_words_do(ways: tuple[str, ...], why: str, keys: list[str]) -> None:
    found = parse(TEXT, "t.md").on(ways)
    assert found.sections == {"Why": why}
    assert [block.key for block in found.blocks] == keys


def test_a_role_may_come_before_the_brackets() -> None:
    found = parse(TEXT, "t.md")
    assert found.block("start", Node("a", "a", "head")) is not None
    assert found.block("start", Node("b", "b", "worker")) is None


def test_an_unknown_word_is_named_with_its_line() -> None:
    with pytest.raises(MilepostError, match=r"t\.md:2: \[podman\]"):
        parse("# T\n## Why [podman]\nx\n", "t.md")
