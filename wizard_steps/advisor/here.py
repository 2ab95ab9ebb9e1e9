"""What this machine already knows of a model: a config.json in a folder or in the Hugging Face cache.

Nothing is downloaded. Where there is none, the size is guessed from the model's name, and said to be a guess.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from msgspec import Struct

from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.sources import MODEL_ID, cached, load_model
from wizard_steps.errors import UsageError

#: A config.json is some KB; anything this large (bytes) is something else.
_LARGEST = 1 << 20
#: Billions of parameters as names say them: 70B, 1.5b, 8x7B.
_SIZE = re.compile(r"(?<![\w.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d+)?)[Bb](?![A-Za-z0-9])")
_FOUR_BITS = re.compile(r"AWQ|GPTQ|INT4|W4A|4[-_]?bit|NVFP4|MXFP4|FP4|gpt-oss", re.IGNORECASE)
_EIGHT_BITS = re.compile(r"FP8|INT8|W8A|8[-_]?bit", re.IGNORECASE)


class KnownMachines(Struct, frozen=True):
    """``weight_bytes`` is 0 where nothing says how large the model is; ``source`` is for a person."""

    shape: ModelShape | None = None
    weight_bytes: int = 0
    source: str = ""


def known(model: str) -> KnownMachines:
    """Never raises, never reads more than the small files beside a config.json."""
    for folder in _folders(model):
        try:
            file = folder / "config.json"
            if file.is_file() and file.stat().st_size <= _LARGEST:
                shape = load_model(folder)
                if shape.weight_bytes:
                    return KnownMachines(shape, shape.weight_bytes, "from its config.json on this machine")
                return msgspec.structs.replace(_by_name(model), shape=shape)
        except (UsageError, OSError, ValueError):
            continue
    return _by_name(model)


def _folders(model: str) -> list[Path]:
    if model.startswith(("/", "~/")):
        return [Path(model.replace("~", str(Path.home()), 1) if model.startswith("~") else model)]
    return cached(model) if MODEL_ID.fullmatch(model) else []


def _by_name(model: str) -> KnownMachines:
    """``8x7B`` counts eight experts in full: a little too much, for they share their attention."""
    name = model.rpartition("/")[2]
    found = _SIZE.search(name)
    if not found:
        return KnownMachines()
    billions = float(found[2]) * int(found[1] or 1)
    bits = 4 if _FOUR_BITS.search(name) else 8 if _EIGHT_BITS.search(name) else 16
    return KnownMachines(None, int(billions * 1e9 * bits / 8), f"by its name, {bits} bits each")
