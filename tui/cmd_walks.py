"""The commands for recordings: edit, diff, export, expected."""

from __future__ import annotations

from typing import Any

from tui import cmd_diff, cmd_edit, cmd_expected, cmd_export


def add(subparsers: Any) -> None:
    for module in (cmd_edit, cmd_diff, cmd_export, cmd_expected):
        module.add(subparsers)
