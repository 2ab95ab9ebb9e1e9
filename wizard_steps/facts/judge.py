"""From gathered facts to a report: one finding per node and fact, and one for what differs between nodes."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from wizard_steps.advisor.config import object_of
from wizard_steps.advisor.effect import wanted_of
from wizard_steps.advisor.plan import ParallelTopology, consider, placement
from wizard_steps.advisor.shape import parse_config
from wizard_steps.cluster.file import Cluster
from wizard_steps.cluster.replicas import deal
from wizard_steps.errors import UsageError
from wizard_steps.facts import compare, rules_gpu, rules_machine, rules_network, rules_software
from wizard_steps.facts.boxes import topology_of
from wizard_steps.facts.finding import Finding, Verdict, worst
from wizard_steps.facts.network import candidates, excluded
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.recommend import Recommendation, environment, recommend
from wizard_steps.facts.usable import NodeNet


class Report(Struct, frozen=True):
    """Findings in the order of the cluster file; those of the whole cluster (node "") come last."""

    nodes: tuple[str, ...]
    findings: tuple[Finding, ...]
    network: Recommendation
    #: What each node's processes get: the file's fabric_ip where it names one, else the recommendation.
    env: dict[str, dict[str, str]] = {}
    simulated: bool = False

    @property
    def verdict(self) -> Verdict:
        return worst([one.verdict for one in self.findings])

    @property
    def passed(self) -> bool:
        return self.verdict != "fail"

    def of(self, verdict: Verdict) -> list[Finding]:
        return [one for one in self.findings if one.verdict == verdict]


def judge(facts: Mapping[str, NodeFacts], cluster: Cluster, weights_kib: int = 0) -> Report:
    """``facts`` by node name; a node that is missing in it counts as not asked. Pure."""
    findings: list[Finding] = []
    asked = {node.name: facts.get(node.name, NodeFacts(problem="not asked")) for node in cluster.node_list}
    nets = {name: net_of(one) for name, one in asked.items() if not one.problem}
    network = recommend(nets, loopback=cluster.simulated)
    ips = _talking(cluster, network)
    for node in cluster.node_list:
        one = asked[node.name]
        if one.problem:
            # The transport's reason says itself what to do about it.
            findings.append(Finding("reach", node.name, "fail", one.problem, "did not answer"))
            continue
        if one.cut_after:
            message = "the answer was cut off, twice: values that are missing below are unknown"
            hint = "check again; a full disk, a broken connection or a killed shell can be the cause"
            findings.append(Finding("reach", node.name, "fail", f"cut after {one.cut_after}", message, hint))
        findings += [Finding("login", node.name, "warn", note) for note in one.login]
        findings += rules_machine.judge(node, one, cluster, weights_kib)
        findings += rules_gpu.judge(node, one, cluster)
        findings += rules_network.judge(node, one, cluster, ips, network.excluded.get(node.name, ()))
        findings += rules_software.judge(node, one, cluster)
    reached = {name: one for name, one in asked.items() if not one.problem}
    findings += compare.unlike(findings, cluster.head.name)
    boot_ids = {name: one.host.boot_id for name, one in reached.items()}
    if not cluster.simulated:
        findings += compare.same_machine(boot_ids)
    findings += compare.shared_homes({name: one.home for name, one in reached.items()}, boot_ids)
    findings += _network(network, cluster, len(reached))
    findings += _split(cluster, reached)
    return Report(
        nodes=tuple(node.name for node in cluster.node_list),
        findings=tuple(findings),
        network=network,
        env=_environments(cluster, nets, network),
        simulated=cluster.simulated,
    )


def net_of(facts: NodeFacts) -> NodeNet:
    """What the choice of a network needs of a node's facts."""
    return NodeNet(facts.interfaces, facts.speeds, facts.rdma, facts.ssh_ip)


def _talking(cluster: Cluster, network: Recommendation) -> dict[str, str]:
    """The addresses the nodes will use: the file's, otherwise the recommended ones."""
    best = network.best
    chosen = {name: one.ip for name, one in best.by_node.items()} if best else {}
    ips = {node.name: node.fabric_ip or chosen.get(node.name, "") for node in cluster.node_list}
    return {name: ip for name, ip in ips.items() if ip}


