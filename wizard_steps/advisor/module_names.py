"""How checkpoints name the modules of a layer, and which names or patterns of a config mean one of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

from wizard_steps.advisor.blocks import LayerPart
from wizard_steps.advisor.config import UnknownArchitecture

#: Other names for the same module in checkpoints.
_ALIASES = tuple(
    (re.compile(other), plain)
    for other, plain in (
        (r"\b(?:block_sparse_moe|feed_forward)\b", "mlp"), (r"\bshared_mlp\b", "mlp.shared_experts"),
        (r"\b(?:self_)?attention\.", "self_attn."), (r"\bshared_expert\b", "shared_experts"),
        # Step 3.5; and checkpoints that keep all experts of a layer as one tensor.
        (r"(?:\bmoe\.)?\bshare_expert\b", "mlp.shared_experts"),
        (r"\bmoe\.(?=(?:gate|up|down)_proj$)", "mlp.experts."),
        (r"(?<=\bexperts)\.(?:gate_up|gate|up|down)_proj$", ""),
    )
)  # fmt: skip
#: The matrix of which another is a part in checkpoints that keep them as one.
_FUSED = re.compile(r"\b(?:([qkv])|gate|up)_proj$")
_LAYER = re.compile(r"layers\.(\d+)\.")
#: Modules of a layer that weigh next to nothing: they are not parts of their own here.
_SMALL = re.compile(r"norm|gate$|router|conv1d|in_proj_b?a?$|_scale$|indexer|weights_proj")
#: Modules outside of the layers: towers and draft heads.
_OUTSIDE = re.compile(r"visual|vision|audio|mtp|projector|merger|blocks\.")
#: What follows the name of all experts of a layer in the name of one.
_EXPERT = re.compile(r"(?<=\bexperts)\.\d+\..*$")
_PREFIX = re.compile(r"^(?:model\.|language_model\.|backbone\.|transformer\.|thinker\.)+")


def stays_plain(pattern: str, name: str, part: LayerPart) -> bool:
    """Whether a module that stays plain covers this one: exact, a parent of it, glob, or ``re:``."""
    if pattern.startswith("re:"):
        return _regex_matches(pattern[3:], name, part)
    pattern = canonical(pattern)
    if "*" in pattern:
        return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}.*")
    if _covers(pattern, name) or pattern == fused(name):
        return True
    # A bare word names any module that is called so: "self_attn", "mlp", "lm_head", "q_proj".
    return "." not in pattern and pattern in name.split(".")


def targeted(target: str, name: str, part: LayerPart) -> bool:
    """Whether a quantised module that is named covers this one. ``Linear`` is the rest, but for the head."""
    if target == "Linear":
        return name.startswith("layers.")
    if target.startswith("re:"):
        return _regex_matches(target[3:], name, part)
    return _covers(target, name) or target == fused(name)


def _covers(module: str, name: str) -> bool:
    return module == name or name.startswith(f"{module}.")


def fused(name: str) -> str:
    """The name under which Phi-3's checkpoints, and vLLM, keep the matrix: qkv_proj or gate_up_proj."""
    return _FUSED.sub(lambda found: "qkv_proj" if found[1] else "gate_up_proj", name)


def _regex_matches(pattern: str, name: str, part: LayerPart) -> bool:
    """The names of checkpoints have prefixes and, for experts, numbers: both are tried.

    A pattern of a config file is not trusted with time: none that is long or nests repeats is tried.
    """
    if (
        len(pattern) > 200
        or re.search(r"[*+}]\)?[*+{]|\)[*+{]", pattern)
        or len(re.findall(r"[*+]", pattern)) > 5
    ):
        raise UnknownArchitecture("a pattern of its quantisation is too involved to follow")
    names = [name, fused(name)]
    if part.kind == "experts":
        names = [f"{name}.0.{one}" for one in ("gate_proj", "up_proj", "w1")] + names
    starts = ("model.", "", "model.language_model.", "language_model.model.", "backbone.")
    candidates = [start + one for one in dict.fromkeys(names) for start in starts]
    try:
        return any(re.match(pattern, one) for one in candidates)
    except re.error:
        return False


def canonical(name: str) -> str:
    """A module's name without the prefixes and spellings in which checkpoints differ."""
    name = _PREFIX.sub("", name.strip().lstrip("*."))
    for other, plain in _ALIASES:
        name = other.sub(plain, name)
    return name


def one_for_all(name: str) -> str:
    """Its canonical name; of one expert that of all experts of the layer."""
    return _EXPERT.sub("", canonical(name))


def unplaced(named: Sequence[str], parts: Sequence[Sequence[LayerPart]]) -> str:
    """A module of the layers that is named as quantised, and is none that is known here; "" where all are.

    Then the sizes of the layers' parts are not those of the checkpoint.
    """
    known = {f"layers.{i}.{part.name}": part for i, layer in enumerate(parts) for part in layer}
    names = known.keys() | {fused(name) for name in known}
    above = {name.rsplit(".", up)[0] for name in known for up in (1, 2)}
    for one in named:
        if one.startswith("re:"):
            if not any(_regex_matches(one[3:], name, part) for name, part in known.items()):
                return one
        elif found := _LAYER.match(one):
            inside = int(found[1]) < len(parts) and not _SMALL.search(one)
            if inside and one not in names and one not in above:
                return one
        elif one not in ("Linear", "lm_head", "embed_tokens") and not _OUTSIDE.search(one):
            return one
    return ""
