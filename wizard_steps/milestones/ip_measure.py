"""Measures the networks that the nodes share, and words the question which of them carries GPU traffic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wizard_steps.engine.step import Known
from wizard_steps.facts import netstate, script
from wizard_steps.facts import recommend as networks
from wizard_steps.facts.network import Candidate, parse_interfaces, with_devices
from wizard_steps.facts.recommend import Measurement, Recommendation
from wizard_steps.facts.sections import pick, split
from wizard_steps.facts.usable import NodeNet
from wizard_steps.model import Cmd, Node, Option, Question, Results, Round, Work
from wizard_steps.node import mesh

#: A port of the range Ray's workers listen in (10002-19999): firewalls often forget it.
PORT = 19998
#: More networks than this are not measured, the likeliest are.
NETWORKS = 4

LINKS = Cmd(
    key="speed",
    text=script.only("links", "rdma", "ssh"),
    quiet=True,
    show="cat /sys/class/net/*/speed; ls /sys/class/infiniband",
)


def nets(known: Known, done: Results) -> dict[str, NodeNet]:
    found = {}
    for node in known.nodes:
        addresses, links = done.get("addr", node), done.get("speed", node)
        parts = split(links.text if links else "")
        devices = netstate.parse_devices(pick(parts, "links"))
        found[node.name] = NodeNet(
            with_devices(parse_interfaces(addresses.text), devices) if addresses else (),
            {name: one.speed for name, one in devices.items()},
            tuple(netstate.parse_rdma(pick(parts, "rdma"))),
            pick(parts, "ssh").text.strip(),
        )
    return found


def choice(known: Known, done: Results) -> Recommendation:
    """The networks all nodes share, best first, with what was measured so far."""
    return networks.recommend(nets(known, done), list(_measured(known, done)))


def measure(known: Known, done: Results) -> Round | None:
    """Head to each worker and back, over each shared network; None when there is nothing to compare."""
    options = choice(known, done).options[:NETWORKS]
    if len(options) < 2 or not known.workers:
        return None
    head, work = known.head, list[Work]()
    for node in known.nodes:
        others = known.workers if node is head or node.name == head.name else (head,)
        bytes_ = mesh.TRANSFER if node.name == head.name else 0
        listen = [(o.by_node[node.name].ip, PORT, len(others)) for o in options]
        to = [
            (other.name, o.by_node[node.name].ip, o.by_node[other.name].ip, PORT, bytes_)
            for o in options
            for other in others
        ]
        shown = f"(reach {'every worker' if bytes_ else 'the head'} over each shared network"
        shown += f", {mesh.TRANSFER >> 20} MiB each way)" if bytes_ else ")"
        work.append((node, mesh.command(known.cluster, "measure", listen, to, shown)))
    return Round(work=tuple(work))


def _measured(known: Known, done: Results) -> Iterator[Measurement]:
    for node in known.nodes:
        for way in mesh.ways(done.get("measure", node)):
            yield Measurement(node.name, way.name, way.ip, way.open, way.ms, way.mbit)


def question(
    known: Known,
    node: Node,
    found: Sequence[Candidate],
    best: Recommendation,
    env: Mapping[str, Mapping[str, str]],
) -> Question:
    """The recommended address first; each with the reason and what it would set. ``env`` by address."""
    by_ip = {o.by_node[node.name].ip: o for o in best.options if node.name in o.by_node}
    order = [ip for ip in by_ip if any(c.ip == ip for c in found)]
    ranked = sorted(found, key=lambda c: order.index(c.ip) if c.ip in order else len(order))
    options = []
    for place, one in enumerate(ranked):
        shared = by_ip.get(one.ip)
        why = shared.why if shared else f"{one.why}; not on a network that all nodes share"
        if shared and place == 0:
            why = f"{'recommended: ' if one.kind != 'wifi' else ''}{best.reason}. {why}"
        sets = " ".join(f"{name}={value}" for name, value in env.get(one.ip, {}).items())
        options.append(Option(one.ip, f"{one.ip} on {one.interface}", f"{why}. Sets {sets}" if sets else why))
    wifi = "Only Wi-Fi joins the nodes, slow for GPU traffic. " if ranked[0].kind == "wifi" else ""
    return Question(
        id=f"ip-{node.name}",
        text=f"{wifi}Which address of {node.name} carries GPU traffic?",
        kind="choice",
        options=tuple(options),
        default=options[0].value,
        field=f"nodes[{known.nodes.index(node)}].fabric_ip",
        why="NCCL, Gloo and Ray all use it. Take the fastest network all nodes share, not management.",
    )
