"""The machine itself: system, memory, limits, disks, clock."""

from __future__ import annotations

import re

from msgspec import Struct

from wizard_steps.facts.sections import FactSection

#: /proc/self/limits says "unlimited"; as a number that is this.
UNLIMITED = -1


#: Types of file systems that many machines mount at the same time, beside those of FUSE (fuse.ceph-fuse,
#: fuse.gcsfuse, fuse.juicefs ...).
NETWORK_DISKS = frozenset(
    {"nfs", "nfs4", "lustre", "ceph", "gpfs", "beegfs", "cifs", "smb3", "glusterfs", "wekafs", "panfs", "9p"}
    | {"virtiofs", "afs", "orangefs", "pvfs2", "gfs2", "ocfs2"}
)
#: What FUSE makes of a machine's own disks.
_OWN_FUSE = re.compile(
    r"fuse\.(?:mergerfs|fuse-overlayfs|unionfs|bindfs|encfs|gocryptfs|cryfs|ntfs|exfat|zfs|lxcfs)"
)


class Host(Struct, frozen=True):
    os: str = ""
    kernel: str = ""
    arch: str = ""
    memory_kib: int = 0
    available_kib: int = 0
    boot_id: str = ""


class Limits(Struct, frozen=True):
    """Soft limits of a login session; UNLIMITED, or None when they could not be read."""

    memlock_bytes: int | None = None
    open_files: int | None = None


class Disk(Struct, frozen=True):
    """One file system, sizes in KiB."""

    mount: str
    total_kib: int
    free_kib: int

    @property
    def used_share(self) -> float:
        return 1 - self.free_kib / self.total_kib if self.total_kib else 0.0


class Home(Struct, frozen=True):
    """The home folder: what is mounted there, the type of its file system, its inode, and the device number
    that the node's kernel gives the file system (0: not asked)."""

    source: str = ""
    kind: str = ""
    inode: int = 0
    device: int = 0

    @property
    def remote(self) -> bool:
        """Whether another machine has the disk: ``server:/path``, ``//server/share``, or a cluster's type."""
        fuse = self.kind.startswith("fuse.") and not _OWN_FUSE.match(self.kind)
        return fuse or self.kind in NETWORK_DISKS or ":/" in self.source or self.source.startswith("//")


class ClockReading(Struct, frozen=True):
    """How far a node's clock is from the wizard's: the skew lies between ``low`` and ``high`` seconds."""

    low: float
    high: float

    @property
    def least(self) -> float:
        """The smallest skew that the measurement allows, seconds, without sign."""
        return 0.0 if self.low <= 0 <= self.high else min(abs(self.low), abs(self.high))


def parse_home(section: FactSection) -> Home:
    """``stat`` and ``df -PT``: device and inode, and the last line's source and type."""
    inode = re.search(r"^(?:device (\d{1,20}) )?inode (\d{1,20})$", section.text, re.MULTILINE)
    words = section.lines[-1].split() if section.lines else []
    if inode is None or len(words) < 7 or not section.ok:
        return Home()
    return Home(words[0][:200], words[1][:40], int(inode[2]), int(inode[1] or 0))


def parse_host(os: FactSection, memory: FactSection, boot: FactSection) -> Host:
    """``/etc/os-release`` and ``uname -srm``, ``/proc/meminfo``, the boot id."""
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', os.text, re.MULTILINE)
    uname = re.search(r"^Linux (\S+) (\S+)$", os.text, re.MULTILINE)
    sizes = {name: _kib(value) for name, _, value in (line.partition(":") for line in memory.lines)}
    boot_id = re.search(r"^[0-9a-f-]{36}$", boot.text, re.MULTILINE)
    return Host(
        os=name[1].strip() if name else "",
        kernel=uname[1] if uname else "",
        arch=uname[2] if uname else "",
        memory_kib=sizes.get("MemTotal", 0),
        available_kib=sizes.get("MemAvailable", 0),
        boot_id=boot_id[0] if boot_id else "",
    )


def _kib(value: str) -> int:
    """``  65536 kB`` as a number; 0 for anything else."""
    words = value.split()
    return int(words[0]) if words and re.fullmatch(r"[0-9]{1,15}", words[0]) else 0


def parse_limits(section: FactSection) -> Limits:
    """``/proc/self/limits``."""

    def soft(name: str) -> int | None:
        found = re.search(rf"^{name}\s+(\S+)", section.text, re.MULTILINE)
        if not found:
            return None
        if found[1] == "unlimited":
            return UNLIMITED
        return int(found[1]) if re.fullmatch(r"[0-9]{1,20}", found[1]) else None

    return Limits(soft("Max locked memory"), soft("Max open files"))


def parse_df(section: FactSection) -> list[Disk]:
    """``df -Pk``, once or several times; a repeated mount point is kept once."""
    found: dict[str, Disk] = {}
    for line in section.lines:
        # SOURCE SIZE USED FREE SHARE MOUNT: the source and the mount point may hold blanks.
        before, slash, mount = line[:2048].partition("% /")
        words = before.split()
        if slash and len(words) >= 5 and all(re.fullmatch(r"-?[0-9]{1,18}", word) for word in words[-4:-1]):
            found[f"/{mount}"] = Disk(f"/{mount}", int(words[-4]), max(0, int(words[-2])))
    return list(found.values())


def parse_clock(text: str, started: float, ended: float) -> ClockReading | None:
    """``date +%s.%N`` against the wizard's epoch seconds just before and after. busybox prints no %N."""
    found = re.search(r"^(\d{9,})(?:\.(\d+))?", text.strip(), re.MULTILINE)
    if not found:
        return None
    node = float(f"{found[1]}.{found[2] or 0}")
    slack = 0.0 if found[2] else 1.0
    return ClockReading(node - ended, node + slack - started)
