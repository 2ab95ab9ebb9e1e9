"""What in a recording tells whose machines they are, and neutral names for all of it."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping

from msgspec import Struct

from wizard_steps.recording.journal import Walk
from wizard_steps.recording.redact import MARK, Redactor
from wizard_steps.walks.rename import Rename, cluster_name, entries, of_name
from wizard_steps.walks.texts import Draft, texts

#: Four numbers can be a version (``nvidia-curand-cu12==10.3.9.90``): not after =, a letter or a hyphen.
_V4 = re.compile(r"(?<![A-Za-z0-9.=+-])(?:\d{1,3}\.){3}\d{1,3}(?![A-Za-z0-9]|\.\d)")
_V6 = re.compile(r"(?<![A-Za-z0-9:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{3,39}(?![A-Za-z0-9:]|\.\d)")
_MAC = re.compile(r"(?<![A-Fa-f0-9:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![A-Fa-f0-9:])")
_GPU = re.compile(r"\bGPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b")
_HOME = re.compile(r"(?:/home|/Users)/([A-Za-z0-9_][\w.-]*)")
_WHO = re.compile(r"^user: ([A-Za-z_][\w.-]*)$", re.M)
_HOST = re.compile(r"^host: ([A-Za-z0-9][\w.-]*)$", re.M)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----")
#: Addresses that are the same on every machine, or stand in every manual.
_KEPT = tuple(
    ipaddress.ip_network(net)
    for net in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.17.0.0/16",
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_SHARED = ipaddress.ip_network("100.64.0.0/10")


class Identity(Struct, frozen=True):
    """What was found, each with how often it stands there."""

    nodes: Mapping[str, int]
    addresses: Mapping[str, int]
    long_addresses: Mapping[str, int]
    users: Mapping[str, int]
    gpus: Mapping[str, int]
    mails: Mapping[str, int]


def identity(item: Draft) -> Identity:
    """What in a walk tells whose machines it was recorded on."""
    nodes, users = Counter(machines(item.walk)), Counter(accounts(item.walk))
    v4: Counter[str] = Counter()
    long: Counter[str] = Counter()
    gpus: Counter[str] = Counter()
    mails: Counter[str] = Counter()
    for _, text in texts(item):
        v4.update(a for a in _V4.findall(text) if _tells(a))
        long.update(a for a in _V6.findall(text) if _tells6(a))
        long.update(a for a in _MAC.findall(text) if a not in ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"))
        gpus.update(_GPU.findall(text))
        mails.update(_MAIL.findall(text))
        users.update(name for name in _HOME.findall(text) if name not in ("root",))
        users.update(name for name in _WHO.findall(text) if name not in ("root",))
        nodes.update(_HOST.findall(text))
    return Identity(_plain(nodes), _plain(v4), _plain(long), _plain(users), _plain(gpus), _plain(mails))


def _plain(counts: Counter[str]) -> dict[str, int]:
    return {name: n for name, n in counts.items() if name}


def machines(walk: Walk) -> list[str]:
    """Names and hosts of the cluster file, in its order."""
    return [str(entry.get(key) or "") for entry in entries(walk) for key in ("name", "host")]


def accounts(walk: Walk) -> list[str]:
    """The SSH accounts of the cluster file, root left out."""
    return [user for entry in entries(walk) if (user := str(entry.get("user") or "")) not in ("", "root")]


def _tells(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not any(found in net for net in _KEPT) and not address.startswith("255.")


def _tells6(address: str) -> bool:
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified or found.is_multicast)


def placeholders(item: Draft) -> list[Rename]:
    """Neutral names for every machine, address, account and GPU: node-1, 10.20.0.1, user-1."""
    found = identity(item)
    renames = _machines(item.walk, found.nodes)
    renames += [Rename("address", old, new) for old, new in _v4(found.addresses).items()]
    renames += [Rename("long", old, new) for old, new in _long(found.long_addresses).items()]
    renames += _numbered(found.users, lambda n, old: Rename("user", old, f"user-{n}"))
    renames += _numbered(
        found.gpus, lambda n, old: Rename("name", old, f"GPU-{0:08d}-0000-0000-0000-{n:012x}")
    )
    renames += _numbered(found.mails, lambda n, old: Rename("name", old, f"mail-{n}@example.org"))
    name = cluster_name(item.walk)
    if name and name != "milepost":
        renames.append(Rename("cluster", name, "cluster"))
    return [r for r in renames if r.old != r.new]


def _machines(walk: Walk, found: Mapping[str, int]) -> list[Rename]:
    """A node's name and its host get one number; hosts nobody named get the next ones."""
    renames: dict[str, Rename] = {}
    listed = list(entries(walk))
    for number, entry in enumerate(listed, 1):
        name, host = str(entry.get("name") or ""), str(entry.get("host") or "")
        for old in filter(None, (name, host)):
            if not _V4.fullmatch(old) and not _V6.fullmatch(old):
                new = f"node-{number}" if old == name or not name else f"host-{number}"
                renames.setdefault(old, of_name(old, new))
    number = len(listed)
    for old in found:
        short = old.split(".")[0]
        if old in renames or old == "localhost" or _V4.fullmatch(old) or _V6.fullmatch(old):
            continue
        if short in renames:
            renames[old] = of_name(old, f"{renames[short].new}.example")
            continue
        number += 1
        renames[old] = of_name(old, f"host-{number}")
    return list(renames.values())


