"""What a kit of `milepost pack` holds, and whether its files are there. Runs on the wizard's machine.

Argument: the folder. The last line printed is ``kit-json:`` and kit.json as it is. A stranger may have made
the kit: only plain files that lie in the folder count, and what is printed of it is ASCII.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import Any

MOST, SHOWN = 16 << 20, 5


class NoKit(Exception):
    """In words."""


def manifest(path: str) -> Any:
    """kit.json as it is. A pipe or a device there would hang, or never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NoKit("it is no plain file")
        data = file.read(MOST + 1)
    if len(data) > MOST:
        raise NoKit(f"it is larger than {MOST >> 20} MiB")
    return json.loads(data.decode("utf-8"))


def listed(kit: Any) -> list[tuple[str, int]]:
    """Name and size of each file."""
    files = kit["files"] if isinstance(kit, dict) and isinstance(kit.get("files"), list) else None
    if files is None:
        raise NoKit("it has no list of files")
    found = []
    for one in files:
        name, size = (one.get("name"), one.get("size")) if isinstance(one, dict) else (None, None)
        if not isinstance(name, str) or type(size) is not int:
            raise NoKit("a file in it has no name or no size")
        found.append((name, size))
    return found


def wrong(folder: str, name: str, size: int) -> str:
    """What is not right with a file; "" where it is as kit.json says."""
    shown, path, real = ascii(name)[1:-1][:200], os.path.join(folder, name), os.path.realpath(folder)
    try:
        found = os.stat(path)
        inside = os.path.commonpath([real, os.path.realpath(path)]) == real
    except (OSError, ValueError):
        return f"{shown}: not there"
    if not inside:
        return f"{shown}: leads out of the kit: a kit holds its files itself"
    if not stat.S_ISREG(found.st_mode):
        return f"{shown}: no plain file"
    return f"{shown}: {found.st_size} bytes in place of {size}" if found.st_size != size else ""


def main() -> int:
    folder = os.path.abspath(os.path.expanduser(sys.argv[1]))
    path = os.path.join(folder, "kit.json")
    try:
        kit = manifest(path)
        files = listed(kit)
        text = json.dumps({"folder": folder, "kit": kit}, separators=(",", ":"))
    except OSError as error:
        print(f"{path}: {error.strerror}. `milepost pack` makes a kit")
        return 1
    except (NoKit, ValueError, RecursionError) as error:
        print(f"{path}: not a kit that `milepost pack` made: {ascii(str(error))[1:-1]}")
        return 1
    bad = [said for name, size in files if (said := wrong(folder, name, size))]
    for line in bad[1:SHOWN]:
        print(line)
    if bad:
        print(f"{bad[0]} ({len(bad)} of {len(files)} files are not as kit.json says: pack it again)")
        return 1
    print(f"{folder}: {len(files)} files, {sum(size for _, size in files) / 1e9:.3f} GB")
    print(f"kit-json: {text}")
    return 0


sys.exit(main())
