"""A tiny Llama with random weights and heads of 64 for GPU kernels: make_model.py FOLDER."""

import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
