"""exposed: what of the cluster answers from the wizard's own machine, past SSH, and without a key.

Optional: `milepost exposed` walks it. Every address of every node is tried from outside; what only the node
itself says it listens on proves nothing about firewalls. With --url a proxy in front is checked as well.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
from collections.abc import Iterator, Mapping

from msgspec import Struct

from wizard_steps.cluster.api import base_url
from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones.common import failure, placed
from wizard_steps.model import WIZARD, Check, Cmd, Node, Question, Results, Round, Verdict
from wizard_steps.node.lines import plain
from wizard_steps.node.program import program

#: The question that names a proxy's address, and the answer that names none.
URL, _NONE = "proxy-url", "none"
_TLS = "TLS"
#: Addresses of a node that are tried.
_MOST = 16
#: Paths that a proxy must not pass, with the least work for a model that answers all the same.
_CLOSED = (("POST", "/invocations"), ("POST", "/tokenize"), ("GET", "/metrics"), ("GET", "/docs"))
_LISTEN = (
    'ip -o addr show 2>/dev/null | awk \'{split($4, a, "/"); print "address " a[1]}\'\n'
    'cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk \'$4 == "0A" {print "listen " $2}\'\nexit 0\n'
)


class ExposedPort(Struct, frozen=True):
    """``danger``: what whoever reaches it can do."""

    number: int
    what: str
    danger: str = ""


def ports(known: Known, node: Node) -> list[ExposedPort]:
    """The fixed ports of a node. Source for Ray's: its list of ports."""
    ray, serve = known.cluster.ray, known.cluster.serve
    shell = "run any code on the cluster"
    found = [ExposedPort(serve.port, "vLLM's API")] if node == known.server else []
    if placed(known).without_ray:
        return [
            *found,
            *(
                [
                    ExposedPort(
                        known.cluster.master_port, "vLLM's ranks", "disturb the ranks, or run code on them"
                    )
                ]
                if node == known.head
                else []
            ),
        ]
    if node == known.head:
        found += [
            ExposedPort(ray.port, "Ray's head (GCS)", shell),
            ExposedPort(ray.dashboard_port, "Ray's dashboard", shell),
        ]
        found += [ExposedPort(10001, "Ray's client server", shell)]
    return [*found, ExposedPort(52365, "Ray's dashboard agent", shell)]


class Exposed(Step):
    id = "exposed"
    title = "What answers from outside"
    short = "from outside"
    keys = ("outside",)

    def rounds(self, known: Known, done: Results) -> Round | None:
        if URL not in done.answers:
            return Round(questions=(_question(),))
        if not done.has("listen"):
            cmd = Cmd("listen", _LISTEN, timeout=30, quiet=True, show="ip -o addr; ss -ltn")
            return Round(work=tuple((node, cmd) for node in known.nodes))
        if not done.has("outside"):
            return Round(work=((WIZARD, _outside(known, done)),))
        return None

    def judge(self, known: Known, done: Results) -> Verdict:
        result = done.get("outside", WIZARD)
        if result is None or not result.ok:
            return Verdict(False, "nothing was tried from outside", (failure(result, WIZARD),))
        checks = [*_ports(known, done, result.text), *_api(known, result.text), *_proxy(done, result.text)]
        failed = {check.name for check in checks if not check.ok}
        bad = "something answers from outside that must not"
        bad = "the way to the proxy is not protected by TLS" if failed == {_TLS} else bad
        tried = sum(line.startswith("port ") for line in result.lines)
        quiet = all(check.state == "ok" for check in checks)
        rest = "nothing answers that must not" if quiet else "what answers is in the warnings"
        good = f"{tried} ports were tried from this machine; {rest}"
        return Verdict(not failed, bad if failed else good, tuple(checks))


def _question() -> Question:
    return Question(
        id=URL,
        text="Address of a proxy in front of the API, e.g. https://llm.example.org?",
        default=_NONE,
        why="It is asked without a key: /v1 has to refuse, and everything else must not be passed.",
        unattended=_NONE,
    )


def addresses(known: Known, done: Results, node: Node) -> list[str]:
    """What a node can be reached at: its own addresses, but for those that no other machine has a way to."""
    result = done.get("listen", node)
    found = re.findall(r"^address ([0-9a-fA-F.:]{2,45})$", result.text, re.MULTILINE) if result else []
    wanted = [known.ip(node), *found]
    usable = [text for text in dict.fromkeys(wanted) if _usable(text, known.cluster.simulated)]
    return usable[:_MOST]


def _usable(text: str, simulated: bool) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not address.is_link_local and (simulated or not address.is_loopback)


