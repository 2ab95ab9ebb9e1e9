"""Memory of well-known GPUs by name, in GiB as nvidia-smi counts it."""

from __future__ import annotations

import re

#: GiB of one GPU when nobody says: an 80 GB card.
ASSUMED = 79.6
_GIB = {
    "h100": 79.6, "h100nvl": 93.6, "h200": 140.4, "h20": 95.6, "h800": 79.6, "gh200": 95.6, "b200": 179.1,
    "b300": 268.6,
    "gb200": 184.8, "gb300": 277.0, "a100": 80.0, "a10040gb": 40.0, "a800": 80.0, "a10": 22.5, "a10g": 22.5,
    "a40": 45.0, "a6000": 48.0, "6000ada": 48.0, "l4": 22.5, "l40": 45.0, "l40s": 45.0, "t4": 15.0,
    "v100": 32.0, "v10016gb": 16.0, "rtxpro6000": 95.6, "4090": 24.0, "3090": 24.0, "5090": 31.8, 
    "gb10": 119.7, "dgxspark": 119.7,
}  # fmt: skip


def card_named(name: str) -> float:
    """GiB of a GPU by a name such as ``H100``, ``RTX 4090`` or ``nvidia-l40s``; 0 for one not known."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    for word in ("nvidia", "geforce", "tesla"):
        plain = plain.removeprefix(word)
    return _GIB.get(plain) or _GIB.get(plain.removeprefix("rtx")) or _GIB.get(plain.removesuffix("80gb"), 0.0)


def known_names() -> str:
    return ", ".join(_GIB)
