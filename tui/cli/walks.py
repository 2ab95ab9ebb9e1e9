"""The commands for recordings: edit, diff, export, expected."""

from __future__ import annotations

from typing import Any

from tui.cli import diff as cmd_diff
from tui.cli import edit as cmd_edit
from tui.cli import expected as cmd_expected
from tui.cli import export as cmd_export


def add(subparsers: Any) -> None:
    for module in (cmd_edit, cmd_diff, cmd_export, cmd_expected):
        module.add(subparsers)
