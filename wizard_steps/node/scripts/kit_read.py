"""What a kit of `milepost pack` holds, and whether its files are there. Runs on the wizard's machine.

Argument: the folder. The last line printed is ``kit-json:`` and kit.json as it is.
"""

from __future__ import annotations

import json
import os
import sys

MOST, SHOWN = 16 << 20, 5


def main() -> int:
    folder = os.path.abspath(os.path.expanduser(sys.argv[1]))
    path = os.path.join(folder, "kit.json")
    try:
        with open(path, encoding="utf-8") as file:
            kit = json.loads(file.read(MOST))
        files = [(str(one["name"]), int(one["size"])) for one in kit["files"]]
    except OSError as error:
        print(f"{path}: {error.strerror}. `milepost pack` makes a kit")
        return 1
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        print(f"{path}: not a kit that `milepost pack` made: {type(error).__name__}: {error}")
        return 1
    wrong = []
    for name, size in files:
        try:
            found = os.stat(os.path.join(folder, name)).st_size
        except (OSError, ValueError):
            found = -1
        if found != size:
            wrong.append(f"{name}: {found} bytes in place of {size}" if found >= 0 else f"{name}: not there")
    for line in wrong[1:SHOWN]:
        print(line)
    if wrong:
        print(f"{wrong[0]} ({len(wrong)} of {len(files)} files are not as kit.json says: pack it again)")
        return 1
    print(f"{folder}: {len(files)} files, {sum(size for _, size in files) / 1e9:.3f} GB")
    print("kit-json: " + json.dumps({"folder": folder, "kit": kit}, separators=(",", ":")))
    return 0


sys.exit(main())
