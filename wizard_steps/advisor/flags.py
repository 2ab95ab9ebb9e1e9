"""What the flags of ``vllm serve`` ask of the memory, and those whose effect is not counted here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wizard_steps.advisor.memory import UTILISATION
from wizard_steps.advisor.overhead import Card
from wizard_steps.advisor.verdict import Request
from wizard_steps.cluster.flags import Flag, parse, value

#: Numbers as vLLM takes them: k is 1000, K is 1024 (``utils/argparse_utils.py`` human_readable_int).
_NUMBER = re.compile(r"(\d{1,12})(?:(\.\d{1,6})?([kmgt])|([KMGT]))?", re.ASCII)
_STEPS = "kmgt"
#: They change the size of the weights or of the KV cache, by how much only a start tells.
_NOT_COUNTED = (
    "--quantization",
    "--speculative-config",
    "--hf-overrides",
    "--cpu-offload-gb",
    "--kv-offloading-size",
    "--kv-cache-memory-bytes",
    "--num-gpu-blocks-override",
    "--enable-lora",
)
#: Types of 16 bits: all others make the weights larger or smaller than they are in the files.
_HALVES = ("auto", "half", "float16", "bfloat16")
#: Bytes of an element of the KV cache; the other types keep scales of their own beside the elements
#: (``config/cache.py`` CacheDType). 0: as the checkpoint sets it.
_KV_BYTES = {"": 0.0, "auto": 0.0, "float16": 2.0, "bfloat16": 2.0} | dict.fromkeys(
    ("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc"), 1.0
)


def wanted_by(words: Sequence[str]) -> Request:
    """The request that a server with these flags must hold. Never raises."""
    flags = parse(words)
    length = value(flags, "--max-model-len")
    return Request(
        max_len=number(length),
        longest=length.lower() in ("auto", "-1"),
        utilisation=_share(value(flags, "--gpu-memory-utilization")),
        kv_dtype_bytes=_KV_BYTES.get(value(flags, "--kv-cache-dtype"), 0.0),
        card=_card(number(value(flags, "--max-num-batched-tokens")), number(value(flags, "--max-num-seqs"))),
        not_counted=tuple(_not_counted(flags)),
    )


def number(text: str) -> int:
    """8192, 128k and 16K as numbers; 0 for what is none."""
    found = _NUMBER.fullmatch(text.strip())
    if not found:
        return 0
    whole, part, decimal, binary = found.groups(default="")
    if binary:
        return int(whole) << 10 * (1 + _STEPS.index(binary.lower()))
    return int(float(whole + part) * 1000 ** (1 + _STEPS.index(decimal))) if decimal else int(whole)


def _not_counted(flags: Sequence[Flag]) -> list[str]:
    found = [flag.name for flag in flags if flag.name in _NOT_COUNTED and not flag.off]
    if (dtype := value(flags, "--dtype")) and dtype not in _HALVES:
        found.append(f"--dtype {dtype[:20]}")
    if (kept := value(flags, "--kv-cache-dtype")) not in _KV_BYTES:
        found.append(f"--kv-cache-dtype {kept[:20]}")
    return list(dict.fromkeys(found))


def _card(batched: int, sequences: int) -> Card | None:
    """Set by hand, or None: then what vLLM takes for the GPU counts."""
    plain = Card(8192, 1024)
    if not (batched or sequences):
        return None
    return Card(batched or plain.batched_tokens, sequences or plain.sequences)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        return UTILISATION
    return share if 0 < share <= 1 else UTILISATION
