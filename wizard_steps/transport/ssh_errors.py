"""What went wrong on the way to a host, in words that say what to do."""

from __future__ import annotations

import errno
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

import asyncssh
from msgspec import Struct

from wizard_steps.cluster.file import Ssh
from wizard_steps.errors import HostKeyChanged, MilepostError
from wizard_steps.recording.safe import safe_line
from wizard_steps.transport.ssh_hosts import Record, describe, entry_name

#: What asyncssh raises where the other side speaks something else.
_NO_SSH = (
    asyncssh.ProtocolError,
    asyncssh.ProtocolNotSupported,
    asyncssh.packet.PacketDecodeError,
    UnicodeError,
)


class Unreachable(MilepostError):
    """No connection to a host, or none any more. The text is what Exit.detail shows."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


def printable(text: str) -> str:
    """One line without control characters: parts of it may be what a server sent."""
    return safe_line("".join(c if c.isprintable() else " " for c in text[:4000]))


def said(words: object, most: int = 300) -> str:
    """A server's own words as part of a sentence: they leave room for the rest of it."""
    text = " ".join(printable(str(words)).split())
    return text if len(text) <= most else f"{text[:most]}…"


class HopPlace(Struct, frozen=True):
    """Where a connection goes, after the ssh config was applied. ``given`` is the name before that."""

    given: str
    host: str
    port: int
    user: str
    via: str = ""

    def __str__(self) -> str:
        name = self.given if self.given == self.host else f"{self.given} ({self.host})"
        way = f" through the jump host {self.via}" if self.via else ""
        return f"{name} port {self.port}{way}"


def ssh_command(place: HopPlace, ssh: Ssh) -> str:
    """The command a person can type to try the same connection."""
    words = ["ssh"]
    if ssh.config != "~/.ssh/config":
        words += ["-F", _absolute(ssh.config)]
    if ssh.known_hosts != "~/.ssh/known_hosts":
        words += ["-o", f"UserKnownHostsFile={_absolute(ssh.known_hosts)}"]
    for identity in ssh.identity:
        words += ["-i", _absolute(identity)]
    if place.port != 22:
        words += ["-p", str(place.port)]
    return shlex.join([*words, f"{place.user}@{place.given}"])


def _absolute(path: str) -> str:
    """Quoting would keep a shell from expanding ``~``."""
    return str(Path(path).expanduser())


def explain(error: BaseException, place: HopPlace, ssh: Ssh) -> Unreachable:
    """Any failure of a connection attempt but refused logins and host keys."""
    return Unreachable(f"{_cause(error, place, ssh)} To see it by hand: {ssh_command(place, ssh)}")


def _cause(error: BaseException, place: HopPlace, ssh: Ssh) -> str:
    if isinstance(error, socket.gaierror):
        return (
            f"No address was found for the host name {place.host!r} ({error.strerror}). Correct the node's "
            f"host in the cluster file, or HostName in {ssh.config}."
        )
    if isinstance(error, TimeoutError):
        return (
            f"No answer from {place} within {ssh.connect_timeout:g} s. The machine is down, the address is "
            "wrong, or a firewall drops the packets (ssh.connect_timeout in the cluster file sets the limit)."
        )
    if isinstance(error, asyncssh.ChannelOpenError) and place.via:
        return (
            f"The jump host {place.via} cannot reach {place.host} port {place.port}: {said(error.reason)}. "
            "Check the address as the jump host sees it, and AllowTcpForwarding in its sshd_config."
        )
    if isinstance(error, OSError):
        return _os_cause(error, place)
    if isinstance(error, asyncssh.ConnectionLost):
        return (
            f"{place} closed the connection before the login was done. Is that port an SSH server? "
            "Its log says why (MaxStartups, a firewall or fail2ban are usual)."
        )
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return _nothing_in_common(error.reason, place)
    if isinstance(error, _NO_SSH):
        return (
            f"{place} does not keep to the SSH protocol: {said(error)}. Is that port an SSH server's? "
            "A proxy or a port forwarding in between may answer in its place."
        )
    if isinstance(error, asyncssh.Error):
        return f"The login to {place} failed: {said(error.reason)}. The log of its SSH server may say more."
    if isinstance(error, asyncssh.ConfigParseError):
        return f"The ssh config cannot be used: {error}."
    return f"The connection to {place} failed: {said(error) or type(error).__name__}."


