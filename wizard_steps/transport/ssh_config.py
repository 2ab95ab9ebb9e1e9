"""What ssh itself makes of the ssh configs for one host: ``ssh -G`` reads them.

Include, Match, wildcards, the machine's own /etc/ssh/ssh_config and the refusal of a misspelt option are
then OpenSSH's own. Where no ``ssh`` is installed asyncssh reads the config, and a note says so.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import pwd
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from asyncssh.config import SSHClientConfig
from msgspec import Struct

from wizard_steps.cluster.file import Ssh

DEFAULT_CONFIG = "~/.ssh/config"
SYSTEM_CONFIG = "/etc/ssh/ssh_config"
#: Seconds ``ssh -G`` may take: a ``Match exec`` of the config runs in it.
LIMIT = 20.0
NO_SSH = (
    "`ssh` is not installed on this computer: milepost read the ssh config by itself, without the machine's "
    "/etc/ssh/ssh_config; install OpenSSH's client to have it read as ssh does"
)

#: What ``ssh -G`` says without any config, by the program's path: the same for every host.
_defaults: dict[str, dict[str, tuple[str, ...]]] = {}


class Target(Struct, frozen=True):
    """A host to log in to, as the cluster file or a ProxyJump names it. Empty fields: the config decides."""

    host: str
    user: str = ""
    port: int = 0
    #: The jump hosts before this one, comma separated; None: what the ssh config says.
    via: str | None = None


class Settings(Struct, frozen=True):
    """The options for one host. ``configured`` holds those that differ from what ssh does without a config,
    by their lower-case name, each with its values."""

    given: str
    host: str
    port: int
    user: str
    configured: Mapping[str, tuple[str, ...]] = {}
    notes: tuple[str, ...] = ()

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of an option; a single ``none`` is none."""
        values = self.configured.get(name.lower(), ())
        return () if [value.lower() for value in values] == ["none"] else values

    def one(self, name: str) -> str:
        """The value of an option; empty when it is not configured or ``none``."""
        return next(iter(self.all(name)), "")

    def is_none(self, name: str) -> bool:
        """Whether the config turns the option off with ``none``."""
        return [value.lower() for value in self.configured.get(name.lower(), ())] == ["none"]

    def yes(self, name: str, default: bool) -> bool:
        """A yes-or-no option."""
        value = self.one(name).lower()
        return value in ("yes", "true") if value else default


