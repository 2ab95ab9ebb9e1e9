"""Lab nodes on the Docker path: podman with runc as `docker`, a store of images for each node. Needs root.

The image is made on the spot and holds next to nothing: this machine's /usr and the lab's folder are mounted
into its containers. GPUs are SIMULATED by the lab's nvidia-smi.
"""

from __future__ import annotations

import io
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from wizard_steps.errors import MilepostError

IMAGE = "localhost/milepost-lab:latest"
TOOLS = ("podman", "runc")
_BIN, _SITE = "/opt/lab/bin", "/opt/lab/site"
_FOLDERS = ("usr", "etc", "tmp", "proc", "sys", "dev", "root", "run", "var/tmp", "home", "opt/lab")
_CONTAINERS = """[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
"""
_STORAGE = '[storage]\ndriver = "vfs"\nrunroot = "{run}"\ngraphroot = "{graph}"\n'
#: More processes than a sandbox may have cannot be asked for.
_PROCESSES = 20000


def obstacle() -> str:
    """Why this machine cannot have them, in one sentence; "" when it can."""
    if os.geteuid() != 0:
        return "containers of the lab need root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"this machine has no {' and no '.join(missing)} (Debian: apt-get install podman runc)"
    return ""


def settings(run: str, graph: str) -> dict[str, str]:
    """podman's files, name -> text: what works as root nearly everywhere, with the limits of this machine."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    processes = min(most, _PROCESSES) if most > 0 else _PROCESSES
    limits = _CONTAINERS.format(files=files, processes=processes)
    return {"containers.conf": limits, "storage.conf": _STORAGE.format(run=run, graph=graph)}


def mounts(venv: Path) -> list[str]:
    """Flags of `docker run`: what the image's commands need of this machine. ``venv``: that of the lab."""
    wanted = [
        "/usr",
        "/etc/alternatives",
        sys.prefix,
        sys.base_prefix,
        str(Path(__file__).parents[2]),
        str(venv.parent),
    ]
    folders = [path for path in wanted if Path(path).is_dir()]
    inside = [path for path in folders if any(path.startswith(f"{other}/") for other in folders)]
    return [f"--volume={path}:{path}:ro" for path in dict.fromkeys(folders) if path not in inside]


def build(folder: Path, command: Path, venv: Path, vllm: str, build_of: str) -> None:
    """Write ``command``, the node's docker, and put the image into its store below ``folder``.

    ``vllm``: the version that the image says it has. ``build_of``: images of unlike ones have unlike digests.
    Raises MilepostError with podman's words.
    """
    folder.mkdir()
    for name, text in settings(f"{folder}/run", f"{folder}/graph").items():
        (folder / name).write_text(text)
    own = f"CONTAINERS_CONF={shlex.quote(f'{folder}/containers.conf')} "
    own += f"CONTAINERS_STORAGE_CONF={shlex.quote(f'{folder}/storage.conf')}"
    command.write_text(f'#!/bin/sh\nexport {own}\nexec {shutil.which("podman")} "$@"\n')
    command.chmod(0o755)
    archive = folder / "image.tar"
    _write(archive, venv, command.with_name("nvidia-smi"), vllm)
    changes = (f"ENV PATH={_BIN}:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", f"LABEL built={build_of}")
    words = [str(command), "import", *(f"--change={change}" for change in changes), str(archive), IMAGE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise MilepostError(f"podman import: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")


def _write(target: Path, venv: Path, smi: Path, vllm: str) -> None:
    scripts = {
        "python3": f'PYTHONPATH={_SITE} exec {venv}/bin/python3 "$@"',
        "ray": f'exec {venv}/bin/ray "$@"',
        "vllm": f'exec {venv}/bin/vllm "$@"',
        "nvidia-smi": f'exec {smi} "$@"',
    }
    with tarfile.open(target, "w") as tar:
        for name in _FOLDERS:
            _add(tar, name, tarfile.DIRTYPE)
        for name in ("bin", "sbin", "lib", "lib64"):
            _add(tar, name, tarfile.SYMTYPE, link=f"usr/{name}")
        for name, text in scripts.items():
            _add(tar, f"{_BIN}/{name}".lstrip("/"), text=f"#!/bin/sh\n{text}\n")
        metadata = (
            f"Metadata-Version: 2.1\nName: vllm\nVersion: {vllm}\nSummary: SIMULATED by the milepost lab\n"
        )
        _add(tar, f"{_SITE}/vllm-{vllm}.dist-info/METADATA".lstrip("/"), text=metadata)


def _add(
    tar: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, link: str = "", text: str = ""
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.size = kind, 0o755, link, len(text.encode())
    tar.addfile(entry, io.BytesIO(text.encode()))