def _network(network: Recommendation, cluster: Cluster, reached: int) -> list[Finding]:
    if reached < 2:
        return []
    if all(node.fabric_ip for node in cluster.node_list):
        return [_as_in_the_file(network, cluster)]
    if network.undecided:
        hint = "set fabric_ip of every node in the cluster file, or choose when the walk asks"
        return [Finding("network", "", "warn", "not decided", network.reason, hint)]
    if network.best is None:
        hint = "set fabric_ip of every node in the cluster file"
        return [Finding("network", "", "fail", "none shared", network.reason, hint)]
    wifi = [f"Wi-Fi on {' and '.join(network.wifi)}: slow and shared"] if network.wifi else []
    if network.problems or wifi:
        hint = "connect the nodes by cable, or set fabric_ip to the Wi-Fi addresses" if wifi else ""
        return [Finding("network", "", "warn", network.reason, "; ".join([*network.problems, *wifi]), hint)]
    return [Finding("network", "", "ok", network.reason)]


def _as_in_the_file(network: Recommendation, cluster: Cluster) -> Finding:
    """The person has chosen; only a network that is clearly better is worth a word."""
    wanted = {node.fabric_ip for node in cluster.node_list}
    best = network.best
    mine = next((o for o in network.options if wanted <= {c.ip for c in o.by_node.values()}), None)
    if best and mine and mine is not best and (best.rdma > mine.rdma or best.speed > 2 * mine.speed > 0):
        message = f"{best.network} looks better: {best.why}"
        return Finding("network", "", "warn", f"{mine.network}, as in the cluster file", message)
    return Finding("network", "", "ok", f"{mine.network if mine else 'fabric_ip'}, as in the cluster file")


def _environments(
    cluster: Cluster, nets: Mapping[str, NodeNet], network: Recommendation
) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for node in cluster.node_list:
        net = nets.get(node.name)
        if net is None:
            continue
        usable = candidates(net.interfaces, loopback=True) + excluded(net.interfaces)
        chosen = next((one for one in usable if one.ip == node.fabric_ip), None)
        if chosen:
            found[node.name] = environment(chosen, net.interfaces)
        elif not node.fabric_ip and node.name in network.env:
            found[node.name] = network.env[node.name]
    return found


def _split(cluster: Cluster, facts: Mapping[str, NodeFacts]) -> list[Finding]:
    """Whether the cluster file's TP keeps inside the boxes; `milepost advise` tells more."""
    tp, pp = cluster.serve.tensor_parallel, cluster.serve.pipeline_parallel
    topology = topology_of(cluster, facts)
    replicas = f" x {cluster.serve.data_parallel} replicas" if cluster.serve.data_parallel > 1 else ""
    found = f"{tp} x {pp}{replicas} on {' + '.join(str(box.gpus) for box in topology.boxes) or 'no'} GPUs"
    if problem := deal(cluster).problem:
        return [Finding("TP x PP", "", "fail", found, problem, "serve.data_parallel in the cluster file")]
    if tp * pp > topology.total:
        message = f"needs {tp * pp} GPUs; vLLM would wait for a placement group that never comes"
        return [Finding("TP x PP", "", "fail", found, message, "lower TP or PP, or add GPUs")]
    spans = max(len({box for box, _ in stage}) for stage in placement(topology, tp, pp))
    if spans > 1:
        message = f"one TP group spans {spans} machines: every layer waits for the network"
        return [
            Finding("TP x PP", "", "warn", found, message, "TP up to the GPUs of one box, PP between boxes")
        ]
    against = _against(facts.get(cluster.head.name), topology, cluster)
    if against:
        hint = "`milepost advise` lists the pairs that fit"
        if against.startswith("tight") and cluster.serve.rehearse == "no":
            hint += '; serve.rehearse = "yes" starts vLLM with dummy weights first, and measures'
        return [Finding("TP x PP", "", "warn", found, against, hint)]
    return [Finding("TP x PP", "", "ok", found)]


def _against(head: NodeFacts | None, topology: ParallelTopology, cluster: Cluster) -> str:
    """What vLLM will say of the pair, by the model's config.json on the head; empty: nothing, or unknown."""
    config = object_of(head.config) if head else None
    if head is None or config is None or not topology.gpu_bytes:
        return ""
    try:
        shape = parse_config(config, weight_bytes=head.weight_bytes)
    except UsageError:
        return ""
    tp, pp = cluster.serve.tensor_parallel, cluster.serve.pipeline_parallel
    wanted = wanted_of(cluster)
    split = consider(shape, topology, tp, pp, wanted)
    if split.grade == "tight":
        return f"tight, rehearse it: {split.headline}"
    return split.headline if split.grade == "no" or wanted.not_counted else ""
