"""A small model folder in the form of a Llama: configuration, two shards and their index. SIMULATED: its
weights are noise."""

from __future__ import annotations

import json
import random
from pathlib import Path

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 32,
    "vocab_size": 4096,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "_comment": "SIMULATED: the model of milepost's lab, noise",
}


def shapes() -> dict[str, list[int]]:
    """Tensors by name, as Llama names them."""
    wide, deep, words = 256, 1024, 4096
    found = {"model.embed_tokens.weight": [words, wide], "model.norm.weight": [wide]}
    for layer in range(4):
        name = f"model.layers.{layer}"
        found |= {f"{name}.self_attn.{one}_proj.weight": [wide, wide] for one in "qkvo"}
        found |= {f"{name}.mlp.{one}_proj.weight": [deep, wide] for one in ("gate", "up")}
        found |= {f"{name}.mlp.down_proj.weight": [wide, deep]}
        found |= {f"{name}.{one}_layernorm.weight": [wide] for one in ("input", "post_attention")}
    return {**found, "lm_head.weight": [words, wide]}


def write(folder: Path) -> None:
    """About 13 MB, the same every time."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    (folder / "generation_config.json").write_text('{"do_sample": true}')
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    names, noise, places = list(shapes().items()), random.Random(5141), dict[str, str]()
    half = len(names) // 2
    for number, part in enumerate((names[:half], names[half:]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        places |= {name: file for name, _ in part}
        (folder / file).write_bytes(shard(dict(part), noise))
    index = {"metadata": {"total_size": sum(map(size, shapes().values()))}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def size(shape: list[int]) -> int:
    """Bytes of a tensor of BF16."""
    count = 2
    for one in shape:
        count *= one
    return count


def shard(tensors: dict[str, list[int]], noise: random.Random) -> bytes:
    """A safetensors file: the length of its header, the header, the bytes."""
    header, at = {}, 0
    for name, shape in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size(shape)]}
        at += size(shape)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + noise.randbytes(at)
