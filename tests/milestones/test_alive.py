"""What is said of a container or of Ray that somebody started again while vLLM used it."""

from __future__ import annotations

import pytest

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.milestones import alive
from wizard_steps.model import Result, Results
from wizard_steps.node.place import ALIVE

ID = "4cc6bf1cf2d1"
FIRST, SECOND = f"{ID}@2026-11-26_16:00:00.5_+0000_UTC", f"{ID}@2026-11-26_16:20:00.5_+0000_UTC"


def _dead(path: str, then: str, now: str) -> list[str]:
    known = Known(parse(f'path = "{path}"\n{CLUSTER}', "c.toml"), {"starts": {"a": then}})
    look = f"ours: {ID}\nleader: {ID}\ncontainer: running\ninstance: {now}\n"
    return [c.found for c in alive.dead(known, Results([Result(known.nodes[0], ALIVE, look, 0)]))]


@pytest.mark.parametrize("path", ["docker", "bare-metal"])
def test_another_start_is_told(path: str) -> None:
    assert _dead(path, FIRST, FIRST) == []
    assert _dead(path, "", FIRST) == []
    (said,) = _dead(path, FIRST, SECOND)
    assert "was started again at 2026-11-26 16:20:00: what ran in it then has ended" in said
    assert ("container milepost-" in said) is (path == "docker")
