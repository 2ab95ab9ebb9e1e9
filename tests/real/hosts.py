"""Separate hosts on one machine, for real: own network, PID, mount, UTS and IPC namespaces, own sshd.

    with Hosts() as bed:
        bed.run("a", "hostname")          inside the host, without ssh
        bed.cluster_file(gpus=...)        a milepost.toml that reaches all three over ssh
        bed.network.drop("b", "tcp dport 22")

    python -m tests.real.hosts            brings a bed up by hand and prints how to log in; Ctrl-C ends it

Needs root and Linux. GPUs are SIMULATED (a stand-in nvidia-smi and Ray's logical GPUs); everything else is
what it says it is. A host is one ``unshare`` process: when it ends, every process of the host ends with it,
and it is told to end when this process does. What a killed session may leave (namespaces without processes,
a folder) is removed by the next one.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from tests.real import hostfiles, vllm_env
from tests.real.inside import inside
from tests.real.netlab import Network, remove_namespaces
from tests.real.wizard_side import MODEL_AT, WizardSide

HERE = Path(__file__).resolve().parent
ROOT = Path("/var/tmp")
FOLDER = "milepost-hosts-"


class Hosts(WizardSide):
    """Hosts ``a``, ``b``, ``c`` (named ``node-a`` …), each with two networks. See the module's text.

    gpus      logical GPUs that each host claims to have.
    tmp_size  size of each host's /tmp (a tmpfs), where Ray keeps its session.
    systemd   systemd of this machine is each host's first process; /root and its units outlive a reboot.
    octet     the X of 10.X.0.0/23; a free one by default.
    """

    def __init__(
        self,
        names: Sequence[str] = ("a", "b", "c"),
        gpus: Mapping[str, int] | None = None,
        tmp_size: str = "2g",
        octet: int | None = None,
        systemd: bool = False,
    ) -> None:
        self.names = tuple(names)
        self.gpus = dict(gpus or dict.fromkeys(self.names, 2))
        self.tmp_size = tmp_size
        self.systemd = systemd
        self.prefix = f"mp{secrets.token_hex(2)}"
        self.network = Network(self.prefix, self.names, octet)
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=ROOT))
        self.home = self.folder / "wizard"
        self._init: dict[str, subprocess.Popen[bytes]] = {}

    # ---- life

    def __enter__(self) -> Hosts:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Bring everything up; about 2 seconds for three hosts."""
        sweep()
        atexit.register(self.down)
        self._note_owner()
        self.folder.chmod(0o755)
        self.home.mkdir(mode=0o700)
        public = hostfiles.keygen(self.home / "id_lab")
        public += hostfiles.keygen(self.home / "id_locked", hostfiles.PASSPHRASE)
        public += hostfiles.keygen(self.folder / "id_between_hosts")
        self.network.up()
        keys = {name: self._prepare(name, public) for name in self.names}
        (self.home / "known_hosts").write_text(hostfiles.known_hosts(self.network, keys))
        for name in self.names:
            self._start(name)
        for name in self.names:
            self._await_ssh(name)

    def down(self) -> None:
        """End the hosts and remove what they were made of. Safe to call twice."""
        for name in list(self._init):
            self.vanish(name)
        self.network.down()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.down)

    def _note_owner(self) -> None:
        me = psutil.Process()
        note = {"prefix": self.prefix, "pid": me.pid, "started": me.create_time()}
        (self.folder / "owner.json").write_text(json.dumps(note))

    def _prepare(self, name: str, authorized: str) -> str:
        folder = self.folder / name
        key = hostfiles.write_host(
            folder,
            f"node-{name}",
            hostfiles.hosts_file(self.network),
            authorized,
            self.tmp_size,
            self.gpus[name],
        )
        if self.systemd:
            (folder / "systemd").touch()
        (folder / "keep.list").write_text("".join(f"{source} {target}\n" for source, target in self.mounts()))
        return key

    def mounts(self) -> list[tuple[str, str]]:
        """What every host shows besides the shared file system: environment, model, interpreter."""
        found = []
        if vllm_env.ready():
            found = [(str(vllm_env.venv()), vllm_env.MOUNTED_AT), (str(vllm_env.model()), MODEL_AT)]
        base = sys.base_prefix
        if base.startswith(("/root/", "/home/", "/opt/", "/tmp/")):
            found.append((base, base))
        return found

    def _start(self, name: str) -> None:
        folder = self.folder / name
        # The host ends with this process even when that is killed: the kernel sends the signal.
        argv = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.network.namespace(name)]
        argv += [
            "unshare",
            *(["--cgroup"] if self.systemd else []),
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ]
        argv += ["bash", str(HERE / "host_init.sh"), str(folder), f"node-{name}", str(folder / "keep.list")]
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        with (folder / "host.log").open("wb") as log:
            self._init[name] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
            )

    def _await_ssh(self, name: str, limit: float = 10.0) -> None:
        address = self.network.management_ip(name)
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self._init[name].poll() is not None:
                break
            if _answers(address, 22):
                return
            time.sleep(0.02)
        raise RuntimeError(f"host {name} did not come up:\n{self.log(name)}")

    # ---- looking and acting inside

    def log(self, name: str) -> str:
        """What the host's first process and its sshd wrote."""
        return (self.folder / name / "host.log").read_text(errors="replace")

    def first_pid(self, name: str) -> int:
        """The pid, as seen from outside, of the host's process 1."""
        return psutil.Process(self._init[name].pid).children()[0].pid

    def run(
        self, name: str, command: str, timeout: float = 60.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command inside the host, without ssh."""
        enter = ["nsenter", "-t", str(self.first_pid(name)), "-m", "-u", "-i", "-n", "-p", "--wd=/root"]
        enter += ["--cgroup", "--"] if self.systemd else ["--"]
        path = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = subprocess.run(
            [*enter, "env", "-i", "HOME=/root", path, "sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise RuntimeError(f"{name}: {command}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def processes(self, name: str) -> dict[int, str]:
        """Outside pid -> command line of every process of the host, but for its first process and sshd."""
        return inside(self.first_pid(name), f"{self.folder / name}/sshd_config")

    def left(self, name: str, limit: float = 10.0) -> dict[int, str]:
        """What still runs on the host after ``limit`` seconds: a login ends a moment after its line was closed."""
        deadline = time.monotonic() + limit
        while (found := self.processes(name)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def kill(self, name: str, words: str, number: int = signal.SIGKILL) -> list[int]:
        """Signal each process of this host whose command line holds ``words``; the outside pids."""
        hit = [pid for pid, line in self.processes(name).items() if words in line]
        for pid in hit:
            os.kill(pid, number)
        return hit

    def cut_ssh(self, name: str) -> int:
        """End every ssh session of the host as a broken line would; sshd itself stays. The number ended."""
        return len(self.kill(name, "sshd: "))

    def vanish(self, name: str) -> None:
        """Switch the host off: all its processes end at once, nobody is told, the address stops answering."""
        first = self.first_pid(name) if self._init[name].poll() is None else 0
        process = self._init.pop(name)
        if first:
            for device in ("eth0", "eth1"):
                self.network.link(name, device, "down")
            # With its first process the kernel ends every other; unshare returns when all are gone.
            os.kill(first, signal.SIGKILL)
        process.wait()

    def booted_again(self, name: str, limit: float = 60.0) -> None:
        """Start a host again whose systemd has ended itself; as a machine does."""
        self._init.pop(name).wait(limit)
        self._start(name)
        self._await_ssh(name)

    def reboot(self, name: str) -> None:
        """Off and on again: processes and /tmp are gone, the home is kept, pids begin anew."""
        self.vanish(name)
        self.network.heal(name)
        self._start(name)
        self._await_ssh(name)

    def clear(self, name: str) -> None:
        """End every process that was started on the host, and forget Ray's sessions and milepost's logs."""
        for _ in range(50):
            for pid in self.processes(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not self.left(name, 0.1):
                break
        self.run(name, "rm -rf /tmp/* /root/.milepost")

    def fill_disk(self, name: str, folder: str = "/tmp") -> None:
        """Write until the file system of ``folder`` (a tmpfs of this host) has no byte left."""
        self.run(name, f"cat /dev/zero > {shlex.quote(folder)}/filler 2>/dev/null; true")

    def free_disk(self, name: str, folder: str = "/tmp") -> None:
        self.run(name, f"rm -f {shlex.quote(folder)}/filler")

    def mount_over(self, name: str, source: Path, target: str) -> None:
        """Show ``source`` at ``target`` on this host only."""
        self.run(name, f"mount --bind {shlex.quote(str(source))} {shlex.quote(target)}")

    def unmount(self, name: str, target: str) -> None:
        self.run(name, f"umount -l {shlex.quote(target)}")


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=0.5) as line:
            return line.recv(4) == b"SSH-"
    except OSError:
        return False


def sweep() -> None:
    """Remove what sessions that are gone have left behind. A living session's bed is not touched."""
    for folder in ROOT.glob(f"{FOLDER}*"):
        try:
            note = json.loads((folder / "owner.json").read_text())
            owner = psutil.Process(note["pid"])
            if abs(owner.create_time() - note["started"]) < 1.0:
                continue
        except (OSError, ValueError):
            continue
        except psutil.NoSuchProcess:
            pass
        remove_namespaces(note["prefix"])
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    began = time.monotonic()
    with Hosts() as bed:
        print(f"up in {time.monotonic() - began:.1f} s: {bed.folder} (SIMULATED GPUs)")
        config = bed.ssh_config()
        for name in bed.names:
            print(f"ssh -F {config} node-{name}")
        print(f"cluster file: {bed.cluster_file()}\nCtrl-C ends them")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
