"""Opens files that somebody else may have put there: plain ones alone, and no more of them than was expected.

A pipe would hang, a device would hang or never end, and a file of gigabytes takes the memory.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_plain(path: Path, folder: int | None = None, links: bool = False) -> BinaryIO:
    """For reading. ``folder``: an open folder that ``path`` is a name in. ``links``: ``path`` may be a link.

    Raises OSError; what is no plain file is one, too.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, dir_fd=folder)
    mode = os.fstat(descriptor).st_mode
    # What a shell hands over, `milepost plan <(…)`, is a pipe that somebody writes to.
    handed = links and stat.S_ISFIFO(mode) and str(path).startswith(("/dev/fd/", "/dev/stdin"))
    if not stat.S_ISREG(mode) and not handed:
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "not a plain file")
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, most: int) -> bytes:
    """The whole of a file, or of what a link leads to. Raises OSError, also for more than ``most`` bytes."""
    with open_plain(path, links=True) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most / (1 << 20):.3g} MiB")
    return data
