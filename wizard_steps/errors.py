"""Errors a person can act on. Each says what was wrong, where, and what to do; none shows a traceback."""

from __future__ import annotations


class MilepostError(Exception):
    """Base of all expected errors. ``code`` is the process exit status."""

    code = 1


class UsageError(MilepostError):
    """A wrong command line, cluster file or missing answer: exit status 2."""

    code = 2


class DriftError(MilepostError):
    """A recording does not fit today's steps: exit status 3."""

    code = 3


class WalkError(MilepostError):
    """A walk folder cannot be read or written: exit status 2."""

    code = 2


class HostKeyChanged(MilepostError):
    """A host's key is not the one on record. The run stops: this can be an attack."""


class ExpectedTextError(MilepostError):
    """An expected file is wrong, or does not fit its milestone. Says file and line."""
