import os
from collections import Counter
from typing import Any

from hypothesis import settings

from tests.helpers.ssh_fixtures import ssh_bed, ssh_either, ssh_node

__all__ = ["ssh_bed", "ssh_either", "ssh_node"]
# A colour switch of the developer's shell would change every screen snapshot.
os.environ.pop("NO_COLOR", None)
# A busy machine makes a single example slow; no property here is about time.
settings.register_profile("milepost", deadline=None)
settings.load_profile("milepost")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The last lines: how many tests were skipped, and what brings them."""
    skipped = terminalreporter.stats.get("skipped", ())
    if not skipped:
        return
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    terminalreporter.section("what was not tested here")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
    terminalreporter.write_line(
        f"{len(skipped)} tests were skipped. `sh .ci/setup-real packages` (Debian, root) installs what most of them need."
    )
