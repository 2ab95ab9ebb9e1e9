"""`milepost completion SHELL`: prints a completion script."""

from __future__ import annotations

import argparse
from typing import Any


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "completion",
        help="print a shell completion script",
        description='Prints a completion script. For bash: eval "$(milepost completion bash)" in ~/.bashrc',
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import shtab

    from tui.cli.main import build

    print(shtab.complete(build()[0], shell=args.shell))
    return 0
