"""Lets the real vLLM, built for CPU, be placed by the real Ray as if its workers were on GPUs.

The stock CPU platform names no Ray resource, so vLLM refuses its Ray executor there. This plugin, loaded
through vLLM's own ``vllm.platform_plugins`` entry point, names the logical ``GPU`` resource that
``ray start --num-gpus=N`` announces. Scheduling, placement groups, the API server and the model are vLLM's.
"""


def register() -> str:
    """The platform class that vLLM is to load."""
    return "milepost_lab_platform.platform.LogicalGpuPlatform"
