"""What vLLM releases need."""

from __future__ import annotations

import pytest

from wizard_steps.cluster import versions
from wizard_steps.facts.needs import needs, older


def test_the_pinned_release_is_known() -> None:
    assert needs(versions.VLLM) is not None


def test_every_minor_release_since_0_6_up_to_the_pinned_one_is_known() -> None:
    newest = int(versions.VLLM.split(".")[1])
    assert [n for n in range(6, newest + 1) if needs(f"0.{n}.0") is None] == []
    assert needs(f"0.{newest + 1}.0") is None


@pytest.mark.parametrize(
    ("release", "driver", "capability", "torch", "ray"),
    [
        ("0.6.6.post1", "525.60.13", "7.0", "2.5.1", True),
        ("0.17.1", "525.60.13", "7.0", "2.10.0", True),
        ("0.18.0", "525.60.13", "7.0", "2.10.0", False),
        ("0.23.0", "580.65.06", "7.5", "2.11.0", False),
        ("0.33.0", "580.65.06", "7.5", "2.14.0", False),
    ],
)
def test_a_release(release: str, driver: str, capability: str, torch: str, ray: bool) -> None:
    found = needs(release)
    assert found is not None
    assert (found.driver, found.compute_cap, found.torch, found.ray) == (driver, capability, torch, ray)
    assert not older("3.11.9", found.python_low)
    assert older("3.11.9", found.python_high)
