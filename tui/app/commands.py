"""The command palette's entries, each the same as a key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from tui.screens.walk import WalkScreen

if TYPE_CHECKING:
    from tui.app.app import MilepostApp


def walk_commands(app: MilepostApp, screen: WalkScreen) -> Iterable[SystemCommand]:
    """Commands of the walk screen; those of a gate only while one is open."""

    def command(title: str, help_: str, call: object, *words: object) -> SystemCommand:
        return SystemCommand(title, help_, lambda: call(*words))  # type: ignore[operator]

    yield command("Compare", "Expected beside real (1)", screen.show_view, "compare")
    yield command("Log", "Everything the nodes wrote (2)", screen.show_view, "log")
    yield command("Checks", "The facts the gate rests on (3)", screen.show_view, "checks")
    yield command("Why this step", "What it is for, what happens, what if it fails (i)", screen.action_info)
    yield command("Find a node", "A list that can be filtered (f)", screen.action_nodes)
    yield command("Search the log", "Text in the log of this step and node (/)", screen.action_find)
    yield command("Wrap long lines", "In the log, on or off (w)", screen.action_wrap)
    yield command("Write a note", "Beside this step, for who watches the recording (m)", screen.action_note)
    yield command("Copy the command", "Or the selected text (c)", screen.action_copy)
    yield command("Copy the pane", "Everything in the view (y)", screen.action_copy_pane)
    yield command("Step by step", "Pause before each milestone, on or off (s)", screen.action_steps)
    yield command("Debugging switches", "NCCL_DEBUG=INFO on or off (d)", app.action_debugging)
    yield command("Hide or show the steps", "More room for the lines (z)", screen.action_zoom)
    if app.gate_open:
        yield command("Retry the step", "Run it again (r)", screen.action_gate, "retry")
        yield command("Edit an answer", "Change a value, then run again (e)", screen.action_gate, "edit")
        yield command("Run a fix", "Shows the command first (a)", screen.action_gate, "fix")
        yield command("Back", "To the step before (b)", screen.action_gate, "back")
    yield command("Keys", "All keys and signs (F1)", app.action_help)
    yield command("Stop or close", "Asks first (q)", app.action_ask_quit)
