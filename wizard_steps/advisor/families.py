"""The model types whose shape was checked against transformers' own parameter count and vLLM's model files.

Everything else is an unknown architecture, and said to be one.
"""

from __future__ import annotations

from collections.abc import Callable

from wizard_steps.advisor import dialects, special
from wizard_steps.advisor.config import Config, UnknownArchitecture
from wizard_steps.advisor.stack import Family, Stack, decoder

_PLAIN = """
llama mistral ministral3 qwen2 qwen3 gemma cohere granite phi3 olmo olmo2 glm glm4 exaone internlm2
internlm3 seed_oss smollm3 iquestcoder hyperclovax ernie4_5 cwm solar mimo minicpm telechat3 xverse
aquila yi baichuan orion qwen2_vl_text qwen2_5_vl_text qwen3_vl_text glm4v_text glm_ocr_text
hunyuan_v1_dense stablelm bitnet paddleocr_vl_text qwen2_5_omni_text teleflm
molmo2_text granite_swa PanguEmbedded"""
_TWO_MATRICES = """gpt_neox gptj bloom starcoder2 nemotron apertus arcee phi jais2 persimmon codegen"""
_EXPERTS = """mixtral qwen2_moe qwen3_moe olmoe phimoe granitemoe granitemoeshared glm4_moe glm4v_moe_text
ernie4_5_moe hunyuan_v1_moe dots1 minimax_m2 bailing_moe bailing_moe_v2 hy_v3
solar_open sarvam_moe qwen3_vl_moe_text qwen3_omni_moe_text flex_olmo mellum deepseek grok-1
granitemoe_swa"""
_LATENT = """deepseek_v3 deepseek_v32 kimi_k2 glm_moe_dsa glm4_moe_lite mistral4 axk1 sarvam_mla
pangu_ultra_moe"""

#: No layer has attention.
_NEVER = 1 << 30
_ONLY_STATES = Family(pattern="state", every=(_NEVER,), state="mamba1", attention_free=True)

FAMILIES: dict[str, Family] = {
    **{name: Family() for name in _PLAIN.split()},
    **{name: Family(gated=False) for name in _TWO_MATRICES.split()},
    **{name: Family(moe=True) for name in _EXPERTS.split()},
    **{name: Family(mla=True, moe=True) for name in _LATENT.split()},
    "youtu": Family(mla=True),
    "gemma2": Family(pattern="sliding", every=(2,)),
    "vaultgemma": Family(pattern="sliding", every=(2,)),
    "gemma3_text": Family(pattern="sliding", every=("sliding_window_pattern", "_sliding_window_pattern", 6)),
    "gemma3n_text": Family(build=special.gemma),
    "gemma4_text": Family(build=special.gemma),
    "gemma4_unified_text": Family(build=special.gemma),
    "cohere2": Family(pattern="sliding", every=("sliding_window_pattern", 4)),
    "exaone4": Family(pattern="sliding", every=("sliding_window_pattern",)),
    "exaone_moe": Family(moe=True, pattern="sliding", every=("sliding_window_pattern",)),
    "olmo3": Family(pattern="sliding", every=(4,)),
    "gpt_oss": Family(moe=True, pattern="sliding", every=(2,)),
    "afmoe": Family(moe=True, pattern="sliding", every=("global_attn_every_n_layers",), gate=True),
    "llama4_text": Family(build=dialects.llama4),
    "qwen3_next": Family(moe=True, pattern="state", every=("full_attention_interval", 4), state="delta",
                         gate=True),
    "qwen3_5_moe_text": Family(moe=True, pattern="state", every=("full_attention_interval", 4),
                               state="delta", gate=True),
    "qwen3_5_text": Family(pattern="state", every=("full_attention_interval", 4), state="delta", gate=True),
    "olmo_hybrid": Family(pattern="state", every=(4,), state="delta"),
    "granitemoehybrid": Family(moe=True, state="mamba2"),
    "falcon_h1": Family(state="beside"),
    "mamba": _ONLY_STATES, "falcon_mamba": _ONLY_STATES,
    "mamba2": Family(pattern="state", every=(_NEVER,), state="mamba2", attention_free=True),
    "minimax": Family(moe=True, pattern="state", every=(2,), state="lightning"),
    "nemotron_h": Family(build=special.nemotron_h),
    "nemotron-nas": Family(build=special.nemotron_nas),
    "mimo_v2_flash": Family(build=special.mimo_v2),
    "step3p5": Family(build=special.step3p5),
    "longcat_flash": Family(build=special.longcat_flash),
    "minicpm3": Family(build=special.minicpm3),
    "deepseek_v2": Family(mla=True, moe=True),
    "dbrx": Family(build=dialects.dbrx), "mpt": Family(build=dialects.mpt),
    "falcon": Family(build=dialects.falcon),
    "chatglm": Family(build=dialects.chatglm),
    "gpt2": Family(build=dialects.with_positions), "gpt_bigcode": Family(build=dialects.with_positions),
    "opt": Family(build=dialects.with_positions),
    "minimax_text_01": Family(build=dialects.minimax_text), "minimax_m1": Family(build=dialects.minimax_text),
    "jamba": Family(build=dialects.jamba), "bamba": Family(build=dialects.bamba),
    "kimi_linear": Family(build=dialects.kimi_linear),
    "lfm2": Family(build=dialects.lfm2), "lfm2_moe": Family(build=dialects.lfm2),
    "zamba2": Family(build=special.zamba2),
    "laguna": Family(build=dialects.laguna),
}  # fmt: skip

