"""ip: choose, on every node, the address that carries GPU traffic, and prove it reaches both ways."""

from __future__ import annotations

from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.facts import script
from wizard_steps.facts.network import candidates, excluded
from wizard_steps.facts.recommend import Recommendation, is_beginning
from wizard_steps.facts.usable import IPV4_HINT, IPV4_WANTED, unaddressed, unaddressed_words, usable
from wizard_steps.milestones import ip_measure
from wizard_steps.milestones.common import everywhere, failure
from wizard_steps.milestones.raystart import environment
from wizard_steps.model import Check, Cmd, Node, Question, Result, Results, Round, Verdict, Work
from wizard_steps.node.tcp import connect, listen

#: Head to worker is tried on a port of the range Ray's workers listen in.
BACK_PORT = ip_measure.PORT

ADDRESSES = Cmd(
    key="addr",
    text=script.ADDRESSES,
    show="ip -brief addr",
)
#: What a choice of address sets on a node, of all that Ray and vLLM are started with.
SETS = ("VLLM_HOST_IP", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")


class Picked:
    """What there is to choose from on every node, and what is chosen: from the cluster file, from an answer,
    or the only address there is. Wi-Fi between nodes is never taken without a person's word."""

    def __init__(self, known: Known, done: Results) -> None:
        self._known, self._answers = known, done.answers
        self.nets = ip_measure.nets(known, done)
        self._found = usable(self.nets).by_node
        if known.cluster.simulated or not known.workers:
            for name, net in self.nets.items():
                self._found[name] = self._found[name] or candidates(net.interfaces, loopback=True)

    def ip(self, node: Node) -> str:
        """Empty when nothing is chosen yet."""
        if node.fabric_ip:
            return node.fabric_ip
        if answer := self._answers.get(f"ip-{node.name}"):
            return answer
        found = self._found[node.name]
        return found[0].ip if len(found) == 1 and not self.is_wifi(node, found[0].ip) else ""

    def is_wifi(self, node: Node, ip: str) -> bool:
        """Whether this address is one of Wi-Fi and other nodes would be reached over it."""
        wifi = any(one.ip == ip and one.kind == "wifi" for one in self._found[node.name])
        return wifi and bool(self._known.workers)

    def interface(self, node: Node) -> str:
        """The name of the chosen address's interface; empty where the node did not tell it."""
        ip = self.ip(node)
        names = (i.name for i in self.nets[node.name].interfaces if ip in {a.ip for a in i.addresses})
        return next(names, "")

    def question(self, node: Node, best: Recommendation) -> Question | None:
        """None when there is nothing to choose from. Fast ports with a link-local address come last."""
        found, net = self._found[node.name], self.nets[node.name]
        if not found:
            return None
        idle = {one.name for one, _ in unaddressed(net, found[0].ip)}
        local = [one for one in excluded(net.interfaces) if one.interface in idle and ":" not in one.ip]
        env = {
            one.ip: _sets(
                self._known, node, one.ip, one.interface, is_beginning(one.interface, net.interfaces)
            )
            for one in (*found, *local)
        }
        return ip_measure.question(self._known, node, [*found, *local], best, env)


class Ip(Step):
    id = "ip"
    title = "Pick the IP for GPU traffic"
    short = "pick the IP"
    keys = ("addr", "out", "back", "measure")
    bundled = (Bundled(("addr",), FACTS, ABOUT_FACTS),)
    owns = (r"nodes\[\d+\]\.fabric_ip", r"ray\.port")

    def rounds(self, known: Known, done: Results) -> Round | None:
        if not done.has("addr"):
            looks = everywhere(known.nodes, ADDRESSES).work + everywhere(known.nodes, ip_measure.LINKS).work
            return Round(work=looks)
        picked = Picked(known, done)
        missing = [node for node in known.nodes if not picked.ip(node)]
        if missing and not done.has("measure"):
            measuring = ip_measure.measure(known, done)
            if measuring:
                return measuring
        unasked = [node for node in missing if f"ip-{node.name}" not in done.answers]
        best = ip_measure.choice(known, done) if unasked else Recommendation((), "")
        questions = tuple(q for node in unasked if (q := picked.question(node, best)))
        if questions:
            return Round(questions=questions)
        if done.has("out") or _wrong(known, done, picked):
            return None
        return self._reach(known, picked)

    def judge(self, known: Known, done: Results) -> Verdict:
        picked = Picked(known, done)
        checks = _wrong(known, done, picked) or self._reached(known, done, picked)
        chosen = {node.name: picked.ip(node) for node in known.nodes}
        ok = all(check.ok for check in checks)
        names = {node.name: picked.interface(node) for node in known.nodes}
        exact = [n.name for n in known.nodes if is_beginning(names[n.name], picked.nets[n.name].interfaces)]
        if ok:
            checks = [*checks, *_slow(known, picked), *_settings(known, chosen, names, exact)]
        pairs = ", ".join(f"{n}={ip}" for n, ip in chosen.items())
        summary = f"GPU traffic uses {pairs}" if ok else "the chosen addresses do not carry traffic both ways"
        learnt = {"fabric_ips": chosen, "interfaces": names}
        return Verdict(ok, summary, tuple(checks), {**learnt, "exact_interfaces": exact} if exact else learnt)

    def _reach(self, known: Known, picked: Picked) -> Round:
        head, port = known.head, known.cluster.meeting_port
        head_ip = picked.ip(head)
        others = known.workers
        work: list[Work] = [(head, listen(known, head_ip, port, max(len(others), 1)))]
        if not others:
            work.append((head, connect(known, head_ip, port, [head_ip], "out")))
            return Round(work=tuple(work))
        ips = {node.name: picked.ip(node) for node in others}
        # The head's side first: it waits for listeners that a limit on parallel work may hold back.
        work.append((head, connect(known, head_ip, BACK_PORT, list(ips.values()), "back")))
        for node in others:
            work.append((node, connect(known, ips[node.name], port, [head_ip], "out")))
            work.append((node, listen(known, ips[node.name], BACK_PORT, 1)))
        return Round(work=tuple(work))

    def _reached(self, known: Known, done: Results, picked: Picked) -> list[Check]:
        head, port = known.head, known.cluster.meeting_port
        head_ip = picked.ip(head)
        checks = []
        for node in known.workers or (head,):
            result = done.get("out", node)
            checks.append(_way(f"{node.name} reaches {head_ip}:{port}", result, head_ip, node))
        back = done.get("back", head)
        for node in known.workers:
            ip = picked.ip(node)
            checks.append(_way(f"{head.name} reaches {ip}", back, ip, node))
        return checks


def _wrong(known: Known, done: Results, picked: Picked) -> list[Check]:
    """What needs no network to be seen: no address, an address of another machine, one used twice."""
    checks: list[Check] = []
    users: dict[str, str] = {}
    for node in known.nodes:
        result = done.get("addr", node)
        if result is None or not result.ok:
            checks.append(failure(result, node))
            continue
        ip = picked.ip(node)
        there = [a.ip for i in picked.nets[node.name].interfaces for a in i.addresses]
        if not ip:
            hint = "bring an interface up, or name the address in the cluster file (fabric_ip)"
            checks.append(Check("address", False, "none that other nodes can use", "one", node.name, hint))
        elif ":" in ip:
            found = f"{ip}: {IPV4_WANTED}"
            checks.append(Check("address", False, found, "an IPv4 address", node.name, IPV4_HINT))
        elif there and ip not in there:
            hint = "take one of the addresses this node has"
            found = f"{ip} is not on this node; it has {', '.join(there)}"
            checks.append(Check("address", False, found, "an address of this node", node.name, hint))
        elif ip in users:
            hint = "two nodes with one address become one Ray node: give each its own"
            found = f"{ip} is also the address of {users[ip]}"
            checks.append(Check("unique", False, found, "one address per node", node.name, hint))
        users.setdefault(ip, node.name)
    return checks


def _slow(known: Known, picked: Picked) -> list[Check]:
    """What carries traffic, but hardly that of GPUs."""
    checks = []
    for node in known.nodes if known.workers else ():
        ip, net = picked.ip(node), picked.nets[node.name]
        if picked.is_wifi(node, ip):
            found = f"{ip} on {picked.interface(node)} is Wi-Fi: slow and shared"
            checks.append(Check("network", True, found, "a cable", node.name, warning=True))
        found, message, hint = unaddressed_words(net, ip)
        if found:
            said = f"{found}: {message}"
            checks.append(Check("fast ports", True, said, node=node.name, hint=hint, warning=True))
    return checks


def _settings(known: Known, ips: dict[str, str], interfaces: dict[str, str], exact: list[str]) -> list[Check]:
    """What this choice sets, shown before anything is started with it."""
    checks = []
    for node in known.nodes:
        env = _sets(known, node, ips[node.name], interfaces[node.name], node.name in exact)
        checks.append(Check("sets", True, " ".join(f"{k}={v}" for k, v in env.items()), node=node.name))
    return checks


def _way(name: str, result: Result | None, target: str, about: Node) -> Check:
    lines = result.lines if result else []
    line = next((x for x in lines if f"-> {target}:" in x), lines[-1] if lines else "not tried")
    ok = f"-> {target}:" in line and " open, " in line
    return Check(name=name, ok=ok, found=line, wanted="open", node=about.name)


def _sets(known: Known, node: Node, ip: str, interface: str, exact: bool) -> dict[str, str]:
    """What Ray and vLLM will be started with on this node; the cluster file's own env wins."""
    facts = {
        **known.facts,
        "fabric_ips": {node.name: ip},
        "interfaces": {node.name: interface},
        "exact_interfaces": [node.name] if exact else [],
    }
    env = environment(Known(known.cluster, facts), node)
    return {name: env[name] for name in SETS if name in env}
