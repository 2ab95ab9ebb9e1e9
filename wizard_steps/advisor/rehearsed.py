"""What vLLM itself said of a model when it was started, with real or with dummy weights: its log, read back.

``vllm serve MODEL --load-format dummy`` with the flags to be used tells it in minutes, without a download.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.overhead import GIB

_WEIGHTS = re.compile(r"Model loading took (\d{1,6}(?:\.\d{1,4})?) GiB")
_ROOM = re.compile(r"Available KV cache memory: (\d{1,6}(?:\.\d{1,4})?) GiB")
_TOKENS = re.compile(r"KV cache size: (\d[\d,]{0,19}) tokens")
_AT_ONCE = re.compile(r"Maximum concurrency for (\d[\d,]{0,19}) tokens per request: (\d{1,9}(?:\.\d{1,4})?)x")
_GRAPHS = re.compile(r"Graph capturing finished in \d{1,6} secs, took (-?\d{1,4}(?:\.\d{1,4})?) GiB")
_LONGEST = re.compile(r"estimated maximum model length is (\d{1,12})")


class Said(Struct, frozen=True):
    """Of all workers of a replica. ``weights`` and ``room`` in bytes; ``tokens``: what the KV cache holds;
    ``longest``: the longest request that would fit, where vLLM refused; ``concurrency``: requests at once, of
    ``per_request`` tokens each; ``graphs``: bytes of CUDA graphs on the fullest GPU. 0: not said."""

    weights: int = 0
    room: int = 0
    tokens: int = 0
    longest: int = 0
    workers: int = 0
    concurrency: float = 0.0
    per_request: int = 0
    graphs: int = 0


def read(log: str, replicas: int = 1) -> Said:
    """Every line of a worker counts once; vLLM prints one for each GPU, of all replicas."""
    weights, room = _WEIGHTS.findall(log), _ROOM.findall(log)
    tokens, longest, at_once = _TOKENS.search(log), _LONGEST.search(log), _AT_ONCE.search(log)
    return Said(
        int(sum(map(float, weights)) * GIB / replicas),
        int(sum(map(float, room)) * GIB / replicas),
        int(tokens[1].replace(",", "")) if tokens else 0,
        int(longest[1]) if longest else 0,
        len(weights),
        float(at_once[2]) if at_once else 0.0,
        int(at_once[1].replace(",", "")) if at_once else 0,
        int(max((float(one) for one in _GRAPHS.findall(log)), default=0.0) * GIB),
    )


def applied(shape: ModelShape, said: Said, source: str) -> ModelShape:
    """The same model with vLLM's own numbers, which go before all others, and what they
    say of the estimate."""
    notes = list(shape.notes)
    if said.weights and shape.weight_bytes:
        off = shape.weight_bytes / said.weights - 1
        notes.append(f"vLLM loaded {said.weights / GIB:.2f} GiB; the estimate was {off:+.1%} off")
    if said.longest:
        notes.append(
            f"vLLM refused: with its flags the longest request that fits has {said.longest:,} tokens"
        )
    if said.weights:
        shape = msgspec.structs.replace(
            shape, weight_bytes=said.weights, weights_from=f"vLLM's own log, {source}", weights_off=0.005
        )
    if said.room and said.tokens and not shape.held:
        # Of a model that is not known: its layers are not told apart, so all of it counts as growing.
        shape = msgspec.structs.replace(
            shape, kv_bytes_per_token=said.room // said.tokens, kv_from=f"vLLM's own log, {source}"
        )
    return msgspec.structs.replace(shape, notes=tuple(notes))
