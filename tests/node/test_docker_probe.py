"""The image's gate: what it mounts to look into a container, and how it reads what that prints."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.node.test_docker import cluster
from wizard_steps.milestones import docker_probe
from wizard_steps.node.docker import Given
from wizard_steps.node.program import program


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10.24g", int(10.24 * 2**30)),
        ("512m", 2**29),
        ("64k", 65536),
        ("1024", 1024),
        ("2G", 2**31),
        ("x", 0),
    ],
)
def test_sizes_as_docker_writes_them(text: str, wanted: int) -> None:
    assert docker_probe.size(text) == wanted


def test_a_look_mounts_no_model_and_makes_no_folder() -> None:
    it = cluster("[docker]\n")
    it = replace(it, serve=replace(it.serve, model="/models/llama"))
    text = docker_probe.inside_command(it, it.head, "image", "inside", Given()).text
    assert "/models/llama" not in text
    assert "mkdir -" not in text
    assert "--shm-size 10.24g --gpus all --ulimit memlock=-1" in text


def test_a_look_mounts_the_folders_that_are_there_or_those_they_will_be_made_in(tmp_path: Path) -> None:
    it = cluster(
        '[docker]\nhf_home = "~/hub"\nlog_home = "~/of file/logs"\ncompile_cache = "/nowhere/at/all"\n'
    )
    text = docker_probe.inside_command(it, it.head, "image", "inside", Given()).text
    (tmp_path / "hub").mkdir()
    (tmp_path / "of file").touch()
    (tmp_path / "docker").write_text(
        '#!/bin/sh\nfor w; do case $w in *:/milepost/*) echo "mount $w";; esac; done\n'
    )
    (tmp_path / "docker").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    said = subprocess.run(["sh", "-c", text], env=env, capture_output=True, text=True, check=True).stdout
    assert f"mount {tmp_path}/hub:/milepost/cache\n" in said
    assert f"logs: cannot be made in {tmp_path}/of file\n" in said
    assert "/milepost/compiled" not in said, "the whole disk is not mounted for a look"


def test_what_the_look_prints_of_folders_is_read(tmp_path: Path) -> None:
    script = program("container_inside.sh").replace("/milepost/", f"{tmp_path}/")
    (tmp_path / "logs").mkdir()
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    found = docker_probe.Inside(said)
    assert found.folders == {"logs": "writable"}
    assert found.file_systems["logs"]
    assert not list((tmp_path / "logs").iterdir()), "nothing is left behind"
    # As on NFS with root_squash: `test -w` passes, and making a file fails.
    refused = script.replace("mktemp", "false")
    said = subprocess.run(["bash", "-c", refused], capture_output=True, text=True, check=True).stdout
    assert docker_probe.Inside(said).folders["logs"].startswith("read-only for ")


def test_tools_that_an_image_lacks_are_named(tmp_path: Path) -> None:
    there = "chmod cp cut df find grep head id ln mkdir mktemp mv nohup readlink rm sed sleep stat tr wc"
    for tool in there.split():
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    # As busybox has it.
    (tmp_path / "tail").write_text("#!/bin/sh\ncase $1 in --*) exit 1;; esac\n")
    (tmp_path / "tail").chmod(0o755)
    bash = str(shutil.which("bash"))
    script = program("container_inside.sh")
    run = subprocess.run(
        [bash, "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert docker_probe.Inside(run.stdout).lacks == "cat setsid tail --pid (GNU coreutils)"
    run = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True)
    assert docker_probe.Inside(run.stdout).lacks == ""
