"""What a key at a failed gate does: answer it, or ask for more first."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from textual.app import App

from tui.app.fixes import FIRST_KEY, KEYS, FixOffer
from tui.app.session import WalkSession
from tui.screens.edit import EditScreen
from tui.screens.fix import FixScreen
from wizard_steps.engine.decide import Answer
from wizard_steps.milestones.remedies import Edits


def press(app: App[Any], session: WalkSession, value: str, show_log: Callable[[], None]) -> None:
    """``value``: retry, back, edit, fix (all of them in a list) or the digit of a fix. ``show_log`` is called
    when a command is going to run."""

    def chosen(offer: FixOffer | None) -> None:
        if offer is not None:
            if not offer.edits:
                show_log()
            session.desk.answer_gate(offer.answer)

    def edited(edits: Edits | None) -> None:
        if edits:
            one = Answer("edit", *edits[0]) if len(edits) == 1 else Answer("edit", edits=edits)
            session.desk.answer_gate(one)

    offers = session.offers()
    if value == "fix":
        if offers:
            app.push_screen(FixScreen(offers), chosen)
    elif value.isdigit():
        number = int(value) - FIRST_KEY
        if 0 <= number < min(len(offers), KEYS):
            _one(app, offers[number], chosen)
    elif value == "edit":
        step = next(s for s in session.engine.plan if s.id == session.state.current)
        # The fields that a fix would change are those that the gate failed at.
        failing = [re.escape(where) for offer in offers for where, _ in offer.edits]
        app.push_screen(
            EditScreen(session.engine.cluster, (*failing, *step.owns), session.state.facts), edited
        )
    else:
        session.desk.answer_gate(Answer(value))


def _one(app: App[Any], offer: FixOffer, chosen: Callable[[FixOffer | None], None]) -> None:
    """A change of the cluster file is made at once; a command is shown and confirmed first."""
    if offer.edits:
        chosen(offer)
    else:
        app.push_screen(FixScreen([offer]), chosen)
