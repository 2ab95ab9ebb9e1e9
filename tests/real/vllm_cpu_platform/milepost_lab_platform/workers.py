"""The two places where vLLM 0.32's CPU backend assumes one host or a warm-up."""

import socket
from typing import Any

import torch.distributed as dist
from vllm.distributed import get_pp_group
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator
from vllm.v1.worker.cpu_worker import CPUWorker


class HostAwareCommunicator(CpuCommunicator):  # type: ignore[misc]
    """Gloo over TCP between hosts; shared memory only where it is really shared.

    vLLM compares a name made of the rendezvous port, which is the same on every host of the group,
    and would then look for the other host's segments in its own /dev/shm.
    """

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        names: list[str | None] = [None] * self.world_size
        dist.all_gather_object(names, socket.gethostname(), group=self.device_group)
        one_host = all(name == names[0] for name in names)
        # Every rank sees the same list, so all of them take the same branch of this collective call.
        return bool(one_host and super()._all_group_ranks_share_shm_group_name())


class PipelineCpuWorker(CPUWorker):  # type: ignore[misc]
    """Allocates what a later pipeline stage receives into.

    The warm-up run does that as a side effect; with eager mode and a fixed KV cache size the CPU worker
    skips the warm-up, and the first request then fails an assertion on every stage but the first.
    """

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        super().load_model(*args, **kwargs)
        runner = self.model_runner
        if get_pp_group().is_first_rank or runner.intermediate_tensors is not None:
            return
        runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
            batch_size=runner.max_num_tokens, dtype=runner.model_config.dtype, device=runner.device
        )
