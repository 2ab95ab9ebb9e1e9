"""One wizard a cluster: a lock file on the head that says who walks, from where and since when.

~/.milepost/NAME/wizard.lock holds one line. Its wizard gives a sign of life while it walks; a lock without
one for STALE seconds is taken over, and so is one whose wizard ran on this very machine and is gone. The sign
is the head's uptime, in wizard.guard: its clock may be set meanwhile. Where it has no uptime, or was booted
since, the time of the lock file counts. A lock that cannot be read, or not be written, is an error and never
a free one. These commands belong to no milestone: no recording has them.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import secrets
import shlex
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import MilepostError
from wizard_steps.model import Cmd
from wizard_steps.node.remote import cluster_dir

#: Seconds between two signs of life, and seconds without one after which a lock counts for nothing.
TOUCH = 30.0
STALE = 120
#: Seconds the head gets for an answer once it has begun to look.
LIMIT = 20.0
_ID = re.compile(r"[0-9a-f]{1,64}")


class Holder(Struct, frozen=True):
    """``where`` names a machine and its process space; ``born`` tells a pid used again from the first."""

    id: str
    who: str
    where: str
    pid: int
    born: str
    since: str

    def line(self) -> str:
        return f"{self.id} {self.who} {self.where} {self.pid} {self.born} {self.since}"

    def __str__(self) -> str:
        return f"{self.who} (process {self.pid}, since {self.since})"

    @property
    def beside(self) -> bool:
        """Whether its pid means the same here: on this machine, in this process space."""
        return self.where == _where()


class LockHeld(MilepostError):
    """Another wizard walks this cluster: exit status 1. ``taken``: it was ours before."""

    def __init__(self, message: str, holder: Holder, taken: bool = False) -> None:
        super().__init__(message)
        self.holder = holder
        self.taken = taken


class LockUnsure(MilepostError):
    """Whether another wizard is at work cannot be told: exit status 1."""


def me() -> Holder:
    """This very process, as the head will remember it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    who = re.sub(r"[^A-Za-z0-9_.@-]", "_", f"{user}@{socket.gethostname()}")[:120]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Holder(secrets.token_hex(8), who, _where(), os.getpid(), _born(os.getpid()), now)


def _where() -> str:
    """The same for processes that can see one another's pids, and for no others."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _born(pid: int) -> str:
    """When a process began, in clock ticks since this machine was booted; "" when there is no such process.

    The clock of the machine may be set meanwhile (NTP, a VM that was moved): this number does not move.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def parse(text: str) -> Holder | None:
    """The holder that a line of the lock file names; None where it is not one that milepost wrote."""
    words = text.split()
    if len(words) != 6 or not re.fullmatch(r"[0-9]{1,10}", words[3]) or not _ID.fullmatch(words[0]):
        return None
    return Holder(words[0], words[1], words[2], int(words[3]), words[4], words[5])


def gone(holder: Holder) -> bool:
    """Whether that wizard ran beside us and has ended; False where this cannot be known from here."""
    return holder.beside and _born(holder.pid) != holder.born