def _nothing_in_common(reason: str, place: HopPlace) -> str:
    """asyncssh's reason tells first all that was offered from here."""
    what, _, theirs = reason.partition(", sent ")
    theirs = theirs.rpartition(" received ")[2]
    offered = f" It offers: {said(theirs)}." if theirs else ""
    return (
        f"{place} and milepost's SSH library (asyncssh) have no algorithm in common: {said(what)}.{offered} "
        "Is its SSH server an old one? Update it, or allow a newer algorithm in its sshd_config "
        "(KexAlgorithms, Ciphers, MACs, HostKeyAlgorithms)."
    )


def unfinished(place: HopPlace, ssh: Ssh, spoke: bool) -> Unreachable:
    """The time is up on a connection that was accepted. ``spoke``: by an SSH server."""
    limit = f"within {ssh.connect_timeout:g} s"
    if spoke:
        text = (
            f"The SSH server of {place} answered, and did not finish the login {limit}. The machine may be "
            "overloaded, or its login waits for something (DNS, PAM, a directory, a home on the network)"
        )
    else:
        text = (
            f"No answer from {place} {limit}: the connection was accepted, but no SSH server spoke. Is that "
            "the port of one? An overloaded machine, a firewall or a load balancer in between do this too"
        )
    more = " (ssh.connect_timeout in the cluster file sets the limit)."
    return Unreachable(f"{text}{more} To see it by hand: {ssh_command(place, ssh)}")


def _os_cause(error: OSError, place: HopPlace) -> str:
    text = str(error)
    # Several addresses that failed in different ways come as one OSError without an errno.
    if error.errno == errno.ECONNREFUSED or (error.errno is None and f"[Errno {errno.ECONNREFUSED}]" in text):
        return (
            f"{place} refused the connection: no SSH server listens there. Check the port, and "
            "`systemctl status ssh` (or sshd) on that machine."
        )
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"No route to {place}. Check the address, the network (VPN?) and that the machine is up."
    if error.errno == errno.ECONNRESET:
        return f"{place} reset the connection. A firewall, or sshd's MaxStartups or fail2ban, may do that."
    return f"The connection to {place} failed: {error.strerror or text}."


def refused_login(
    place: HopPlace,
    ssh: Ssh,
    methods: Sequence[str],
    tried: Sequence[str],
    notes: Sequence[str],
    nobody: bool,
) -> Unreachable:
    """Permission denied: which user, what the server takes, and what was offered in vain."""
    offered = "; ".join(tried) or "nothing"
    text = f"{place} refused the login of user {place.user!r}. Tried: {offered}."
    if notes:
        text += f" Not usable: {'; '.join(notes)}."
    if methods:
        text += f" The server takes: {', '.join(methods)}."
    if nobody and {"password", "keyboard-interactive"} & set(methods):
        text += " No password was given."
    text += (
        " Is the user right (nodes[].user in the cluster file, or User in the ssh config)? Put the public "
        f"key on the node: ssh-copy-id {_copy_id(place)}. To see it by hand: {ssh_command(place, ssh)}"
    )
    return Unreachable(text)


def _copy_id(place: HopPlace) -> str:
    port = ["-p", str(place.port)] if place.port != 22 else []
    return shlex.join([*port, f"{place.user}@{place.given}"])


def untrusted(place: HopPlace, ssh: Ssh, key: asyncssh.SSHKey) -> Unreachable:
    """An unknown key that nobody accepted: its fingerprint, and how to accept it."""
    return Unreachable(
        f"The host key of {place} is not on record in {ssh.known_hosts} and was not accepted: "
        f"{describe(key)}. Compare this fingerprint with the machine's own (ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub there, or your provider's console), then connect once and accept "
        f"it: {ssh_command(place, ssh)}"
    )


def revoked(place: HopPlace, files: Sequence[Path]) -> Unreachable:
    """A key marked @revoked, and in which files."""
    names = ", ".join(str(path) for path in files if path.exists())
    return Unreachable(
        f"The host key of {place} is marked @revoked in {names}: its owner says that it is not to be "
        "trusted. Do not connect; give the machine a new host key."
    )


def changed(
    place: HopPlace, name: str, port: int, records: Sequence[Record], key: asyncssh.SSHKey
) -> HostKeyChanged:
    """A different key than the one on record, with both fingerprints and the place of the record."""
    known = "\n".join(f"  on record: {record}" for record in records)
    entry = entry_name(name, port)
    forget = "\n".join(
        f"  {shlex.join(['ssh-keygen', '-f', str(path), '-R', entry])}"
        for path in dict.fromkeys(record.path for record in records)
    )
    return HostKeyChanged(
        f"The host key of {place} is not the one on record.\n{known}\n  shown now: {describe(key)}\n"
        "Somebody may be intercepting the connection, or the machine was reinstalled. Find out which. Only "
        f"if it was reinstalled, forget the old key and run again:\n{forget}"
    )
