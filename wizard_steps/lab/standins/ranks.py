"""How the ranks of a simulated vLLM without Ray meet: real sockets between the nodes of the lab, with the
words vLLM prints. SIMULATED: there is no model and no GPU behind a rank."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

Log = Callable[..., None]
#: Seconds: until all have met; between two tries.
LIMIT, TRY = 600.0, 0.2
FAULTY_NODE = "lab-worker"


class Ranks:
    """What runs on this node. ``local``: (rank, world, replica) of each process."""

    def __init__(self, options: argparse.Namespace, gpus: int) -> None:
        self._options = options
        self.replicas: int = max(1, options.data_parallel_size)
        self.world: int = options.tensor_parallel_size * options.pipeline_parallel_size
        here = options.data_parallel_size_local or 1
        needed = self.world * here if options.nnodes == 1 else self.world * self.replicas // options.nnodes
        if needed > gpus:
            raise ValueError(
                f"World size ({needed}) is larger than the number of available GPUs ({gpus}) in this node."
            )
        self.local = list(self._local(here, needed))
        self.first = options.headless is False
        self._lines: list[socket.socket] = []

    def _local(self, here: int, needed: int) -> Iterator[tuple[int, int, int]]:
        if self._options.nnodes == 1:
            start = self._options.data_parallel_start_rank or 0
            for replica in range(start, start + here):
                yield from ((rank, self.world, replica) for rank in range(self.world))
            return
        for number in range(self._options.node_rank * needed, (self._options.node_rank + 1) * needed):
            yield number % self.world, self.world, number // self.world

    @property
    def remote(self) -> int:
        """How many other nodes have to come."""
        o = self._options
        if o.nnodes > 1:
            return int(o.nnodes) - 1
        here: int = o.data_parallel_size_local or self.replicas
        return -(-(self.replicas - here) // here)

    def meet(self, log: Log) -> None:
        """Returns when all are there. Raises OSError or TimeoutError."""
        o = self._options
        inside = o.nnodes == 1
        host, port = (
            (o.data_parallel_address, o.data_parallel_rpc_port) if inside else (o.master_addr, o.master_port)
        )
        if self.remote and self.first:
            self._wait(host, port, log, inside)
        elif not self.first:
            self._join(host, port)
        for rank, world, replica in self.local:
            tp = o.tensor_parallel_size
            log(
                f"rank {rank} in world size {world} is assigned as DP rank {replica}, PP rank {rank // tp}, "
                f"PCP rank 0, TP rank {rank % tp}, EP rank N/A, EPLB rank N/A"
            )
        if os.environ.get("LAB_FAULT") == "rank-killed":
            self._die(log)

    def _die(self, log: Log) -> None:
        """The rank of one node is killed while it loads; the others load no faster than that."""
        if os.environ.get("LAB_NODE") == FAULTY_NODE:
            log("Loading weights (none: simulated)")
            os.kill(os.getpid(), signal.SIGKILL)
        while self.intact():
            time.sleep(TRY)

    def _wait(self, host: str, port: int, log: Log, inside: bool) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()
            if inside:
                log(f"Waiting for 0 local, {self.remote} remote core engine proc(s) to start.")
            listener.settimeout(LIMIT)
            for _ in range(self.remote):
                line, _address = listener.accept()
                self._lines.append(line)
        for line in self._lines:
            line.sendall(b"go\n")

    def _join(self, host: str, port: int) -> None:
        end = time.monotonic() + LIMIT
        while True:
            try:
                line = socket.create_connection((host, port), timeout=LIMIT)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(TRY)
        if line.recv(3) != b"go\n":
            raise ConnectionError(f"DistNetworkError: the ranks at {host}:{port} went away (SIMULATED)")
        line.settimeout(None)
        self._lines.append(line)

    def intact(self) -> bool:
        """Whether every other node is still there: the line to it is open."""
        for line in self._lines:
            line.setblocking(False)
            with suppress(BlockingIOError):
                if line.recv(1) == b"":
                    return False
        return True

    def hold(self) -> None:
        """On a node without the API: until the one with it goes."""
        while self.intact():
            time.sleep(1.0)
        raise ConnectionError("DistNetworkError: the head's rank has gone (SIMULATED)")
