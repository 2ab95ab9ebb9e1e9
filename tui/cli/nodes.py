"""`milepost add-node` and `remove-node`: the cluster file changes, what runs on a removed node ends, and what
that does to TP x PP is said."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster, NodeEntry, load
from wizard_steps.errors import UsageError
from wizard_steps.model import Node


def add(subparsers: Any) -> None:
    more = subparsers.add_parser(
        "add-node",
        help="add a machine to the cluster file; the next walk starts what is missing there",
        description="Writes the node into the cluster file and says what TP x PP means with it. The next "
        "walk installs, joins it to Ray and copies the model; what runs on the other nodes keeps running, "
        "except vLLM where TP, PP or DP change.",
    )
    more.add_argument("cluster", type=Path, help="cluster file")
    more.add_argument("host", help="what you give ssh: name, address, USER@HOST:PORT, or alias")
    more.add_argument("--gpus", type=int, required=True, help="how many of its GPUs are used")
    more.add_argument("--name", default=None, help="its name in milepost (default: HOST)")
    more.add_argument("--fabric-ip", default="", metavar="IP", help="its address for GPU traffic")
    _sizes(more)
    more.set_defaults(run=run_add)
    less = subparsers.add_parser(
        "remove-node",
        help="end what milepost started on one machine, and take it out of the cluster file",
        description="Ends vLLM and Ray of this cluster on the node, and its systemd services, and takes it "
        "out of the cluster file. A server that used its GPUs is interrupted: the next walk starts it again.",
    )
    less.add_argument("cluster", type=Path, help="cluster file")
    less.add_argument("node", help="its name in the cluster file")
    less.add_argument("--gone", action="store_true", help="the machine is no more: do not try to reach it")
    less.add_argument("--take-over", action="store_true", help="although another wizard holds this cluster")
    _sizes(less)
    less.set_defaults(run=run_remove)


def _sizes(parser: argparse.ArgumentParser) -> None:
    for short, long, what in (("-tp", "tensor", "TP"), ("-pp", "pipeline", "PP"), ("-dp", "data", "DP")):
        parser.add_argument(f"--{long}-parallel", short, type=int, default=0, help=f"the new {what}")
    parser.add_argument("--dry-run", action="store_true", help="show what would change; change nothing")


def run_add(args: argparse.Namespace) -> int:
    old = load(args.cluster)
    entry = NodeEntry(args.host, args.gpus, name=args.name, fabric_ip=args.fabric_ip)
    new = sized(replace(old, nodes=(*old.nodes, entry)), args)
    show(old, new)
    return 0 if args.dry_run else finish(args.cluster, new, "starts what is missing there")


def run_remove(args: argparse.Namespace) -> int:
    old = load(args.cluster)
    node = next((node for node in old.node_list if node.name == args.node), None)
    if node is None:
        names = ", ".join(one.name for one in old.node_list)
        raise UsageError(f"{args.node}: no such node in {args.cluster}; there are {names}")
    if node.role == "head":
        raise UsageError(
            f"{node.name} is the head: all of Ray hangs on it. `milepost down`, then choose another"
        )
    left = tuple(e for e, one in zip(old.nodes, old.node_list, strict=True) if one != node)
    new = sized(replace(old, nodes=left), args)
    show(old, new)
    if args.dry_run:
        return 0
    if not args.gone and not asyncio.run(_end(old, node, args.take_over)):
        print(f"{args.cluster} is as it was. --gone takes out a machine that is no more.")
        return 1
    return finish(args.cluster, new, "proves what is left")


def sized(cluster: Cluster, args: argparse.Namespace) -> Cluster:
    """With the TP, PP and DP of the command line, checked like a file. Raises UsageError, with a proposal."""
    from wizard_steps.cluster.edit import with_values

    given = {"tensor": args.tensor_parallel, "pipeline": args.pipeline_parallel, "data": args.data_parallel}
    edits = [(f"serve.{name}_parallel", str(value)) for name, value in given.items() if value]
    try:
        return with_values(cluster, edits)
    except UsageError as error:
        way = proposal(cluster)
        raise UsageError(f"{error}{f'. For example {way}' if way and not edits else ''}") from None


def proposal(cluster: Cluster) -> str:
    """The option that uses all GPUs with the same TP: other stages, or other replicas; "" where none does."""
    serve, total = cluster.serve, cluster.total_gpus
    for option, each in (("-pp", serve.tensor_parallel * serve.data_parallel), ("-dp", serve.world_size)):
        if total >= each and total % each == 0:
            return f"{option} {total // each}"
    return ""


def show(old: Cluster, new: Cluster) -> None:
    """What changes, and what the split of the new file means: by what is known on this machine."""
    from wizard_steps.advisor.effect import effect_of

    print(f"{len(old.nodes)} -> {len(new.nodes)} nodes, {old.total_gpus} -> {new.total_gpus} GPUs")
    print(f"{old.serve.split} -> {new.serve.split}\n")
    print("\n".join(effect_of(new, {})))
    spare = new.total_gpus - new.serve.total_ranks
    if spare > 0:
        way = proposal(new)
        more = f" `{way}` would use all" if way else ""
        print(f"\n{spare} of {new.total_gpus} GPUs have nothing to do with {new.serve.split}.{more}")


def finish(file: Path, new: Cluster, what: str) -> int:
    from wizard_steps.persist import write

    write(file, new)
    alone = "--headless --on-difference=restart without a screen"
    print(f"\n{file} is changed. Next: milepost {file}   ({what}; {alone})")
    print(f"Where systemd services run the cluster, after that: milepost enable {file}")
    return 0


async def _end(cluster: Cluster, node: Node, take_over: bool) -> bool:
    """Ends what milepost started there, the services first; whether all of it ended."""
    from tui.cli.down import Ended, one, undo
    from wizard_steps.node import units
    from wizard_steps.transport.locked import Locked
    from wizard_steps.transport.over_ssh import cleaned

    transport = Locked(cleaned(cluster), cluster, take_over)
    ended = Ended()
    try:
        for work in ([("services", (node, units.remove(cluster, node)))], *undo(cluster)):
            for what, (where, cmd) in work:
                if where == node and not await one(transport, node, cmd, ended, what):
                    return False
        ended.close()
    finally:
        await transport.close()
    return True
