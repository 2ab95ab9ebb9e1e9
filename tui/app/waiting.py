"""What is drawn while a step takes its time: its phases, and a bar of what is done."""

from __future__ import annotations

from tui.app.amount import Amount
from wizard_steps.plan import milestone

#: Columns of a bar.
_BAR = 16
#: Text and the name of its style.
Pieces = list[tuple[str, str]]


def waiting(step_id: str, phase: str, amount: Amount | None, width: int) -> Pieces:
    """The phases of a step with the present one marked, and how much of it is done. Where ``width`` (columns)
    is too little for all of them, only the present one. Nothing where nothing is known."""
    step = milestone(step_id)
    known = step.phases if step is not None else ()
    names = known if phase in known or not phase else (*known, phase)
    done = _done(amount)
    if not phase:
        return done
    at = names.index(phase)
    every = [
        *((f"✓ {name}  ", "good") for name in names[:at]),
        (f"● {phase}  ", "accent"),
        *done,
        *((f"○ {name}  ", "quiet") for name in names[at + 1 :]),
    ]
    if sum(len(words) for words, _ in every) <= width:
        return every
    return [(f"● {phase}  ", "accent"), (f"stage {at + 1} of {len(names)}  ", "quiet"), *done]


def _done(amount: Amount | None) -> Pieces:
    if amount is None:
        return []
    told = f"{amount.words}  " if amount.words else ""
    if amount.share is None:
        return [(told, "")]
    full = round(_BAR * amount.share)
    return [
        ("━" * full, "accent"),
        ("─" * (_BAR - full), "quiet"),
        (f" {amount.share:.0%}  ", "strong"),
        (told, ""),
    ]
