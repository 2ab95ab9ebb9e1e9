"""F1: every key, and what the signs mean."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from tui.app.text import ROW_STATES
from tui.screens.dialog import Dialog

KEYS = (
    (
        "Look",
        (
            ("1 2 3", "compare, log, checks"),
            ("i", "why this step, what happens, what to do if it fails"),
            ("[ ]", "the node before, the next node"),
            ("f", "nodes x milestones, those in trouble first; find a node"),
            ("Tab", "to the step list (arrows there choose) and back"),
            ("Esc", "back to the current step"),
            ("z", "hide or show the step list"),
            ("x", "show or fold the lines between"),
        ),
    ),
    (
        "Log",
        (
            ("Up, PgUp", "stop following and read"),
            ("End", "follow again"),
            ("/ n N", "search, next hit, hit before"),
            ("g", "go to a line by its number"),
            ("w", "wrap long lines, or not"),
            ("Left, Right", "along lines that are not wrapped"),
        ),
    ),
    (
        "Do",
        (
            ("c", "copy the selection, or else the command"),
            ("y", "copy all of the pane"),
            ("s", "pause before each milestone, or no longer; Enter continues"),
            ("h", "after the last gate: endpoint, commands to copy, what next"),
            ("m", "write a note on this step; milepost --watch shows it"),
            ("d", "debugging switches (NCCL_DEBUG) on or off; with Ray, vllm serve must be restarted"),
            ("? F4", "words: rank, raylet, KV cache, ... one sentence each"),
            ("Ctrl+P", "all commands, themes"),
            ("q, Ctrl+C", "stop or close; asks first, and says what keeps running"),
        ),
    ),
    (
        "At a gate that stays shut",
        (
            ("r", "run the step again"),
            ("e", "edit an answer, then run again"),
            ("4 to 9", "a fix: a change of the cluster file at once, a command when confirmed"),
            ("a", "all fixes in a list"),
            ("Enter", "to the line of the log that the gate failed at"),
            ("l", "read the full log"),
            ("b", "back to the step before"),
            ("q", "stop here"),
        ),
    ),
    (
        "In a recording (milepost --watch)",
        (
            ("Space", "play or pause; at a question: the answer"),
            (", .", "the milestone before, the next one"),
            ("- +", "slower, faster"),
            ("J", "jump to a milestone"),
            ("s", "stop after each milestone with Why beside it, or no longer"),
        ),
    ),
)


class HelpScreen(Dialog[None]):
    """All keys on one page."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f1,q,enter", "cancel", "Close", show=False)]
    heading = "Keys and signs"

    def body(self) -> ComposeResult:
        with VerticalScroll(id="help-scroll"):
            yield Static(_text())
        yield Static("Esc closes; Up and Down scroll", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def _text() -> Text:
    text = Text()
    for title, rows in KEYS:
        text.append(title + "\n", "bold")
        for key, what in rows:
            text.append(f"  {key:<12}", "bold").append(f" {what}\n")
        text.append("\n")
    text.append("Signs of compared lines\n", "bold")
    meanings = {
        "matched": "expected, and found",
        "missing": "expected, and missing: the gate stays shut",
        "near": "expected, and found with the marked difference: the gate stays shut",
        "unexpected": "found, and not expected; does not shut the gate",
        "between": "skipped by a ... of the expected text",
        "optional": "may be there",
        "awaited": "the step still runs",
    }
    for state, meaning in meanings.items():
        symbol, word, _ = ROW_STATES[state]
        text.append(f"  {symbol} {word:<11}", "bold").append(f" {meaning}\n")
    return text
