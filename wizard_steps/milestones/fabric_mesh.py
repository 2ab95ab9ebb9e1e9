"""TCP between the nodes, before NCCL needs it: each to its neighbours and the head, on ports of each kind."""

from __future__ import annotations

from collections.abc import Sequence

from wizard_steps.engine.step import Known
from wizard_steps.milestones.common import failure, placed
from wizard_steps.model import Check, Node, Results, Work
from wizard_steps.node import collective, mesh

#: One port for each kind a firewall may forget: Ray's workers (both ends of their range), where the ranks
#: meet, and one of the high ports that Ray's node managers, NCCL and Gloo take at random.
PORTS = (10002, 19999, collective.PORT, 45123)
#: Each node tries this many neighbours on both sides, and the head.
NEIGHBOURS = 8


def _peers(nodes: tuple[Node, ...], place: int) -> list[Node]:
    """The head and the nearest neighbours on both sides, the same seen from either end."""
    count = len(nodes)
    near = {(place + step) % count for step in range(-NEIGHBOURS, NEIGHBOURS + 1)}
    wanted = set(range(count)) if place == 0 else near | {0}
    return [nodes[i] for i in sorted(wanted - {place})]


def work(known: Known, ports: Sequence[int] = PORTS) -> list[Work]:
    nodes = tuple(sorted(known.nodes, key=lambda node: node.role != "head"))
    todo: list[Work] = []
    for place, node in enumerate(nodes):
        mine, peers = known.ip(node), _peers(nodes, place)
        listen = [(mine, port, len(peers)) for port in ports]
        to = [(peer.name, mine, known.ip(peer), port, 0) for peer in peers for port in ports]
        shown = f"(connect to {len(peers)} other node(s) on ports {', '.join(map(str, ports))})"
        cmd = mesh.command(known.cluster, "mesh", listen, to, shown)
        todo.append((node, placed(known).trial(node, cmd)))
    return todo


def checks(known: Known, done: Results) -> list[Check]:
    if len(known.nodes) == 1:
        return [Check("TCP", True, "one node: nothing leaves it")]
    bad, count, slowest = [], 0, 0.0
    for node in known.nodes:
        result = done.get("mesh", node)
        found = mesh.ways(result)
        if result is None or not result.ok or not found:
            bad.append(failure(result, node))
            continue
        count += len(found)
        slowest = max([slowest, *(way.ms for way in found)])
        for name in dict.fromkeys(way.name for way in found if not way.open):
            closed = [way for way in found if way.name == name and not way.open]
            ports = ", ".join(str(way.port) for way in closed)
            hint = f"open all TCP from {node.name} to {name} on this network (ufw, nft, security group)"
            found_ = f"port {ports}: {closed[0].why}"
            bad.append(Check(f"{node.name} reaches {name}", False, found_, "open", node.name, hint))
    if bad:
        return bad
    text = f"{count} connections among {len(known.nodes)} nodes open, the slowest took {slowest:.1f} ms"
    return [Check("TCP", True, text)]