def acquire(cluster: Cluster, holder: Holder, over: str = "") -> Cmd:
    """Take the lock, or say whose it is. ``over``: the id of a holder whose lock counts for nothing.

    Prints "asked" before it touches the disk, then one of "mine", "held LINE" and "cannot WHY". All of it
    under a kernel lock, which ends with its shell: of wizards that come together, one gets it.
    """
    text = (
        'echo asked; no() { echo "cannot $1"; exit 74; }; umask 077\n'
        f"d={cluster_dir(cluster)}; f=wizard.lock; g=wizard.guard\n"
        'w=$(mkdir -p "$d" 2>&1) && cd "$d" 2>/dev/null || no "${w:-the folder cannot be entered}"\n'
        f"me={shlex.quote(holder.line())}; over={shlex.quote(over)}\n"
        'for x in $f $g; do if [ -L $x ] || { [ -e $x ] && [ ! -f $x ]; }; then no "$x is no plain file"; '
        "fi; done\n"
        'w=$( { : >> $g; } 2>&1 ) || no "${w:-$g cannot be written}"\n'
        "boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)\n"
        "{ read -r up rest < /proc/uptime; } 2>/dev/null\n"
        'up=${up%%.*}; sign() { { echo "$1 $boot $up" > $g; } 2>/dev/null; }\n'
        "exec 9>>$g; if command -v flock >/dev/null 2>&1; then flock -w 10 9 "
        '|| no "another process has held $g for 10 s"; '
        # Who makes the file writes it before it lets go: an empty one is of a shell that was killed there.
        "if [ -f $f ] && [ ! -s $f ]; then rm -f $f; fi; fi\n"
        "if [ -f $f ]; then read -r id rest < $f\n"
        f'  if [ "$id" = {shlex.quote(holder.id)} ]; then touch $f; sign "$id"; echo mine; exit 0; fi\n'
        "  age=$(( $(date +%s) - $(stat -c %Y $f 2>/dev/null || echo 0) ))\n"
        '  { read -r i b u rest < $g; } 2>/dev/null; if [ "$i $b" = "$id $boot" ]; then '
        'case "$u.$up" in .*|*.|*[!0-9.]*) ;; *) age=$((up - u)) ;; esac; fi\n'
        f'  if [ "$over" = any ] || [ $age -gt {STALE} ] || {{ [ -n "$over" ] && [ "$id" = "$over" ]; }}; '
        "then rm -f $f; fi\n"
        "fi\n"
        "if [ -e $f ]; then echo \"held $(head -c 500 $f | tr -c '[:print:]' ' ')\"; exit 75; fi\n"
        # What a full disk has cut is no lock: nobody could read whose it is.
        'w=$( { set -C; printf "%s\\n" "$me" > $f; } 2>&1 )\n'
        'if [ "$(cat $f 2>/dev/null)" = "$me" ]; then sign "${me%% *}"; echo mine; exit 0; fi\n'
        "if [ -s $f ] && [ -z \"$w\" ]; then echo \"held $(head -c 500 $f | tr -c '[:print:]' ' ')\"; "
        "exit 75; fi\n"
        'rm -f $f; no "${w:-wizard.lock cannot be written: is the disk full?}"\n'
    )
    return Cmd("lock", text, timeout=LIMIT, quiet=True)


def touch(cluster: Cluster, holder: Holder) -> Cmd:
    """A sign of life; "held …" when somebody else has taken it, which is said and not undone."""
    return acquire(cluster, holder)


def release(cluster: Cluster, holder: Holder) -> Cmd:
    text = (
        f"cd {cluster_dir(cluster)} 2>/dev/null || exit 0\n"
        "read -r id rest < wizard.lock || exit 0\n"
        f'[ "$id" = {shlex.quote(holder.id)} ] && rm -f wizard.lock\nexit 0\n'
    )
    return Cmd("unlock", text, timeout=LIMIT, quiet=True)


Answer = Literal["mine", "held", "unsure"]


def answer(text: str) -> tuple[Answer, Holder | None, str]:
    """What ``acquire`` printed: ours, whose (with the holder), or that it cannot be told, and why."""
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines[:1] == ["asked"] and len(lines) == 2 else ""
    word, _, rest = last.partition(" ")
    if last == "mine":
        return "mine", None, ""
    if word == "held":
        holder = parse(rest)
        why = f"wizard.lock there is not one that milepost wrote ({rest.strip()[:80] or 'it is empty'})"
        return ("held", holder, "") if holder else ("unsure", None, why)
    if word == "cannot":
        return "unsure", None, rest
    return "unsure", None, f"it said {lines[-1][:120]!r}" if lines else "no output"


def unsure(cluster: Cluster, why: str) -> LockUnsure:
    """Nobody can tell whether another wizard is at work."""
    return LockUnsure(
        f"the lock of the cluster {cluster.name!r} on {cluster.head.name} can be neither taken nor read: "
        f"{why}. Nothing was changed. Look at the disk and the permissions of ~/.milepost/{cluster.name} "
        f"there; an unreadable wizard.lock expires after {STALE} s, or with `--take-over`."
    )


def refusal(cluster: Cluster, holder: Holder, taken: bool = False) -> LockHeld:
    if taken:
        words = (
            f"another wizard has taken over the cluster {cluster.name!r}: {holder}. This one stops here and "
            "changes nothing more; what runs on the nodes keeps running."
        )
    else:
        words = (
            f"another wizard holds the cluster {cluster.name!r}: {holder}. Wait for its end, or end it; a "
            f"wizard that is gone loses its lock after {STALE} s. `--take-over` takes it now."
        )
    return LockHeld(words, holder, taken)
