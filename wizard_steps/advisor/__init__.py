"""Which tensor and pipeline parallel sizes fit a model and a set of machines: pure functions of facts."""

from wizard_steps.advisor.effect import effect_of
from wizard_steps.advisor.memory import kv_bytes_per_token, kv_tokens, stage_layers
from wizard_steps.advisor.model import ModelShape
from wizard_steps.advisor.picture import picture
from wizard_steps.advisor.plan import Advice, Box, ParallelTopology, Request, Split, advise
from wizard_steps.advisor.shape import parse_config
from wizard_steps.advisor.sources import find_model, load_model

__all__ = [
    "Advice",
    "Box",
    "ModelShape",
    "ParallelTopology",
    "Request",
    "Split",
    "advise",
    "effect_of",
    "find_model",
    "kv_bytes_per_token",
    "kv_tokens",
    "load_model",
    "parse_config",
    "picture",
    "stage_layers",
]
