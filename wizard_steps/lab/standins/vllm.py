"""``vllm`` of a lab node without vLLM. SIMULATED: there is no model. Real are the Ray connection, the
TP x PP placement group with vLLM's own bundles and strategy, or without Ray the meeting of the ranks over
sockets, and the HTTP API in the OpenAI format.

The log has vLLM's words where they are true, so that a reader of real logs can read this one.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

from wizard_steps.cluster import versions
from wizard_steps.lab.standins import sabotage
from wizard_steps.lab.standins.ranks import Ranks

Look = Callable[[], bool]

VERSION = os.environ.get("LAB_VLLM") or versions.VLLM
SIMULATED = f"SIMULATED vLLM stand-in for {VERSION} (milepost lab)"
#: Seconds each simulated stage of loading takes, long enough to be seen on a screen.
STAGE = 0.3
#: Seconds between looks at the placement group: a server whose node is gone must not look healthy.
WATCH = 5.0


def log(text: str, level: str = "INFO") -> None:
    """vLLM's line form; the place of the source file says that this is not vLLM."""
    print(f"{level} {time.strftime('%m-%d %H:%M:%S')} [SIMULATED] {text}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vllm", description=SIMULATED, allow_abbrev=False)
    parser.add_argument("-v", "--version", action="version", version=SIMULATED)
    serve = parser.add_subparsers(dest="command", required=True).add_parser("serve", allow_abbrev=False)
    serve.add_argument("model")
    serve.add_argument("--host", default="0.0.0.0")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--tensor-parallel-size", "-tp", type=int, default=1)
    serve.add_argument("--pipeline-parallel-size", "-pp", type=int, default=1)
    serve.add_argument("--distributed-executor-backend", default="mp")
    for name, default in (("nnodes", 1), ("node-rank", 0), ("master-port", 29501), ("data-parallel-size", 1),
                          ("data-parallel-size-local", 0), ("data-parallel-start-rank", 0),
                          ("data-parallel-rpc-port", 29550)):  # fmt: skip
        serve.add_argument(f"--{name}", type=int, default=default)
    serve.add_argument("--master-addr", default="127.0.0.1")
    serve.add_argument("--data-parallel-address", default="127.0.0.1")
    serve.add_argument("--headless", action="store_true")
    serve.add_argument("--served-model-name", default="")
    serve.add_argument("--load-format", default="auto")
    serve.add_argument("--max-model-len", type=int, default=8192)
    serve.add_argument("--ssl-certfile", default="")
    serve.add_argument("--ssl-keyfile", default=None)
    serve.add_argument("--api-key", default=os.environ.get("VLLM_API_KEY", ""))
    return parser


def bind(host: str, port: int) -> socket.socket:
    """Taken before the long work, as vLLM does. Raises OSError 98 when another server has the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


def flags(words: Sequence[str]) -> str:
    """The names of flags the stand-in does not know; values may be secrets."""
    return " ".join(word.partition("=")[0] for word in words if word.startswith("-"))


def serve(options: argparse.Namespace, unknown: Sequence[str]) -> None:
    """Runs until SIGTERM or SIGINT. Raises OSError, ConnectionError or ValueError where vLLM would."""
    world = options.tensor_parallel_size * options.pipeline_parallel_size
    log(f"{SIMULATED}: no model, no GPU; Ray and the API are real")
    replicas = f", DP {options.data_parallel_size}" if options.data_parallel_size > 1 else ""
    sizes = f"TP {options.tensor_parallel_size}, PP {options.pipeline_parallel_size}{replicas}"
    log(f"model {options.model}, {sizes}")
    if unknown:
        log(f"accepted and passed over: {flags(unknown)}", "WARNING")
    if options.distributed_executor_backend != "ray":
        _without_ray(options)
        return
    sock = bind(options.host, options.port)
    from wizard_steps.lab.standins import placement

    placement.connect()
    # Only now: ray.init puts a handler of its own in place.
    leave_on_signal()
    group = placement.place(world, log)
    intact, reachable = lambda: placement.intact(group), lambda: placement.reachable(group)
    if os.environ.get("LAB_FAULT") == "worker-vanishes":
        intact, reachable = _vanishing(intact, reachable)
    try:
        _run(options, sock, intact, reachable)
    finally:
        placement.free(group)


def _vanishing(intact: Look, reachable: Look) -> tuple[Look, Look]:
    """The worker's raylet is killed by the first chat, which waits until it is gone. The server stays up
    until somebody asks again: vLLM, too, needs minutes to give a worker up."""
    chats = 0

    def asked() -> bool:
        nonlocal chats
        chats += 1
        sabotage.kill_the_others()
        while reachable():
            time.sleep(STAGE)
        return False

    return lambda: chats < 2 or intact(), asked


def leave_on_signal() -> None:
    """SIGTERM and SIGINT unwind the stack, so that the GPUs are given back on the way."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))


def _without_ray(options: argparse.Namespace) -> None:
    """Ranks on every node; the one that is not headless has the API."""
    leave_on_signal()
    ranks = Ranks(options, int(os.environ.get("LAB_GPUS", "8")))
    sock = None if options.headless else bind(options.host, options.port)
    ranks.meet(log)
    if sock is None:
        log("Loading weights (none: simulated)")
        ranks.hold()
        return
    _run(options, sock, ranks.intact, ranks.intact)


def _sizes(options: argparse.Namespace) -> None:
    """Made-up numbers in vLLM's words, as of a model of 2 GiB; one line for each worker."""
    world = options.tensor_parallel_size * options.pipeline_parallel_size
    for _ in range(world * max(1, options.data_parallel_size)):
        log(f"Model loading took {2 / world:.2f} GiB memory and 0.1 seconds")
    log("GPU KV cache size: 1,000,000 tokens")
    each = options.max_model_len
    log(f"Maximum concurrency for {each:,} tokens per request: {1_000_000 / each:.2f}x")


def _run(
    options: argparse.Namespace,
    sock: socket.socket,
    intact: Look,
    reachable: Look,
) -> None:
    """``reachable``: asked before each chat, which needs all nodes; /health does not ask."""
    from wizard_steps.lab.standins import openai_api

    if options.load_format == "dummy":
        _sizes(options)
    for stage in ("Loading weights (none: simulated)", "torch.compile (nothing to compile: simulated)"):
        time.sleep(STAGE)
        log(stage)
        while not intact():
            time.sleep(STAGE)  # vLLM waits for a rank that is gone, and says nothing for a long time
    name = options.served_model_name or options.model
    replicas = max(1, options.data_parallel_size)
    model = openai_api.Model(name, options.model, options.max_model_len, replicas)
    server = openai_api.make(sock, model, options.api_key, reachable)
    if options.ssl_certfile:
        openai_api.encrypt(server, options.ssl_certfile, options.ssl_keyfile)
    host = f"[{options.host}]" if ":" in options.host else options.host
    scheme = "https" if options.ssl_certfile else "http"
    log(f"Starting vLLM server on {scheme}://{host}:{options.port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log("Application startup complete.")
    try:
        while intact():
            time.sleep(WATCH)
    finally:
        log("Shutting down")
        server.shutdown()
    raise RuntimeError("EngineDeadError: a node that this server needs is gone")


def main(argv: Sequence[str] | None = None) -> int:
    options, unknown = parser().parse_known_args(argv)
    try:
        serve(options, unknown)
    except (OSError, ValueError, RuntimeError) as error:
        log(f"{type(error).__name__}: {error}", "ERROR")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
