"""ip: choose, on every node, the address that carries GPU traffic, and prove it reaches both ways."""

from __future__ import annotations

from wizard_steps.engine.step import ABOUT_FACTS, FACTS, Bundled, Known, Step
from wizard_steps.facts.network import Candidate, candidates, parse_interfaces
from wizard_steps.milestones import ip_measure
from wizard_steps.milestones.common import everywhere, failure
from wizard_steps.milestones.raystart import environment
from wizard_steps.model import Check, Cmd, Node, Question, Result, Results, Round, Verdict, Work
from wizard_steps.node.tcp import connect, listen

#: Head to worker is tried on a port of the range Ray's workers listen in.
BACK_PORT = ip_measure.PORT

ADDRESSES = Cmd(
    key="addr",
    text=(
        "if command -v ip >/dev/null 2>&1; then ip -brief addr\n"
        "else echo 'ip: not found; addresses as the kernel lists them:'; cat /proc/net/fib_trie; fi\n"
    ),
    show="ip -brief addr",
)
#: What a choice of address sets on a node, of all that Ray and vLLM are started with.
SETS = ("VLLM_HOST_IP", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")


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
        missing = [node for node in known.nodes if not self._chosen(node, done)]
        if missing and not done.has("measure"):
            measuring = ip_measure.measure(known, done)
            if measuring:
                return measuring
        unasked = [node for node in missing if f"ip-{node.name}" not in done.answers]
        questions = tuple(q for node in unasked if (q := self._question(known, node, done)))
        if questions:
            return Round(questions=questions)
        if done.has("out") or self._wrong(known, done):
            return None
        return self._reach(known, done)

    def judge(self, known: Known, done: Results) -> Verdict:
        checks = self._wrong(known, done)
        if not checks:
            checks = self._reached(known, done)
        chosen = {node.name: self._chosen(node, done) for node in known.nodes}
        ok = all(check.ok for check in checks)
        names = {node.name: self._interface(node, done) for node in known.nodes}
        if ok:
            checks = [*checks, *self._settings(known, chosen, names)]
        pairs = ", ".join(f"{n}={ip}" for n, ip in chosen.items())
        summary = f"GPU traffic uses {pairs}" if ok else "the chosen addresses do not carry traffic both ways"
        return Verdict(ok, summary, tuple(checks), {"fabric_ips": chosen, "interfaces": names})

    def _settings(self, known: Known, ips: dict[str, str], interfaces: dict[str, str]) -> list[Check]:
        """What this choice sets, shown before anything is started with it."""
        checks = []
        for node in known.nodes:
            env = _sets(known, node, ips[node.name], interfaces[node.name])
            checks.append(Check("sets", True, " ".join(f"{k}={v}" for k, v in env.items()), node=node.name))
        return checks

    def _candidates(self, node: Node, done: Results) -> list[Candidate]:
        result = done.get("addr", node)
        found = parse_interfaces(result.text) if result else []
        return candidates(found) or candidates(found, loopback=True)

    def _chosen(self, node: Node, done: Results) -> str:
        """From the cluster file, from an answer, or the only address there is."""
        if node.fabric_ip:
            return node.fabric_ip
        if answer := done.answers.get(f"ip-{node.name}"):
            return answer
        found = self._candidates(node, done)
        return found[0].ip if len(found) == 1 else ""

    def _interface(self, node: Node, done: Results) -> str:
        ip = self._chosen(node, done)
        result = done.get("addr", node)
        for interface in parse_interfaces(result.text) if result else []:
            if any(address.ip == ip for address in interface.addresses):
                return interface.name
        return ""

    def _question(self, known: Known, node: Node, done: Results) -> Question | None:
        found = self._candidates(node, done)
        if not found:
            return None
        env = {one.ip: _sets(known, node, one.ip, one.interface) for one in found}
        return ip_measure.question(known, node, found, ip_measure.choice(known, done), env)

    def _wrong(self, known: Known, done: Results) -> list[Check]:
        """What needs no network to be seen: no address, an address of another machine, one used twice."""
        checks: list[Check] = []
        users: dict[str, str] = {}
        for node in known.nodes:
            result = done.get("addr", node)
            if result is None or not result.ok:
                checks.append(failure(result, node))
                continue
            ip = self._chosen(node, done)
            there = [a.ip for i in parse_interfaces(result.text) for a in i.addresses]
            if not ip:
                hint = "bring an interface up, or name the address in the cluster file (fabric_ip)"
                checks.append(
                    Check("address", False, "none that other nodes can use", "one", node.name, hint)
                )
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

    def _reach(self, known: Known, done: Results) -> Round:
        head, port = known.head, known.cluster.meeting_port
        head_ip = self._chosen(head, done)
        others = known.workers
        work: list[Work] = [(head, listen(known, head_ip, port, max(len(others), 1)))]
        if not others:
            work.append((head, connect(known, head_ip, port, [head_ip], "out")))
            return Round(work=tuple(work))
        ips = {node.name: self._chosen(node, done) for node in others}
        # The head's side first: it waits for listeners that a limit on parallel work may hold back.
        work.append((head, connect(known, head_ip, BACK_PORT, list(ips.values()), "back")))
        for node in others:
            work.append((node, connect(known, ips[node.name], port, [head_ip], "out")))
            work.append((node, listen(known, ips[node.name], BACK_PORT, 1)))
        return Round(work=tuple(work))

    def _reached(self, known: Known, done: Results) -> list[Check]:
        head, port = known.head, known.cluster.meeting_port
        head_ip = self._chosen(head, done)
        checks = []
        for node in known.workers or (head,):
            result = done.get("out", node)
            checks.append(_way(f"{node.name} reaches {head_ip}:{port}", result, head_ip, node))
        back = done.get("back", head)
        for node in known.workers:
            ip = self._chosen(node, done)
            checks.append(_way(f"{head.name} reaches {ip}", back, ip, node))
        return checks


def _way(name: str, result: Result | None, target: str, about: Node) -> Check:
    lines = result.lines if result else []
    line = next((x for x in lines if f"-> {target}:" in x), lines[-1] if lines else "not tried")
    ok = f"-> {target}:" in line and " open, " in line
    return Check(name=name, ok=ok, found=line, wanted="open", node=about.name)


def _sets(known: Known, node: Node, ip: str, interface: str) -> dict[str, str]:
    """What Ray and vLLM will be started with on this node; the cluster file's own env wins."""
    facts = {**known.facts, "fabric_ips": {node.name: ip}, "interfaces": {node.name: interface}}
    env = environment(Known(known.cluster, facts), node)
    return {name: env[name] for name in SETS if name in env}
