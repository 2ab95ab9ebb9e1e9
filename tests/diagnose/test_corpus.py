"""Failures that people reported: the family, the help and the node that were reached once stay reached."""

from __future__ import annotations

import pytest

from tests.bench.bench_accuracy import CORPUS, Failure, quiet, read, tell
from wizard_steps.diagnose import Source, diagnose

FAILURES = [one for path in sorted(CORPUS.glob("*.toml")) for one in read(path) if not one.open]
HEALTHY = dict(quiet(CORPUS / "healthy"))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.id)
def test_a_reported_failure_is_known(failure: Failure) -> None:
    told = tell(failure)
    assert told.family, told.said
    assert told.helps is not False, told.said
    assert told.node is not False, told.said


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_log_raises_no_alarm(name: str) -> None:
    found = diagnose([Source(name, HEALTHY[name])])
    assert [f.rule for f in found if f.kind != "hint"] == []


def test_what_is_told_as_sure_is_right() -> None:
    sure = [told for failure in FAILURES if (told := tell(failure)).confidence >= 0.9]
    assert sum(told.right for told in sure) >= 0.9 * len(sure) > 0
