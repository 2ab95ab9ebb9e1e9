"""Which tensor and pipeline parallel sizes fit a model and a set of machines: pure functions of facts."""

from wizard_steps.advisor.effect import effect_of
from wizard_steps.advisor.memory import kv_bytes_per_token, kv_tokens, stage_layers
from wizard_steps.advisor.picture import picture
from wizard_steps.advisor.plan import Advice, Box, Split, Topology, Wanted, advise
from wizard_steps.advisor.shape import ModelShape, load_model, parse_config

__all__ = [
    "Advice",
    "Box",
    "ModelShape",
    "Split",
    "Topology",
    "Wanted",
    "advise",
    "effect_of",
    "kv_bytes_per_token",
    "kv_tokens",
    "load_model",
    "parse_config",
    "picture",
    "stage_layers",
]
