"""What is installed, running and listening on a node, and its access to the model."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from wizard_steps.facts.sections import FactSection
from wizard_steps.node import engine
from wizard_steps.node.engine import ContainerEngine
from wizard_steps.node.lines import fields, number, plain


class Software(Struct, frozen=True):
    """``packages``: distribution -> version. ``problem`` says why there is none."""

    python: str = ""
    packages: dict[str, str] = {}
    problem: str = ""


class DockerFacts(Struct, frozen=True):
    """``problem`` is why the engine or the image is not there, in its own words."""

    server: str = ""
    engine: ContainerEngine = ContainerEngine()
    image: str = ""
    problem: str = ""
    #: A container that milepost started for this cluster is running.
    ours: bool = False


class ServerProcess(Struct, frozen=True):
    """A Ray or vLLM process. ``kind`` is raylet, gcs_server, ray::, VLLM:: or vllm."""

    pid: int
    user: str
    kind: str


class Listener(Struct, frozen=True):
    """A listening TCP port; ``program`` is empty and ``pid`` 0 unless ``ss`` told them, ``inode`` is 0 unless
    /proc did."""

    ip: str
    port: int
    program: str = ""
    inode: int = 0
    pid: int = 0


class Ours(Struct, frozen=True):
    """What milepost itself runs on the node: pids, and inodes of sockets they listen on.

    ``clusters``: pids that milepost started for another cluster, for another user or in an earlier life of
    this one, with the name they carry.
    """

    pids: frozenset[int] = frozenset()
    sockets: frozenset[int] = frozenset()
    clusters: Mapping[int, str] = field(default_factory=dict)


class Token(Struct, frozen=True):
    """Ray's auth token: where it is from and the first 12 hex digits of its SHA-256; never the token."""

    source: str = "unknown"
    digest: str = ""
    mode: str = ""


class ModelFacts(Struct, frozen=True):
    """The model on this node's disk. ``config`` is a checksum of config.json, ``kib`` the size."""

    present: bool = False
    folder: str = ""
    kib: int = 0
    config: str = ""
    revision: str = ""
    partial: bool = False


class Access(Struct, frozen=True):
    """The hub's answer; ``status`` 0: none, see ``error``. ``token``: environment, file, wizard or none."""

    status: int = 0
    code: str = ""
    token: str = ""
    offline: bool = False
    error: str = ""


#: What the look into the environment says beside the versions of packages.
_ABOUT = frozenset({"venv", "python", "lock"})


def parse_software(python: FactSection, packages: FactSection) -> Software:
    """``python -V`` and one ``name: version`` a line; recordings of before have no colon."""
    version = re.search(r"^Python (\S+)", python.text, re.MULTILINE)
    told = {
        name: text for name, text in fields(packages.text).items() if text != "missing" and name not in _ABOUT
    }
    older = (line.split() for line in packages.lines if re.fullmatch(r"[a-z][a-z0-9-]* \d\S*", line.strip()))
    found = {**dict(older), **{name: plain(text)[:80] for name, text in told.items()}}
    problem = "" if version else _last(python.text) or "no Python was found"
    if version and not packages.ok:
        problem = _last(packages.text) or "the package list could not be read"
    return Software(version[1] if version else "", found, problem)


def parse_docker(section: FactSection) -> DockerFacts:
    """``docker version``, ``info`` and ``image inspect``."""
    server = re.search(r"^(\d+\.\S+)$", section.text, re.MULTILINE)
    seen = engine.parse(section.text)
    # Recordings of before: one line of runtimes alone.
    older = re.search(r"^runtimes (.*)$", section.text, re.MULTILINE)
    if older:
        seen = replace(seen, kind="docker", runtimes=tuple(older[1].split()))
    image = re.search(r"^image (\S+)$", section.text, re.MULTILINE)
    problem = "" if server and image else _last(section.text) or "docker printed nothing"
    return DockerFacts(
        server[1] if server else "",
        replace(seen, version=server[1] if server else seen.version),
        image[1] if image else "",
        problem,
        re.search(r"^ours running$", section.text, re.MULTILINE) is not None,
    )


def parse_ours(section: FactSection) -> Ours:
    """``pid N``, ``socket N`` and ``cluster PID NAME`` lines."""
    rows = [line.split() for line in section.lines]

    def numbers(name: str) -> frozenset[int]:
        return frozenset(int(row[1]) for row in rows if len(row) == 2 and row[0] == name and row[1].isdigit())

    named = [row for row in rows if len(row) == 3 and row[0] == "cluster"]
    return Ours(numbers("pid"), numbers("socket"), {number(row[1]): row[2] for row in named})


