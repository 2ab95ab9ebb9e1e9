"""Files that commands write for a person."""

from __future__ import annotations

from pathlib import Path

from wizard_steps.errors import UsageError


def write_text(path: Path, text: str) -> None:
    """Write UTF-8. Raises UsageError that names the file and the reason."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
