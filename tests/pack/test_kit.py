"""A kit made with real pip from wheels in a folder, and installed from on the lab's nodes, over real SSH."""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.milestones.test_install import cluster as with_wheels
from tui.cli.main import main
from wizard_steps.cluster.file import Cluster, dump
from wizard_steps.engine.decide import FileDecider
from wizard_steps.engine.step import Step
from wizard_steps.lab import Lab
from wizard_steps.milestones.install import InstallStep
from wizard_steps.milestones.kit import KitStep
from wizard_steps.model import Node, Result, Verdict
from wizard_steps.node import kit as kits
from wizard_steps.pack.target import PackTarget
from wizard_steps.recording import events as ev
from wizard_steps.session import LiveWalk
from wizard_steps.transport.ssh_ask import NoAsker

HERE = ["--python", "{}.{}".format(*sys.version_info[:2]), "--machine", platform.machine()]
GLIBC = platform.libc_ver()[1] or "2.17"


def packed(tmp_path: Path) -> tuple[Cluster, Path]:
    one, kit = with_wheels(tmp_path, "pip"), tmp_path / "kit"
    (tmp_path / "c.toml").write_text(dump(one))
    assert main(["pack", str(tmp_path / "c.toml"), "-o", str(kit), *HERE, "--glibc", GLIBC]) == 0
    return one, kit


async def walk(
    cluster: Cluster, folder: Path, plan: tuple[Step, ...] = (KitStep(), InstallStep())
) -> tuple[dict[str, Verdict], list[str]]:
    """The verdicts, and NODE KEY of every command that changes something."""
    made = LiveWalk(cluster, folder)
    found, changed = dict[str, Verdict](), list[str]()

    def see(event: ev.AnyEvent, _: object) -> None:
        if isinstance(event, ev.CommandStarted) and event.mutates:
            changed.append(f"{event.node} {event.key}")
        if isinstance(event, ev.Judged):
            found[event.step] = event.verdict

    engine = made.engine(FileDecider(), NoAsker(), see)
    engine.plan = plan
    try:
        await engine.walk()
    finally:
        await made.close()
    return found, changed


@pytest.mark.lab
@pytest.mark.timeout(300)
async def test_a_kit_is_packed_copied_verified_and_installed_from(tmp_path: Path) -> None:
    one, kit = packed(tmp_path)
    made = json.loads((kit / "kit.json").read_text())
    assert {f["name"].partition("/")[0] for f in made["files"]} == {"wheels", "requirements.txt"}
    check = ["sha256sum", "--quiet", "-c", "SHA256SUMS"]
    subprocess.run(check, cwd=kit, check=True)  # noqa: ASYNC221
    async with Lab.start(real_vllm=False) as lab:
        install = replace(one.install, kit=str(kit), index_url="", find_links=())
        venv = str(tmp_path / "installed")
        cluster = replace(
            lab.cluster,
            install=install,
            venv=venv,
            serve=replace(lab.cluster.serve, vllm_version=one.serve.vllm_version),
            ray=replace(lab.cluster.ray, version=one.ray.version),
        )
        found, changed = await walk(cluster, tmp_path / "walk")
        assert found["kit"].passed, found["kit"]
        assert [x for x in changed if "upload" in x or "share" in x] == [
            "lab-head upload",
            "lab-head share",
            "lab-worker share",
        ]
        assert found["install"].passed, found["install"]
        found, changed = await walk(cluster, tmp_path / "there")
        assert found["install"].passed, found
        assert changed == [], "what is there and verified does not come again"
        (kit / "requirements.txt").write_text("another\n")
        wrong, _ = await walk(cluster, tmp_path / "again")
        assert "requirements.txt: 8 bytes in place of" in str(wrong["kit"].checks)


def test_the_platform_tags_of_a_node() -> None:
    tags = PackTarget("3.12", "x86_64", "2.18").platforms
    assert tags[:3] == ["manylinux_2_18_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
    assert tags[-2:] == ["manylinux1_x86_64", "linux_x86_64"]
    assert PackTarget("3.12", "aarch64", "2.17").platforms[-1] == "linux_aarch64"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../x", "a//b", "", "-x", "a\nb"])
def test_names_that_leave_the_kit_are_refused(name: str) -> None:
    file = {"name": name, "size": 1, "sha256": "0" * 64}
    kit = {"format": 1, "machine": "", "files": [file]}
    with pytest.raises(ValueError, match="not allowed"):
        kits.parse(json.dumps({"folder": "/k", "kit": kit}))


@given(st.text() | st.binary())
def test_whatever_a_kit_says_is_read_or_not(text: str | bytes) -> None:
    with contextlib.suppress(ValueError):
        kits.parse(text)
    kits.here(Result(Node("w", "w"), "kit", kits.MARK + str(text), 0))
