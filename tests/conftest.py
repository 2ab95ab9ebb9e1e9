import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.ssh_fixtures import ssh_bed, ssh_either, ssh_node
from wizard_steps.model import counted

__all__ = ["ssh_bed", "ssh_either", "ssh_node"]
# A colour switch of the developer's shell would change every screen snapshot.
os.environ.pop("NO_COLOR", None)
# A busy machine makes a single example slow; no property here is about time.
settings.register_profile("milepost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("milepost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start labs first: they take minutes each, and the others fill what time is left."""
    slow = {item.path for item in items if item.get_closest_marker("lab")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The last lines: which tests passed at the second try only, how many were skipped, and what brings them."""
    again = terminalreporter.stats.get("rerun", ())
    if again:
        terminalreporter.section("passed or failed at the second try: unstable, to be mended")
        for report in again:
            terminalreporter.write_line(report.nodeid)
    skipped = terminalreporter.stats.get("skipped", ())
    if not skipped:
        return
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    terminalreporter.section("what was not tested here")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
    terminalreporter.write_line(
        f"{counted(len(skipped), 'test')} skipped. `sh .ci/setup-real packages` (Debian, root) installs what most of them need."
    )
