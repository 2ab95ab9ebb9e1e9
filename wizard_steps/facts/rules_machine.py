"""Judges the machine: system, memory limits, disks, clock."""

from __future__ import annotations

from collections.abc import Iterator

from wizard_steps.cluster.file import Cluster
from wizard_steps.facts.finding import Finding, ok
from wizard_steps.facts.host import UNLIMITED, Disk
from wizard_steps.facts.node import NodeFacts
from wizard_steps.model import Node
from wizard_steps.node.places import place_of

GIB_KIB = 1 << 20

#: A shared memory of Docker's default 64 MB breaks NCCL; Ray wants its object store there.
SHM_LEAST, SHM_GOOD = 1 * GIB_KIB, 8 * GIB_KIB
#: Bytes of locked memory from which NCCL's own buffers fit in: a kernel's default is 64 KiB or 8 MiB, a login
#: of Ubuntu gets an eighth of the memory. UCX takes no InfiniBand below 512 MiB.
MEMLOCK_LEAST = 1 << 30
#: Ray's own advice for the limit of open files.
OPEN_FILES = 65536
#: Seconds: logs become hard to compare; certificates and tokens begin to fail.
SKEW_WARN, SKEW_FAIL = 1.0, 60.0
#: KiB without which nothing works: logs, Ray's session folder, vLLM's compile cache.
DISK_LEAST = 100 * 1024
#: Ray stops creating objects on a disk that is fuller (RAY_local_fs_capacity_threshold).
DISK_FULL = 0.95


def judge(node: Node, facts: NodeFacts, cluster: Cluster, weights_kib: int = 0) -> Iterator[Finding]:
    host = facts.host
    name = node.name
    yield ok("system", name, f"{host.os or 'unknown OS'}, {host.kernel or '?'} {host.arch}".strip())
    yield ok("memory", name, f"{host.memory_kib / GIB_KIB:.0f} GiB" if host.memory_kib else "unknown")
    yield _clock(name, facts)
    yield _shm(name, facts, cluster)
    yield _memlock(name, facts, cluster)
    yield _open_files(name, facts, cluster)
    yield from _disks(name, facts, weights_kib)


def _clock(node: str, facts: NodeFacts) -> Finding:
    clock = facts.clock
    if clock is None:
        return Finding("clock", node, "unknown", "not read", "`date` gave no time")
    middle, slack = (clock.low + clock.high) / 2, (clock.high - clock.low) / 2
    found = f"{middle:+.2f} s (+-{slack:.2f})"
    if clock.least > SKEW_FAIL:
        hint = "switch on time synchronisation (chrony or systemd-timesyncd)"
        return Finding("clock", node, "fail", found, "is far off the wizard's clock", hint)
    if clock.least > SKEW_WARN or facts.ntp == "no":
        why = "differs from the wizard's clock" if clock.least > SKEW_WARN else "is not synchronised"
        return Finding(
            "clock", node, "warn", found, why, "chrony or systemd-timesyncd keeps the nodes together"
        )
    # The exact value differs on every node and is of no interest while it is small.
    return ok("clock", node, "in step")


def _shm(node: str, facts: NodeFacts, cluster: Cluster) -> Finding:
    if facts.shm is None:
        return Finding("/dev/shm", node, "unknown", "not read", "no output from `df /dev/shm`")
    size = facts.shm.total_kib
    found = f"{size / GIB_KIB:.1f} GiB"
    if place_of(cluster).contained:
        return ok("/dev/shm", node, f"{found} on the host; containers get {cluster.docker.shm_size}")
    hint = "sudo mount -o remount,size=16G /dev/shm; to keep it, set size=16G in /etc/fstab"
    if size < SHM_LEAST:
        return Finding("/dev/shm", node, "fail", found, "is too small: NCCL and Ray keep buffers there", hint)
    if facts.shm.used_share > 0.9:
        return Finding("/dev/shm", node, "warn", found, "is nearly full: stale files of an earlier run?", "")
    if size < SHM_GOOD:
        return Finding("/dev/shm", node, "warn", found, "is small: Ray's object store may move to disk", hint)
    return ok("/dev/shm", node, found)


