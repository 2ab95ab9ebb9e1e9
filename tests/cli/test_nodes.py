"""`milepost add-node` and `remove-node`: what they say and write. (Over real hosts: tests/real/test_upgrade.py.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.cli.main import main
from wizard_steps.cluster.file import load

TWO = """# kept
[[nodes]]
name = "a"
host = "gpu-a"
role = "head"
gpus = 2

[[nodes]]
name = "b"
host = "gpu-b"
gpus = 2

[serve]
model = "Qwen/Qwen3-8B"
tensor_parallel = 2
pipeline_parallel = 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(TWO)
    return path


def test_a_node_is_added_and_the_split_is_renewed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["add-node", str(file), "me@gpu-c:2222", "--name", "c", "--gpus", "2", "--fabric-ip", "10.0.0.3"]
    assert main([*words, "--dry-run", "-pp", "3"]) == 0
    assert file.read_text() == TWO
    said = capsys.readouterr().out
    assert "2 -> 3 nodes, 4 -> 6 GPUs" in said
    assert "Next:" not in said
    assert main(words) == 0
    assert "2 of 6 GPUs have nothing to do with TP 2 x PP 2. `-pp 3` would use all" in capsys.readouterr().out
    node = load(file).node_list[-1]
    assert (node.name, node.user, node.host, node.port, node.gpus) == ("c", "me", "gpu-c", 2222, 2)
    assert node.fabric_ip == "10.0.0.3"
    assert file.read_text().startswith("# kept")


def test_a_node_that_is_gone_leaves_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove-node", str(file), "b", "--gone"]) == 2
    assert "For example -pp 1" in capsys.readouterr().err
    assert main(["remove-node", str(file), "b", "--gone", "-pp", "1"]) == 0
    assert "2 -> 1 nodes, 4 -> 2 GPUs" in capsys.readouterr().out
    assert [node.name for node in load(file).node_list] == ["a"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["remove-node", "{}", "x"], "x: no such node in {}; there are a, b"),
        (["remove-node", "{}", "a"], "a is the head"),
        (["add-node", "{}", "gpu-b", "--name", "b", "--gpus", "1"], "b"),
        (["add-node", "{}", "gpu-c", "--gpus", "0", "-tp", "9"], "GPU"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main([word.format(file) for word in words]) == 2
    assert said.format(file) in capsys.readouterr().err
    assert file.read_text() == TWO
