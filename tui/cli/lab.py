"""The options of `--lab`, in one place for the walks with and without a screen."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

from wizard_steps.errors import UsageError

if TYPE_CHECKING:
    from wizard_steps.lab import Lab


def add_lab_options(parser: argparse.ArgumentParser) -> None:
    """What kind of lab it is; without --lab they are refused, see ``refuse_without_lab``."""
    add = parser.add_argument
    add("--executor", choices=("ray", "mp"), default="ray", help="with --lab: mp is vLLM without Ray")
    add("--replicas", type=int, choices=(1, 2), default=1, help="with --lab: 2 is one on each machine")
    add("--rehearse", action="store_true", help="with --lab: start with dummy weights first, and measure")


def refuse_without_lab(args: argparse.Namespace) -> None:
    """Raises UsageError."""
    given = (args.fault, args.keep, args.executor != "ray", args.replicas > 1, args.rehearse)
    if any(given) and not args.lab:
        raise UsageError("--fault, --keep, --executor, --replicas and --rehearse go with --lab")


def lab_of(args: argparse.Namespace) -> Callable[[], AbstractAsyncContextManager[Lab]]:
    """``Lab.start`` with these options."""
    from wizard_steps.lab import Lab

    return partial(
        Lab.start,
        fault=args.fault,
        keep=args.keep,
        executor=args.executor,
        replicas=args.replicas,
        rehearse=args.rehearse,
    )
