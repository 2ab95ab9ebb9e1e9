"""serve: start `vllm serve` on the head over the Ray cluster and read its log until it is ready.

vLLM waits up to 30 minutes for GPUs it will never get, saying so after 10 s: that first line is the end
here. A vLLM that waits ignores SIGINT and SIGTERM, so it is ended with SIGKILL.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones import raystart
from wizard_steps.milestones.common import failure
from wizard_steps.model import Check, Cmd, Node, Result, Results, Round, Verdict, Work
from wizard_steps.node import ray_token, remote
from wizard_steps.node.remote import Look

ROLE = "serve"
READY = "Application startup complete."
NO_PLACE = "Waiting for creating a placement group"
#: Lines after which vLLM can only hang or wind down; any other failure ends its process, which ends the log.
_FATAL = re.compile(r"Waiting for creating a placement group|Engine core initialization failed")
_PHASES = (
    ("ready", re.compile(r"Application startup complete")),
    ("starting the API", re.compile(r"Starting vLLM server on|Available routes are")),
    (
        "compiling",
        re.compile(
            r"torch\.compile (?:took|\()|Compiling a graph|Capturing CUDA graph|Dynamo bytecode|warmup run",
            re.I,
        ),
    ),
    ("loading weights", re.compile(r"Loading (?:model|weights|safetensors)|Starting to load model", re.I)),
    ("placing", re.compile(r"placement group|rank \d+ in world size")),
    ("connecting", re.compile(r"Connecting to existing Ray|Connected to Ray|RAY_ADDRESS")),
)


def phase_of(line: str) -> str | None:
    """Which stage of start-up a log line belongs to, or None when it says nothing about that."""
    return next((name for name, pattern in _PHASES if pattern.search(line)), None)


def over(line: str) -> bool:
    return READY in line or bool(_FATAL.search(line))


def argv(known: Known) -> list[str]:
    serve = known.cluster.serve
    words = [
        known.cluster.program("vllm"),
        "serve",
        serve.model,
        f"--host={serve.host}",
        f"--port={serve.port}",
        f"--tensor-parallel-size={serve.tensor_parallel}",
        f"--pipeline-parallel-size={serve.pipeline_parallel}",
        "--distributed-executor-backend=ray",
    ]
    if serve.served_model_name:
        words.append(f"--served-model-name={serve.served_model_name}")
    return [*words, *serve.extra_flags]


def environment(known: Known) -> dict[str, str]:
    address = f"{known.head_ip}:{known.cluster.ray.port}"
    return {"RAY_ADDRESS": address, **raystart.environment(known, known.head)}


def model_command(known: Known) -> Cmd:
    """A model given as a path must be on every node: each loads its own part from its own disk."""
    model = known.cluster.serve.model
    path, said = shlex.quote(model), remote.in_double_quotes(model)
    text = (
        f'if [ -f {path}/config.json ]; then echo "model: {said}, $(du -sh {path} 2>/dev/null | cut -f1)"\n'
        f'else echo "model: no config.json in {said}"; exit 1; fi\n'
    )
    return Cmd(key="model", text=text, quiet=True, show=f"ls {path}/config.json; du -sh {path}")


class Serve(Step):
    id = "serve"
    title = "vllm serve"
    keys: tuple[str, ...] = ("log",)
    owns = (r"serve\..*",)
    formerly = (("docker_serve", {}),)

    def rounds(self, known: Known, done: Results) -> Round | None:
        head, cluster = known.head, known.cluster
        if not done.has("look"):
            work: list[Work] = [(head, remote.look(cluster, head, ROLE, cluster.serve.port))]
            if cluster.serve.model.startswith("/"):
                work += [(node, model_command(known)) for node in known.nodes]
            return Round(work=tuple(work))
        if _blocked(known, done) or done.has("stop"):
            return None
        if not _look(done, head).leader and not done.has("launch"):
            setup = ray_token.setup(cluster)
            launch = remote.launch(cluster, head, ROLE, argv(known), environment(known), setup=setup)
            return Round(work=((head, launch),))
        started = done.get("launch", head)
        if started is not None and not started.ok and started.reason != "dry":
            return None
        if not done.has("log"):
            limit = float(cluster.serve.ready_timeout)
            return Round(work=((head, remote.follow(cluster, ROLE, "log", limit, over)),))
        if _ready(log := done.get("log", head)):
            return None
        if log is not None and log.reason in ("lost", "cancelled"):
            return None  # only the line to it broke; vLLM may be fine, and the next walk finds it
        return Round(work=((head, remote.stop(cluster, head, ROLE, grace=5)),))

    def judge(self, known: Known, done: Results) -> Verdict:
        head = known.head
        problems = _blocked(known, done)
        if problems:
            return Verdict(False, "nothing was started", tuple(problems))
        launch, log = done.get("launch", head), done.get("log", head)
        if launch is not None and not launch.ok:
            return Verdict(False, "vllm serve could not be started", (failure(launch, head),))
        if _ready(log):
            url = f"http://{known.head_ip}:{known.cluster.serve.port}/v1"
            again = "already running, and ours" if _look(done, head).leader else "started"
            check = Check("vLLM", True, again, READY, head.name)
            return Verdict(True, f"vLLM serves {known.cluster.serve.name} at {url}", (check,), {"url": url})
        checks = [_why(known, log), *_gone(done, head)]
        return Verdict(False, "vLLM did not become ready", tuple(checks))

    def undo(self, known: Known) -> Sequence[Work]:
        return [(known.head, remote.stop(known.cluster, known.head, ROLE, grace=8))]


def _ready(log: Result | None) -> bool:
    return log is not None and log.reason == "stopped" and READY in log.text


def _look(done: Results, node: Node) -> Look:
    result = done.get("look", node)
    return Look(result.text if result else "")


def _blocked(known: Known, done: Results) -> list[Check]:
    head, serve = known.head, known.cluster.serve
    result = done.get("look", head)
    if result is None or not result.ok:
        return [failure(result, head)]
    checks = []
    look = Look(result.text)
    if look.listening and not look.leader:
        who = "; ".join(look.others) or "unknown"
        found = f"port {serve.port} is taken by a process milepost did not start ({who})"
        checks.append(Check("port", False, found, "a free port", head.name, "end it, or edit serve.port"))
    for node in known.nodes:
        model = done.get("model", node)
        if model is not None and not model.ok:
            found = model.lines[-1] if model.lines else model.reason
            hint = "copy the model to the same path on this node too: every node loads its own part"
            checks.append(Check("model", False, found, serve.model, node.name, hint))
    return checks


def _why(known: Known, log: Result | None) -> Check:
    if log is None:
        return failure(log, known.head)
    serve = known.cluster.serve
    if log.reason == "lost":
        hint = "what was started goes on without the wizard: retry, and its log is followed again"
        return Check("connection", False, failure(log, known.head).found, READY, known.head.name, hint)
    waiting = next((line for line in log.lines if NO_PLACE in line), None)
    if waiting is not None:
        return Check(
            "placement",
            False,
            f"Ray cannot place the workers: {waiting.strip()[:300]}",
            _free_gpus(known, waiting),
            known.head.name,
            "lower TP or PP, or free GPUs that another job holds (ray status shows them)",
        )
    first = first_error(log)
    limit = f"not ready within {serve.ready_timeout} s; " if log.reason == "timeout" else ""
    found = f"{limit}first error: {first}" if first else f"{limit}{failure(log, known.head).found}"
    return Check("vLLM", False, found, READY, known.head.name, "the first error is the cause, not the last")


def _free_gpus(known: Known, waiting: str) -> str:
    """What vLLM asked Ray for: read from its own line, for extra flags can change TP and PP."""
    serve = known.cluster.serve
    asked = waiting.count("'GPU':") or serve.world_size
    if asked == serve.world_size:
        return f"TP x PP = {serve.tensor_parallel} x {serve.pipeline_parallel} = {asked} free GPUs"
    return f"{asked} free GPUs; the cluster has {known.cluster.total_gpus}"


def first_error(log: Result) -> str:
    wrapper = re.compile(r"Engine core initialization failed|See root cause above|Failed core proc")
    error = re.compile(r"\bERROR\b|Error:|error:|Exception:")
    calm = re.compile(r"\b(?:WARNING|INFO|DEBUG)\b")
    lines = [line.strip() for line in log.lines if not wrapper.search(line) and not calm.search(line)]
    hits = [line for line in lines if error.search(line)]
    specific = [hit for hit in hits if re.search(r"\b\w*(?:Error|Exception): \S", hit)]
    return next(iter(specific or hits), "")[:300]


def _gone(done: Results, node: Node) -> list[Check]:
    stop = done.get("stop", node)
    if stop is None or stop.ok:
        return []
    return [
        Check("cleaned up", False, stop.lines[-1] if stop.lines else stop.reason, "vLLM ended", node.name)
    ]
