"""The command: puts milepost's own packages first on the path, so that no other `tui` takes their place.

In a checkout they lie beside this file; a wheel carries them in a folder of their own.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run the command line and return its exit status."""
    here = Path(__file__).resolve().parent
    inside = here / "milepost_app"
    sys.path.insert(0, str(inside if inside.is_dir() else here))
    from tui.cli.main import main as command_line

    return command_line()
