"""What the files of a checkpoint say of its weights: tensors in safetensors headers, or an index.

A header names dtype and shape of each tensor; nothing but headers is read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from wizard_steps.advisor.config import read_json
from wizard_steps.errors import UsageError
from wizard_steps.files import open_plain
from wizard_steps.model import counted

#: safetensors refuses larger headers itself (bytes).
_LARGEST_HEADER = 100 << 20
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip
_MTP = re.compile(r"(?:^|\.)mtp\.|^mtp|\.(?:eh_proj|enorm|hnorm)\b|mtp_block")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d{1,5})\.")


class Checkpoint(Struct, frozen=True):
    """``size`` in bytes, 0 when nothing is there; ``spare``: of those, bytes of layers that only guess
    ahead (MTP), which vLLM loads for speculative decoding only."""

    size: int = 0
    source: str = ""
    spare: int = 0


def checkpoint(folder: Path, layers: int = 0) -> Checkpoint:
    """The best that a folder tells. ``layers``: how many the config names, to know what comes after them."""
    if not folder.is_dir():
        return Checkpoint()
    if gguf := next(folder.glob("*.gguf"), None):
        refuse_gguf(gguf)
    index = folder / "model.safetensors.index.json"
    listed = _index(index) if index.is_file() else None
    names = sorted(set(listed[1].values())) if listed else _weight_files(folder)
    present = [folder / name for name in names if _inside(name) and (folder / name).is_file()]
    if present and len(present) == len(names):
        found = _headers(present, layers)
        if found.size:
            return found
    if listed and listed[0]:
        return Checkpoint(listed[0], index.name)
    if listed:
        return Checkpoint()
    size = sum(file.stat().st_size for file in present)
    return Checkpoint(size, f"size of {_files(len(present))}") if size else Checkpoint()


def refuse_gguf(file: Path) -> None:
    raise UsageError(
        f"{file}: GGUF is not judged here: vLLM's support of it is a plugin, slow and for single files. "
        "Take the model's safetensors repository"
    )


def _weight_files(folder: Path) -> list[str]:
    """safetensors files without the second copy that Mistral's repositories hold (consolidated*)."""
    names = sorted(file.name for file in folder.glob("*.safetensors"))
    others = [name for name in names if not name.startswith("consolidated")]
    return others or names


def wanted_files(names: Iterable[str]) -> list[str]:
    """Of the files of a repository, those whose sizes add up to the weights."""
    weights = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    others = [name for name in weights if not name.startswith("consolidated")]
    return others or weights


def _inside(name: str) -> bool:
    return "/" not in name and "\\" not in name and not name.startswith(".")


def _index(file: Path) -> tuple[int, dict[str, str]] | None:
    data = read_json(file)
    meta, names = data.get("metadata"), data.get("weight_map")
    total = meta.get("total_size") if isinstance(meta, Mapping) else 0
    usable = (
        isinstance(total, int | float) and not isinstance(total, bool) and math.isfinite(total) and total > 0
    )
    tensors = {str(k): str(v) for k, v in names.items()} if isinstance(names, Mapping) else {}
    return int(total) if usable and total else 0, tensors


def _headers(files: list[Path], layers: int) -> Checkpoint:
    size = spare = 0
    for file in files:
        for name, held in tensors(file):
            size += held
            found = _LAYER.search(name)
            if (layers and found and int(found[1]) >= layers) or _MTP.search(name):
                spare += held
    return Checkpoint(size - spare, f"tensors in {_files(len(files))}", spare)


def tensors(file: Path) -> Iterator[tuple[str, int]]:
    """(name, bytes) of each tensor of a safetensors file; nothing where it is not one (or cut short)."""
    try:
        with open_plain(file, links=True) as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if 2 <= length <= _LARGEST_HEADER else {}
    except (OSError, ValueError, RecursionError):
        return
    for name, one in header.items() if isinstance(header, dict) else ():
        if name != "__metadata__" and isinstance(one, dict) and (held := _tensor(one)):
            yield str(name), held


def _tensor(one: Mapping[str, Any]) -> int:
    bits, shape = _BITS.get(str(one.get("dtype")), 0), one.get("shape")
    if not bits or not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        return 0
    return math.prod(shape) * bits // 8


def _files(count: int) -> str:
    return counted(count, "safetensors file")
