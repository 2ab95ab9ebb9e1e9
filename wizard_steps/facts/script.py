"""The read-only sh script that gathers a node's facts in one go, and the commands that carry it.

Each fact is a section of its own: what it prints is followed by ``@@fact NAME exit CODE``. A section that
fails, hangs (15 s) or lacks its tool leaves the others alone. It needs sh, and cat and grep for most facts.
"""

from __future__ import annotations

import shlex

from wizard_steps.cluster.file import Cluster
from wizard_steps.facts import gpu_health
from wizard_steps.facts.gpu import APPS_QUERY, QUERY
from wizard_steps.facts.model_script import access, config, exports, is_path, weights, weights_path
from wizard_steps.model import Cmd, Node
from wizard_steps.node import docker as containers
from wizard_steps.node import engine, venv
from wizard_steps.node.places import place_of
from wizard_steps.node.program import program
from wizard_steps.node.remote import cluster_dir

#: Distributions whose versions matter to a cluster.
PACKAGES = (
    "vllm", "ray", "torch", "openai", "transformers", "nvidia-nccl-cu13", "nvidia-nccl-cu12",
)  # fmt: skip

#: Seconds after which one section is ended (where the node has a ``timeout`` tool).
SECTION_LIMIT = 15

#: The last section: without it the output was cut off.
END = "end"

#: Prints the nearest existing parent of a path: a cache folder may not be there yet.
_UP = (
    'up() { d=$1; while [ ! -e "$d" ]; do '
    'case $d in */*) d=${d%/*}; [ -n "$d" ] || d=/;; *) d=.;; esac; done; '
    'printf "%s\\n" "$d"; }; '
)

#: What tools of the system administrator are found by, whatever the login gives.
_PATH = "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/cuda/bin:/usr/lib/wsl/lib; export PATH\n"

#: busybox knows no -brief; without iproute2 the kernel's own lists have addresses and interfaces.
_ADDRESSES = "ip -brief addr 2>/dev/null || ip addr 2>/dev/null || cat /proc/net/fib_trie /proc/net/route"
#: The same for a gate: what it prints is shown as it comes.
ADDRESSES = f"LC_ALL=C; export LC_ALL\n{_PATH}{_ADDRESSES}\n"

_SECTIONS: dict[str, str] = {
    "os": "cat /etc/os-release; uname -srm",
    "memory": "cat /proc/meminfo",
    "boot": "cat /proc/sys/kernel/random/boot_id",
    "limits": "cat /proc/self/limits",
    # One home of several nodes is known by its file system and inode; inside one machine by its device too.
    "home": 'stat -L -c "device %d inode %i" "$HOME" && df -PT "$HOME"',
    "shm": "df -Pk /dev/shm",
    # The address ssh came in on: the management network.
    "ssh": 'set -- $SSH_CONNECTION; echo "$3"',
    "interfaces": _ADDRESSES,
    "links": program("facts_links.sh"),
    "rdma": program("facts_rdma.sh"),
    "nvidia": "nvidia-smi",
    "gpus": f"nvidia-smi --query-gpu={QUERY} --format=csv,noheader,nounits",
    "gpu-processes": f"nvidia-smi --query-compute-apps={APPS_QUERY} --format=csv,noheader,nounits",
    "gpu-health": gpu_health.SCRIPT,
    "gpu-xids": gpu_health.XID_SCRIPT,
    "accelerators": program("facts_accelerators.sh"),
    "gpu-fabric": "nvidia-smi --query-gpu=index,fabric.state,fabric.status --format=csv,noheader",
    "gpu-topology": "nvidia-smi topo -m",
    "firewall-ufw": "ufw status",
    "firewall-firewalld": "firewall-cmd --state",
    "firewall-nft": "nft list ruleset",
    "firewall-iptables": "iptables -S",
    # Passwords in proxy addresses stay on the node.
    "proxies": "env | grep -i '^[a-z_]*_proxy=' | sed 's#//[^/@]*@#//***@#'; true",
    "ntp": "timedatectl show -p NTPSynchronized --value",
    "processes": program("facts_processes.sh"),
    "listeners": "grep -h ' 0A ' /proc/net/tcp /proc/net/tcp6 2>/dev/null",
    "sockets": "ss -Hltnp",
    "ray-token": program("facts_token.sh"),
}


