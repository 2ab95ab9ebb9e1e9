"""SIMULATED RDMA cards on hosts of the test bed: their files in /sys and /dev, and a torch that has NCCL's words.

No packet goes over them: what is real is what is read, on separate hosts over SSH, and the tools of perftest.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.helpers.rdma_tree import Tree, roce
from tests.real.hosts import Hosts

VENV = "/opt/simulated"
#: What look_torch.py and all_reduce.py say on a machine with one GPU; everything else is the real python3.
_PYTHON = """#!/usr/bin/python3
# SIMULATED torch with CUDA and NCCL.
import json, os, sys
words = sys.argv[1:]
if len(words) == 3 and "libcuda" in words[2]:
    print("torch: 2.14.0+cu130", "cuda: 1", sep="\\n")
elif len(words) == 4 and '"backend"' in words[3]:
    spec = json.loads(words[3])
    socket = os.path.exists("/opt/simulated/socket")
    print("NCCL: NET/Socket uses [0]eth1" if socket else "NCCL: NET/IB uses [0]mlx5_0:1/RoCE [RO]; OOB eth1")
    print(f"rank {spec['first']} of {spec['world']}: the sum is right")
    if spec["first"] == 0:
        rate = "1.14" if socket else "11.60"
        print(f"all_reduce: nccl, 2 ranks, 512 MiB in 9.9 ms, bus bandwidth {rate} GB/s (SIMULATED)")
    print("NCCL network:", "Socket" if socket else "IB")
    print("NCCL channels: 4 x", "NET/Socket" if socket else "NET/IB/GDRDMA")
else:
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *words])
"""
#: A /dev of its own, for what is made in it is seen by every host otherwise.
_DEV = """set -e
mkdir -p /run/dev && mount -t tmpfs -o mode=755 tmpfs /run/dev
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /run/dev/
for d in pts shm mqueue; do [ ! -d /dev/$d ] || { mkdir /run/dev/$d; mount --rbind /dev/$d /run/dev/$d; }; done
ln -s pts/ptmx /run/dev/ptmx; ln -s /proc/self/fd /run/dev/fd
for i in 0 1 2; do ln -s /proc/self/fd/$i /run/dev/$(echo stdin stdout stderr | cut -d' ' -f$((i+1))); done
mkdir /run/dev/infiniband
mknod -m 666 /run/dev/infiniband/uverbs0 c 231 192
mknod -m 666 /run/dev/infiniband/uverbs1 c 231 193
mount --rbind /run/dev /dev
"""


def card(bed: Hosts, name: str, index: int = 0) -> Path:
    """A card of two ports on the host's fast network, one of them without an address. The folder that is shown as
    /sys/class."""
    folder = bed.folder / f"rdma-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    tree = Tree(folder)
    last = [int(part) for part in bed.network.fabric_ip(name).split(".")]
    address = "0000:0000:0000:0000:0000:ffff:{:02x}{:02x}:{:02x}{:02x}".format(*last)
    gids = roce("eth1", address)
    # Rows before them: the index of the address differs from node to node.
    tree.device("mlx5_0", "eth1", gids=[gids[0]] * index + gids)
    tree.device("mlx5_1", "eth9", gids=roce("eth9")[:2])
    shown = tree.sys / "class"
    bed.run(name, f"cp -a /sys/class/. {shown}/ 2>/dev/null; mount --bind {shown} /sys/class\n{_DEV}")
    bed.run(name, f"mkdir -p {VENV}/bin && cat > {VENV}/bin/python <<'END'\n{_PYTHON}END\n")
    bed.run(name, f"chmod 755 {VENV}/bin/python")
    return shown
