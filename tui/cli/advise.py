"""``milepost advise``: which TP x PP fits a model on these machines, and why. Only --count asks a node."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from tui.cli.paint import show
from wizard_steps.advisor.cards import ASSUMED, card_named, known_names
from wizard_steps.advisor.memory import GIB, UTILISATION
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.plan import Box, ParallelTopology, Request, advise, consider
from wizard_steps.advisor.rehearsed import applied, read
from wizard_steps.advisor.render import as_json, as_text, split_text
from wizard_steps.advisor.sources import find_model
from wizard_steps.cluster.file import load
from wizard_steps.errors import UsageError
from wizard_steps.files import read_plain

#: The start of vLLM is some 100 KB; a log that goes on for days is not needed (bytes).
_LARGEST_LOG = 64 << 20


def add(subparsers: Any) -> None:
    """Add the command to an argparse subparsers object."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "advise",
        help="which tensor and pipeline parallel sizes fit a model",
        description="Reads a model's config.json (and the sizes of its weights, from the files or from the "
        "Hugging Face Hub) and lists the legal (TP, PP) pairs, the recommended one first, "
        "with memory per GPU "
        "as a range and the reasons. Says so where the architecture is not known.",
    )
    parser.add_argument(
        "model",
        help="a model folder, config.json, params.json, or a name on the Hub such as Qwen/Qwen3-8B "
        "(looked up "
        "in the Hugging Face cache, then asked of HF_ENDPOINT; HF_TOKEN for gated models)",
    )
    parser.add_argument("--cluster", metavar="FILE", help="take the machines from this cluster file")
    parser.add_argument("--gpus", metavar="8x2", help="GPUs per machine x machines; also 8+8+4")
    parser.add_argument(
        "--gpu-memory", type=float, default=0.0, metavar="GIB", help=f"of one GPU ({ASSUMED})"
    )
    parser.add_argument(
        "--gpu", metavar="NAME", default="", help="its kind: h100, h200, a100, l40s, 4090 ..."
    )
    parser.add_argument(
        "--max-len", type=int, default=0, metavar="N", help="tokens of one request (model's own)"
    )
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="requests at once (1)")
    parser.add_argument(
        "--gpu-memory-utilization", type=float, default=UTILISATION, metavar="SHARE", help=f"({UTILISATION})"
    )
    parser.add_argument("--kv-cache-dtype", choices=("auto", "fp8"), default="auto")
    parser.add_argument("--weights", type=float, default=0.0, metavar="GIB", help="size of the weights")
    parser.add_argument(
        "--kv-bytes", type=int, default=0, metavar="N",
        help="KV cache bytes per token of one replica, all layers, for a model that is not known",
    )  # fmt: skip
    parser.add_argument(
        "--enable-expert-parallel",
        action="store_true",
        help="an expert stays on one GPU instead of being cut",
    )
    parser.add_argument(
        "--log", metavar="FILE", default="",
        help="vLLM's log of a start of this model (also with --load-format dummy), or a walk that did it: "
        "its numbers go first",
    )  # fmt: skip
    parser.add_argument(
        "--count", action="store_true",
        help="ask the head of --cluster: its transformers counts the parameters without weights (reads only)",
    )  # fmt: skip
    parser.add_argument("--split", metavar="TPxPP", help="judge this one pair, with its picture")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: a pair fits; 1: none does (or the asked pair does not). UsageError for a wrong command line."""
    import msgspec

    topology, wanted = _topology(args), _wanted(args)
    shape = find_model(args.model)
    if args.count:
        shape = _counted(shape, args)
    shape = _told(shape, args)
    if args.split:
        tp, pp = _pair(args.split)
        split = consider(shape, topology, tp, pp, wanted)
        if args.json:
            print(json.dumps(msgspec.to_builtins(split), indent=2))
        else:
            show(split_text(shape, topology, split))
        return 0 if split.grade not in ("no", "unknown") else 1
    advice = advise(shape, topology, wanted)
    if args.json:
        print(json.dumps(as_json(advice), indent=2))
    else:
        show(as_text(advice))
    return 0 if advice.recommended else 1


def _counted(shape: ModelShape, args: argparse.Namespace) -> ModelShape:
    """The parameters as transformers counts them on the head. UsageError where no head is named."""
    import asyncio

    from wizard_steps.advisor.counted import Counted, command, read, with_count
    from wizard_steps.advisor.sources import config_of
    from wizard_steps.facts.gather import ask
    from wizard_steps.facts.node import NodeAnswer
    from wizard_steps.transport.over_ssh import cleaned

    if not args.cluster:
        raise UsageError("--count asks a machine: name the cluster file with --cluster")
    cluster = load(Path(args.cluster))
    config = config_of(args.model)
    cmd = command(cluster, config)

    async def asked() -> NodeAnswer:
        transport = cleaned(cluster)
        try:
            return await ask(transport, cluster.head, cmd)
        finally:
            await transport.close()

    answer = asyncio.run(asked())
    found = Counted(problem=answer.problem) if answer.problem else read(answer.text)
    return with_count(shape, found, cluster.head.name, config)


def _told(shape: ModelShape, args: argparse.Namespace) -> ModelShape:
    """What the person says of the model goes before anything that was found."""
    import msgspec

    if args.log:
        said = read(_text(Path(args.log)))
        if not said.workers:
            raise UsageError(
                f'{args.log}: no line "Model loading took ... GiB": not the log of a vLLM that loaded'
            )
        shape = applied(shape, said, Path(args.log).name)
    if args.weights:
        size = int(_positive(args.weights, "--weights") * GIB)
        shape = msgspec.structs.replace(shape, weight_bytes=size, weights_from="--weights", weights_off=0.0)
    if args.kv_bytes:
        each = int(_positive(args.kv_bytes, "--kv-bytes", 1e9, "bytes"))
        shape = msgspec.structs.replace(
            shape, kv_bytes_per_token=each, kv_from="--kv-bytes", held=(), embedding_bytes=0, head_bytes=0
        )
    return shape


def _text(file: Path) -> str:
    if file.is_dir():
        return _of_walk(file)
    try:
        return read_plain(file, _LARGEST_LOG).decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from None


def _of_walk(folder: Path) -> str:
    """What vLLM printed in a walk: of its last start, the longest log of each node."""
    from wizard_steps.milestones.serve import ServeStep
    from wizard_steps.recording.journal import load as load_walk
    from wizard_steps.recording.state import fold

    walk, found, last = load_walk(folder), dict[tuple[str, str], str](), ""
    for run in sorted(fold(walk.events).runs.values(), key=lambda run: run.number):
        if run.key in ServeStep.keys and run.end:
            text = walk.read(run.spool, run.start or 0, run.end).decode("utf-8", "replace")
            if read(text).tokens or read(text).workers:
                last = run.step
            found[run.step, run.node] = max(found.get((run.step, run.node), ""), text, key=len)
    return "\n".join(text for (step, _), text in found.items() if step == last)


def _topology(args: argparse.Namespace) -> ParallelTopology:
    gib, told = ASSUMED, "assumed: an 80 GB card; give --gpu or --gpu-memory"
    if args.gpu:
        found = card_named(args.gpu)
        if not found:
            raise UsageError(
                f"--gpu {args.gpu}: not known here. Give --gpu-memory, or one of: {known_names()}"
            )
        gib, told = found, f"--gpu {args.gpu}"
    if args.gpu_memory:
        gib, told = _positive(args.gpu_memory, "--gpu-memory"), "--gpu-memory"
    memory = int(gib * GIB)
    if args.gpus and args.cluster:
        raise UsageError("--gpus and --cluster both say what the machines are: give one of them")
    if args.gpus:
        return ParallelTopology(tuple(_boxes(args.gpus)), memory, args.gpu, told=told)
    file = Path(args.cluster or "milepost.toml")
    if not args.cluster and not file.exists():
        raise UsageError("say what the machines are: --gpus 8x2 (GPUs x machines) or --cluster milepost.toml")
    cluster = load(file)
    nodes = sorted(cluster.node_list, key=lambda node: node.role != "head")
    boxes = tuple(Box(node.name, node.gpus) for node in nodes if node.gpus)
    if not boxes:
        raise UsageError(f"{file}: no node has gpus; set gpus of the nodes or use --gpus")
    return ParallelTopology(boxes, memory, args.gpu, told=told)


def _boxes(text: str) -> list[Box]:
    counts: list[int] = []
    for part in text.split("+"):
        found = re.fullmatch(r"\s*(\d{1,4})(?:\s*[xX]\s*(\d{1,4}))?\s*", part)
        if not found:
            raise UsageError(f"--gpus {text}: not understood; examples: 8x2 (two machines of 8), 8+4, 1")
        counts += [int(found[1])] * int(found[2] or 1)
    if not counts or min(counts) < 1 or len(counts) > 4096:
        raise UsageError(f"--gpus {text}: every machine needs at least one GPU, and at most 4096 machines")
    return [Box(f"machine {i}", count) for i, count in enumerate(counts, 1)]


def _wanted(args: argparse.Namespace) -> Request:
    if args.max_len < 0 or args.concurrency < 1:
        raise UsageError("--max-len and --concurrency must be positive")
    if not 0 < args.gpu_memory_utilization <= 1:
        raise UsageError("--gpu-memory-utilization is a share between 0 and 1")
    return Request(
        args.max_len,
        args.concurrency,
        args.gpu_memory_utilization,
        1.0 if args.kv_cache_dtype == "fp8" else 0.0,
        expert_parallel=args.enable_expert_parallel,
    )


def _pair(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if not found:
        raise UsageError(f"--split {text}: write it as TPxPP, for example 8x2")
    return int(found[1]), int(found[2])


def _positive(value: float, name: str, most: float = 1e6, unit: str = "GiB") -> float:
    if not 0 < value < most:
        raise UsageError(f"{name} {value}: must be a positive size in {unit}")
    return value
