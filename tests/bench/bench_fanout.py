"""The same commands on many hosts: milepost beside OpenSSH with ControlMaster, pssh, parallel-ssh and pyinfra.

    python -m tests.bench.bench_fanout [--hosts 256] [--limit 64] [--rounds 3]

The hosts are SIMULATED: real SSH servers on loopback in two processes, each command a real subprocess. Servers and
clients share the machine's cores. Every way runs the commands of the milestones reach, smi and install, log-in
included, in turns; milepost records and judges as well. Figures are wall seconds and ratios of medians.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.bench_scale import hosts, machine
from tests.bench.fanout import texts, ways
from tests.helpers import scale_hosts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hosts", type=int, default=256)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fanout-"))
    print(f"machine: {machine()}")
    print(f"hosts: {args.hosts} SIMULATED, at most {args.limit} at a time")
    try:
        compared = ways(folder)
        took: dict[str, list[float]] = {name: [] for name in compared}
        with hosts(folder, args.hosts) as ports:
            cluster = scale_hosts.cluster(folder, ports, limit=args.limit)
            commands = texts(cluster)
            for number in range(args.rounds):
                for place, (name, way) in enumerate(compared.items()):
                    own = folder / f"{number}-{place}"
                    own.mkdir()
                    began = time.monotonic()
                    came = way(cluster, commands, own, args.limit)
                    took[name].append(time.monotonic() - began)
                    print(f"  {name}: {took[name][-1]:.1f} s, {came} of {len(commands) * args.hosts} outputs")
        ours = statistics.median(took["milepost"])
        for name, figures in took.items():
            print(
                f"{name}: median {statistics.median(figures):.1f} s, milepost takes "
                f"{ours / statistics.median(figures):.2f} of it"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