async def read(target: Target, ssh: Ssh) -> Settings:
    """Raises ValueError with ssh's own words when the config cannot be used."""
    files = _files(ssh)
    program = shutil.which("ssh")
    if program is None:
        return _without_ssh(target, ssh)
    words = [*files, *(["-l", target.user] if target.user else [])]
    words += ["-p", str(target.port)] if target.port else []
    found = parse(await _ask(program, words, target.host))
    if program not in _defaults:
        _defaults[program] = parse(await _ask(program, ["-F", "none"], "localhost"))
    defaults = _defaults[program]
    configured = {name: values for name, values in found.items() if values != defaults.get(name)}
    settings = Settings(
        given=target.host,
        host=_first(found, "hostname") or target.host,
        port=int(_first(found, "port") or 22),
        user=_first(found, "user") or target.user or getpass.getuser(),
        configured=configured,
    )
    return await _expanded(settings, program, words)


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """The answer of ``ssh -G``: values by lower-case option name, in their order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, blank, value = line.partition(" ")
        if blank and name.isalnum():
            found.setdefault(name.lower(), []).append(value.strip())
    return {name: tuple(values) for name, values in found.items()}


def _first(found: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(found.get(name, ())), "")


def _files(ssh: Ssh) -> list[str]:
    """With ``-F`` ssh leaves out the machine's config: it is only for a config of one's own choice."""
    if ssh.config == DEFAULT_CONFIG:
        return []
    if ssh.config == "none":
        return ["-F", "none"]
    path = Path(ssh.config).expanduser()
    if not path.is_file():
        raise ValueError(f"{path}: no such file (ssh.config in the cluster file)")
    return ["-F", str(path)]


async def _ask(program: str, words: Sequence[str], host: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(program, "-G", *words, "--", host),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT):
            out, complaint = await process.communicate()
    except TimeoutError:
        raise ValueError(f"`ssh -G {host}` gave no answer within {LIMIT:g} s (a Match exec?)") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
    if process.returncode:
        raise ValueError(_complaint(complaint.decode("utf-8", "replace"), host))
    return out.decode("utf-8", "replace")


def _complaint(text: str, host: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    said = [
        line
        for line in lines
        if line and not line.startswith("Pseudo-terminal") and "terminating," not in line
    ]
    return "; ".join(said) or f"`ssh -G {host}` failed without a message"


# --- what ssh -G leaves as it stands in the config ----------------------------------------------------

_EXPANDED = ("identityfile", "certificatefile")


async def _expanded(settings: Settings, program: str, words: Sequence[str]) -> Settings:
    """Paths without ``~``, ``%h`` and ``${NAME}``; ProxyCommand and ProxyJump without tokens."""
    configured = dict(settings.configured)
    for name in _EXPANDED:
        if name in configured:
            paths = [await _path(value, settings.given, program, words) for value in configured[name]]
            configured[name] = tuple(paths)
    for name in ("proxycommand", "proxyjump"):
        if name in configured:
            configured[name] = tuple(_tokens(value, settings) for value in configured[name])
    return Settings(settings.given, settings.host, settings.port, settings.user, configured)


async def _path(value: str, host: str, program: str, words: Sequence[str]) -> str:
    """ssh expands ControlPath while it answers, by the same rules: it is asked to do that with this path."""
    if "%" not in value and "${" not in value:
        return tilde(value)
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    said = parse(await _ask(program, [*words, "-o", f'ControlPath="{quoted}"'], host))
    return _first(said, "controlpath") or value


def tilde(path: str) -> str:
    """``~`` as ssh takes it: the home of the password file, whatever HOME says."""
    if path == "~" or path.startswith("~/"):
        with suppress(KeyError):
            return pwd.getpwuid(os.getuid()).pw_dir + path[1:]
    return os.path.expanduser(path)


def _tokens(value: str, settings: Settings) -> str:
    known = {
        "%": "%",
        "h": settings.host,
        "n": settings.given,
        "p": str(settings.port),
        "r": settings.user,
    }

    def replaced(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise ValueError(f"unknown token {found[0]} in {value!r} of the ssh config")
        return known[found[1]]

    return re.sub(r"%(.)", replaced, value)


# --- without OpenSSH ----------------------------------------------------------------------------------

_FAMILIES = {socket.AF_INET: "inet", socket.AF_INET6: "inet6"}


def _without_ssh(target: Target, ssh: Ssh) -> Settings:
    """asyncssh's reading of the config, under ssh's names. Raises ValueError when it cannot be read."""
    path = Path(ssh.config).expanduser()
    files = [path] if ssh.config != "none" and path.is_file() else []
    user = getpass.getuser()
    loaded = SSHClientConfig.load(
        None, files, False, False, False, user, target.user or (), target.host, target.port or ()
    )
    configured = {name.lower(): _as_text(value) for name, value in loaded.get_options(False).items()}
    return Settings(
        given=target.host,
        host=_first(configured, "hostname") or target.host,
        port=int(_first(configured, "port") or 22),
        user=_first(configured, "user") or user,
        configured=configured,
        notes=(NO_SSH,) if files or Path(SYSTEM_CONFIG).is_file() else (),
    )


def _as_text(value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(str(part) for part in value) or ("none",)
    if isinstance(value, socket.AddressFamily):
        return (_FAMILIES.get(value, "any"),)
    if isinstance(value, bool):
        return ("yes" if value else "no",)
    return ("none" if value is None else str(value),)
