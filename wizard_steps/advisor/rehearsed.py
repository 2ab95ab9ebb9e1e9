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
_LONGEST = re.compile(r"estimated maximum model length is (\d{1,12})")


class Said(Struct, frozen=True):
    """Of all workers together. ``weights`` and ``room`` in bytes; ``tokens``: the KV cache holds that many;
    ``longest``: the longest request that would fit, where vLLM refused. 0: not said."""

    weights: int = 0
    room: int = 0
    tokens: int = 0
    longest: int = 0
    workers: int = 0


def read(log: str) -> Said:
    """Every line of a worker counts once; vLLM prints one for each GPU."""
    weights, room = _WEIGHTS.findall(log), _ROOM.findall(log)
    tokens, longest = _TOKENS.search(log), _LONGEST.search(log)
    return Said(
        int(sum(map(float, weights)) * GIB),
        int(sum(map(float, room)) * GIB),
        int(tokens[1].replace(",", "")) if tokens else 0,
        int(longest[1]) if longest else 0,
        len(weights),
    )


def applied(shape: ModelShape, said: Said, source: str) -> ModelShape:
    """The same model with vLLM's own numbers, which go before all others, and what they "
    "say of the estimate."""
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
