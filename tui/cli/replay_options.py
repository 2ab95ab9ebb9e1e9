"""Options of `milepost --replay`. Apart from the rest so that parsing a command line loads nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_replay_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--junit", type=Path, metavar="FILE", help="with --replay: also write the verdicts as JUnit XML"
    )
    parser.add_argument(
        "--json", action="store_true", help="with --replay: print the verdicts as JSON and nothing else"
    )
    parser.add_argument(
        "--annotations",
        action="store_true",
        help="with --replay: print GitHub-style annotations too (on by default when GITHUB_ACTIONS is true)",
    )
    parser.add_argument(
        "--as-recorded",
        action="store_true",
        help="with --replay: expect the recorded outcome, failures included: exit 0 unless a walk drifts or "
        "cannot be read",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="with --replay: each command must be the recorded one: a changed helper script, which is "
        "otherwise only noted, is drift",
    )
