"""Failures that people reported: the family, the help and the node that were reached once stay reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.bench_accuracy import CORPUS, Failure, read, tell
from wizard_steps.diagnose import Source, diagnose

FAILURES = [one for path in sorted(CORPUS.glob("*.toml")) for one in read(path) if not one.open]
HEALTHY = sorted((CORPUS / "healthy").iterdir())


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.id)
def test_a_reported_failure_is_known(failure: Failure) -> None:
    told = tell(failure)
    assert told.family, told.said
    assert told.helps is not False, told.said
    assert told.node is not False, told.said


@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: path.stem)
def test_a_healthy_log_raises_no_alarm(path: Path) -> None:
    found = diagnose([Source(path.name, path.read_text(encoding="utf-8"))])
    assert [f.rule for f in found if f.kind != "hint"] == []


def test_what_is_told_as_sure_is_right() -> None:
    sure = [told for failure in FAILURES if (told := tell(failure)).confidence >= 0.9]
    assert sum(told.right for told in sure) >= 0.9 * len(sure) > 0
