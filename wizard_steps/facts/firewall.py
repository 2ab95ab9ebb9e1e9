"""What filters incoming traffic: ufw, firewalld, nftables, iptables.

The rules are followed one by one, for a new TCP connection from another node: a ban list, invalid packets or
one closed port are no filter for what Ray, NCCL and vLLM send.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct, field

from wizard_steps.facts.interface_kinds import kind_of
from wizard_steps.facts.sections import FactSection, pick

#: What becomes of the connection at the end of a chain: "" goes on behind it.
Fate = Literal["open", "shut", ""]

#: Characters of a line, and rules of a ruleset, that are read. A node of Kubernetes has some thousands.
_WIDTH, _MOST = 600, 20_000
#: Chains in chains that are followed; netfilter itself allows 16.
_DEEP = 16
#: Ports below are those of services of the system: Ray, NCCL, Gloo and vLLM use none of them.
_SYSTEM = 1024
#: Free text of an administrator, and the kind of a refusal.
_TEXT = re.compile(
    r"\b(?:comment|prefix|log-prefix) \"[^\"]{0,300}\"|--reject-with [\w-]{1,40}|"
    r"(?<=reject) with [\w -]{1,60}"
)
#: The rule is for other packets than those that begin a connection of TCP.
_OTHER = re.compile(
    r"state[ {\w,]{0,40}\binvalid\b|state vmap|\bicmp|ipv6|\bip6\b|\bsctp\b|\blimit\b|\bquota\b|\bmark\b|"
    r"\bfib\b|rpfilter|tcp flags (?!syn /|&[ (|)\w]{0,60}== syn)|"
    r"! --tcp-flags|-tcp-flags (?!FIN,SYN,RST,ACK SYN)|\b(?:recent|u32|string)\b|"
    r"addrtype|pkttype|xt match|ct helper|saddr @|--match-set|"
    r"(?:(?<!! )--(?:ct)?state |ct state \{? ?)(?:related|established)",
    re.IGNORECASE,
)
_SOURCE = re.compile(r"(?<!! )(?:(?<!\w)-s|\bsaddr) \{? ?([0-9][0-9./, -]{2,200})")
_TARGET = re.compile(r"(?<!! )(?:(?<!\w)-d|\bdaddr) \{? ?([0-9][0-9./, -]{2,200})")
_INTERFACE = re.compile(r"(?<!! )(?:(?<!\w)-i|\biif(?:name)?) \{? ?\"?([\w.@-]{1,32})")
_PORTS = re.compile(r"--?(?:dports?|sports?) ([0-9:,!]{1,200})|\b[ds]port (\{[^}]{0,400}\}|[^ ]{1,40})")
_JUMP = re.compile(r"\b(?:jump|goto) ([\w.-]{1,128})|(?<!\w)-[jg] ([\w.-]{1,128})")
_ENDS: dict[str, Fate] = {"accept": "open", "drop": "shut", "reject": "shut"}
_END = re.compile(r"(?:^| )(?:-j )?(accept|drop|reject)\b|xt target \"(REJECT|DROP)\"", re.IGNORECASE)
#: A rule for every such connection: what is let in by one interface or network may not be the nodes' own.
_ALL = re.compile(
    r"(?:counter(?: packets \d{1,20} bytes \d{1,20})? ?|meta l4proto tcp ?|ip protocol tcp ?|-p tcp ?|-j ?|"
    r"-m (?:tcp|state|conntrack) ?|--(?:ct)?state NEW ?|ct state new ?|accept ?|return ?)*",
    re.IGNORECASE,
)
_HEAD = re.compile(r"(?:chain|table) ([\w.-]{1,128}(?: [\w.-]{1,128})?) \{")


class Firewall(Struct, frozen=True):
    """``active`` names what filters incoming traffic; ``unreadable`` what this user may not look at."""

    active: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    looked: bool = False


class _Chain(Struct):
    rules: list[str] = field(default_factory=list)
    input: bool = False
    policy: Fate = ""


def parse_firewall(found: Mapping[str, FactSection]) -> Firewall:
    """Each of them, if it is installed."""
    active, unreadable, looked = [], [], False
    for name in ("ufw", "firewalld", "nft", "iptables"):
        section = pick(found, f"firewall-{name}")
        if section.missing:
            continue
        if re.search(r"root|[Pp]ermission|not permitted|Authorization", section.text) and not section.ok:
            unreadable.append(name)
            continue
        looked = True
        if _filters(name, section.text):
            active.append(name)
    return Firewall(tuple(active), tuple(unreadable), looked)


def _filters(name: str, text: str) -> bool:
    if name in ("ufw", "firewalld"):
        words = {"ufw": r"^Status: active", "firewalld": r"^running$"}[name]
        return re.search(words, text, re.MULTILINE) is not None
    return _shut(_nft(text) if name == "nft" else _iptables(text))


def _shut(chains: Mapping[str, _Chain]) -> bool:
    """Every chain that is hooked in has to let it through."""
    known: dict[str, Fate] = {}
    return any(
        (_fate(chains, name, known, 0) or chain.policy) == "shut"
        for name, chain in chains.items()
        if chain.input
    )


def _fate(chains: Mapping[str, _Chain], name: str, known: dict[str, Fate], depth: int) -> Fate:
    if name in known or name not in chains or depth > _DEEP:
        return known.get(name, "")
    known[name] = ""
    for rule in chains[name].rules:
        if _elsewhere(rule):
            continue
        for target in _targets(name, rule):
            if fate := _fate(chains, target, known, depth + 1):
                known[name] = fate
                return fate
        end = None if " vmap " in rule else _END.search(rule)
        if end:
            fate = _ENDS[(end[1] or end[2]).lower()]
            if fate == "shut" or _ALL.fullmatch(rule):
                known[name] = fate
                return fate
        elif _ALL.fullmatch(rule) and "return" in rule.lower():
            break
    return known[name]


def _targets(chain: str, rule: str) -> Iterator[str]:
    """The chains that a rule leads to, of the same table."""
    table = chain.rpartition("/")[0]
    for found in _JUMP.finditer(rule):
        yield f"{table}/{found[1] or found[2]}"


def _elsewhere(rule: str) -> bool:
    """Whether a rule is not for a new TCP connection from another node."""
    if _OTHER.search(rule) or (re.search(r"\budp\b", rule) and not re.search(r"\btcp\b", rule)):
        return True
    sources, targets = _SOURCE.search(rule), _TARGET.search(rule)
    if sources and not any(map(_private, re.split(r"[, ]+", sources[1].strip()))):
        return True
    if targets and any(word.startswith(("127.", "22", "23", "255.")) for word in targets[1].split()):
        return True
    if (interface := _INTERFACE.search(rule)) and kind_of(interface[1])[0] in (
        "loopback", "container", "virtual", "overlay",
    ):  # fmt: skip
        return True
    ports = _PORTS.search(rule)
    return ports is not None and _of_the_system(ports[1] or ports[2])


def _private(word: str) -> bool:
    """Addresses that nodes may have among themselves."""
    try:
        return ipaddress.ip_network(word.partition("-")[0], strict=False).is_private
    except ValueError:
        return False


def _of_the_system(ports: str) -> bool:
    """``22``, ``{ ssh, 80 }``, ``20:25``; not where it is turned round: all others."""
    numbers = re.findall(r"\d{1,5}", ports)
    return not ports.startswith("!") and all(int(number) < _SYSTEM for number in numbers)


def _iptables(text: str) -> dict[str, _Chain]:
    """``iptables -S``, of the filter table."""
    chains: dict[str, _Chain] = {}
    for line in text.splitlines()[:_MOST]:
        words = line[:_WIDTH].split(None, 2)
        if len(words) < 3 or words[0] not in ("-P", "-A"):
            continue
        chain = chains.setdefault(f"/{words[1]}", _Chain(input=words[1] == "INPUT"))
        if words[0] == "-P":
            chain.policy = _ENDS.get(words[2].strip().lower(), "")
        else:
            chain.rules.append(_TEXT.sub("", words[2]))
    return chains


def _nft(text: str) -> dict[str, _Chain]:
    """``nft list ruleset``. What is for IPv6 alone is left out: the nodes talk over IPv4."""
    chains: dict[str, _Chain] = {}
    table, chain, inside = "", None, 0
    for line in text.splitlines()[:_MOST]:
        plain = _TEXT.sub("", line[:_WIDTH]).strip()
        head = _HEAD.match(plain)
        if head and plain.startswith("table"):
            table, chain, inside = head[1], None, 0
            plain = ""
        elif head:
            skipped = table.startswith(("ip6 ", "arp ", "bridge ", "netdev "))
            chain = _Chain() if skipped else chains.setdefault(f"{table}/{head[1]}", _Chain())
            plain = plain[head.end() :]
        inside += plain.count("{") - plain.count("}")
        if chain is not None:
            for rule in plain.split(";"):
                _into(chain, rule.strip())
        if inside < 0:
            chain, inside = None, 0
    return chains


def _into(chain: _Chain, rule: str) -> None:
    if rule.startswith("type "):
        chain.input = "type filter hook input " in f"{rule} "
    elif rule.startswith("policy "):
        chain.policy = _ENDS.get(rule.split()[1] if len(rule.split()) > 1 else "", "")
    elif rule.strip("}"):
        chain.rules.append(rule)
