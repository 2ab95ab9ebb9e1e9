"""A log of no interest and a failure, for the tests of the diagnosis."""

from __future__ import annotations

NOISE = "INFO 11-24 08:00:00 [loggers.py:1] Avg generation throughput: 12.3 tokens/s, Running: 3 reqs\n"
FAILURE = "ERROR 11-24 08:01:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory.\n"
