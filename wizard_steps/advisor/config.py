"""The fields of a model's config.json, read the way transformers reads them.

A field that the file does not name has the default of its ``model_type``'s config class (``defaults.json``,
taken from transformers 5.24); a field that the file sets to null has none. ``Infinity`` is a legal value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from wizard_steps.errors import UsageError
from wizard_steps.files import read_plain

#: A config.json is some KB, a list of quantised layers some 100 KB; anything larger (bytes) is not one.
LARGEST = 8 << 20


class UnknownArchitecture(Exception):
    """The numbers of this model cannot be derived: the message says why."""


class Config:
    """Fields of one part of a config.json. ``where`` is named in errors."""

    def __init__(
        self, own: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, where: str = "config.json"
    ) -> None:
        self.own, self.defaults, self.where = own, defaults or {}, where

    def get(self, name: str) -> Any:
        return self.own[name] if name in self.own else self.defaults.get(name)

    def whole(self, *names: str) -> int:
        """The first of these fields that holds a number above 0; the file's own come before defaults.

        A list of whole numbers counts as its largest. 0 where there is none, or a negative one.
        """
        for name in names:
            if value := self._whole(name, self.own.get(name)):
                return value
        for name in names:
            # A field that the file sets to 0 or null has no default.
            if name not in self.own and (value := self._whole(name, self.defaults.get(name))):
                return value
        return 0

    def need(self, *names: str) -> int:
        value = self.whole(*names)
        if not value:
            raise UsageError(
                f"{self.where}: no {names[0]}: this is not the config.json of a text-generating model"
            )
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.get(name)
        return value if isinstance(value, bool) else default

    def words(self, name: str) -> list[str]:
        value = self.own.get(name)
        return [str(one) for one in value] if isinstance(value, list) else []

    def numbers(self, name: str) -> list[int]:
        """A list of whole numbers; [] where the field is something else."""
        value = self.own.get(name)
        plain = isinstance(value, list) and all(isinstance(one, int) for one in value)
        return [int(one) for one in value] if plain and isinstance(value, list) else []

    def real(self, name: str, default: float) -> float:
        value = self.get(name)
        usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if usable else default

    def part(self, name: str) -> Mapping[str, Any]:
        value = self.own.get(name)
        return value if isinstance(value, Mapping) else {}

    def _whole(self, name: str, value: Any) -> int:
        if isinstance(value, list) and value and all(isinstance(one, int) for one in value):
            value = max(value)
        if value is None or isinstance(value, bool | list | Mapping):
            return 0
        if not isinstance(value, int | float):
            raise UsageError(f"{self.where}: {name}: {value!r:.60} is not an integer")
        # -1 stands for "not set" in many configs.
        if not math.isfinite(value) or value < 0:
            return 0
        if value != int(value):
            raise UsageError(f"{self.where}: {name}: {value!r:.60} is not an integer")
        return int(value)


@cache
def defaults_of(model_type: str) -> Mapping[str, Any]:
    """Defaults of transformers' config class; empty for a type that transformers does not have."""
    found = _all_defaults().get(model_type)
    return found if isinstance(found, Mapping) else {}


@cache
def _all_defaults() -> Mapping[str, Any]:
    data = json.loads((Path(__file__).parent / "defaults.json").read_text())
    return data if isinstance(data, dict) else {}


def text_config(config: Mapping[str, Any], depth: int = 4) -> Mapping[str, Any]:
    """The language part of a multimodal config; the config itself where it has no parts."""
    for name in ("text_config", "llm_config", "language_config", "thinker_config", "language_model_config"):
        inner = config.get(name)
        if isinstance(inner, Mapping) and inner and depth:
            return text_config(inner, depth - 1)
    return config


def object_of(text: str) -> dict[str, Any] | None:
    """A JSON object with Infinity and NaN allowed, as in real config.json files; None for anything else."""
    try:
        data = json.loads(text) if len(text) <= LARGEST else None
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a file. UsageError names the file and what is wrong with it."""
    try:
        data = json.loads(read_plain(file, LARGEST).decode("utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{file}: not found. Give the model's folder, its config.json or its name on the Hugging Face Hub"
        ) from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{file}: holds no JSON object")
    return data