def _numbered(found: Mapping[str, int], make: Callable[[int, str], Rename]) -> list[Rename]:
    return [make(number, old) for number, old in enumerate(found, 1)]


def _v4(found: Mapping[str, int]) -> dict[str, str]:
    """Networks of 256 addresses are numbered; the last number stays, so .1, .255 and who is whose neighbour
    stay true. Private, carrier (100.64/10) and public addresses stay of their sort."""
    networks: dict[str, str] = {}
    counts: Counter[str] = Counter()
    renames = {}
    for old in found:
        prefix, _, last = old.rpartition(".")
        if prefix not in networks:
            address = ipaddress.ip_address(old)
            sort = "100.64" if address in _SHARED else "10.20" if address.is_private else "198.18"
            networks[prefix] = f"{sort}.{counts[sort] % 256}"
            counts[sort] += 1
        renames[old] = f"{networks[prefix]}.{last}"
    return renames


def _long(found: Mapping[str, int]) -> dict[str, str]:
    renames = {}
    for number, old in enumerate(found, 1):
        if _MAC.fullmatch(old):
            renames[old] = f"02:00:00:00:{number >> 8 & 255:02x}:{number & 255:02x}"
        else:
            address = ipaddress.IPv6Address(old)
            start = "fe80" if address.is_link_local else "fd00" if address.is_private else "2001:db8"
            renames[old] = f"{start}::{number:x}"
    return renames


def secrets(item: Draft, redactor: Redactor) -> list[str]:
    """Where a secret stands that the redactor knows. Never the secret."""
    for _, text in texts(item):
        # A comparison has a key line by line: alone, a line of it looks like nothing.
        for key in _PRIVATE_KEY.findall(text):
            for line in key.splitlines()[1:-1]:
                redactor.add(line.strip())
    return list(dict.fromkeys(place for place, text in texts(item) if redactor.text(text) != text))


def report(item: Draft, redactor: Redactor) -> list[str]:
    """Lines for the author: what was taken out, and what still tells whose machines these are."""
    marks: Counter[str] = Counter()
    for place, text in texts(item):
        if MARK in text:
            marks[place] += text.count(MARK)
    lines = [f"secrets taken out: {sum(marks.values())}"]
    lines += [f"  {place}: {n}" for place, n in marks.items()]
    places = secrets(item, redactor)
    lines.append(f"known secrets in it: {len(places)}" + ("; it would not be saved" if places else ""))
    lines += [f"  {place}" for place in places]
    found = identity(item)
    for title, counts in (
        ("machines", found.nodes),
        ("IPv4 addresses", found.addresses),
        ("IPv6 and MAC addresses", found.long_addresses),
        ("accounts", found.users),
        ("GPU ids", found.gpus),
        ("mail addresses", found.mails),
    ):
        shown = ", ".join(f"{name} ({n})" for name, n in counts.items())
        lines.append(f"{title}: {len(counts)}" + (f": {shown}" if shown else ""))
    pictures = [name for name in item.evidence if name.endswith(".svg")]
    if pictures:
        lines.append(f"pictures, which cannot be renamed in: {', '.join(pictures)}")
    return lines