def _outside(known: Known, done: Results) -> Cmd:
    targets = [
        [node.name, address, port.number]
        for node in known.nodes
        for address in addresses(known, done, node)
        for port in ports(known, node)
    ]
    urls: list[list[str]] = []
    for address in addresses(known, done, known.server):
        base = base_url(known.cluster, address)
        urls += [
            [f"api-{address}", "GET", f"{base}/v1/models"],
            [f"api-{address}", "POST", f"{base}/invocations"],
        ]
    proxy = done.answers.get(URL, _NONE).rstrip("/")
    if proxy != _NONE:
        urls += [["proxy", method, f"{proxy}{path}"] for method, path in (("GET", "/v1/models"), *_CLOSED)]
    wanted = json.dumps({"ports": targets, "urls": urls})
    source = shlex.quote(program("outside.py"))
    text = f'exec "$MILEPOST_PYTHON" -I -c {source} {shlex.quote(wanted)}\n'
    shown = f"(try {len(targets)} ports and {len(urls)} paths from this machine, without a key)"
    return Cmd("outside", text, timeout=300, show=shown)


def _ports(known: Known, done: Results, text: str) -> Iterator[Check]:
    found = re.findall(
        r"^port (\S{1,80}) (\S{1,45}) (\d{1,5}) (open|self|closed|silent)$", text, re.MULTILINE
    )
    same = dict.fromkeys(name for name, _, _, word in found if word == "self")
    if same:
        said = f"not proved for {', '.join(same)}: milepost runs on that machine itself"
        yield Check("outside", True, said, "another machine", WIZARD.name, warning=True)
    for node in known.nodes:
        state = {(address, int(port)): word for name, address, port, word in found if name == node.name}
        for port in ports(known, node):
            at = [
                address
                for (address, number), word in state.items()
                if number == port.number and word == "open"
            ]
            name = f"port {port.number}"
            if not at:
                yield Check(name, True, f"{port.what}: does not answer from here", node=node.name)
            elif not port.danger:
                yield Check(name, True, f"{port.what} answers at {', '.join(at)}", node=node.name)
            else:
                yield _danger(known, node, port, at)


def _danger(known: Known, node: Node, port: ExposedPort, at: list[str]) -> Check:
    """On the open internet it is an emergency; in a private network everybody there can do it."""
    public = [address for address in at if _public(address)]
    ray = port.number != known.cluster.master_port
    token = known.cluster.ray.auth == "token" and ray
    has = " and has Ray's token" if token else ""
    # Newer releases of Ray ask for one by default; nobody has asked this one.
    unless = "unless Ray wants a token, " if ray and not token else ""
    who = f"{unless}whoever reaches it{has} can {port.danger}"
    found = f"{port.what} answers this machine at {', '.join(at)}: {who}"
    hint = (
        "let a firewall pass only the nodes of this cluster; ray.dashboard_host = 127.0.0.1 for the dashboard"
    )
    wanted = "no answer from outside the cluster"
    return Check(f"port {port.number}", not public or token, found, wanted, node.name, hint, warning=True)


def _status(text: str, label: str) -> dict[tuple[str, str], tuple[str, str]]:
    lines = re.findall(
        rf"^url {re.escape(label)} (GET|POST) (/\S{{0,80}}) (\w{{1,5}})( .*)?$", text, re.MULTILINE
    )
    return {(method, path): (status, plain(more.strip())) for method, path, status, more in lines}


def _api(known: Known, text: str) -> Iterator[Check]:
    labels = dict.fromkeys(re.findall(r"^url (api-\S{1,60}) ", text, re.MULTILINE))
    node = known.server.name
    for label in labels:
        found, address = _status(text, label), label.removeprefix("api-")
        open_ = [f"{method} {path}" for (method, path), (status, _) in found.items() if _answers(status)]
        if not open_:
            continue
        public = _public(address)
        wanted = "nothing that uses the model answers without a key"
        hint = (
            "set serve.api_key = true, listen on a private address (serve.host), and put a proxy in front "
            "that passes /v1 alone: `milepost proxy`"
        )
        said = f"{base_url(known.cluster, address)} answers this machine without a key: {', '.join(open_)}"
        # Who asked for no key wants it so inside; on the internet nobody does.
        yield Check("API", not public, said, wanted, node, hint, warning=True)


def _answers(status: str) -> bool:
    """Whether the route did more than refuse: a complaint about the request is an answer, too."""
    return status.isdigit() and status not in ("401", "403", "404", "405") and not status.startswith("5")


def _public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _proxy(done: Results, text: str) -> Iterator[Check]:
    url = done.answers.get(URL, _NONE)
    if url == _NONE:
        return
    found: Mapping[tuple[str, str], tuple[str, str]] = _status(text, "proxy")
    models, said = found.get(("GET", "/v1/models"), ("none", "was not asked"))
    tls = url.startswith("https://")
    if not tls:
        hint = "keys and prompts go over the network as plain text"
        yield Check(_TLS, False, "http", "https", hint=hint)
    elif models in ("tls", "none"):
        yield Check(_TLS, False, said or "no answer", "a certificate that this machine trusts")
        return
    else:
        yield Check(_TLS, True, "the certificate is valid for this name and trusted here")
    yield Check("/v1 without a key", models in ("401", "403"), f"HTTP {models}", "HTTP 401")
    for method, path in _CLOSED:
        status, words = found.get((method, path), ("none", "was not asked"))
        good = status.isdigit() and not _answers(status)
        shown = f"HTTP {status}" if status.isdigit() else words or status
        yield Check(f"{path} at the proxy", good, shown, "HTTP 404", hint="" if good else "pass /v1 alone")