def _memlock(node: str, facts: NodeFacts, cluster: Cluster) -> Finding:
    limit = facts.limits.memlock_bytes
    if limit is None:
        return Finding("memlock", node, "unknown", "not read", "/proc/self/limits could not be read")
    found = "unlimited" if limit == UNLIMITED else f"{limit >> 10} KiB"
    if place_of(cluster).contained:
        return ok("memlock", node, f"{found} on the host; the image's gate looks at the containers' own")
    rdma = any(port.active and port.real for port in facts.rdma)
    if limit != UNLIMITED and rdma:
        little = limit < MEMLOCK_LEAST
        message = "RDMA cannot pin its buffers: NCCL fails in ibv_reg_mr"
        if not little:
            found = f"{limit / (1 << 30):.1f} GiB"
            message = "NCCL's buffers fit in; what pins more (KV transfer between servers) needs it unlimited"
        hint = (
            "as root: memlock unlimited in /etc/security/limits.conf, then log in again "
            "(services: LimitMEMLOCK=infinity; docker: --ulimit memlock=-1)"
        )
        return Finding("memlock", node, "fail" if little else "warn", found, message, hint)
    return ok("memlock", node, found if limit == UNLIMITED else f"{found} (no RDMA here: enough)")


def _open_files(node: str, facts: NodeFacts, cluster: Cluster) -> Finding:
    limit = facts.limits.open_files
    if limit is None:
        return Finding("open files", node, "unknown", "not read", "/proc/self/limits could not be read")
    found = "unlimited" if limit == UNLIMITED else str(limit)
    if place_of(cluster).contained:
        return ok("open files", node, f"{found} on the host; the image's gate looks at the containers' own")
    if limit == UNLIMITED or limit >= OPEN_FILES:
        return ok("open files", node, found)
    hint = (
        f"as root: raise nofile to {OPEN_FILES} in /etc/security/limits.conf, then log in again "
        f"(services: LimitNOFILE={OPEN_FILES}; docker: --ulimit nofile={OPEN_FILES}:{OPEN_FILES})"
    )
    return Finding("open files", node, "warn", found, f"Ray advises {OPEN_FILES}", hint)


def _disks(node: str, facts: NodeFacts, weights_kib: int) -> Iterator[Finding]:
    if not facts.disks:
        yield Finding("disk", node, "unknown", "not read", "no output from `df`")
        return
    weights, *rest = facts.disks
    for disk in facts.disks:
        if disk.free_kib < DISK_LEAST:
            found = f"{disk.free_kib // 1024} MiB free on {disk.mount}"
            message = "no room for logs, Ray's files and downloads"
            yield Finding("disk", node, "fail", found, message, f"free space: `df -h {disk.mount}`")
            return
    yield _weights(node, facts, weights, weights_kib)
    for disk in rest:
        if disk.used_share > DISK_FULL:
            found = f"{disk.mount} {disk.used_share:.0%} full"
            yield Finding("disk", node, "warn", found, "Ray stops spilling objects there", "free some space")


def _weights(node: str, facts: NodeFacts, disk: Disk, need: int) -> Finding:
    found = f"{_roughly(disk.free_kib // GIB_KIB)} GiB free on {disk.mount}"
    missing = max(0, need - facts.model.kib)
    if missing > disk.free_kib:
        message = f"the weights need {missing / GIB_KIB:.0f} GiB more"
        return Finding("disk", node, "fail", found, message, "free space, or set HF_HOME to a larger disk")
    if disk.used_share > DISK_FULL:
        message = f"{disk.mount} is {disk.used_share:.0%} full: Ray stops spilling objects there"
        return Finding("disk", node, "warn", found, message, "free some space")
    if not facts.model.present and not need and disk.free_kib < 20 * GIB_KIB:
        message = "may be too little for the weights"
        return Finding("disk", node, "warn", found, message, "set HF_HOME to a larger disk")
    return ok("disk", node, found)


def _roughly(gib: int) -> str:
    """Free space differs everywhere; that alone is no finding, so it is told in steps."""
    steps = [step for step in (50, 100, 200, 500, 1000, 2000, 5000, 10000) if step <= gib]
    return f"over {steps[-1]}" if steps else str(gib)
