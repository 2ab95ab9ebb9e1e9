"""The packages of a kit: resolved for the nodes' Python and machine, downloaded as wheels, with hashes."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from wizard_steps.cluster.devices import outward
from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import MilepostError
from wizard_steps.milestones.install import installer_flags, packages
from wizard_steps.model import WIZARD
from wizard_steps.node.kit import WHEELS, KitFile
from wizard_steps.pack.target import PackTarget


def fetch(cluster: Cluster, target: PackTarget, kit: Path) -> None:
    """Fill ``kit/wheels``. Raises MilepostError."""
    new = kit / f"{WHEELS}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    environment = {**os.environ, **outward(cluster, WIZARD)}
    wanted, flags = packages(cluster), installer_flags(cluster)
    if (uv := shutil.which("uv")) is not None:
        wanted = resolved(uv, wanted, flags, target, environment)
        flags = [*flags, "--no-deps"]
    elif not _like_here(target):
        raise MilepostError(
            f"pip resolves for the machine that it runs on, and this one ({platform.machine()}, Python "
            f"{_python()}) is not like the nodes ({target.machine}, Python {target.python}): install uv, "
            "which resolves for any"
        )
    before = [f"--find-links={kit / WHEELS}"] if (kit / WHEELS).is_dir() else []
    tags = [f"--platform={tag}" for tag in target.platforms]
    words = [
        "download",
        "--disable-pip-version-check",
        "--only-binary=:all:",
        f"--dest={new}",
        *flags,
        *before,
    ]
    words += ["--implementation=cp", f"--python-version={target.python}", *tags, *wanted]
    run([*_pip(), *words], environment)
    shutil.rmtree(kit / WHEELS, ignore_errors=True)
    new.rename(kit / WHEELS)


def resolved(
    uv: str, wanted: Sequence[str], flags: Sequence[str], target: PackTarget, environment: Mapping[str, str]
) -> list[str]:
    """NAME==VERSION of everything that has to be installed on such a node."""
    tag = f"{target.machine}-manylinux_{target.glibc.replace('.', '_')}"
    words = ["pip", "compile", "-", "-q", "--no-header", "--no-annotate", "--only-binary=:all:", *flags]
    words += [f"--python-version={target.python}", f"--python-platform={tag}", "--no-emit-index-url"]
    words += ["--no-emit-find-links"]
    done = run([uv, *words], environment, "\n".join(wanted))
    return [line for line in done.splitlines() if line.strip() and not line.startswith(("#", "-"))]


def lock(files: Sequence[KitFile]) -> str:
    """NAME==VERSION with the SHA-256 of every wheel. Raises MilepostError for another file among them."""
    lines = []
    for one in files:
        folder, _, wheel = one.name.partition("/")
        if folder != WHEELS:
            continue
        try:
            name, version, *_ = parse_wheel_filename(wheel)
        except InvalidWheelFilename:
            raise MilepostError(f"{one.name}: is no wheel") from None
        lines.append(f"{name}=={version} --hash=sha256:{one.sha256}\n")
    return "".join(lines)


def run(words: Sequence[str], environment: Mapping[str, str], stdin: str | None = None) -> str:
    """A program whose messages a person sees as they come; its standard output where it was given something
    to read. Raises MilepostError when it fails."""
    output = subprocess.PIPE if stdin is not None else None
    try:
        done = subprocess.run(
            words, env=dict(environment), input=stdin, stdout=output, text=True, check=False
        )
    except OSError as error:
        raise MilepostError(f"{words[0]}: {error.strerror or error}") from None
    if done.returncode:
        name = " ".join(word for word in words[:4] if not word.startswith("-"))
        raise MilepostError(f"`{name}` failed (exit {done.returncode}): its output is above")
    return done.stdout or ""


def _pip() -> list[str]:
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if (found := shutil.which("pip3") or shutil.which("pip")) is not None:
        return [found]
    raise MilepostError("pip is missing on this machine: it downloads the packages. Install it (python3-pip)")


def _python() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def _like_here(target: PackTarget) -> bool:
    here = (sys.platform, platform.machine(), _python())
    return here == ("linux", target.machine, target.python) and find_spec("pip") is not None
