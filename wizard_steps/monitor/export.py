"""A Prometheus scrape file and a Grafana dashboard for a cluster: what `milepost top` shows, kept over time.

vLLM serves its own numbers. Those of the GPUs and machines need NVIDIA's dcgm-exporter and Prometheus'
node_exporter on each node, which milepost does not install; the files name their usual ports.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any

from wizard_steps.cluster.api import tls
from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Node

#: Usual ports of the exporters.
DCGM, MACHINE = 9400, 9100
#: File names.
SCRAPE, DASHBOARD = "prometheus.yml", "grafana-vllm.json"
#: Height of a panel in Grafana's grid of 24 columns.
_HIGH = 9
#: Title, unit of Grafana, (legend, PromQL); what vLLM counts, by engine.
_VLLM: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Output tokens per second", "short",
     (("engine {{engine}}", "sum by (engine) (rate(vllm:generation_tokens_total[1m]))"),)),
    ("Requests", "short",
     (("running, engine {{engine}}", "sum by (engine) (vllm:num_requests_running)"),
      ("waiting, engine {{engine}}", "sum by (engine) (vllm:num_requests_waiting)"))),
    ("Time to the first token", "s",
     (("median", "histogram_quantile(0.5, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[5m])))"),
      ("p99", "histogram_quantile(0.99, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[5m])))"))),
    ("Time between tokens", "s",
     (("median", "histogram_quantile(0.5, sum by (le) (rate(vllm:inter_token_latency_seconds_bucket[5m])))"),
      ("p99", "histogram_quantile(0.99, sum by (le) (rate(vllm:inter_token_latency_seconds_bucket[5m])))"))),
    ("KV cache in use", "percentunit",
     (("engine {{engine}}", "max by (engine) (vllm:kv_cache_usage_perc)"),)),
    ("Preemptions per minute", "short",
     (("engine {{engine}}", "60 * sum by (engine) (rate(vllm:num_preemptions_total[5m]))"),)),
)  # fmt: skip
_MACHINES: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("GPU use", "percent", (("{{node}} GPU {{gpu}}", "DCGM_FI_DEV_GPU_UTIL"),)),
    ("GPU memory in use", "mbytes", (("{{node}} GPU {{gpu}}", "DCGM_FI_DEV_FB_USED"),)),
    ("GPU power", "watt", (("{{node}} GPU {{gpu}}", "DCGM_FI_DEV_POWER_USAGE"),)),
    ("GPU temperature", "celsius", (("{{node}} GPU {{gpu}}", "DCGM_FI_DEV_GPU_TEMP"),)),
    ("Memory of the machine left", "bytes", (("{{node}}", "node_memory_MemAvailable_bytes"),)),
    ("Network received", "Bps", (("{{node}} {{device}}", "rate(node_network_receive_bytes_total[1m])"),)),
)


#: What has to run on the nodes besides, for who has the files.
NEEDED = (
    "vLLM serves its own numbers. GPUs and machines need exporters on every node, which milepost does not "
    f"install: NVIDIA's dcgm-exporter (port {DCGM}) and Prometheus' node_exporter (port {MACHINE}). Their "
    "panels stay empty without them."
)


def files(cluster: Cluster) -> dict[str, str]:
    """File name and text."""
    return {SCRAPE: scrape(cluster), DASHBOARD: json.dumps(dashboard(cluster), indent=2) + "\n"}


def scrape(cluster: Cluster) -> str:
    """YAML. Strings are written as JSON, which YAML reads, so that no name can break it."""
    port, server, secure = cluster.serve.port, cluster.server, tls(cluster)
    local = cluster.serve.host in ("127.0.0.1", "localhost", "::1")
    note = (
        [f"  # vLLM listens on {cluster.serve.host} alone: Prometheus has to run on {server.name}."]
        if local
        else []
    )
    address = cluster.serve.host if local else _address(server)
    lines = [
        f"# {cluster.name}: made by `milepost top`. Prometheus reads it: prometheus --config.file={SCRAPE}",
        "global:",
        "  scrape_interval: 5s",
        "scrape_configs:",
        *note,
        *_job("vllm", [(server.name, _joined(address, port))], _HTTPS if secure else ()),
        "  # NVIDIA's dcgm-exporter on each node; without it leave this job out.",
        *_job("gpus", [(n.name, _joined(_address(n), DCGM)) for n in cluster.node_list if n.gpus]),
        "  # Prometheus' node_exporter on each node; without it leave this job out.",
        *_job("machines", [(n.name, _joined(_address(n), MACHINE)) for n in cluster.node_list]),
    ]
    return "\n".join(lines) + "\n"


#: The certificate is for a name, and the target is an address.
_HTTPS = (
    "    scheme: https",
    "    tls_config:  # better: server_name, and ca_file where the certificate is one of your own",
    "      insecure_skip_verify: true",
)


def _job(name: str, targets: Sequence[tuple[str, str]], more: Sequence[str] = ()) -> list[str]:
    lines = [f"  - job_name: {name}", *more, "    static_configs:"]
    for node, target in targets:
        lines += [f"      - targets: [{json.dumps(target)}]", f"        labels: {{node: {json.dumps(node)}}}"]
    return lines


def _address(node: Node) -> str:
    return node.fabric_ip or node.host


def _joined(host: str, port: int) -> str:
    try:
        return f"[{host}]:{port}" if ipaddress.ip_address(host).version == 6 else f"{host}:{port}"
    except ValueError:
        return f"{host}:{port}"


def dashboard(cluster: Cluster) -> Mapping[str, Any]:
    """Grafana's JSON model, for import; it asks for the data source."""
    panels: list[Mapping[str, Any]] = []
    y = 0
    needed = f"Nodes: empty without dcgm-exporter (GPUs, port {DCGM}) and node_exporter (port {MACHINE})"
    for title, rows in (("vLLM", _VLLM), (needed, _MACHINES)):
        panels.append({"type": "row", "title": title, "id": len(panels) + 1, "panels": [], "collapsed": False,
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})  # fmt: skip
        for place, (name, unit, queries) in enumerate(rows):
            where = {"h": _HIGH, "w": 12, "x": 12 * (place % 2), "y": y + 1 + _HIGH * (place // 2)}
            panels.append(_panel(len(panels) + 1, name, unit, queries, where))
        y += 1 + _HIGH * ((len(rows) + 1) // 2)
    source = {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus",
              "pluginName": "Prometheus"}  # fmt: skip
    return {
        "__inputs": [source],
        "title": f"vLLM: {cluster.name}",
        "uid": None,
        "schemaVersion": 39,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "panels": panels,
    }


def _panel(
    number: int, title: str, unit: str, queries: Sequence[tuple[str, str]], where: Mapping[str, int]
) -> Mapping[str, Any]:
    source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    targets = [
        {"expr": expression, "legendFormat": legend, "refId": chr(ord("A") + n), "datasource": source}
        for n, (legend, expression) in enumerate(queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": where,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
