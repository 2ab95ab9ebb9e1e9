"""The parameters of a model as transformers counts them on a node, on the meta device: no weights are needed.

Better than arithmetic from config.json, and there for architectures that are not known here; less good than
the sizes of the checkpoint's files. Of a quantised checkpoint it tells no size in bytes: what is quantised
is not in the architecture.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from wizard_steps.advisor.config import text_config
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.shape import ESTIMATED
from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import UsageError
from wizard_steps.model import Cmd
from wizard_steps.node.places import place_of
from wizard_steps.node.program import program

#: The most that is believed of a node's answer.
_MOST = 10**15
#: Bytes of one word of a command (Linux: 128 KiB).
_WORD = 100_000
#: Sizes of quantised tensors and the model's own code: not asked.
_LEFT_OUT = ("quantization_config", "auto_map")


class Counted(Struct, frozen=True):
    """``parameters`` is 0 where ``problem`` says why they were not counted."""

    parameters: int = 0
    transformers: str = ""
    problem: str = ""


def command(cluster: Cluster, config: Mapping[str, Any]) -> Cmd:
    """Counts on the head with the Python that will serve the model: of the venv, or of the image.

    Raises UsageError for a config that is too long for a command.
    """
    text = json.dumps({name: value for name, value in config.items() if name not in _LEFT_OUT})
    if len(text) > _WORD:
        raise UsageError(f"config.json: {len(text):,} characters without its quantisation: too long to count")
    place = place_of(cluster)
    words = shlex.join(["-I", "-c", program("count_parameters.py"), text])
    cmd = Cmd(
        "count", f"{place.python} {words}\n", timeout=300.0, show="(transformers counts the parameters)"
    )
    return place.trial(cluster.head, cmd)


def read(text: str) -> Counted:
    """The last answer in what a node printed, else its last line as the problem. Never raises."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        try:
            return _checked(msgspec.json.decode(line, type=Counted))
        except (msgspec.DecodeError, UnicodeError):
            continue
    return Counted(problem=lines[-1][:300] if lines else "no answer")


def _checked(found: Counted) -> Counted:
    if not found.problem and not 0 < found.parameters < _MOST:
        return Counted(problem=f"it counted {found.parameters} parameters")
    return found


def with_count(shape: ModelShape, found: Counted, node: str, config: Mapping[str, Any]) -> ModelShape:
    """The same model with its weights by their count; sizes of files, of the Hub or of a log stay."""
    if found.problem:
        return _noted(shape, f"not counted by transformers on {node}: {found.problem}")
    said = f"{found.parameters:,} parameters (transformers {found.transformers} on {node}, without weights)"
    if shape.weights_from not in ("", ESTIMATED):
        return _noted(shape, said)
    if _quantised(config):
        return _noted(shape, f"{said}; their size is not known: the checkpoint is quantised")
    size = int(found.parameters * min(shape.dtype_bytes, 2.0))
    return msgspec.structs.replace(shape, weight_bytes=size, weights_from=said, weights_off=0.02)


def _noted(shape: ModelShape, note: str) -> ModelShape:
    return msgspec.structs.replace(shape, notes=(*shape.notes, note))


def _quantised(config: Mapping[str, Any]) -> bool:
    return any(part.get("quantization_config") for part in (config, text_config(config)))