def parse_processes(section: FactSection) -> list[ServerProcess]:
    """``pid user kind`` a line."""
    rows = (re.fullmatch(r"(\d+) (\S+) (\S+)", line.strip()) for line in section.lines)
    return [ServerProcess(int(row[1]), row[2], row[3]) for row in rows if row]


#: A listening socket: address, port and, behind queues, timers, retransmits, user and timeout, its inode.
_SOCKET = re.compile(
    r"\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ 0A(?: \S+ \S+ \S+ +\d+ +\d+ (\d+))?"
)


def parse_listeners(proc: FactSection, sockets: FactSection) -> list[Listener]:
    """Rows of ``/proc/net/tcp{,6}`` in state 0A; the program's name from ``ss -Hltnp`` when it is there."""
    programs = dict(filter(None, map(_user, sockets.lines)))

    by_port: dict[int, set[tuple[str, int]]] = {}
    for (_, port), who in programs.items():
        by_port.setdefault(port, set()).add(who)

    def user(ip: str, port: int) -> tuple[str, int]:
        """By address, as another program may have the port on another one."""
        here = by_port.get(port, set())
        return programs.get((ip, port), next(iter(here)) if len(here) == 1 else ("", 0))

    found: dict[tuple[str, int], Listener] = {}
    for line in proc.lines:
        row = _SOCKET.match(line)
        if row:
            ip, port = _hex_ip(row[1]), int(row[2], 16)
            program, pid = user(ip, port)
            found[ip, port] = Listener(ip, port, program, int(row[3] or 0), pid)
    for line in sockets.lines if not proc.lines else []:
        row = re.match(r"LISTEN\s+\d+\s+\d+\s+(\S+):(\d+)\s", line)
        if row:
            ip, port = row[1].strip("[]").partition("%")[0], int(row[2])
            program, pid = user(ip, port)
            found[ip, port] = Listener(ip, port, program, pid=pid)
    return sorted(found.values(), key=lambda one: (one.port, one.ip))


def _user(line: str) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """Address, port, program and pid of a row of ``ss``."""
    row = re.search(r"(\S{1,80}):(\d{1,5})\s+\S+\s+.*users:\(\(\"([^\"]+)\"(?:,pid=(\d{1,10}))?", line[:2048])
    if row is None:
        return None
    ip = row[1].strip("[]").partition("%")[0]
    return (ip, int(row[2])), (row[3], int(row[4] or 0))


def parse_token(section: FactSection) -> Token:
    """Where Ray would take its token from and the first 12 hex digits of its SHA-256, never the token."""
    mode = re.search(r"^mode (\S+)$", section.text, re.MULTILINE)
    name = "" if mode is None or mode[1] == "unset" else mode[1]
    found = re.search(r"^(file|environment) ([0-9a-f]{12})$", section.text, re.MULTILINE)
    if found:
        return Token(found[1], found[2], name)
    for word in ("absent", "unreadable"):
        if re.search(rf"^{word}$", section.text, re.MULTILINE):
            return Token(word, "", name)
    return Token("unknown", "", name)


def parse_model(section: FactSection) -> ModelFacts:
    """The model's folder as the script saw it; sizes in KiB."""

    def word(name: str) -> str:
        row = re.search(rf"^{name} (.+)$", section.text, re.MULTILINE)
        return row[1].strip() if row else ""

    kib = word("kib")
    return ModelFacts(
        present=bool(word("folder")),
        folder=word("folder") or word("absent"),
        kib=int(kib) if kib.isdigit() else 0,
        config=word("config").replace(" ", "-"),
        revision=word("revision"),
        partial=re.search(r"^partial$", section.text, re.MULTILINE) is not None,
    )


def parse_access(text: str) -> Access:
    """The last status line counts: a redirect's target comes after it."""

    def word(name: str) -> str:
        rows = re.findall(rf"^{name} (.+)$", text, re.MULTILINE)
        return str(rows[-1]).strip() if rows else ""

    status = re.match(r"\d+", word("http"))
    code = word("code") or word("http").partition(" ")[2]
    offline = word("offline").lower() in ("1", "true", "yes", "on")
    return Access(int(status[0]) if status else 0, code, word("token"), offline, word("error"))


def _hex_ip(text: str) -> str:
    """The kernel writes each 32-bit word of an address in host order (little-endian on x86 and arm64)."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    ip = ipaddress.ip_address(b"".join(words))
    mapped = getattr(ip, "ipv4_mapped", None)
    return str(mapped or ip)


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
