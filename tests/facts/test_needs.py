"""What vLLM releases need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.cluster import versions
from wizard_steps.cluster.flags import history
from wizard_steps.facts.needs import needs, older, releases, satisfies


def test_the_pinned_release_is_known() -> None:
    assert needs(versions.VLLM) is not None


def test_the_pinned_release_was_read_itself_and_every_one_whose_flags_are_known() -> None:
    """A release that is pinned next has to be read first."""
    read = {str(one) for one in releases()}
    assert versions.VLLM in read
    assert set(history().releases) - read == set()
    assert history().releases[-1] == versions.VLLM


@pytest.mark.parametrize(
    ("other", "like"),
    [("0.33.7", "0.33.0"), ("0.11.0rc2", "0.11.0"), ("0.11.0+cu129", "0.11.0"), ("0.10.1.2", "0.10.1.1")],
)
def test_a_release_that_was_not_read_is_taken_for_its_neighbour(other: str, like: str) -> None:
    assert needs(other) == needs(like)


def test_every_minor_release_since_0_6_up_to_the_pinned_one_is_known() -> None:
    newest = int(versions.VLLM.split(".")[1])
    assert [n for n in range(6, newest + 1) if needs(f"0.{n}.0") is None] == []
    assert needs(f"0.{newest + 1}.0") is None


@pytest.mark.parametrize(
    ("release", "driver", "capability", "torch", "ray"),
    [
        ("0.6.0", "525.60.13", "7.0", "2.4.0", True),
        ("0.10.1", "525.60.13", "7.0", "2.7.1", True),
        ("0.11.0", "525.60.13", "7.0", "2.8.0", True),
        ("0.11.2", "525.60.13", "7.0", "2.9.0", True),
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


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ("0.33.0", "0.33.0", True),
        ("0.33.0+cu129", "0.33.0", True),
        ("0.33.1", "0.33.0", False),
        ("0.33.0rc1", "0.33.0", False),
        ("SIMULATED", "0.33.0", False),
        ("", "0.33.0", False),
    ],
)
def test_a_build_of_a_release_is_that_release(found: str, wanted: str, same: bool) -> None:
    assert satisfies(found, wanted) is same


@given(st.text())
def test_no_text_breaks_the_comparison(text: str) -> None:
    assert older(text, "1.0") in (True, False)
    assert satisfies(text, "1.0") in (True, False)
    assert needs(text) is None or text.strip()
