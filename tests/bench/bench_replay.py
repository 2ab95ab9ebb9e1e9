"""How fast recordings replay and how small they are. By hand: python tests/bench/bench_replay.py [COUNT]

Prints one line a figure. Nothing is asserted: figures depend on the machine.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def milepost(*words: str) -> float:
    """Seconds one run of the program takes."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "tui.cli.main", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    assert done.returncode in (0, 1), done.returncode
    return time.perf_counter() - start


def bare() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start


def main(count: int) -> None:
    from tests.helpers.walk_maker import make

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "walk-000")
        make(folder / "walk-001", {"serve": "too-many-gpus"})
        for n in range(2, count):
            shutil.copytree(folder / f"walk-{n % 2:03d}", folder / f"walk-{n:03d}")
        size = sum(path.stat().st_size for path in (folder / "walk-000").rglob("*") if path.is_file())
        one = min(milepost("--replay", str(folder / "walk-000"), "--quiet") for _ in range(5))
        base = min(bare() for _ in range(5))
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        many = milepost("--replay", str(folder), "--quiet")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak = used.ru_maxrss / 1024
    print(f"one walk, whole program: {one:.3f} s; bare Python: {base:.3f} s")
    cpu = used.ru_utime - before
    print(f"{count} walks: {many:.2f} s, {1000 * cpu / count:.1f} ms of CPU a walk, peak {peak:.0f} MiB")
    print(f"one healthy walk on disk: {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
