"""Models made on the spot, for machines without internet.

make_model.py FOLDER           a tiny Llama with random weights and heads of 64 for GPU kernels
make_model.py FOLDER --shape   Qwen3-30B-A3B's shape without weights, for rehearsals (`--load-format dummy`)
"""

import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig

from tests.real.mkmodel import tokenizer


def main(folder: Path) -> None:
    torch.manual_seed(23)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    tokenizer().save_pretrained(folder)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    print(f"{folder}: made")


def shape(folder: Path) -> None:
    """Its published dimensions: 48 layers, 128 experts, 4 KV heads; about 57 GiB in bfloat16."""
    config = Qwen3MoeConfig(
        architectures=["Qwen3MoeForCausalLM"],
        vocab_size=151936,
        hidden_size=2048,
        intermediate_size=6144,
        moe_intermediate_size=768,
        num_hidden_layers=48,
        num_attention_heads=32,
        num_key_value_heads=4,
        head_dim=128,
        num_experts=128,
        num_experts_per_tok=8,
        norm_topk_prob=True,
        max_position_embeddings=40960,
        dtype="bfloat16",
        bos_token_id=0,
        eos_token_id=1,
    )
    tokenizer().save_pretrained(folder)
    config.save_pretrained(folder)


if __name__ == "__main__":
    (shape if "--shape" in sys.argv else main)(Path(sys.argv[1]))
