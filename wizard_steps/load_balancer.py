"""The other way to run replicas: a vLLM of its own on each machine, behind a proxy that milepost writes down.

Nothing is started: this is text for a person. The machines know nothing of each other: one that fails takes
only its own requests with it, and experts are not spread over machines. (Other than for a mixture of experts
vLLM 0.33 refuses its own external balancing: "launch independent vLLM instances", engine/arg_utils.py.)
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from wizard_steps.cluster.api import tls
from wizard_steps.cluster.file import Cluster
from wizard_steps.cluster.replicas import Share, deal
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.milestones import vllm
from wizard_steps.model import Node
from wizard_steps.node import api_key
from wizard_steps.node.docker import image_of
from wizard_steps.node.places import place_of
from wizard_steps.node.remote import environment

#: Seconds that a long answer may take without a byte.
_PATIENCE = 600


def lines(cluster: Cluster, kind: str, address: Callable[[Node], str]) -> Iterator[str]:
    """What to run on each node, and the proxy's configuration. Raises UsageError where no node holds a whole
    replica, or the kind of proxy is not known."""
    if kind not in KINDS:
        raise UsageError(f"--load-balancer {kind}: known are {', '.join(KINDS)}")
    plan = deal(cluster)
    if plan.problem or plan.kind != "inside":
        raise UsageError(
            plan.problem
            or "--load-balancer needs replicas that fit a node: set serve.data_parallel to 2 or more, with a "
            "TP x PP that a node's GPUs hold"
        )
    yield "# One API on each node, each with its own replicas; nothing was started."
    if api_key.wanted(cluster):
        yield f"# Export {api_key.NAME} wherever one is started: without it that API is open."
    inside = f", in a container of {image_of(cluster)}" if place_of(cluster).contained else ""
    for share in plan.shares:
        yield f"# on {share.node.name}{inside}:"
        yield _alone(cluster, share)
    yield ""
    servers = [f"{address(share.node)}:{cluster.serve.port}" for share in plan.shares]
    yield from KINDS[kind](servers, tls(cluster))


def _alone(cluster: Cluster, share: Share) -> str:
    """The command of a server that knows of no other node."""
    serve = replace(cluster.serve, data_parallel=share.count, executor="mp")
    alone = replace(
        cluster, serve=serve, nodes=tuple(replace(e, role="head") for e in (cluster.entry(share.node),))
    )
    known = Known(alone, {"fabric_ips": {share.node.name: "127.0.0.1"}})
    words = vllm.argv(known, alone.head)
    meeting = ("--nnodes", "--node-rank", "--master-addr", "--master-port")
    env = {k: v for k, v in vllm.environment(known, alone.head).items() if k != "VLLM_HOST_IP"}
    return f"{environment(env)} {shlex.join(w for w in words if not w.startswith(meeting))}".strip()


def _nginx(servers: list[str], secure: bool) -> Iterator[str]:
    yield "# nginx: the server with the fewest open requests gets the next one."
    yield "upstream vllm {"
    yield "    least_conn;"
    yield from (f"    server {server} max_fails=1 fail_timeout=10s;" for server in servers)
    yield "}"
    yield "server {"
    yield "    listen 8080;"
    yield "    location /v1/ {"
    yield f"        proxy_pass {'https' if secure else 'http'}://vllm;"
    yield "        proxy_http_version 1.1;"
    yield '        proxy_set_header Connection "";'
    yield "        proxy_buffering off;"
    yield f"        proxy_read_timeout {_PATIENCE}s;"
    yield "    }"
    yield "    location / { return 404; }"
    yield "}"


def _haproxy(servers: list[str], secure: bool) -> Iterator[str]:
    yield "# HAProxy: /health takes a server that has ended out."
    yield "frontend api"
    yield "    mode http"
    yield "    bind :8080"
    yield f"    timeout client {_PATIENCE}s"
    yield "    http-request deny deny_status 404 unless { path_beg /v1/ }"
    yield "    default_backend vllm"
    yield "backend vllm"
    yield "    mode http"
    yield "    balance leastconn"
    yield "    option httpchk GET /health"
    yield "    timeout connect 5s"
    yield f"    timeout server {_PATIENCE}s"
    how = " ssl verify none" if secure else ""
    yield from (f"    server vllm{number} {server} check{how}" for number, server in enumerate(servers))


KINDS = {"nginx": _nginx, "haproxy": _haproxy}
