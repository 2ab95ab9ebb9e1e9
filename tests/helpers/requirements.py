"""What a test needs of its machine."""

from __future__ import annotations

import os

import pytest


def require(obstacle: str) -> None:
    """Skip for this reason, if there is one; with MILEPOST_REQUIRE_REAL set, fail."""
    if obstacle and os.environ.get("MILEPOST_REQUIRE_REAL"):
        pytest.fail(obstacle)
    if obstacle:
        pytest.skip(obstacle)
