"""A small root file system from this machine's own files: a shell, usual tools, libraries Python needs.

It becomes an image by `podman import`. The environment with Ray and vLLM (gigabytes, and vfs storage copies
an image for each container) is not in it: the tests mount it, and the image's commands start what is mounted.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.real import vllm_env

TOOLS = re.findall(
    r"\w+",
    "bash cat chmod cp cut date df dirname du env find getconf grep head hostname id ln ls lscpu mkdir "
    "mktemp mv nohup nproc ps readlink rm rmdir sed seq setsid sleep sort stat tail tee touch tr true uname "
    "uniq wc xargs",
)
#: Names in the image -> what they are; `sh` of Debian is dash.
_LINKS = {
    "usr/bin/sh": "dash",
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "sbin": "usr/sbin",
}
_FOLDERS = re.findall(
    r"[\w/]+",
    "usr/bin usr/sbin usr/lib usr/lib64 usr/local/bin etc tmp proc sys dev root opt run var home",
)


def build(target: Path) -> Path:
    """Write the tar of what every image has."""
    programs = [path for name in (*TOOLS, "dash") if (path := _program(name))]
    # Compiled modules are loaded from mounted folders; the libraries they ask the system for are not there.
    site = vllm_env.venv() / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    modules = [
        *Path(sys.base_prefix).glob("lib/python3*/lib-dynload/*.so"),
        *(site / "ray").glob("core/src/ray/*/*"),
        *site.glob("ray/*.so"),
        *site.glob("vllm/*.so"),
        *site.glob("torch/lib/*.so"),
    ]
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    with tarfile.open(target, "w") as tar:
        for folder in _FOLDERS:
            _add(tar, folder, tarfile.DIRTYPE, mode=0o1777 if folder == "tmp" else 0o755)
        for name, leads in _LINKS.items():
            _add(tar, name, tarfile.SYMTYPE, link=leads)
        for path in sorted({*programs, *_libraries([*programs, *modules, python])}):
            tar.add(path.resolve(), _inside(path), recursive=False)
        _add(tar, "etc/passwd", text="root:x:0:0:root:/root:/bin/bash\n")
        _add(tar, "etc/group", text="root:x:0:\n")
    return target


def variant(base: Path, target: Path, scripts: dict[str, str]) -> Path:
    """A copy of the tar with more commands in /usr/local/bin: name -> text."""
    shutil.copyfile(base, target)
    with tarfile.open(target, "a") as tar:
        for name, text in scripts.items():
            _add(tar, f"usr/local/bin/{name}", text=text)
    return target


def _program(name: str) -> Path | None:
    return next((path for folder in ("/usr/bin", "/bin") if (path := Path(folder, name)).exists()), None)


def _libraries(files: Iterable[Path]) -> set[Path]:
    """What the dynamic linker would load from the system's own folders."""
    done = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True)
    return {Path(path) for path in re.findall(r"\s(/(?:usr/)?lib(?:64)?/\S+)", done.stdout)}


def _inside(path: Path) -> str:
    """/lib and /bin are links in the image, as they are on this machine."""
    text = str(path)
    return text.lstrip("/") if text.startswith("/usr/") else "usr" + text


def _add(
    tar: tarfile.TarFile,
    name: str,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o755,
    link: str = "",
    text: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.size = kind, mode, link, len(text.encode())
    tar.addfile(entry, io.BytesIO(text.encode()))
