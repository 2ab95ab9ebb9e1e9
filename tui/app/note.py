"""What the author of a recording says beside a step while it is made."""

from __future__ import annotations

from tui.app.session import WalkSession
from wizard_steps.recording import notes
from wizard_steps.recording.journal import WalkFolder


def recorder(session: WalkSession | None) -> WalkFolder | None:
    """Where notes go; None where nothing is recorded, as in the playing of a recording."""
    journal = session.source.journal if session is not None else None
    return journal if isinstance(journal, WalkFolder) else None


def earlier(folder: WalkFolder, step: str, attempt: int) -> list[str]:
    """The notes beside an attempt at a step so far. Raises WalkError when they cannot be read."""
    return [note.text for note in notes.of_step(notes.load(folder.folder), step, attempt)]


def keep(session: WalkSession, folder: WalkFolder, step: str, attempt: int, text: str) -> str:
    """Write a note beside an attempt (0: one that is still to come); what to tell the person.

    No secret reaches the file. Raises WalkError when the disk refuses.
    """
    clean = session.source.redactor.text(text)
    folder.note(notes.now(step, clean, attempt=attempt))
    place = f"{folder.folder.name}/notes.jsonl"
    return f"Kept, without the secret that was in it ({place})" if clean != text else f"Kept in {place}"
