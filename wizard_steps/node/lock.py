"""One wizard a cluster: a lock file on the head that says who walks, from where and since when.

~/.milepost/NAME/wizard.lock holds one line. Its wizard touches it while it walks; a lock that nobody has
touched for STALE seconds (by the head's own clock) is taken over, and so is one whose wizard ran on this very
machine and is gone. These commands belong to no milestone: no recording has them.
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

import psutil  # type: ignore[import-untyped]
from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import MilepostError
from wizard_steps.model import Cmd
from wizard_steps.node.remote import state_dir

#: Seconds between two signs of life, and seconds without one after which a lock counts for nothing.
TOUCH = 30.0
STALE = 120
LIMIT = 20.0


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
    try:
        return f"{psutil.Process(pid).create_time():.1f}"
    except psutil.Error:
        return ""


def parse(text: str) -> Holder | None:
    """The holder that a line of the lock file names."""
    words = text.split()
    if len(words) != 6 or not words[3].isdigit():
        return None
    return Holder(words[0], words[1], words[2], int(words[3]), words[4], words[5])


def gone(holder: Holder) -> bool:
    """Whether that wizard ran beside us and has ended; False where this cannot be known from here."""
    return holder.beside and _born(holder.pid) != holder.born


def acquire(cluster: Cluster, holder: Holder, over: str = "") -> Cmd:
    """Take the lock, or say whose it is. ``over``: the id of a holder whose lock counts for nothing.

    All of it under a kernel lock, which ends with its shell: of wizards that come together, one gets it.
    """
    text = (
        f"umask 077; mkdir -p {state_dir(cluster)} && cd {state_dir(cluster)} || exit 1\n"
        f"me={shlex.quote(holder.line())}; over={shlex.quote(over)}; f=wizard.lock\n"
        "exec 9>wizard.guard; if command -v flock >/dev/null 2>&1; then flock -w 10 9; fi\n"
        "if [ -f $f ]; then read -r id rest < $f\n"
        f'  if [ "$id" = {shlex.quote(holder.id)} ]; then touch $f; echo mine; exit 0; fi\n'
        "  age=$(( $(date +%s) - $(stat -c %Y $f 2>/dev/null || echo 0) ))\n"
        f'  if [ "$id" = "$over" ] || [ "$over" = any ] || [ $age -gt {STALE} ]; then rm -f $f; fi\n'
        "fi\n"
        '( set -C; echo "$me" > $f ) 2>/dev/null && { echo mine; exit 0; }\n'
        'echo "held $(cat $f)"; exit 75\n'
    )
    return Cmd("lock", text, timeout=LIMIT, quiet=True)


def touch(cluster: Cluster, holder: Holder) -> Cmd:
    """A sign of life; "held …" when somebody else has taken it, which is said and not undone."""
    return acquire(cluster, holder)


def release(cluster: Cluster, holder: Holder) -> Cmd:
    text = (
        f"cd {state_dir(cluster)} 2>/dev/null || exit 0\n"
        "read -r id rest < wizard.lock || exit 0\n"
        f'[ "$id" = {shlex.quote(holder.id)} ] && rm -f wizard.lock\nexit 0\n'
    )
    return Cmd("unlock", text, timeout=LIMIT, quiet=True)


def held(text: str) -> Holder | None:
    """Who holds it, by what ``acquire`` printed; None when it is ours, or nobody can say."""
    found = re.search(r"^held (.+)$", text, re.MULTILINE)
    return parse(found[1]) if found else None


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
