"""The docker command lines: what is in them, what never is, and that a shell reads them as meant."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from wizard_steps.cluster.file import Cluster, parse
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.milestones import docker_probe, vllm
from wizard_steps.model import Cmd
from wizard_steps.node import container, docker, remote
from wizard_steps.node.docker import Given
from wizard_steps.plan import plan_for

TEXT = """
name = "prod"
path = "docker"
[[nodes]]
host = "gpu-a"
role = "head"
gpus = 8
fabric_ip = "10.0.0.1"
[[nodes]]
host = "gpu-b"
gpus = 8
fabric_ip = "10.0.0.2"
[serve]
tensor_parallel = 8
pipeline_parallel = 2
"""


def cluster(more: str = "") -> Cluster:
    return parse(TEXT + more)


def run_words(it: Cluster, env: dict[str, str] | None = None) -> list[str]:
    node = it.workers[0]
    return shlex.split(docker.run_line(it, node, docker.image_of(it), env or {}, ["ray", "start"]))


def test_the_run_line_is_what_run_cluster_sh_would_start() -> None:
    words = run_words(cluster(), {"VLLM_HOST_IP": "10.0.0.2"})
    line = " ".join(words)
    assert words[:3] == ["docker", "run", "-d"]
    assert "--entrypoint /bin/bash" in line
    assert "--network host --shm-size 10.24g --gpus all" in line
    assert "-v $HOME/.cache/huggingface:/root/.cache/huggingface" in line
    assert "-e VLLM_HOST_IP=10.0.0.2" in line
    assert words[words.index("vllm/vllm-openai:v0.33.0") :][1:] == [
        "-c",
        docker.FIRST_PROCESS,
        "milepost",
        "ray",
        "start",
    ]
    assert {"milepost.cluster=prod", "milepost.role=worker", "milepost.node=milepost-prod-gpu-b"} <= set(
        words
    )


def test_the_script_line_has_its_four_arguments_and_the_address() -> None:
    it = cluster('[docker]\nhf_home = "/data/hf home"\nrestart = "always"\n')
    env = {"VLLM_HOST_IP": "10.0.0.2", "NCCL_SOCKET_IFNAME": "eth1"}
    seen = Given(rotates=True)
    line = docker.script_line(it, it.workers[0], "vllm/vllm-openai:x", "10.0.0.1", env, seen)
    words = shlex.split(line)
    assert words[:2] == ["bash", "examples/ray_serving/run_cluster.sh"]
    assert words[2:6] == ["vllm/vllm-openai:x", "10.0.0.1", "--worker", "/data/hf home"]
    assert words[6:10] == ["-e", "VLLM_HOST_IP=10.0.0.2", "-e", "NCCL_SOCKET_IFNAME=eth1"]
    # Every flag of ours that the script does not give itself.
    ours = shlex.split(" ".join(docker.shared_flags(it, it.workers[0], Given())))
    given = ["--network", "host", "--gpus", "all", "-v", f"/data/hf home:{docker.HF_IN_CONTAINER}"]
    assert words[10:12] == ["-e", "RAY_USAGE_STATS_ENABLED=0"]
    assert words[-4:] == ["--restart", "always", "--log-opt", "max-size=100m"]
    assert sorted([*words[12:-4], *given]) == sorted(ours)


@pytest.mark.parametrize(
    "more",
    [
        "[ray]\nport = 6380\n",
        '[docker]\ncommand = "sudo -n docker"\n',
        '[docker]\ngpu_flags = ["--device", "nvidia.com/gpu=all"]\n',
    ],
)
def test_the_script_line_is_not_shown_where_the_script_cannot_do_the_same(more: str) -> None:
    it = cluster(more)
    assert docker.script_line(it, it.head, "x", "10.0.0.1", {}, Given()) == ""


def test_settings_are_told_apart_by_their_digest() -> None:
    def spec(it: Cluster, env: dict[str, str]) -> str:
        return docker.spec_of(docker.run_line(it, it.head, "image", env, ["ray"]))

    base = spec(cluster(), {"A": "1"})
    assert len(base) == 16
    assert spec(cluster(), {"A": "1"}) == base
    assert spec(cluster(), {"A": "2"}) != base
    assert spec(cluster('[docker]\nshm_size = "32g"\n'), {"A": "1"}) != base


NASTY = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=("Cs",)), max_size=30)


@settings(max_examples=40, deadline=None)
@given(value=NASTY, flag=NASTY, model=NASTY)
def test_nothing_a_person_typed_escapes_its_word(value: str, flag: str, model: str) -> None:
    it = cluster()
    it = replace(
        it, docker=replace(it.docker, extra_flags=(flag,)), serve=replace(it.serve, model=f"/{model}")
    )
    line = docker.run_line(it, it.head, "image", {"V": value}, ["ray", value])
    done = subprocess.run(
        ["sh", "-c", f"docker() {{ printf '%s\\0' \"$@\"; }}; HOME=/h; {line}"],
        capture_output=True,
        check=True,
    )
    words = done.stdout.decode().split("\0")[:-1]
    assert f"V={value}" in words
    assert flag in words
    assert words[-1] == value
    bind = f"type=bind,source=/{model},target=/{model},readonly"
    assert bind in words or f"/{model}:/{model}:ro" in words


def test_a_command_inside_keeps_its_text_and_its_input() -> None:
    it = cluster('[docker]\ncommand = "sudo -n docker"\n')
    cmd = Cmd("k", 'echo "it\'s $HOME"', stdin="in", secrets=("HF_TOKEN",))
    wrapped = container.inside(it, it.head, cmd)
    words = shlex.split(wrapped.text)
    assert words == [
        "exec",
        "sudo",
        "-n",
        "docker",
        "exec",
        "-i",
        "milepost-prod-gpu-a",
        "/bin/sh",
        "-c",
        cmd.text,
    ]
    assert (wrapped.stdin, wrapped.secrets) == ("in", ("HF_TOKEN",))
    start = remote.launch(it, it.head, "serve", ["vllm", "serve"], {"A": "1"})
    assert container.inside(it, it.head, start).show == (
        "sudo -n docker exec milepost-prod-gpu-a env A=1 vllm serve"
    )


def test_no_secret_is_asked_for_by_anything_the_engine_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    it = cluster()
    line = docker.run_line(it, it.head, "image", {}, ["ray"])
    assert container.launch(it, it.head, line, line).secrets == ()
    assert "HF_TOKEN" not in line
    start = remote.launch(it, it.head, "serve", ["vllm"], {})
    assert "HF_TOKEN" in container.inside(it, it.head, start).secrets


def test_down_goes_by_label_and_through_exec_alone() -> None:
    it = cluster()
    known = Known(it)
    work = [(node.name, cmd.text) for step in reversed(plan_for(it)) for node, cmd in step.undo(known)]
    # vLLM on both, what fetches and copies the model on both, then the containers.
    assert [node for node, _ in work] == ["gpu-a", "gpu-b", *2 * ["gpu-a"], *2 * ["gpu-b"], "gpu-b", "gpu-a"]
    for _, text in work[:6]:
        assert "exec -i milepost-prod-gpu-" in text
        assert "nothing of ours runs" in text
    for _, text in work[6:]:
        assert "--filter label=milepost.cluster=prod" in text
        assert " prune" not in text


def test_the_derived_image_pins_ray_and_is_looked_for_on_this_machine_only() -> None:
    it = cluster()
    name = docker.derived_image(it, "vllm/vllm-openai:v0.33.0", "sha256:1")
    assert name.startswith("localhost/milepost/vllm-ray:")
    assert name.endswith("-ray2.60.0")
    assert name != docker.derived_image(it, "vllm/vllm-openai:v0.32.0", "sha256:1")
    assert name != docker.derived_image(it, "vllm/vllm-openai:v0.33.0", "sha256:2"), "the tag has moved"
    text = docker_probe.dockerfile(it, "vllm/vllm-openai:v0.33.0", "sha256:1")
    assert text.splitlines()[0] == "FROM vllm/vllm-openai:v0.33.0"
    assert "pip install --no-cache-dir 'ray[default]==2.60.0'" in text


def test_ranks_differ_in_their_rank_and_front_door_alone() -> None:
    it = cluster('[docker]\nray = "none"\nmaster_port = 29777\n')
    known = Known(it)
    head, worker = vllm.argv(known, it.head), vllm.argv(known, it.workers[0])
    assert {"--nnodes=2", "--node-rank=0", "--master-addr=10.0.0.1", "--master-port=29777"} <= set(head)
    assert set(head) ^ set(worker) == {
        "--node-rank=0",
        "--node-rank=1",
        "--host=0.0.0.0",
        "--port=8000",
        "--headless",
    }
    assert head[0] == "vllm"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[docker]\nimage = "--privileged"\n', "docker.image"),
        ('[docker]\nimage = "a b"\n', "docker.image"),
        ('[docker]\nhf_home = "cache"\n', "docker.hf_home"),
        ('[docker]\nshm_size = "much"\n', "docker.shm_size"),
        ('[docker]\ncommand = "docker \'x"\n', "docker.command"),
        ('[docker]\nray = "maybe"\n', "docker.ray"),
        ('[docker]\nextra_flags = ["-e", "HF_TOKEN=hf_x"]\n', "docker.extra_flags[1]"),
        ('[docker]\nextra_flags = ["--env=MY_API_KEY=x"]\n', "docker.extra_flags[0]"),
        ('[ray]\nversion = "2.60; rm -rf /"\n', "ray.version"),
    ],
)
def test_a_wrong_docker_table_is_named_with_its_field(more: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        cluster(more)
    assert words in str(error.value)


def test_without_ray_the_ranks_must_spread_evenly() -> None:
    with pytest.raises(UsageError, match="not a multiple of 2 nodes"):
        parse(
            TEXT.replace("tensor_parallel = 8\npipeline_parallel = 2", "tensor_parallel = 3")
            + '[docker]\nray = "none"\n'
        )


def test_the_first_process_passes_its_end_on(tmp_path: Path) -> None:
    """The exit code is that of its words, and TERM reaches them."""
    for code in (0, 7, 127):
        for late in ("", "sleep 0.05; "):
            words = ["sh", "-c", f"{late}exit {code}"]
            done = subprocess.run(["bash", "-c", docker.FIRST_PROCESS, "x", *words], capture_output=True)
            assert (done.returncode, done.stderr) == (code, b"")
    mark = tmp_path / "mark"
    words = ["sh", "-c", f"trap 'echo got > {mark}; exit 3' TERM; echo ready; while :; do sleep 0.05; done"]
    with subprocess.Popen(["bash", "-c", docker.FIRST_PROCESS, "x", *words], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"ready\n"
        first.terminate()
        assert first.wait(10) == 3
    assert mark.read_text() == "got\n"


def test_ipc_restart_log_size_and_a_nodes_own_flags() -> None:
    it = cluster('[docker]\nipc = "host"\nrestart = "unless-stopped"\nlog_size = "100m"\n')
    own = replace(it.nodes[1], docker_flags=("--device", "/dev/infiniband"))
    it = replace(it, nodes=(it.nodes[0], own))
    line = docker.run_line(it, it.workers[0], "image", {}, ["ray"], Given(rotates=True))
    for words in (
        "--ipc host",
        "--restart unless-stopped",
        "--log-opt max-size=100m",
        "--device /dev/infiniband",
    ):
        assert words in line
    assert "--shm-size" not in line
    assert "/dev/infiniband" not in docker.run_line(it, it.head, "image", {}, ["ray"])
    assert "--log-opt" not in docker.run_line(it, it.workers[0], "image", {}, ["ray"], Given(rotates=False))
    look = docker_probe.inside_command(it, it.workers[0], "image", "inside", Given(rotates=True)).text
    assert "/dev/infiniband" in look
    assert "--restart" not in look


def test_rdma_devices_are_given_where_a_node_has_them_and_the_file_does_not() -> None:
    it = cluster()
    line = docker.run_line(it, it.head, "image", {}, ["ray"], Given(rdma=True))
    assert "--device=/dev/infiniband --cap-add=IPC_LOCK" in line
    assert "/dev/infiniband" not in docker.run_line(it, it.head, "image", {}, ["ray"], Given())
    off = cluster('[docker]\nrdma = "off"\n')
    assert docker.rdma_flags(off, off.head, Given(rdma=True)) == []
    own = cluster('[docker]\nextra_flags = ["--device", "/dev/infiniband"]\n')
    assert docker.rdma_flags(own, own.head, Given(rdma=True)) == []
    capable = cluster('[docker]\nextra_flags = ["--cap-add=IPC_LOCK"]\n')
    assert docker.rdma_flags(capable, capable.head, Given(rdma=True)) == ["--device=/dev/infiniband"]
    # The look before has them too: what the fabric gate proves is what will run.
    assert "/dev/infiniband" in docker.passing_line(it, it.head, "image", Given(rdma=True))


def test_logs_and_caches_lie_on_the_node() -> None:
    it = cluster('[docker]\nlog_home = "/var/log/mile post"\ncompile_cache = "~/compiled"\n')
    words = shlex.split(docker.run_line(it, it.head, "image", {}, ["ray"]).replace("$HOME", "/h"))
    mounts = [words[place + 1] for place, word in enumerate(words) if word == "-v"]
    assert mounts == [
        "/h/.cache/huggingface:/root/.cache/huggingface",
        "/h/compiled/vllm:/root/.cache/vllm",
        "/h/compiled/flashinfer:/root/.cache/flashinfer",
        "/var/log/mile post/prod/gpu-a/container:/root/.milepost/prod/gpu-a",
        "/var/log/mile post/prod/gpu-a/container/ray:/tmp/ray",
    ]
    none = cluster('[docker]\nlog_home = ""\ncompile_cache = ""\n')
    assert docker.run_line(none, none.head, "image", {}, ["ray"]).count(" -v ") == 1


def test_a_model_path_with_colon_or_blanks_is_mounted() -> None:
    it = cluster()
    for model in ("/models/a:b", "/models/a b", "/models/a,b"):
        it = replace(it, serve=replace(it.serve, model=model))
        words = shlex.split(docker.run_line(it, it.head, "image", {}, ["ray"]))
        with_mount = f"type=bind,source={model},target={model},readonly"
        assert (with_mount if "," not in model else f"{model}:{model}:ro") in words
    with pytest.raises(UsageError, match="colon"):
        parse(TEXT.replace("[serve]", '[serve]\nmodel = "/models/a:b,c"'))


def test_what_goes_to_the_log_is_in_docker_logs_too(tmp_path: Path) -> None:
    """The setup before a process: its output is appended to the log, which begins anew at its size."""
    it = cluster('[docker]\nlog_size = "1k"\n')
    text = container.also_in_docker_logs(it, "serve").replace("sleep 20", "sleep 0.1")
    text = text.replace("/proc/1/fd/1", str(tmp_path / "docker-logs"))
    (tmp_path / "docker-logs").touch()
    body = "i=0; while [ $i -lt 60 ]; do echo line $i of some fifty characters in all, to fill it; sleep 0.02; i=$((i+1)); done"
    told = 'until [ -s serve.log.1 ] && grep -q "line 59 of" docker-logs; do sleep 0.05; done'
    script = f"run() {{\n{text}exec sh -c '{body}; {told}'\n}}\nrun > serve.log 2>&1 < /dev/null &\nwait $!"
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, timeout=300)
    told = (tmp_path / "docker-logs").read_text()
    assert "line 0 of" in told
    assert "line 59 of" in told
    assert (tmp_path / "serve.log.1").stat().st_size >= 1024
    assert "\0" not in (tmp_path / "serve.log").read_text(), "no hole where it was emptied"
