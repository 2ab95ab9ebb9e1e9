"""The installation itself, from wheels in a folder: with pip and with uv, and what [install] and [env] say."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.helpers.case_runner import CLUSTER
from tests.helpers.requirements import require
from wizard_steps.cluster.file import Cluster, parse
from wizard_steps.cluster.values import Install
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.milestones.install import install_command, versions_command


def wheel(folder: Path, name: str, version: str, extra: str = "") -> None:
    """A package without a file."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extra}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text)}")
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        for path, text in files.items():
            file.writestr(path, text)
        file.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,", ""]))


def cluster(tmp_path: Path, tool: str) -> Cluster:
    wheels, index = tmp_path / "wheels", tmp_path / "index"
    wheels.mkdir()
    index.mkdir()
    one = parse(CLUSTER)
    wheel(wheels, "vllm", one.serve.vllm_version)
    wheel(wheels, "ray", one.ray.version, "Provides-Extra: default\n")
    install = Install(tool=tool, index_url=index.as_uri(), find_links=(str(wheels),))  # type: ignore[arg-type]
    return replace(one, venv=str(tmp_path / "venv"), install=install)


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_an_install_without_internet(tmp_path: Path, tool: str) -> None:
    # The tests' own environment has a uv, which need not be on the PATH.
    path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
    if tool == "uv" and not shutil.which("uv", path=path):
        require("uv is not installed")
    known = Known(cluster(tmp_path, tool))
    command = install_command(known, known.head)
    env = {**os.environ, "PATH": path}
    done = subprocess.run(["sh", "-c", command.text], capture_output=True, text=True, timeout=100, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    look = versions_command(known.cluster.venv).text
    said = subprocess.run(["sh", "-c", look], capture_output=True, text=True, timeout=60).stdout
    assert f"vllm: {known.cluster.serve.vllm_version}" in said
    assert f"ray: {known.cluster.ray.version}" in said
    assert "lock: " in said
    assert f"{tool} " in command.show.replace("/pip", "pip")
    assert f"--find-links={tmp_path}/wheels" in command.show


def test_no_uv_is_said(tmp_path: Path) -> None:
    known = Known(cluster(tmp_path, "uv"))
    command = install_command(known, known.head)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    if shutil.which("uv", path=env["PATH"]):
        pytest.skip("uv is in /usr/bin")
    done = subprocess.run(["sh", "-c", command.text], capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert "uv is neither in PATH" in done.stdout


def test_env_and_proxy_reach_the_installer(tmp_path: Path) -> None:
    one = cluster(tmp_path, "auto")
    one = replace(one, env={"UV_CACHE_DIR": "/a b"}, install=replace(one.install, proxy="http://p:3128"))
    text = install_command(Known(one), one.head).text
    assert "export UV_CACHE_DIR='/a b'\n" in text
    assert "export HTTPS_PROXY=http://p:3128\n" in text


def test_what_is_typed_today_is_what_was_recorded() -> None:
    known = Known(parse(CLUSTER))
    wanted = f"vllm=={known.cluster.serve.vllm_version} 'ray[default]=={known.cluster.ray.version}'"
    show = install_command(known, known.head).show
    assert show == f"python3 -m venv /opt/vllm-venv && /opt/vllm-venv/bin/pip install {wanted}"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('index_url = "https://me:secret@pypi.example.org/simple"', "has a name or password in it"),
        ('proxy = "http://me@proxy:3128"', "has a name or password in it"),
        ('find_links = ["--pre"]', "must not begin with -"),
        ('index_url = "pypi.example.org"', "is not an address"),
    ],
)
def test_what_no_file_may_hold(line: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as wrong:
        parse(f"{CLUSTER}\n[install]\n{line}\n")
    assert "me:secret" not in str(wrong.value)
