"""What an engine is, by what it prints; and by which way its containers get GPUs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.node.test_docker import cluster
from wizard_steps.node import engine
from wizard_steps.node.docker import Given
from wizard_steps.node.engine import ContainerEngine, GpuWay, gpu_way, parse

ALL = ("--gpus", "all")
CDI = ("--device", "nvidia.com/gpu=all")
SPEC = "/etc/cdi/nvidia.yaml"
#: Engines that refuse each other's templates, as Docker and podman do.
FAKES = {
    "docker": r"""#!/bin/sh
case "$*" in
  *SecurityOptions*) echo '["name=seccomp,profile=builtin"ROOTLESS]' ;;
  *Runtimes*) echo "io.containerd.runc.v2 nvidia runc " ;;
  *LoggingDriver*) echo json-file ;;
  *DockerRootDir*) echo /var/lib/docker ;;
  --version) echo "Docker version 28.2.2, build e6534b4" ;;
  *) echo "template parsing error" >&2; exit 1 ;;
esac
""",
    "podman": r"""#!/bin/sh
case "$*" in
  *Host.Security.Rootless*) echo ROOTLESS ;;
  *Host.LogDriver*) echo journald ;;
  *Host.EventLogger*) echo file ;;
  *GraphRoot*) echo /var/lib/containers/storage ;;
  --version) echo "podman version 4.3.1" ;;
  *) echo "Error: can't evaluate field" >&2; exit 125 ;;
