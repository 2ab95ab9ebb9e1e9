"""vLLM's CPU platform with a Ray resource, and with the two classes that several hosts need."""

from typing import Any

from vllm.platforms.cpu import CpuPlatform

_HERE = "milepost_lab_platform.workers"


class LogicalGpuPlatform(CpuPlatform):  # type: ignore[misc]
    ray_device_key: str = "GPU"

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        parallel = vllm_config.parallel_config
        if parallel.worker_cls == "auto":
            parallel.worker_cls = f"{_HERE}.PipelineCpuWorker"
        super().check_and_update_config(vllm_config)

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        return f"{_HERE}.HostAwareCommunicator"