#: Fields that change the shape, and the model types in which they are read. Anywhere else they make a model
#: unknown instead of wrong.
_TELLING: dict[str, Callable[[Family], bool]] = {
    "kv_lora_rank": lambda f: f.mla or f.build is not None,
    "block_configs": lambda f: f.build is special.nemotron_nas,
    "hybrid_override_pattern": lambda f: f.build is special.nemotron_h,
    "linear_attn_config": lambda f: f.state == "kda" or f.build is dialects.kimi_linear,
    "compress_ratios": lambda f: False,
    "attn_type_list": lambda f: f.build is dialects.minimax_text,
    "full_attention_interval": lambda f: f.state != "",
    "attn_layer_period": lambda f: f.build is dialects.jamba,
    "num_kv_shared_layers": lambda f: f.build is special.gemma,
    "hybrid_layer_pattern": lambda f: f.build is special.mimo_v2,
    "use_cla": lambda f: False,
    "per_layer_config": lambda f: f.build is special.gemma,
    "attn_output_gate": lambda f: f.gate,
    "num_attention_heads_per_layer": lambda f: f.build in (None, dialects.laguna),
}
_EXPERT_FIELDS = ("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")


def family_of(model_type: str, c: Config) -> Family:
    """UnknownArchitecture for a type that was not checked, or a config with fields that type had not."""
    family = FAMILIES.get(model_type)
    if family is None:
        what = f"the model type {model_type[:60]} was not checked" if model_type else "it names no model type"
        raise UnknownArchitecture(what)
    for name, reads in _TELLING.items():
        if c.own.get(name) and not reads(family) and not _plain(name, c):
            raise UnknownArchitecture(f"{name} is not known of the model type {model_type}")
    plain = not family.moe and family.build is None
    if plain and any(c.whole(name) > 1 for name in _EXPERT_FIELDS if name in c.own):
        raise UnknownArchitecture(f"experts are not known of the model type {model_type}")
    return family


def _plain(name: str, c: Config) -> bool:
    """MiniMax-M2 still lists the kind of each layer: all are softmax attention."""
    return name == "attn_type_list" and set(c.numbers(name)) == {1}


def stack_of(model_type: str, c: Config) -> Stack:
    """The layers of a config. UnknownArchitecture where they cannot be told."""
    family = family_of(model_type, c)
    return family.build(c) if family.build else decoder(c, family)


#: Model types, and architectures around a common language model, whose class in vLLM 0.33 is not SupportsPP.
_NO_PIPELINE = frozenset(
    ("mamba2", "zamba2", "gemma3n_text", "paddleocr_vl_text", "Idefics3ForConditionalGeneration",
     "SmolVLMForConditionalGeneration")
)  # fmt: skip


def without_pipeline(model_type: str, architecture: str = "") -> bool:
    return not _NO_PIPELINE.isdisjoint((model_type, architecture))
