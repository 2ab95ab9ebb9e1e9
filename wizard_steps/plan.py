"""The milestones of each path, in the order they are walked."""

from __future__ import annotations

from wizard_steps.cluster import Cluster
from wizard_steps.step import Step


def bare_metal() -> list[Step]:
    return []


PATHS = {"bare-metal": bare_metal}


def plan_for(cluster: Cluster) -> list[Step]:
    """The milestones for a cluster's path."""
    return PATHS[cluster.path]()
