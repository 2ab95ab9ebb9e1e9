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
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh", "fish"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(_parser(), shell=args.shell))
    return 0


def _parser() -> argparse.ArgumentParser:
    """With the options of a walk at the top too (`milepost FILE --option`) and the names of recordings."""
    from tui.cli.main import build, walk_options
    from wizard_steps.walks.shipped import names

    parser, _ = build()
    walk_options(parser)
    for action in parser._actions:
        if "--watch" in action.option_strings:
            action.choices = names()
    return parser
