"""How an image comes to a node: pulled, loaded from an archive, or sent by the head over the GPU network."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from wizard_steps.cluster.devices import outward
from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Node
from wizard_steps.node import collective
from wizard_steps.node.docker import archive, docker
from wizard_steps.node.kit import IMAGE, as_sh
from wizard_steps.node.program import program, run_python
from wizard_steps.node.remote import exports

#: An image with vLLM and CUDA has some 10 GB: an hour on a slow line.
LIMIT = 3600.0
#: Seconds that the head waits for the others, which SSH reaches one after the other.
_MEET = 60.0


def _told(cluster: Cluster, line: str) -> str:
    """sh text that runs ``line`` and says, every ten seconds, how much the engine's disk has taken since:
    without a terminal no engine tells bytes."""
    return f'engine() {{ {docker(cluster)} "$@"; }}\nfetch() {{ {line}; }}\n{program("fetch.sh")}'


def pull(cluster: Cluster, node: Node, image: str, key: str) -> Cmd:
    """podman pulls with the environment that it is started in; Docker's engine has one of its own."""
    line = f"{docker(cluster)} pull {shlex.quote(image)}"
    return Cmd(
        key, exports(outward(cluster, node)) + _told(cluster, line), mutates=True, timeout=LIMIT, show=line
    )


def load(cluster: Cluster, key: str, kit: str = "") -> Cmd:
    """From docker.archive, a file of the node, or from a kit in that folder of the node."""
    file = f"{as_sh(kit)}/{IMAGE}" if kit else archive(cluster)
    line = f"{docker(cluster)} load -i {file}"
    where = f"{kit}/{IMAGE}: no such archive on this node (install.from)"
    missing = where if kit else f"{cluster.docker.archive}: no such archive on this node (docker.archive)"
    missing = shlex.quote(missing)
    text = f"[ -r {file} ] || {{ echo {missing}; exit 1; }}\n{_told(cluster, line)}"
    return Cmd(key, text, mutates=True, timeout=LIMIT, show=line)


def send(cluster: Cluster, head_ip: str, to: Sequence[str], image: str, key: str) -> Cmd:
    """On the head: `docker save` to all of ``to``, addresses that connect to it (see ``receive``)."""
    it = [*shlex.split(cluster.docker.command), "save", image]
    words = (head_ip, str(collective.PORT), f"{_MEET:g}", json.dumps(list(to)), json.dumps(it))
    shown = f"(send the output of `{docker(cluster)} save {shlex.quote(image)}` to {len(to)} nodes)"
    text = run_python(cluster.venv, "image_send.py", *words)
    return Cmd(key, text, mutates=True, timeout=LIMIT, show=shown)


def receive(cluster: Cluster, node: Node, ip: str, head_ip: str, key: str) -> Cmd:
    """On a node that lacks it: what the head sends goes into `docker load`."""
    it = [*shlex.split(cluster.docker.command), "load"]
    words = (ip, head_ip, str(collective.PORT), f"{_MEET:g}", json.dumps(it))
    shown = f"(hand what {head_ip}:{collective.PORT} sends to `{docker(cluster)} load`)"
    text = run_python(cluster.venv, "image_receive.py", *words)
    return Cmd(key, text, mutates=True, timeout=LIMIT, show=shown)