def sections(cluster: Cluster) -> dict[str, str]:
    """Section name -> sh text, for one cluster: the fixed ones, its software and its model."""
    contained = place_of(cluster).contained
    return {
        **_SECTIONS,
        "ours": _ours(cluster),
        "python": _python(cluster),
        **({} if contained else {"packages": venv.look(cluster.venv, *PACKAGES)}),
        **({"docker": _docker(cluster)} if contained else {}),
        "disk": _UP + f'for d in {weights_path(cluster)} "${{TMPDIR:-/tmp}}"; do df -Pk "$(up "$d")"; done',
        "model": weights(cluster),
    }


CLOCK = Cmd(key="clock", text="date +%s.%N", timeout=20, quiet=True)


def facts_command(cluster: Cluster) -> Cmd:
    """The whole script as one command, which writes nothing on the node."""
    return Cmd(
        key="facts",
        text=script(cluster),
        # Six nvidia-smi calls and three looks at disks may each take their whole limit.
        timeout=165,
        quiet=True,
        show="a read-only look at OS, GPUs, network, limits, software and model",
    )


def commands(node: Node, cluster: Cluster) -> list[Cmd]:
    """The read-only commands for one node, to be run at the same time: facts, clock, access to the model;
    on the head also the model's config.json."""
    work = [facts_command(cluster), CLOCK]
    if node.role == "head":
        work.append(Cmd(key="config", text=config(cluster), timeout=30, quiet=True, show="cat config.json"))
    # The embedded lab serves a stand-in: only a hub of its own is asked about its model.
    hub = "HF_ENDPOINT" in cluster.env or not cluster.simulated
    if not is_path(cluster.serve.model) and hub:
        work.append(
            Cmd(
                key="access",
                text=access(cluster),
                timeout=45,
                quiet=True,
                show=f"HEAD request for config.json of {cluster.serve.model}",
                secrets=("HF_TOKEN",),
            )
        )
    return work


def script(cluster: Cluster, limit: int = SECTION_LIMIT) -> str:
    """The whole script as one sh text. ``limit``: seconds a section may take."""
    return _joined({**sections(cluster), END: "true"}, exports(cluster), limit)


def only(*names: str) -> str:
    """A script of these fixed sections alone."""
    return _joined({name: _SECTIONS[name] for name in names}, "", SECTION_LIMIT)


def _joined(wanted: dict[str, str], setting: str, limit: int) -> str:
    head = (
        "LC_ALL=C; export LC_ALL\n"
        f"{_PATH}{setting}"
        "fact() {\n"
        f'  if command -v timeout >/dev/null 2>&1; then timeout {limit} sh -c "$2"; '
        'else sh -c "$2"; fi </dev/null 2>&1\n'
        '  printf \'\\n@@fact %s exit %s\\n\' "$1" "$?"\n'
        "}\n"
    )
    return (
        head
        + "".join(f"fact {shlex.quote(name)} {shlex.quote(text)}\n" for name, text in wanted.items())
        + "exit 0\n"
    )


def _python(cluster: Cluster) -> str:
    if place_of(cluster).contained:
        return "python3 -V"
    return f"{shlex.quote(cluster.venv)}/bin/python -V"


def _docker(cluster: Cluster) -> str:
    docker, image = containers.docker(cluster), shlex.quote(containers.image_of(cluster))
    mine = shlex.quote(f"label={containers.LABEL}={cluster.name}")
    return (
        f"{docker} version --format '{{{{.Server.Version}}}}' && {{ {docker} --version\n"
        f"{engine.script(cluster)}}}\n"
        f"[ -z \"$({docker} ps -q --filter {mine} 2>/dev/null)\" ] || echo 'ours running'; "
        f"{docker} image inspect --format 'image {{{{.Id}}}}' {image}"
    )


def _ours(cluster: Cluster) -> str:
    """Processes that milepost started for this cluster, and which listening sockets are theirs.

    They are told by user, MILEPOST_ID and MILEPOST_LIFE in their environment (see remote.py), never by name.
    """
    setting = f"cluster={shlex.quote(cluster.name)}\nlives={cluster_dir(cluster)}\n"
    contained = _contained(cluster) if place_of(cluster).contained else ""
    return f"{setting}{program('facts_ours.sh')}{contained}true"


def _contained(cluster: Cluster) -> str:
    """The processes of our containers by their control group, which names the container: others' Ray on the
    same machine is theirs."""
    mine = shlex.quote(f"label={containers.LABEL}={cluster.name}")
    return (
        f"for i in $({containers.docker(cluster)} ps -q --no-trunc --filter {mine} 2>/dev/null); do "
        'for f in $(grep -slF "$i" /proc/[0-9]*/cgroup); do '
        "p=${f#/proc/}; tell ${p%/cgroup}; done; done\n"
    )