esac
""",
}


def told(folder: Path, kind: str, rootless: str) -> ContainerEngine:
    path = folder / "docker"
    path.write_text(FAKES[kind].replace("ROOTLESS", rootless))
    path.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    text = f"docker --version\n{engine.script(cluster())}"
    done = subprocess.run(["sh", "-c", text], env=env, capture_output=True, text=True, check=True)
    return parse(done.stdout)


def test_docker_tells_its_runtimes_and_its_log_driver(tmp_path: Path) -> None:
    found = told(tmp_path, "docker", "")
    assert (found.kind, found.version, found.rootless) == ("docker", "28.2.2", False)
    assert found.runtimes == ("io.containerd.runc.v2", "nvidia", "runc")
    assert (found.root, found.given.rotates) == ("/var/lib/docker", True)
    assert found.netns.startswith("net:[")
    assert told(tmp_path, "docker", ', "name=rootless"').rootless


def test_docker_tells_where_it_looks_for_cdi_and_what_it_has_found(tmp_path: Path) -> None:
    usual = FAKES["docker"]
    for dirs, devices, wanted in (
        (
            "/etc/cdi /var/run/cdi ",
            '[{"Source":"cdi","ID":"nvidia.com/gpu=all"}]',
            ("/etc/cdi /var/run/cdi", "list"),
        ),
        ("", "null", ("none", "")),
        ("TMP/cdi ", "null", ("TMP/cdi", "TMP/cdi/nvidia.yaml")),
    ):
        (tmp_path / "cdi").mkdir(exist_ok=True)
        (tmp_path / "cdi/nvidia.yaml").write_text("kind: nvidia.com/gpu\n")
        told_ = f"*CDISpecDirs*) echo '{dirs}' ;;\n  *DiscoveredDevices*) echo '{devices}' ;;\n  *Runtimes*"
        FAKES["newer"] = usual.replace("*Runtimes*", told_.replace("TMP", str(tmp_path)))
        found = told(tmp_path, "newer", "")
        assert found.cdi_dirs == wanted[0].replace("TMP", str(tmp_path))
        assert wanted[1].replace("TMP", str(tmp_path)) in found.cdi


def test_podman_tells_the_same_in_its_own_words(tmp_path: Path) -> None:
    found = told(tmp_path, "podman", "true")
    assert (found.kind, found.version, found.rootless) == ("podman", "4.3.1", True)
    assert (found.root, found.given.rotates) == ("/var/lib/containers/storage", False)
    assert found.name == "podman 4.3.1, rootless"
    assert not found.follows_logs
    assert parse("kind: podman\nlog-driver: k8s-file\nevents: file").follows_logs


@pytest.mark.parametrize(
    ("seen", "flags", "text", "hint"),
    [
        (ContainerEngine("docker", "28.2.2", runtimes=("runc", "nvidia")), ALL, "the NVIDIA runtime", ""),
        (
            ContainerEngine("docker", "24.0.7", hook="/usr/bin/nvidia-container-runtime-hook"),
            ALL,
            "NVIDIA hook",
            "",
        ),
        (ContainerEngine("docker", "24.0.7", cdi=SPEC), ALL, "CDI alone", "install nvidia-container-toolkit"),
        (ContainerEngine("docker", "27.5.1", cdi=SPEC), ALL, "CDI alone", "nvidia.com/gpu=all"),
        (ContainerEngine("docker", "24.0.7", cdi=SPEC), CDI, "24.0.7 takes no CDI devices", "--gpus"),
        (
            ContainerEngine("docker", "27.5.1", cdi=SPEC, cdi_dirs="none"),
            CDI,
            "switched off",
            "--cdi.enabled",
        ),
        (ContainerEngine("docker", "27.5.1", cdi=SPEC, cdi_dirs="/etc/cdi"), CDI, f"CDI ({SPEC})", ""),
        (ContainerEngine("docker", "27.5.1"), CDI, "no CDI specification", "nvidia-ctk cdi generate"),
        (ContainerEngine("docker", "26.0.0", rootless=True), CDI, "no CDI specification", "cdi-spec-dirs"),
        (
            ContainerEngine(
                "docker", "29.7.2", runtimes=("runc",), cdi=SPEC, cdi_hook="/usr/bin/nvidia-cdi-hook"
            ),
            ALL,
            f"CDI ({SPEC})",
            "",
        ),
        (ContainerEngine("docker", "29.7.2", cdi=SPEC), ALL, "without nvidia-cdi-hook", "nvidia.com/gpu=all"),
        (ContainerEngine("docker", "29.1.5", cdi=SPEC), ALL, "CDI alone", "only Docker 29.2 and newer"),
        (ContainerEngine("docker", "29.7.2", runtimes=("nvidia", "runc")), ALL, "the NVIDIA runtime", ""),
        (
            ContainerEngine("docker", "24.0.7"),
            ALL,
            "names no NVIDIA runtime",
            "install nvidia-container-toolkit",
        ),
        (ContainerEngine("podman", "4.3.1"), ALL, "podman 4.3.1 ignores --gpus", "nvidia-ctk cdi generate"),
        (ContainerEngine("podman", "4.3.1", cdi=SPEC), ALL, "ignores --gpus", "nvidia.com/gpu=all"),
        (ContainerEngine("podman", "5.4.2", cdi=SPEC), ALL, f"CDI ({SPEC})", ""),
        (ContainerEngine("podman", "5.4.2"), ALL, "no CDI specification", "nvidia-ctk cdi generate"),
        (ContainerEngine("docker", "28.2.2"), ("--runtime=nvidia",), "by docker.gpu_flags", ""),
        (ContainerEngine(), ALL, "did not say", "podman 4 ignores --gpus"),
    ],
)
def test_the_way_to_the_gpus(seen: ContainerEngine, flags: tuple[str, ...], text: str, hint: str) -> None:
    way = gpu_way(seen, flags)
    assert text in way.text
    assert hint in way.hint
    assert bool(way.hint) == bool(hint)


@given(st.text())
def test_any_text_of_an_engine_is_read(text: str) -> None:
    for prefix in ("", "kind: ", "Docker version ", "rdma: ", "cpu: "):
        found = parse(prefix + text)
        assert isinstance(gpu_way(found, ALL), GpuWay)
        assert isinstance(found.given, Given)
