"""What is drawn while a step takes its time: its phases, and a bar of what is done."""

from __future__ import annotations

from tui.app.amount import Amount
from wizard_steps.plan import milestone

#: Columns of a bar, and of one in little room.
_BAR, _SHORT = 16, 6
#: Text and the name of its style.
Pieces = list[tuple[str, str]]


def waiting(step_id: str, phase: str, amount: Amount | None, width: int) -> Pieces:
    """The phases of a step with the present one marked, and how much of it is done. Where ``width`` (columns)
    is too little for all of them, only the present one. Nothing where nothing is known."""
    step = milestone(step_id)
    known = step.phases if step is not None else ()
    names = known if phase in known or not phase else (*known, phase)
    if not phase:
        return _fitting(width, _done(amount), _done(amount, _SHORT))
    at = names.index(phase)
    present = (f"● {phase}  ", "accent")
    stage = (f"stage {at + 1} of {len(names)}  ", "quiet")
    every = [
        *((f"✓ {name}  ", "good") for name in names[:at]),
        present,
        *_done(amount),
        *((f"○ {name}  ", "quiet") for name in names[at + 1 :]),
    ]
    return _fitting(
        width,
        every,
        [present, stage, *_done(amount)],
        [present, *_done(amount, _SHORT)],
        [present, *_done(amount, 0)],
    )


def _fitting(width: int, *tries: Pieces) -> Pieces:
    """The first that ``width`` columns hold, else the last."""
    return next(
        (one for one in tries if len("".join(words for words, _ in one).rstrip()) <= width), tries[-1]
    )


def _done(amount: Amount | None, bar: int = _BAR) -> Pieces:
    if amount is None:
        return []
    told = f"{amount.words}  " if amount.words else ""
    if amount.share is None:
        return [(told, "")]
    full = round(bar * amount.share)
    return [
        ("━" * full, "accent"),
        ("─" * (bar - full), "quiet"),
        (f" {amount.share:.0%}  ", "strong"),
        (told, ""),
    ]
