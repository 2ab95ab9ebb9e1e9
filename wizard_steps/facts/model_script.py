"""The sh texts that look at the model on a node: its folder, its config.json, its access at the hub."""

from __future__ import annotations

import shlex

from wizard_steps.cluster.file import Cluster
from wizard_steps.node import remote
from wizard_steps.node.places import place_of
from wizard_steps.node.program import program

#: Bytes of a model's config.json that are read; quantised ones list many layers.
CONFIG_LIMIT = 262144


def exports(cluster: Cluster) -> str:
    """The cluster file's environment, which the server will have too."""
    return remote.exports(cluster.env)


def is_path(model: str) -> bool:
    """A folder on the nodes, or a name on the hub."""
    return model.startswith(("/", "./", "../", "~"))


def quoted_path(path: str) -> str:
    """For sh: quoted, but a leading ``~/`` still means the home folder."""
    if path == "~":
        return '"$HOME"'
    if path.startswith("~/"):
        return '"$HOME"/' + shlex.quote(path[2:])
    return shlex.quote(path)


def weights_path(cluster: Cluster) -> str:
    """For sh: the folder whose disk takes the weights, the model's own or the hub's cache."""
    if is_path(cluster.serve.model):
        return quoted_path(cluster.serve.model)
    return place_of(cluster).model_home


def weights(cluster: Cluster) -> str:
    """Size and a checksum of config.json: enough to see whether all nodes have the same model."""
    partial = ""
    if not is_path(cluster.serve.model):
        partial = (
            '[ -z "$r" ] || echo "revision $r"; '
            'for i in "$p"/blobs/*.incomplete; do [ -e "$i" ] && { echo partial; break; }; done; '
        )
    return (
        f'{_place(cluster)}{partial}[ -d "$p" ] || {{ echo "absent $p"; exit 3; }}; echo "folder $p"; '
        '[ -f "$c" ] && echo "config $(cksum < "$c")"; '
        'echo "kib $(du -sk "$p/" | cut -f1)"'
    )


def _place(cluster: Cluster) -> str:
    """Sets ``p`` to the model's folder, ``c`` to its config.json; in a hub cache ``r`` to the revision."""
    model = cluster.serve.model
    if is_path(model):
        return f"p={quoted_path(model)}; c=$p/config.json; "
    hub = place_of(cluster).model_home
    folder = "models--" + model.replace("/", "--")
    return (
        f'p={hub}/{shlex.quote(folder)}; r=$(cat "$p/refs/main" 2>/dev/null); c=$p/snapshots/$r/config.json; '
    )


def config(cluster: Cluster) -> str:
    """The model's config.json and the bytes of its weights, where this node has them."""
    return (
        f"{exports(cluster)}{_place(cluster)}d=${{c%/*}}; n=0\n"
        'for f in "$d"/*.safetensors; do [ -f "$f" ] && n=$((n + $(wc -c < "$f"))); done\n'
        f'[ ! -f "$c" ] || {{ echo "weights $n"; head -c {CONFIG_LIMIT} "$c"; }}\n'
    )


def access(cluster: Cluster) -> str:
    """Asks the hub for config.json with the token of this node or of the wizard; neither is ever shown.

    The token travels on standard input: first from the wizard, then to curl or Python, never in argv.
    """
    model, code = shlex.quote(cluster.serve.model), shlex.quote(program("hub_access.py"))
    python = f"{shlex.quote(cluster.venv)}/bin/python"
    setting = f"model={model}\npython={python}\ncode={code}\n"
    return f"{exports(cluster)}{setting}{program('model_access.sh')}"
