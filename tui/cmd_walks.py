"""The commands for recordings: edit, diff, export, expected."""

from __future__ import annotations

from typing import Any

from tui import cmd_edit


def add(subparsers: Any) -> None:
    cmd_edit.add(subparsers)
