"""`milepost check` over real SSH and over transports that fail; `milepost advise` on the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.helpers.sshd import Bed, free_port, needs_sshd
from tui.cli.check import check
from tui.cli.main import main
from wizard_steps.cluster.file import Cluster, NodeEntry, dump
from wizard_steps.errors import HostKeyChanged
from wizard_steps.facts.gather import ask, gather
from wizard_steps.facts.judge import judge
from wizard_steps.facts.node import NodeAnswer, NodeFacts, parse_node
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.transport.ssh import SshTransport
from wizard_steps.transport.ssh_ask import NoAsker

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 80, "num_attention_heads": 64,
    "num_key_value_heads": 8, "hidden_size": 8192, "intermediate_size": 28672, "vocab_size": 128256,
    "torch_dtype": "bfloat16", "max_position_embeddings": 131072,
}  # fmt: skip


@needs_sshd
def test_check_over_real_ssh(ssh_bed: Bed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = ssh_bed.sshd().port
    file = tmp_path / "milepost.toml"
    text = dump(ssh_bed.cluster(port, port))
    file.write_text(text + '\n[env]\nHF_ENDPOINT = "http://127.0.0.1:9"\n')
    # Eight GPUs are promised and this machine keeps none of that promise, so the check fails.
    assert main(["check", str(file), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "fail"
    found = {(one["fact"], one["node"]): one for one in report["findings"]}
    for node in ("n0", "n1"):
        assert found["system", node]["verdict"] == "ok"
        assert found["clock", node]["found"] == "in step"
        assert ("reach", node) not in found
    assert "run on one kernel" in found["machines", ""]["found"]
    assert main(["check", str(file)]) == 1
    assert "Not ready" in capsys.readouterr().out


@needs_sshd
def test_a_node_that_is_not_there_is_a_finding(ssh_bed: Bed) -> None:
    async def go() -> None:
        cluster = ssh_bed.cluster(ssh_bed.sshd().port, free_port(), connect_timeout=3.0)
        transport = SshTransport(cluster, NoAsker())
        try:
            report = await check(transport, cluster)
        finally:
            await transport.close()
        (gone,) = [one for one in report.findings if one.fact == "reach"]
        assert (gone.node, gone.verdict) == ("n1", "fail")
        assert gone.found

    asyncio.run(go())


def test_the_reason_of_a_node_out_of_reach_is_never_cut() -> None:
    nodes = (NodeEntry(host="a", gpus=1, role="head"),)
    reason = "word " * 200 + "and accept it: ssh -p 2222 me@a"
    (finding,) = [
        one
        for one in judge({"a": NodeFacts(problem=reason)}, Cluster(nodes=nodes)).findings
        if one.fact == "reach"
    ]
    assert finding.found == reason
    assert finding.hint == ""


def test_what_is_said_of_a_login_is_a_warning() -> None:
    nodes = (NodeEntry(host="a", gpus=1, role="head"),)
    facts = parse_node(
        {"facts": NodeAnswer("@@fact os exit 0\n@@fact end exit 0\n", notes="one thing\nanother")}
    )
    report = judge({"a": facts}, Cluster(nodes=nodes))
    assert [one.found for one in report.of("warn") if one.fact == "login"] == list(facts.login)


class Scripted:
    """A transport that does one thing for each node name."""

    asked = 0

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if node.name == "changed":
            raise HostKeyChanged("the key of changed is another one")
        if node.name == "hangs":
            yield Chunk(b"half a li")
            await asyncio.sleep(3600)
        if node.name == "noisy":
            yield Chunk(b"x" * (3 << 20))
        if node.name == "cut" and cmd.key == "facts":
            self.asked += 1
            yield Chunk(b"Linux 6.1 x86_64\n\n@@fact os exit 0\nhalf")
        if node.name == "lost":
            yield Exit(-1, "lost", "connection refused")
            return
        yield Exit(0)

    async def close(self) -> None:
        return


def nodes(*names: str) -> Cluster:
    return Cluster(
        nodes=tuple(NodeEntry(host=n, gpus=1, role="worker" if i else "head") for i, n in enumerate(names))
    )


async def test_what_cannot_be_asked_is_told() -> None:
    facts = await gather(Scripted(), nodes("lost", "silent", "noisy"))
    assert facts["lost"].problem == "connection refused"
    assert facts["silent"].problem == "the node printed nothing"
    assert facts["noisy"].problem.startswith("xxx")


async def test_an_answer_that_is_cut_off_is_asked_for_again_and_then_told() -> None:
    transport = Scripted()
    facts = await gather(transport, nodes("cut"))
    assert (facts["cut"].cut_after, transport.asked) == ("os", 2)
    report = judge(facts, nodes("cut"))
    assert any(one.fact == "reach" and one.found == "cut after os" for one in report.findings)


async def test_a_command_that_hangs_is_given_up() -> None:
    answer = await ask(Scripted(), Node(name="hangs", host="h"), Cmd(key="x", text="x", timeout=0.05))
    assert "no answer within" in answer.problem
    assert answer.text == "half a li"


async def test_a_changed_host_key_stops_everything() -> None:
    with pytest.raises(HostKeyChanged):
        await gather(Scripted(), nodes("silent", "changed", "hangs"))


def test_a_missing_cluster_file_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "/nowhere/milepost.toml"]) == 2
    assert "no such cluster file" in capsys.readouterr().err


def test_advise_as_text_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    model = str(tmp_path)
    assert main(["advise", model, "--gpus", "8x2", "--concurrency", "2"]) == 0
    text = capsys.readouterr().out
    assert "One box is enough" in text
    assert "--tensor-parallel-size 8 --pipeline-parallel-size 1" in text
    assert main(["advise", model, "--gpus", "8x2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recommended"]["tp"] == 8
    assert main(["advise", model, "--gpus", "8+8", "--split", "8x2"]) == 0
    assert "stage 2  layers 41-80" in capsys.readouterr().out
    assert main(["advise", model, "--gpus", "8x2", "--split", "3x1"]) == 1
    assert "cannot be divided by TP 3" in capsys.readouterr().out
    assert main(["advise", model, "--gpus", "1", "--gpu-memory", "24"]) == 1
    assert "The weights do not fit" in capsys.readouterr().out


def test_advise_takes_the_machines_from_a_cluster_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    file = tmp_path / "c.toml"
    file.write_text('[[nodes]]\nhost = "w"\ngpus = 8\n[[nodes]]\nhost = "h"\nrole = "head"\ngpus = 8\n')
    assert main(["advise", str(tmp_path), "--cluster", str(file), "--split", "8x2"]) == 0
    out = capsys.readouterr().out
    assert out.index("-- h --") < out.index("-- w --"), "the head's GPUs hold the first ranks"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpus", "eight"], "not understood"),
        (["--gpus", "0x2"], "at least one GPU"),
        (["--gpus", "8x2", "--cluster", "x"], "give one of them"),
        (["--gpus", "8", "--max-len", "-1"], "must be positive"),
        (["--gpus", "8", "--gpu-memory-utilization", "2"], "between 0 and 1"),
        (["--gpus", "8", "--gpu-memory", "-5"], "positive size"),
        (["--gpus", "8", "--split", "8"], "TPxPP"),
        (["--cluster", "/nowhere.toml"], "no such cluster file"),
    ],
)
def test_wrong_command_lines(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert main(["advise", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
