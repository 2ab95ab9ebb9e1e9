"""How an image comes to a node: pulled, loaded from an archive, or handed on by another node."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from wizard_steps.cluster.devices import outward
from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Node, counted
from wizard_steps.node import collective, weights
from wizard_steps.node.docker import archive, docker
from wizard_steps.node.kit import IMAGE, as_sh
from wizard_steps.node.program import program, python3
from wizard_steps.node.remote import COPY_TOKEN, exports

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


def share(cluster: Cluster, at: int, addresses: Sequence[str], image: str, key: str) -> Cmd:
    """On the node at place ``at`` of a chain: `docker save` of the first goes into `docker load` on each of
    the others, from node to node while it comes."""
    command = ["load"] if at else ["save", image]
    chain = weights.in_chain(at, addresses, collective.PORT)
    spec = {**chain, "command": [*shlex.split(cluster.docker.command), *command], "wait": _MEET}
    line = f"{docker(cluster)} {shlex.join(command)}"
    shown = (
        f"(hand what {addresses[at - 1]}:{collective.PORT} sends to `{line}`, and on to the next node)"
        if at
        else f"(send the output of `{line}` to {counted(len(addresses) - 1, 'node')}, from one to the next)"
    )
    # The word of this walk comes on standard input.
    secret = 'IFS= read -r line && export "$line"\n'
    text = secret + python3(cluster.venv, *weights.program("image_share"), json.dumps(spec))
    return Cmd(key, text, mutates=True, timeout=LIMIT, show=shown, secrets=(COPY_TOKEN,))
