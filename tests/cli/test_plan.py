"""`milepost plan`: the whole walk from the cluster file alone."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tui.cli.main import main
from wizard_steps.cluster.file import parse
from wizard_steps.lab import tiny
from wizard_steps.lab.hub import Hub
from wizard_steps.plan_script import script
from wizard_steps.planning import Plan, plan

NODES = (
    '[[nodes]]\nhost = "gpu-a"\nrole = "head"\ngpus = 8\nfabric_ip = "10.0.0.1"\n'
    '[[nodes]]\nhost = "gpu-b"\ngpus = 8\n[serve]\ntensor_parallel = 8\npipeline_parallel = 2\n'
)
WAYS = {
    "bare-metal ray": f'path = "bare-metal"\n{NODES}',
    "bare-metal mp": f'path = "bare-metal"\n{NODES}executor = "mp"\n',
    "docker ray": f'path = "docker"\n{NODES}',
    "docker mp": f'path = "docker"\n{NODES}executor = "mp"\n',
    "docker old spelling": f'path = "docker"\n{NODES}[docker]\nray = "none"\n',
}


def planned(way: str) -> Plan:
    return plan(parse(WAYS[way]))


def changing(it: Plan) -> list[str]:
    return [
        f"{c.node} {c.key}" for m in it.milestones for c in m.commands if c.changes and c.node != "wizard"
    ]


@pytest.mark.parametrize("way", WAYS)
def test_every_command_that_starts_something_is_in_it(way: str) -> None:
    it = planned(way)
    starts = [f"{c.node} {m.id}" for m in it.milestones for c in m.commands if c.key == "launch"]
    assert (
        starts
        == {
            "bare-metal ray": ["gpu-a head", "gpu-b workers", "gpu-a serve"],
            "bare-metal mp": ["gpu-a serve", "gpu-b serve"],
            "docker ray": ["gpu-a head", "gpu-b workers", "gpu-a serve"],
            "docker mp": ["gpu-a head", "gpu-b workers", "gpu-a serve", "gpu-b serve"],
            "docker old spelling": [
                "gpu-a head",
                "gpu-b workers",
                "gpu-a serve",
                "gpu-b serve",
            ],
        }[way]
    )
    gets = "install" if way.startswith("bare") else "pull"
    assert {f"gpu-a {gets}", f"gpu-b {gets}"} <= set(changing(it))


@pytest.mark.parametrize("way", ["bare-metal mp", "docker mp"])
def test_without_ray_there_is_no_word_of_it_in_a_command(way: str) -> None:
    it = planned(way)
    assert not {"ray_status"} & {m.id for m in it.milestones}
    assert [p.what for p in it.ports if "Ray" in p.what] == []
    for milestone in it.milestones:
        for command in milestone.commands:
            assert "ray start" not in command.typed
            assert "ray[default]" not in command.typed
    ranks = [c.typed for m in it.milestones if m.id == "serve" for c in m.commands if c.key == "launch"]
    assert ["--node-rank=0" in one for one in ranks] == [True, False]
    assert ["--headless" in one for one in ranks] == [False, True]
    assert all("--nnodes=2" in one and "--master-addr=10.0.0.1" in one for one in ranks)


def test_the_proof_of_the_network_is_in_it_with_its_ports() -> None:
    it = planned("bare-metal ray")
    (fabric,) = [m for m in it.milestones if m.id == "fabric"]
    assert [c.node for c in fabric.commands if c.key == "allreduce"] == ["gpu-a", "gpu-b"]
    assert "NCCL_DEBUG" in next(c.text for c in fabric.commands if c.key == "allreduce")
    assert any("29512" in port.port for port in it.ports)


def test_questions_ports_downloads_and_what_is_assumed_are_said() -> None:
    it = planned("docker ray")
    (question,) = [q for m in it.milestones for q in m.questions if m.id != "weights"]
    assert "has no Ray" in question
    assert {(p.node, p.port) for p in it.ports} >= {
        ("gpu-a", "6379"),
        ("gpu-b", "10002-19999"),
        ("gpu-a", "8000"),
    }
    assert any("docker pull" in line for line in it.downloads)
    assert "gpu-b" in it.assumed[0]
    assert it.left_running


@pytest.mark.parametrize("way", WAYS)
def test_each_script_is_one_that_a_shell_can_read(way: str, tmp_path: Path) -> None:
    it = planned(way)
    for node in ("gpu-a", "gpu-b"):
        file = tmp_path / "script.sh"
        file.write_text(script(it, node))
        subprocess.run(["sh", "-n", str(file)], check=True)
        assert "vllm serve" in file.read_text() or node == "gpu-b"


def test_a_script_asks_before_each_milestone_that_changes_something() -> None:
    """Run for real, with everything that it would change taken out."""
    text = script(planned("bare-metal ray"), "gpu-a")
    assert text.count("tail -F milepost-serve.log") == 1
    harmless = [line for line in text.splitlines() if line.startswith(("#", "set", "milestone")) or not line]
    done = subprocess.run(
        ["sh", "-c", "\n".join([*harmless, "echo end"])],
        input="\n" * 9,
        capture_output=True,
        text=True,
        check=True,
    )
    asked = re.findall(r"(?m)^==== \d+\. (.+)$", done.stdout)
    assert {"Install vLLM", "Start the head", "vllm serve"} <= set(asked)
    assert "nvidia-smi on each box" not in asked
    assert done.stdout.endswith("end\n")
    # Helpers read their secrets from standard input: it must not be the terminal.
    assert text.count("\nsh -c") == text.count("' < /dev/null\n")


def test_containers_start_from_the_image_that_the_plan_adds_ray_to() -> None:
    it = planned("docker ray")
    (built,) = {c.typed.split()[3] for m in it.milestones for c in m.commands if c.key == "build-2"}
    starts = [c.typed for m in it.milestones for c in m.commands if c.key == "launch" and " run " in c.typed]
    assert len(starts) == 2
    assert all(f" {built} " in one for one in starts)
    assert any("ray[default]" in line and built in line for line in it.downloads)
    assert any("whether vllm/vllm-openai" in line for line in it.assumed)
    assert not any("whether" in line for line in planned("docker mp").assumed)


@pytest.mark.parametrize("way", WAYS)
def test_a_script_fetches_the_model_as_a_person_would(way: str) -> None:
    it = planned(way)
    for node in ("gpu-a", "gpu-b"):
        text = script(it, node)
        (line,) = [row for row in text.splitlines() if "hf download" in row]
        assert line.endswith("hf download meta-llama/Llama-3.2-1B-Instruct --revision main")
        assert line.startswith("docker exec milepost-" if way.startswith("docker") else "/opt/")
        assert max(map(len, text.splitlines())) < 2500, "no packed program"


def ran(text: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    file = folder / "node.sh"
    file.write_text(text)
    alone = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **env}
    return subprocess.run(["sh", str(file)], input="\n" * 9, capture_output=True, text=True, env=alone)


def test_a_script_with_an_address_left_open_does_nothing(tmp_path: Path) -> None:
    done = ran(script(planned("bare-metal mp"), "gpu-b"), tmp_path)
    assert done.returncode == 1
    assert "in place of IP-OF" in done.stdout
    assert "====" not in done.stdout


@pytest.mark.parametrize("way", ["bare-metal mp", "docker mp"])
def test_a_script_starts_no_open_api_where_the_file_wants_a_key(way: str, tmp_path: Path) -> None:
    """Only the lines of the start run, with a `docker` and a `vllm` that say what they were given."""
    text = script(plan(parse(WAYS[way] + "api_key = true\n")), "gpu-a")
    where = "/opt/vllm-venv/bin/vllm" if way.startswith("bare") else "vllm"
    start = [row for row in text.splitlines() if re.match(r": |.*nohup .* serve ", row)]
    fake = tmp_path / "vllm"
    fake.write_text('#!/bin/sh\necho "key $VLLM_API_KEY" >> said\n')
    engine = tmp_path / "docker"
    engine.write_text('#!/bin/sh\necho "$*" >> argv\nshift 3\nexec "$@"\n')
    for one in (fake, engine):
        one.chmod(0o755)
    lines = "\n".join(["set -e", f"cd {tmp_path}", *start, "wait"]).replace(
        f" {where} serve ", f" {fake} serve "
    )
    path = f"{tmp_path}:/usr/bin:/bin"
    assert ran(lines, tmp_path, PATH=path).returncode != 0
    assert not (tmp_path / "said").exists()
    done = ran(lines, tmp_path, PATH=path, VLLM_API_KEY="s3cret-s3cret")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "said").read_text() == "key s3cret-s3cret\n"
    assert "s3cret" not in ((tmp_path / "argv").read_text() if way.startswith("docker") else "")


def test_a_script_keeps_the_lines_of_a_command_of_several_lines() -> None:
    text = script(planned("docker ray"), "gpu-a")
    assert re.search(r"(?m)^docker build .* <<'END'\nFROM .*\n(?:.*\n)*END$", text)
    assert re.search(r"(?m)^docker run -d ", text)
    assert "nohup env mkdir" not in text


def test_the_command_prints_text_json_and_writes_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(WAYS["bare-metal mp"])
    assert main(["plan", str(file)]) == 0
    text = capsys.readouterr().out
    assert "No machine was asked" in text
    assert "gpu-b$ VLLM_HOST_IP=IP-OF-gpu-b" in text
    assert main(["plan", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["executor"] == "mp"
    assert main(["plan", str(file), "--scripts", str(tmp_path / "s")]) == 0
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["gpu-a.sh", "gpu-b.sh"]
    assert main(["plan", str(file), "--scripts", str(file)]) == 2


def test_a_plan_opens_no_connection_and_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_more: object) -> None:
        raise AssertionError("a plan asks nobody")

    monkeypatch.setattr("socket.socket.connect", refused)
    monkeypatch.setattr("subprocess.Popen.__init__", refused)
    assert planned("bare-metal ray").milestones


def test_the_size_is_asked_of_the_hub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write(tmp_path / "model")
    hub = Hub(tmp_path / "model", "org/tiny")
    file = tmp_path / "m.toml"
    file.write_text(WAYS["bare-metal mp"] + '[weights]\nnode = "gpu-b"\n')
    file.write_text(
        re.sub(r"(?m)^model = .*\n", "", file.read_text()).replace("[serve]", '[serve]\nmodel = "org/tiny"')
    )
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    try:
        assert main(["plan", str(file), "--sizes"]) == 0
    finally:
        hub.close()
    out = capsys.readouterr().out
    assert "gpu-b: the model org/tiny, once, from the Hugging Face hub; the other nodes copy it" in out
    assert "org/tiny: 0.0 GB of weights (sizes of 2 safetensors files, from 127.0.0.1:" in out
    assert main(["plan", str(file), "--sizes"]) == 2
