"""What the advisor is asked and what it answers, as values."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from wizard_steps.advisor.memory import UTILISATION, Memory
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.overhead import Card
from wizard_steps.advisor.reasons import Reason

#: good: do this; works: fits, but something is wasted or slow; tight: it may not start, or holds fewer
#: requests at once than wanted: rehearse it; no: vLLM would not start; unknown: the model is not known.
Grade = Literal["good", "works", "tight", "no", "unknown"]
#: The smallest thing that is enough.
Enough = Literal["gpu", "box", "cluster", "none", "unknown"]


class Box(Struct, frozen=True):
    """One machine. ``gpus`` is how many it has."""

    name: str
    gpus: int


class ParallelTopology(Struct, frozen=True):
    """Machines in rank order (the head first). ``gpu_bytes`` is the memory of the smallest GPU.

    ``nvlink`` says whether the GPUs of a box are joined by NVLink; None when it is not known.
    """

    boxes: tuple[Box, ...]
    gpu_bytes: int
    gpu_name: str = ""
    nvlink: bool | None = None
    #: The machines have GPUs of different kinds.
    mixed: bool = False
    #: Who says how large a GPU is.
    told: str = ""

    @property
    def total(self) -> int:
        return sum(box.gpus for box in self.boxes)

    @property
    def largest(self) -> int:
        return max((box.gpus for box in self.boxes), default=0)


class Request(Struct, frozen=True):
    """What the server must hold: ``concurrency`` requests of ``max_len`` tokens (0: the model's longest)."""

    max_len: int = 0
    concurrency: int = 1
    utilisation: float = UTILISATION
    kv_dtype_bytes: float = 0
    #: Tokens of a pass and sequences at once, where flags set them.
    card: Card | None = None
    expert_parallel: bool = False
    context_parallel: int = 1
    #: ``--max-model-len auto``: vLLM takes the longest request that fits, up to the model's own.
    longest: bool = False
    #: Flags that change the memory by an amount that is not known here.
    not_counted: tuple[str, ...] = ()


class Split(Struct, frozen=True):
    """One pair, judged. ``requests`` is how many of the wanted length the KV cache holds at once."""

    tp: int
    pp: int
    legal: bool
    grade: Grade
    headline: str
    reasons: tuple[Reason, ...] = ()
    memory: Memory | None = None
    requests: float = 0.0
    boxes: int = 0
    layers: tuple[int, ...] = ()
    straddles: bool = False

    @property
    def gpus(self) -> int:
        return self.tp * self.pp


class Advice(Struct, frozen=True):
    """``splits`` are the legal pairs, the best first; ``whole`` is the best one that uses every GPU."""

    model: ModelShape
    topology: ParallelTopology
    wanted: Request
    enough: Enough
    summary: str
    splits: tuple[Split, ...] = ()
    recommended: Split | None = None
    whole: Split | None = None
    #: serve.data_parallel that fills the machines with the recommended pair, each inside one; 0: none.
    replicas: int = 0
    #: What else is worth weighing, in sentences.
    further: tuple[str, ...] = ()
