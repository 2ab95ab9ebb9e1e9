"""The cluster file of an upgrade: other versions, and an environment or image beside the one that runs."""

from __future__ import annotations

import re
import shlex

from wizard_steps.cluster.edit import with_values
from wizard_steps.cluster.file import Cluster
from wizard_steps.cluster.flags import without
from wizard_steps.errors import UsageError

_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]{0,40}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")


def newer(
    cluster: Cluster, vllm: str = "", ray: str = "", revision: str = "", venv: str = "", image: str = ""
) -> Cluster:
    """``cluster`` with what is named, checked like a file. An empty name leaves a value as it is.

    A new vLLM or Ray gets a venv of its own, VENV-VERSION unless ``venv`` says where; on the Docker path an
    image of its own. Raises UsageError for what does not fit, or changes nothing.
    """
    for name, value in (("--vllm", vllm), ("--ray", ray)):
        if value and not _VERSION.fullmatch(value):
            raise UsageError(f"{name} {value}: is no version, e.g. 0.33.0")
    if revision and not _REVISION.fullmatch(revision):
        raise UsageError(f"--model-revision {revision}: is no branch, tag or commit")
    edits = [("serve.vllm_version", vllm)] if vllm else []
    edits += [("ray.version", ray)] if ray else []
    if cluster.path == "docker":
        if venv:
            raise UsageError('--venv goes with path = "bare-metal"; on the Docker path it is --image')
        new = image or (_image(cluster, vllm) if vllm else "")
        edits += [("docker.image", new)] if new else []
    elif image:
        raise UsageError('--image goes with path = "docker"')
    elif vllm or ray or venv:
        edits.append(("venv", venv or _venv(cluster, vllm, ray)))
    if revision:
        flags = [*without(cluster.serve.extra_flags, "--revision"), f"--revision={revision}"]
        edits.append(("serve.extra_flags", shlex.join(flags)))
    changed = with_values(cluster, edits)
    if changed == cluster:
        raise UsageError("that is what the cluster file says already: there is nothing to upgrade")
    if (vllm or ray) and changed.venv == cluster.venv and cluster.path != "docker":
        raise UsageError(f"--venv {venv}: that is the environment in use; name another folder")
    return changed


def _venv(cluster: Cluster, vllm: str, ray: str) -> str:
    """Beside the old one, named after what is in it: versions of an upgrade before are taken off first."""
    before = (f"-{cluster.serve.vllm_version}", f"-ray{cluster.ray.version}")
    base = cluster.venv.rstrip("/")
    for end in (before[1], before[0]):
        base = base.removesuffix(end)
    with_ray = f"-ray{ray}" if ray and ray != cluster.ray.version else ""
    return f"{base}-{vllm or cluster.serve.vllm_version}{with_ray}"


def _image(cluster: Cluster, vllm: str) -> str:
    """Another tag of the image in the file; "" for the official one, which follows the version."""
    now, old = cluster.docker.image, cluster.serve.vllm_version
    if not now:
        return ""
    name, _, tag = now.rpartition(":")
    if not name or "/" in tag or old not in tag:
        raise UsageError(f"docker.image is {now}, which does not name {old}: say which one with --image")
    return f"{name}:{tag.replace(old, vllm)}"
