"""The command line that is sent over SSH: runs sh text whatever the login shell, and can be ended for real.

SSH without a pty has no dependable way to end a remote process: servers differ in signals, and closing the
channel ends nothing. So every command runs in a process group of its own beside a small watchdog that reads
the channel's standard input. When that ends (the wizard closed it, or the connection is gone) the watchdog
sends TERM to the group and KILL one second later. A process that left the group (``setsid``) lives on, and
so does everything once the command itself has ended.

This asks two things of a server, both true of OpenSSH: the command's standard input is a pipe that stays
open while the channel does, and it reaches its end when the client sends EOF or is gone.
"""

from __future__ import annotations

import re
import shlex

from wizard_steps.transport.framed import BEGIN, END, TAKE

#: A profile may leave a PATH without the system's own folders (nvidia-smi on WSL has one of its own).
_PATH = (
    'PATH="${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/wsl/lib"\n'
    "export PATH\n"
)

#: Seconds between TERM and KILL on the node.
GRACE = 1.0

# The watchdog is no child of the command (the double fork), so a command that waits for all its children
# does not wait for it. It holds none of the output, so the channel closes when the command is done.
_WATCHDOG = (
    "( ( trap '' TERM HUP INT PIPE; while read -r _ <&3; do :; done; kill -0 $$ || exit 0; "
    f"kill -TERM -$$; sleep {GRACE:g}; kill -KILL -$$ ) >/dev/null 2>&1 & )"
)

_SPECIAL = re.compile(rb"[^A-Za-z0-9 ./_:;,=<>&|(){}+-]")


def remote(text: str, stdin_bytes: int = 0) -> str:
    """The exec request for the sh text ``text``, see framed.py: the first line of input is the frame's mark,
    the next ``stdin_bytes`` belong to the command.

    The result holds no character that sh, csh or fish read differently inside single quotes: what they might
    is written as ``\\0`` and three octal digits, which POSIX's ``printf %b`` reads. No other program is
    started on the way to the command.
    """
    plain = _supervised(text, stdin_bytes).encode()
    packed = _SPECIAL.sub(lambda found: f"\\0{found[0][0]:03o}".encode(), plain)
    return (
        f'exec /bin/sh -c \'w=$(printf %b "{packed.decode()}")||exit 127;'
        'read -r a b c d g r </proc/$$/stat;if [ "$g" = $$ ];'
        'then eval "$w";else exec setsid /bin/sh -c "$w";fi\''
    )


def _supervised(text: str, stdin_bytes: int) -> str:
    """sh text that runs in a process group of its own and ends it when standard input ends."""
    command = f"/bin/sh -c {shlex.quote(text)}"
    begin = f"{TAKE}exec 2>&1 3<&0 </dev/null\n{_PATH}"
    if not stdin_bytes:
        return f"{begin}{_WATCHDOG}\n{BEGIN}{command} 3<&-\n{END}"
    fed = f"{{ head -c {stdin_bytes} <&3; {_WATCHDOG}; }} | {command} 3<&-\n"
    return f"{begin}{BEGIN}{fed}{END}"
