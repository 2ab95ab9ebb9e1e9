"""Architectures that vLLM once had and 0.33 refuses. Source: ``_PREVIOUSLY_SUPPORTED_MODELS`` of vllm 0.33.0,
model_executor/models/registry.py: the class name in config.json, and the last release that has it."""

from __future__ import annotations

_LAST = {
    "0.9.2": """
Phi3SmallForCausalLM""",
    "0.10.2": """
DonutForConditionalGeneration MllamaForConditionalGeneration MotifForCausalLM Phi4FlashForCausalLM""",
    "0.12.0": """
Phi4MultimodalForCausalLM""",
    "0.22.0": """
JAISLMHeadModel""",
    "0.23.0": """
BaiChuanForCausalLM BaichuanForCausalLM BambaForCausalLM Dots1ForCausalLM
ErnieForSequenceClassification ErnieForTokenClassification ErnieModel InternLM2VEForCausalLM
InternLMForCausalLM MiniMaxForCausalLM MiniMaxM1ForCausalLM MiniMaxText01ForCausalLM
MiniMaxVL01ForConditionalGeneration QWenLMHeadModel QwenVLForConditionalGeneration
Tarsier2ForConditionalGeneration XverseForCausalLM""",
    "0.24.0": """
AquilaForCausalLM AquilaModel AyaVisionForConditionalGeneration Grok1ForCausalLM
Grok1ModelForCausalLM MantisForConditionalGeneration MusicFlamingoForConditionalGeneration
TarsierForConditionalGeneration""",
    "0.25.0": """
FuyuForCausalLM PersimmonForCausalLM TeleChatForCausalLM""",
    "0.26.0": """
OuroForCausalLM Plamo2ForCausalLM""",
    "0.28.0": """
ArcticForCausalLM ChameleonForConditionalGeneration Cheers CheersForConditionalGeneration
Fairseq2LlamaForCausalLM FireRedLIDForConditionalGeneration GritLM HCXVisionForCausalLM
MPTForCausalLM MptForCausalLM PrithviGeoSpatialMAE RWForCausalLM StableLMEpochForCausalLM""",
}
_RELEASE = {name: release for release, names in _LAST.items() for name in names.split()}


def last_release(architecture: str) -> str:
    """The last release of vLLM that has it; "" for one that was not removed, or never was there."""
    return _RELEASE.get(architecture, "")


def remark(architecture: str) -> str:
    """For a person; "" where nothing is to be said."""
    last = last_release(architecture)
    if not last:
        return ""
    return (
        f"vLLM 0.33 does not have {architecture} any more: the last release with it is {last} "
        "(serve.vllm_version), or another class serves it: see vLLM's list of supported models"
    )
