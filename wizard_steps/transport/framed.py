"""What a command itself printed, apart from what a node's login shell prints around it.

A profile that greets, a ForceCommand that logs, a shell that says goodbye: all of it comes on the same
channel as the answer of a command. So every command is put between two marks that are new each time. The mark
is handed over on standard input and is in no argument list: another user of the node cannot print it.
"""

from __future__ import annotations

import re
import secrets

from wizard_steps.model import Exit, Node
from wizard_steps.recording.clean import clean

#: Bytes that a shell may print before the command; a greeting is smaller.
MOST_NOISE = 1 << 20
#: Bytes of the noise that are kept, for the message that says why no command ran.
_KEPT = 4096
_CODE = re.compile(rb" ([0-9]{1,3})\n")

#: sh text that runs first: it takes the mark off standard input, before anything else may read there.
TAKE = "IFS= read -r m\n"
#: sh text right before the command.
BEGIN = "printf '%s\\n' \"$m\"\n"
#: sh text right after it. The exit status is told inside the frame: a wrapper may lose the real one.
END = 'c=$?; printf \'%s %d\\n\' "$m" "$c"; exit $c\n'


class Frame:
    """Feed the bytes of a channel, get those of the command. ``opened``: the command has begun.
    ``code``: its exit status, None until the frame is closed. What comes after it is dropped."""

    def __init__(self, mark: str = "") -> None:
        self._mark = (mark or f"~milepost-{secrets.token_hex(16)}").encode()
        self._rest = b""
        self._noise = 0
        self._lines = 0
        self._broken = b""
        self._kept = b""
        self.opened = False
        self.code: int | None = None

    @property
    def line(self) -> bytes:
        """The line that goes to the node, first of all input."""
        return self._mark + b"\n"

    @property
    def noise(self) -> bytes:
        """The end of what came while no command had begun."""
        return (self._kept + self._rest)[-_KEPT:]

    @property
    def flooded(self) -> bool:
        """More than MOST_NOISE bytes came, and no command began."""
        return not self.opened and self._noise > MOST_NOISE

    def feed(self, data: bytes) -> bytes:
        """The command's own bytes; what may be the beginning of the mark is held back."""
        if self.code is not None:
            self._count(data)
            return b""
        data = self._rest + data
        if not self.opened:
            begin = data.find(self.line)
            if begin < 0:
                return self._wait(data)
            self._count(data[:begin])
            self.opened, data = True, data[begin + len(self.line) :]
        return self._inside(data)

    @property
    def strange_lines(self) -> int:
        """How many lines, the last one whole or not, came before and after the frame."""
        return self._lines + (1 if self._broken else 0)

    def end(self) -> bytes:
        """What was held back: the channel has ended inside the frame."""
        rest, self._rest = self._rest if self.opened else b"", b""
        return rest

    def _wait(self, data: bytes) -> bytes:
        keep = len(self._mark)
        gone, self._rest = data[:-keep], data[-keep:]
        self._count(gone)
        self._noise += len(gone)
        self._kept = (self._kept + gone)[-_KEPT:]
        return b""

    def _count(self, data: bytes) -> None:
        self._lines += data.count(b"\n")
        if data:
            self._broken = data.rpartition(b"\n")[2][-1:]

    def _inside(self, data: bytes) -> bytes:
        at = data.find(self._mark)
        while at >= 0:
            after = at + len(self._mark)
            if found := _CODE.match(data, after):
                self.code, self._rest = int(found[1]), b""
                self._count(data[found.end() :])
                return data[:at]
            if len(data) - after < len(" 255\n"):
                self._rest = data[at:]
                return data[:at]
            at = data.find(self._mark, after)
        held = self._partial(data)
        self._rest = data[len(data) - held :]
        return data[: len(data) - held]

    def _partial(self, data: bytes) -> int:
        """How many bytes at the end of ``data`` may begin the mark."""
        longest = min(len(data), len(self._mark) - 1)
        return next((n for n in range(longest, 0, -1) if data.endswith(self._mark[:n])), 0)


def not_begun(node: Node, frame: Frame, complaint: bytes = b"", code: int | None = None) -> str:
    """Why a node that let us in has run nothing, and what to look at. ``complaint``: its standard error."""
    heard = f"{clean(frame.noise)}\n{clean(complaint)}"
    last = next((x for x in reversed(heard.splitlines()) if x.strip()), "")
    if frame.flooded:
        what = f"printed more than {MOST_NOISE >> 20} MiB before it ran the command"
    elif code is not None:
        what = f"ended with exit status {code} before it ran the command"
    else:
        what = "did not get to the command"
    said = f" Its last line: {last.strip()[:200]}" if last else ""
    return (
        f"{node.name}: logged in, but the shell there {what}. Look at the user's shell and its start-up "
        f"files (a menu, a prompt, an exec, a hanging mount), and at ForceCommand in sshd_config.{said}"
    )


def framed_exit(node: Node, frame: Frame, end: Exit, complaint: bytes = b"") -> Exit:
    """How a command ended, by its frame: a shell that never opened it ran nothing, whatever its status."""
    if frame.code is not None:
        return Exit(code=frame.code)
    if end.reason != "exit":
        return end
    if not frame.opened:
        return Exit(code=-1, reason="lost", detail=not_begun(node, frame, complaint, end.code))
    if end.code != 0:
        return end
    detail = f"{node.name}: the session ended before the command did, without an exit status. Retry."
    return Exit(code=-1, reason="lost", detail=detail)
