"""What of a GPU is neither weights nor KV cache: a range, fitted to what vLLM printed on an H100.

vLLM measures it at start (``v1/worker/gpu_worker.py`` determine_available_memory): the peak of one forward
pass of ``max_num_batched_tokens`` tokens, logits of ``max_num_seqs`` sequences, CUDA and NCCL, and, since
0.21, an estimate of the CUDA graphs. ``tests/advisor/measured.json`` holds the runs behind the factors.
"""

from __future__ import annotations

from msgspec import Struct

from wizard_steps.advisor.model import ModelShape

GIB = 1 << 30
#: GiB of CUDA's context and libraries, of NCCL's buffers once GPUs work together, of CUDA graphs; what MoE
#: kernels take besides their activations; and graphs of MLA models, which keep larger workspaces.
_BASE, _NCCL, _GRAPHS, _EXPERTS, _LATENT_GRAPHS = 0.4, 0.6, 0.6, 1.0, 3.5
#: Query and value elements of an MLA head that a pass keeps (192 + 128, twice).
_LATENT_HEAD = 640
#: How far runs were from the likely number, with room for other cards and releases.
_LOW, _HIGH = 0.6, 1.35
#: GiB less at least: a model of four layers took that much less for its graphs.
_SMALL = 0.25


class Card(Struct, frozen=True):
    """vLLM's defaults for a GPU: tokens of one forward pass, and sequences at once."""

    batched_tokens: int
    sequences: int


class Range(Struct, frozen=True):
    """Bytes: at least, likely, at most."""

    low: int
    likely: int
    high: int


def card(gpu_bytes: int, name: str = "") -> Card:
    """Source: ``engine/arg_utils.py`` get_batch_defaults, of ``vllm serve``. Without a name an 80 GB card
    counts as Hopper, which takes more."""
    if gpu_bytes >= 160 * GIB:
        return Card(16384, 1024)
    small = any(word in name.lower() for word in ("a100", "gb10"))
    return Card(2048, 256) if gpu_bytes < 70 * GIB or small else Card(8192, 1024)


def overhead(shape: ModelShape, tp: int, pp: int, of: Card | None = None) -> Range:
    """Bytes on one GPU of ``tp`` x ``pp``."""
    of = of or Card(8192, 1024)
    tokens = of.batched_tokens
    dense = tokens * (2 * shape.hidden + shape.intermediate / tp) * 2
    likely = (_BASE + _GRAPHS + (_NCCL if tp * pp > 1 else 0)) * GIB
    if shape.experts:
        width = (shape.expert_intermediate or shape.intermediate) / tp
        each = 2 * shape.hidden + 3 * width
        # 0.85: the two workspaces of fused_moe overlap in part.
        dense = max(dense, 0.85 * tokens * max(1, shape.experts_per_token) * each * 2)
        likely += _EXPERTS * GIB + of.sequences * shape.vocab * 4
    if shape.mla_dim:
        dense += tokens * shape.heads / tp * _LATENT_HEAD * 2
        likely += _LATENT_GRAPHS / tp * GIB
    likely += max(dense, of.sequences * shape.vocab * 4)
    return Range(int(likely * _LOW - _SMALL * GIB), int(likely), int(likely * _HIGH))
