"""`vllm serve`: its command line on both executors, and what its log says."""

from __future__ import annotations

import re
import shlex

from wizard_steps.cluster.api import base_url, own_host
from wizard_steps.cluster.flags import without
from wizard_steps.cluster.replicas import Dealt, deal
from wizard_steps.engine.step import Known
from wizard_steps.milestones import raystart
from wizard_steps.milestones.common import placed
from wizard_steps.model import Guard, Node, Result
from wizard_steps.node.place import SERVE, Service
from wizard_steps.node.ras import STALLED
from wizard_steps.node.remote import ANSWERS, Look

READY = "Application startup complete."
#: Its logs, by command: over Ray, of a rank that is to be ready, of ranks that are to meet.
LOGS = ("log", "mp-log", "joined")
NO_PLACE = "Waiting for creating a placement group"
#: Lines after which vLLM can only hang or wind down; any other failure ends its process, which ends the log.
_FATAL = re.compile(r"Waiting for creating a placement group|Engine core initialization failed")
PHASES = ("connecting", "placing", "loading weights", "compiling", "starting the API", "ready")
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


def broken(line: str) -> bool:
    """Whether the process can only hang or wind down after this line."""
    return STALLED in line or bool(_FATAL.search(line))


def hangs(log: Result) -> bool:
    """Whether it ended without an end of its own: at its limit, or with a process that does not answer."""
    return log.reason == "timeout" or STALLED in log.text


def over(line: str) -> bool:
    return READY in line or ANSWERS in line or broken(line)


def ready(log: Result | None) -> bool:
    """By its own word, or by /health: a quiet uvicorn (--uvicorn-log-level=warning) logs no such word."""
    return log is not None and log.reason == "stopped" and (READY in log.text or ANSWERS in log.text)


def health(known: Known) -> str:
    """An sh command that succeeds once the API answers. Without a proxy: it is this very machine."""
    url = f"{base_url(known.cluster, own_host(known.cluster))}/health"
    # No certificate is checked: it is for the name that clients use, and this is the machine itself.
    ask = (
        "import ssl, sys, urllib.request as u; "
        "h = u.HTTPSHandler(context=ssl._create_unverified_context()); "
        "sys.exit(u.build_opener(u.ProxyHandler({}), h).open(sys.argv[1], timeout=5).status != 200)"
    )
    return f"{placed(known).python} -I -c {shlex.quote(ask)} {shlex.quote(url)} >/dev/null 2>&1"


def argv(known: Known, node: Node) -> list[str]:
    """Over Ray on the head alone; without Ray on every node, where only the ranks and the API differ."""
    serve, mp = known.cluster.serve, placed(known).without_ray
    words = [placed(known).program("vllm"), "serve", serve.model]
    extra = list(serve.extra_flags)
    if node == known.server:
        words += [f"--host={serve.host}", f"--port={serve.port}"]
    else:
        words.append("--headless")
        extra = without(extra, "--api-server-count")  # vLLM refuses it where there is no API
    words += [
        f"--tensor-parallel-size={serve.tensor_parallel}",
        f"--pipeline-parallel-size={serve.pipeline_parallel}",
        f"--distributed-executor-backend={'mp' if mp else 'ray'}",
    ]
    words += _meeting(known, node) if mp else []
    words += _replicas(known, node, mp) if serve.data_parallel > 1 else []
    if serve.expert_parallel:
        words.append("--enable-expert-parallel")
    if serve.decode_context_parallel > 1:
        words.append(f"--decode-context-parallel-size={serve.decode_context_parallel}")
    if serve.served_model_name:
        words.append(f"--served-model-name={serve.served_model_name}")
    return [*words, *extra]


def dealt(known: Known) -> Dealt:
    """Which node runs which replica."""
    return deal(known.cluster, placed(known).without_ray)


