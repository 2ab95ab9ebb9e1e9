"""Commands on the Docker path: what is in a container is looked at through `docker exec`."""

from __future__ import annotations

import re
import shlex

#: A part of a command line between semicolons; quotes hold theirs.
_PART = re.compile(r"""(?:'[^']*'|"[^"]*"|[^;'"])+""")
#: Programs and settings that are in the image, not on the host.
_INSIDE = re.compile(r"(?:^|[|&(]\s*)(?:ray|vllm|hf|python3?|env)\s|/tmp/ray\b")
#: What belongs on the host, or is a command of an engine already.
_HOST = re.compile(r"\b(?:sudo|docker|podman|ssh|rsync|ps|pgrep|apt-get)\b")


#: The engine's command where a command line, or a part of one, begins.
_ENGINE = re.compile(r"(^|[;|&(]\s{0,9})docker(?=\s)")


def by(command: str, engine: str) -> str:
    """``command`` with this engine's command in place of ``docker``."""
    return _ENGINE.sub(lambda match: match[1] + engine, command)


def inside(command: str, line: str) -> str:
    """``command`` with the parts that need the container run by ``line`` (``docker exec NAME``)."""
    if command.count("'") % 2 or command.count('"') % 2:
        return command
    return "; ".join(_inside(part.strip(), line) for part in _PART.findall(command) if part.strip())


def _inside(part: str, line: str) -> str:
    if not _INSIDE.search(part) or _HOST.search(part):
        return part
    if re.search(r"[|&<>$~*'\"]", part):
        return f"{line} sh -c {shlex.quote(part)}"
    return f"{line} {part}"
