"""How fast the diagnosis reads a log, and what it holds in memory. Prints figures; asserts none.

python tests/bench/bench_diagnose.py [MB]
"""

from __future__ import annotations

import platform
import random
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from wizard_steps.diagnose import Source, diagnose, diagnose_streams
from wizard_steps.diagnose.rules import default_rules, load

WORKER = "(EngineCore pid=7) \x1b[36m(RayWorkerProc pid={n}, ip=10.0.0.2)\x1b[0m "
SERVING = (
    "(APIServer pid={n}) INFO 11-24 08:49:36 [loggers.py:127] Engine 000: Avg prompt throughput: {n}.4 t/s, "
    "Avg generation throughput: 812.{n} tokens/s, Running: 24 reqs, GPU KV cache usage: 12.9%\n"
    '(APIServer pid={n}) INFO:     10.0.0.7:{n} - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    f"{WORKER}INFO 11-24 08:50:47 [x.py:1] step {{n}}\n"
)
NCCL = "gpu-a:{n}:561 [0] NCCL INFO Channel 0{n}/0 : 16[17000] -> 18[21000] via P2P/IPC comm 0x5609976f9470\n"
ERRORS = (
    f"{WORKER}ERROR 11-24 08:50:47 [x.py:{{n}}] torch.OutOfMemoryError: CUDA out of memory\n"
    "[2026-11-24 08:17:32,729 W {n} 371] rpc_client.h:153: Failed to connect to GCS at address 10.0.0.1\n"
)
UNIQUE = "(APIServer pid=1) INFO 11-24 08:49:36 [logger.py:1] Received request chatcmpl-{u}: prompt {w}\n"
END = "ERROR 11-24 09:00:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory.\n"


def _write(path: Path, template: str, size: int) -> None:
    rng = random.Random(1)
    with path.open("wb") as file:
        written = 0
        while written < size:
            block = "".join(_fill(template, n, rng) for n in range(1000, 4000)).encode()
            written += file.write(block)
        file.write(END.encode())


def _fill(template: str, n: int, rng: random.Random) -> str:
    if template is not UNIQUE:
        return template.format(n=n)
    words = "".join(chr(97 + rng.randrange(26)) if rng.random() < 0.8 else " " for _ in range(60))
    return template.format(u=f"{rng.getrandbits(128):032x}", w=words)


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return f"{cpu}, {platform.system()} {platform.release()}, Python {platform.python_version()}, one thread"


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    print(_machine())
    start = time.perf_counter()
    count = len(load().rules)
    print(f"load {count} rules: {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    assert default_rules().scanner
    print(f"the same and the scanner: {time.perf_counter() - start:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        for name, template in (
            ("serving log", SERVING),
            ("NCCL log", NCCL),
            ("all failures", ERRORS),
            ("no line twice", UNIQUE),
        ):
            path = Path(folder) / "x.log"
            _write(path, template, megabytes << 20)
            start, cpu = time.perf_counter(), time.process_time()
            found = diagnose_streams([(Source(name, ""), partial(path.open, "rb"))])
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            size = path.stat().st_size / (1 << 20)
            rate = f"{size:.0f} MB in {seconds:.1f} s = {size / seconds:.0f} MB/s (CPU: {size / cpu:.0f})"
            print(f"{name}: {rate}, peak {peak} MB, found {found[0].family}")
    for size in (1, 2, 4, 8):
        text = "x" * (size << 20) + END
        start = time.process_time()
        diagnose([Source("x", text)])
        print(f"one line of {size} MB: {time.process_time() - start:.2f} CPU seconds")


if __name__ == "__main__":
    main()
