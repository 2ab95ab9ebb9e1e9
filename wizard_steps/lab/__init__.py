"""The embedded lab: real SSH servers and real Ray on loopback; GPUs (and vLLM, if absent) SIMULATED."""

from __future__ import annotations

from wizard_steps.lab.lab import Lab, LabError

__all__ = ["Lab", "LabError"]
