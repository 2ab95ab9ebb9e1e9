"""Options of `milepost --replay`. Apart from the rest so that parsing a command line loads nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_replay_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("replay", "with --replay")
    group.add_argument("--junit", type=Path, metavar="FILE", help="also write the verdicts as JUnit XML")
    group.add_argument("--json", action="store_true", help="print the verdicts as JSON and nothing else")
    group.add_argument(
        "--annotations",
        action="store_true",
        help="print GitHub-style annotations too (on by default when GITHUB_ACTIONS is true)",
    )
    group.add_argument(
        "--as-recorded",
        action="store_true",
        help="expect the recorded outcome, failures included: exit 0 unless a walk drifts or cannot be read",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="each command must be the recorded one: a changed helper script, which is otherwise only noted, "
        "is drift",
    )
