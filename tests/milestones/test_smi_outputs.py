"""The nvidia-smi gate on outputs of many machines: drivers of every branch, faults, MIG, unified memory, what
is not NVIDIA's. A new output is an entry in tests/cases/nvidia_smi.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from wizard_steps.cluster.file import parse
from wizard_steps.engine.step import Known
from wizard_steps.milestones.smi import Smi
from wizard_steps.model import Result, Results

FILE = Path(__file__).parents[1] / "cases" / "nvidia_smi.toml"
OUTPUTS: list[dict[str, Any]] = tomllib.loads(FILE.read_text(encoding="utf-8"))["output"]


@pytest.mark.parametrize("one", OUTPUTS, ids=lambda one: one["name"])
def test_the_gate_says_what_is_there(one: dict[str, Any]) -> None:
    known = Known(
        parse(
            f'[[nodes]]\nname = "a"\nhost = "a"\nrole = "head"\ngpus = {one["gpus"]}\n'
            f"[serve]\ntensor_parallel = {one.get('tp', 1)}\n"
        )
    )
    result = Result(
        known.head, "smi", one["text"].lstrip("\n"), one.get("code", 0), one.get("reason", "exit")
    )
    verdict = Smi().judge(known, Results([result]))
    said = "\n".join(f"{c.name} {c.found} {c.wanted} {c.hint}" for c in verdict.checks) + verdict.summary
    assert verdict.state == one["wanted"], said
    assert sorted({c.name for c in verdict.checks if c.state != "ok"}) == sorted(one.get("checks", [])), said
    for words in one.get("says", []):
        assert words in said
    assert one.get("driver", "") in said
    if "seen" in one:
        assert f"{one['seen']} x " in said, said


def test_the_outputs_are_many_and_each_is_named_once() -> None:
    names = [one["name"] for one in OUTPUTS]
    assert len(names) == len(set(names)) >= 30
