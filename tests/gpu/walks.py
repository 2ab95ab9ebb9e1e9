"""Walks one GPU machine with milepost itself, headless, over real SSH to this very machine.

    python -m tests.gpu.walks OUT --venv /opt/vllm-venv --vllm 0.23.0 --ip 192.0.2.2 --gpus 1

Records OUT/h100-single (healthy, TP=1 PP=1) and OUT/h100-tp-too-big (TP=8 PP=2 on it, which must fail).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from tests.gpu.host_here import Here


def cluster(here: Here, args: argparse.Namespace, tp: int, pp: int, gpus: int) -> str:
    values = {
        "[[nodes]]": {
            "host": "127.0.0.1",
            "name": args.name,
            "role": "head",
            "gpus": gpus,
            "user": args.user,
            "port": here.port,
            "fabric_ip": args.ip,
        },
        "[serve]": {
            "model": args.model,
            "served_model_name": "tiny-random-llama",
            "tensor_parallel": tp,
            "pipeline_parallel": pp,
            "vllm_version": args.vllm,
            "port": args.port,
            "extra_flags": args.flag,
            "ready_timeout": 420,
        },
        "[ray]": {"version": args.ray, "settle": args.settle, "head_flags": args.head_flag},
        "[ssh]": {
            "identity": [str(here.identity)],
            "known_hosts": str(here.known_hosts),
            "config": str(here.config),
        },
        "[env]": dict(pair.split("=", 1) for pair in args.env),
    }
    lines = [f'name = "{args.cluster}"', f'venv = "{args.venv}"', ""]
    for title, table in values.items():
        lines += [title, *(f"{key} = {json.dumps(value)}" for key, value in table.items()), ""]
    return "\n".join(lines)


def too_big(text: str) -> str:
    """TP=8 PP=2 by extra flags: the cluster file would refuse it, and vLLM is to be asked for real."""
    flags = '"--tensor-parallel-size=8", "--pipeline-parallel-size=2"'
    return text.replace("extra_flags = [", f"extra_flags = [{flags}, ", 1)


async def milepost(*words: str) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tui.cli.main", *words)
    return await process.wait()


async def walk(args: argparse.Namespace) -> int:
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    async with Here(out / "ssh") as here:
        good, big = out / "healthy.toml", out / "too-big.toml"
        good.write_text(cluster(here, args, args.tp, args.pp, args.gpus))
        healthy = await milepost(str(good), "--headless", "--walk", str(out / args.healthy))
        await milepost("down", str(good))
        if not args.failing:
            return healthy
        big.write_text(too_big(cluster(here, args, args.tp, args.pp, args.gpus)))
        failing = await milepost(str(big), "--headless", "--walk", str(out / args.failing))
        await milepost("down", str(big))
    print(f"healthy walk: exit {healthy}; walk that must fail: exit {failing}", flush=True)
    return 0 if (healthy, failing) == (0, 1) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", default="gpu-a")
    parser.add_argument("--cluster", default="one-gpu")
    parser.add_argument("--user", default="root")
    parser.add_argument("--venv", default="/opt/vllm-venv")
    parser.add_argument("--vllm", default="0.23.0")
    parser.add_argument("--ray", default="2.60.0")
    parser.add_argument("--ip", default="")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--tp", type=int, default=1)
    parser.add_argument("--pp", type=int, default=1)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--settle", type=int, default=45)
    parser.add_argument("--model", default="/models/tiny-random-llama")
    parser.add_argument("--healthy", default="h100-single")
    parser.add_argument("--failing", default="h100-tp-too-big")
    parser.add_argument("--flag", action="append", default=[])
    parser.add_argument("--head-flag", action="append", default=[])
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    return asyncio.run(walk(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
