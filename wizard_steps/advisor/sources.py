"""Where a model's numbers come from, best first: a folder, the Hugging Face cache here, the Hub.

Of the weights: tensors of the files, the files' sizes, then arithmetic from the config.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wizard_steps.advisor import hub
from wizard_steps.advisor.config import read_json
from wizard_steps.advisor.files import checkpoint, refuse_gguf
from wizard_steps.advisor.model import ModelShape, with_weights
from wizard_steps.advisor.shape import parse_config
from wizard_steps.errors import UsageError

MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def find_model(name: str, *, ask_hub: bool = True) -> ModelShape:
    """A folder, a config.json or params.json, or a name as the Hub has it. UsageError says what is wrong."""
    path = Path(name).expanduser()
    if path.exists() or not MODEL_ID.fullmatch(name):
        return load_model(path)
    for folder in cached(name):
        if (folder / "config.json").is_file():
            return load_model(folder)
    if not ask_hub or os.environ.get("HF_HUB_OFFLINE") in ("1", "true"):
        raise UsageError(f"{name}: no such folder, not in the Hugging Face cache, and the Hub is not asked")
    found = hub.ask(name)
    return parse_config(
        found.config, side=found.side, weight_bytes=found.size, weights_from=found.source, where=name
    )


def config_of(name: str) -> Mapping[str, Any]:
    """The config.json behind the same names, as it is. Raises UsageError."""
    path = Path(name).expanduser()
    if path.exists() or not MODEL_ID.fullmatch(name):
        return read_json(_config_file(path))
    for folder in cached(name):
        if (folder / "config.json").is_file():
            return read_json(folder / "config.json")
    return hub.ask(name).config


def load_model(path: Path) -> ModelShape:
    """Read a config.json, a params.json or a model folder. Raises UsageError that names file and field."""
    if path.suffix == ".gguf":
        refuse_gguf(path)
    file = _config_file(path)
    config = read_json(file)
    shape = parse_config(config, side=_side(file.parent), where=str(file))
    found = checkpoint(file.parent, shape.layers)
    if not found.size:
        return shape
    return with_weights(shape, found.size, found.source, found.spare)


def _config_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in ("config.json", "params.json"):
        if (path / name).is_file():
            return path / name
    checkpoint(path)
    return path / "config.json"


def cached(model: str) -> list[Path]:
    """Snapshots of a model in this machine's Hugging Face cache, the newest first."""
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub")
    snapshots = cache / f"models--{model.replace('/', '--')}" / "snapshots"
    try:
        return sorted(snapshots.iterdir(), key=lambda one: -one.stat().st_mtime) if snapshots.is_dir() else []
    except OSError:
        return []


def _side(folder: Path) -> Mapping[str, Any] | None:
    file = folder / "hf_quant_config.json"
    return read_json(file) if file.is_file() else None
