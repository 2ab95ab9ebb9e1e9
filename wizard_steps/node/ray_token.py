"""sh for the nodes: the Ray token of a cluster that wants one (``ray.auth = "token"``).

One secret for all nodes, kept in ~/.milepost/NAME/NODE/ray_token (0600) so that no other Ray of the same user
takes notice of it. It travels on standard input only; what is shown and compared is a hash.
"""

from __future__ import annotations

import re
import shlex

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Check, Cmd, Node, Result
from wizard_steps.node.remote import state_dir

#: The name under which a wizard hands the token over, see ``Cmd.secrets``; Ray knows the same name.
NAME = "RAY_AUTH_TOKEN"
#: Where a container of the docker path finds the file.
IN_CONTAINER = "/run/milepost_ray_token"
_HASH = 'echo "token: sha256 $(sha256sum < ray_token | cut -c1-16), mode $(stat -c %a ray_token)"\n'


def wanted(cluster: Cluster) -> bool:
    return cluster.ray.auth == "token"


def setup(cluster: Cluster, node: Node) -> str:
    """sh text before anything that talks to Ray on a host; nothing where no token is wanted. In a container
    its own environment says it."""
    if not wanted(cluster):
        return ""
    return (
        f"unset {NAME}; export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={state_dir(cluster, node)}/ray_token\n"
    )


def container_flags(cluster: Cluster, node: Node) -> list[str]:
    """Quoted words of `docker run`."""
    if not wanted(cluster):
        return []
    mount = f"{state_dir(cluster, node)}/ray_token:{IN_CONTAINER}:ro"
    return ["-e", "RAY_AUTH_MODE=token", "-e", f"RAY_AUTH_TOKEN_PATH={IN_CONTAINER}", "-v", mount]


def put(cluster: Cluster, node: Node) -> Cmd:
    """Writes the token that comes on standard input; says its hash."""
    text = (
        "umask 077; t=\n"
        f"while IFS= read -r line; do case $line in {NAME}=*) t=${{line#*=}};; esac; done\n"
        '[ -n "$t" ] || { echo "no token came from the wizard"; exit 1; }\n'
        f"d={state_dir(cluster, node)}\n"
        'mkdir -p "$d" && cd "$d" && printf %s "$t" > ray_token.new || exit 1\n'
        "mv -f ray_token.new ray_token || exit 1\n" + _HASH
    )
    shown = f"(the cluster's Ray token into ~/.milepost/{cluster.name}/{node.name}/ray_token)"
    return Cmd("token", text, mutates=True, timeout=30, quiet=True, show=shown, secrets=(NAME,))


def by_hand(cluster: Cluster, node: Node) -> str:
    """The same for a script that a person runs, with the token in its environment; then what `ray` needs."""
    given = f'printf "{NAME}=%s\\n" "${{{NAME}:?export it first, the same on every node}}"'
    return f"{given} | sh -c {shlex.quote(put(cluster, node).text)}\n{setup(cluster, node)}".rstrip()


def look(cluster: Cluster, node: Node) -> Cmd:
    """The hash of the token a running Ray was started with."""
    text = (
        f"cd {state_dir(cluster, node)} || exit 1\n[ -s ray_token ] || {{ echo 'token: none'; exit 0; }}\n"
        + _HASH
    )
    return Cmd(
        "token",
        text,
        timeout=30,
        quiet=True,
        show=f"sha256sum ~/.milepost/{cluster.name}/{node.name}/ray_token",
    )


def read(cluster: Cluster, node: Node) -> Cmd:
    """Prints the token itself: for the transport alone, never for a step."""
    return Cmd(
        "token", f"cat {state_dir(cluster, node)}/ray_token 2>/dev/null; exit 0\n", timeout=30, quiet=True
    )


def forget(cluster: Cluster, node: Node) -> Cmd:
    """Remove the token from the node's folder of this cluster."""
    file = f"{state_dir(cluster, node)}/ray_token"
    text = f"[ -e {file} ] || exit 0\nrm -f {file} && echo 'the Ray token is removed'\n"
    shown = f"rm -f ~/.milepost/{cluster.name}/{node.name}/ray_token"
    return Cmd("forget", text, mutates=True, timeout=30, quiet=True, show=shown)


def hash_of(result: Result | None) -> str:
    """The first 16 hex digits of SHA-256 of the token that a node has; empty when it told none."""
    found = re.search(r"^token: sha256 ([0-9a-f]{16})", result.text, re.MULTILINE) if result else None
    return found[1] if found else ""


def check(result: Result | None, node: Node, head: str) -> Check:
    """Whether this node has the head's token (``head``: its hash), readable for its owner alone."""
    mine = hash_of(result)
    mode = re.search(r"mode (\d+)", result.text) if result else None
    private = mode is not None and mode[1] in ("600", "400")
    found = f"sha256 {mine}, mode {mode[1]}" if mine and mode else "none"
    hint = ""
    if not mine:
        hint = "Ray was started here without a token: `milepost down`, then start again"
    elif mine != head:
        hint = "Ray answers InvalidAuthToken to a node with another token: `milepost down`, then start again"
    elif not private:
        hint = "others on that machine can read it: chmod 600 ~/.milepost/*/*/ray_token"
    ok = bool(mine) and mine == head and private
    return Check("Ray token", ok, found, f"sha256 {head or 'of the head'}, mode 600", node.name, hint)