def _meeting(known: Known, node: Node) -> list[str]:
    """Where the ranks of a replica over several nodes meet; inside a node they need no such place."""
    if dealt(known).kind == "inside":
        return []
    return [
        f"--nnodes={len(known.nodes)}",
        f"--node-rank={rank(known, node)}",
        f"--master-addr={known.head_ip}",
        f"--master-port={known.cluster.master_port}",
    ]


def _replicas(known: Known, node: Node, mp: bool) -> list[str]:
    """With --nnodes vLLM finds its own number of the rank; a start rank on the server would be read as
    another way to balance the load (vllm 0.33, engine/arg_utils.py)."""
    serve, plan = known.cluster.serve, dealt(known)
    words = [
        f"--data-parallel-size={serve.data_parallel}",
        f"--data-parallel-address={known.ip(known.server)}",
        f"--data-parallel-rpc-port={serve.data_parallel_port}",
    ]
    share = plan.of(node)
    if not mp:
        words.append("--data-parallel-backend=ray")
    if plan.kind == "inside" and share is not None:
        words.append(f"--data-parallel-size-local={share.count}")
        if mp and node != known.server:
            words.append(f"--data-parallel-start-rank={share.first}")
    return words


def rank(known: Known, node: Node) -> int:
    """The head's is 0."""
    return 0 if node.role == "head" else 1 + known.workers.index(node)


def environment(known: Known, node: Node) -> dict[str, str]:
    """What Ray is started with, and over Ray where it is."""
    address = f"{known.head_ip}:{known.cluster.ray.port}"
    ray = {} if placed(known).without_ray else {"RAY_ADDRESS": address}
    # Replicas larger than a node: vLLM looks for room inside nodes only, unless it is told.
    span = {"VLLM_RAY_DP_PACK_STRATEGY": "span"} if ray and dealt(known).kind == "across" else {}
    return {**ray, **span, **raystart.environment(known, node)}


def service(known: Known, node: Node) -> Service:
    """What runs on a node, and the port to look at: the API's where it is, elsewhere where ranks meet."""
    serve = known.cluster.serve
    meeting = serve.data_parallel_port if serve.data_parallel > 1 else known.cluster.master_port
    port = serve.port if node == known.server else meeting
    return Service(node, SERVE, port, tuple(argv(known, node)), environment(known, node), _of(known))


def guard(known: Known) -> Guard:
    """The API key goes to a server of ours alone: without one, anybody may listen on its port."""
    port = known.cluster.serve.port

    def passes(text: str) -> bool:
        there = Look(text)
        return bool(there.leader or there.service)

    look = placed(known).look(Service(known.server, SERVE, port))
    why = f"no vLLM of milepost runs on {known.server.name}, and port {port} may be somebody else's"
    return Guard(known.server, look, passes, why)


def _of(known: Known) -> str:
    """It hangs on every start of Ray (or of a container) that it is spread over."""
    starts = {} if placed(known).idle else known.facts.get("starts", {})
    return " ".join(str(starts[name]) for name in sorted(starts)) if isinstance(starts, dict) else ""


def first_error(log: Result) -> str:
    wrapper = re.compile(r"Engine core initialization failed|See root cause above|Failed core proc")
    error = re.compile(r"\bERROR\b|Error:|error:|Exception:")
    calm = re.compile(r"\b(?:WARNING|INFO|DEBUG)\b|^(?:ras\||stack |process |milepost: )")
    lines = [line.strip() for line in log.lines if not wrapper.search(line) and not calm.search(line)]
    hits = [line for line in lines if error.search(line)]
    specific = [hit for hit in hits if re.search(r"\b\w*(?:Error|Exception): \S", hit)]
    first = next(iter(specific or hits), "")
    return (_of_validation(lines, first) if "validation error" in first else first)[:300]


def _of_validation(lines: list[str], first: str) -> str:
    """pydantic counts its errors in one line, and says in the next ones what they are."""
    after = lines[lines.index(first) + 1 :][:4]
    return next((line for line in after if "Value error, " in line or "Input should" in line), first)
