"""What a person needs after the last gate: where the model answers, how to call it, what next.

Pure functions of a walk's state and its output files; screen, headless log and recording show the same text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from wizard_steps.cluster.api import EVERYWHERE
from wizard_steps.milestones.certificate import NAMES, TRUSTED
from wizard_steps.milestones.load_numbers import LOAD
from wizard_steps.milestones.rank_places import SAYS
from wizard_steps.milestones.running import KEPT_BY, WRITTEN
from wizard_steps.milestones.units import SERVED_BY
from wizard_steps.model import Check
from wizard_steps.recording.state import State

#: Reads an output file of the walk: name, from byte, up to byte.
Read = Callable[[str, int, int], bytes]
#: Port of the example tunnel on the reader's own machine.
TUNNEL_PORT = 18000
#: What a coding agent needs besides, where the server was started without.
_TOOLS = "  # agents need --enable-auto-tool-choice and --tool-call-parser in serve.extra_flags"
#: The files that ssh reads by itself.
_CONFIG, _HOSTS = "~/.ssh/config", "~/.ssh/known_hosts"
#: Port of the example Open WebUI there.
WEBUI_PORT = 18080
#: Nodes of which it is told which ranks they have.
_NODES = 8
#: Bytes at the end of a log that are searched for vLLM's own figures.
_TAIL = 1 << 20
_KV_CACHE = re.compile(r"GPU KV cache size: ([\d,]{1,20}) tokens")
_SHOWN = (
    ("output_tokens_per_second", "tokens/s"),
    ("median_ttft_ms", "ms to the first token"),
    ("median_tpot_ms", "ms for each further one"),
)
_CONCURRENCY = re.compile(r"Maximum concurrency for ([\d,]{1,20}) tokens per request: ([\d.]{1,20})x")


class HandoverRow(Struct, frozen=True):
    """One fact: a label, and its text of one line or more."""

    label: str
    text: str


class NextCommand(Struct, frozen=True):
    """A command that can be pasted; ``where`` is where: here (the reader's machine) or on the network."""

    label: str
    text: str
    where: str


class Handover(Struct, frozen=True):
    """``times``: seconds by title of the milestone, longest first."""

    title: str
    facts: tuple[HandoverRow, ...]
    commands: tuple[NextCommand, ...]
    times: tuple[tuple[str, float], ...]
    warnings: tuple[Check, ...]
    following: tuple[NextCommand, ...]


def handover(state: State, read: Read, folder: str = "", file: str = "milepost.toml") -> Handover | None:
    """The hand-over of a walk that passed; None of any other. ``file`` is the cluster file's path."""
    if state.outcome != "passed" or not state.facts.get("url"):
        return None
    simulated = "SIMULATED: " if state.simulated else ""
    said = (check for step in state.steps if step.verdict for check in step.verdict.warnings)
    # What the services of before would start is over where this walk has written them anew.
    warnings = tuple(check for check in said if not (state.facts.get(SERVED_BY) and check.name == WRITTEN))
    return Handover(
        title=f"{simulated}{_serve(state).get('served_model_name') or _serve(state).get('model')} is served",
        facts=tuple(_facts(state, read, folder)),
        commands=tuple(_commands(state)),
        times=tuple(_times(state)),
        warnings=warnings,
        following=tuple(_following(state, file, folder)),
    )


def as_text(it: Handover) -> str:
    """The hand-over as plain text."""
    labels = [row.label for row in it.facts] + [c.label for c in (*it.commands, *it.following)]
    width = max(map(len, labels))
    lines = [it.title, ""]
    lines += [f"  {row.label:<{width}}  {line}" for row in it.facts for line in row.text.splitlines()]
    for where in dict.fromkeys(command.where for command in it.commands):
        lines += ["", f"{where}:"]
        lines += [f"  {c.label:<{width}}  {c.text}" for c in it.commands if c.where == where]
    if it.warnings:
        lines += ["", f"Warnings ({len(it.warnings)}):"]
        lines += [f"  {_at(check)}{check.name}: {check.found}" for check in it.warnings]
    lines += ["", "Time: " + ", ".join(f"{title} {seconds(t)}" for title, t in it.times[:4]), "", "Next:"]
    return "\n".join([*lines, *(f"  {c.label:<{width}}  {c.text}" for c in it.following), ""])


def seconds(value: float) -> str:
    """``4m02s``, ``12s``."""
    whole = round(value)
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _at(check: Check) -> str:
    return f"{check.node}: " if check.node else ""


def _serve(state: State) -> Mapping[str, Any]:
    return state.cluster.get("serve") or {}


def _server(state: State) -> Mapping[str, Any]:
    """As ``Cluster.server``: the head, or the first node with GPUs when the head has none."""
    nodes = state.cluster.get("nodes") or [{}]
    ordered = sorted(nodes, key=lambda node: node.get("role") != "head")
    return next((node for node in ordered if node.get("gpus")), ordered[0])


def _facts(state: State, read: Read, folder: str) -> Iterator[HandoverRow]:
    serve, nodes = _serve(state), state.cluster.get("nodes") or []
    tp, pp = int(serve.get("tensor_parallel", 1)), int(serve.get("pipeline_parallel", 1))
    yield HandoverRow("endpoint", str(state.facts["url"]))
    dp = int(serve.get("data_parallel", 1))
    replicas = f" x DP {dp}" if dp > 1 else ""
    total = _count(tp * pp * dp, "GPU")
    split = f"TP {tp} x PP {pp}{replicas} = {total}, cluster of {_count(len(nodes), 'machine')}"
    yield HandoverRow("split", split)
    if places := _places(state):
        yield HandoverRow("ranks", places)
    ray = (state.cluster.get("ray") or {}).get("version", "")
    with_ray = f", Ray {ray}" if state.facts.get("ray_address") else ", without Ray"
    yield HandoverRow("versions", f"vLLM {serve.get('vllm_version', '')}{with_ray}")
    if size := _kv_cache(state, read):
        yield HandoverRow("KV cache", size)
    if load := _load(state):
        yield HandoverRow("load", load)
    if folder:
        yield HandoverRow("recording", folder)


def _places(state: State) -> str:
    """Which ranks the gates found on each node; "" where none was counted."""
    said: dict[str, list[str]] = {}
    for check in (check for step in state.steps if step.verdict for check in step.verdict.checks):
        if check.name in SAYS and check.ok and check.node:
            said.setdefault(check.node, []).append(check.found)
    lines = [f"{node}: {', '.join(found)}" for node, found in said.items()]
    more = [f"and {_count(len(lines) - _NODES, 'more node')}"] if len(lines) > _NODES else []
    return "\n".join([*lines[:_NODES], *more])


def _load(state: State) -> str:
    """One line for each number of requests at the same time, where the load was walked."""
    found = state.facts.get(LOAD)
    lines = []
    for concurrency, values in found.items() if isinstance(found, Mapping) else ():
        run = {str(k): v for k, v in values.items() if isinstance(v, int | float)}
        parts = [f"{run[name]:.1f} {unit}" for name, unit in _SHOWN if name in run]
        lines.append(f"{concurrency} at once: {', '.join(parts)}")
    return "\n".join(lines)


def _kv_cache(state: State, read: Read) -> str:
    """What vLLM printed of its KV cache in this walk; "" when it printed nothing that was read."""
    server = _server(state)
    name = server.get("name") or server.get("host")
    for run in sorted(state.runs.values(), key=lambda run: -run.number):
        if not run.end or run.node != name:
            continue
        data = read(run.spool, max(run.start or 0, run.end - _TAIL), run.end)
        text = data.decode("utf-8", "replace")
        tokens, most = _KV_CACHE.search(text), _CONCURRENCY.search(text)
        if tokens:
            at_once = f"; {most[2]} requests of {most[1]} tokens at once" if most else ""
            return f"{tokens[1]} tokens{at_once} (printed by vLLM)"
    return ""


def _commands(state: State) -> Iterator[NextCommand]:
    """Clients for the tunnel and for the network. Where vLLM has a certificate of its own, tools that cannot
    be told to pass over its name are shown with that name."""
    serve, server, url = _serve(state), _server(state), str(state.facts["url"])
    secure = url.startswith("https:")
    port, model = int(serve.get("port", 8000)), str(serve.get("served_model_name") or serve.get("model"))
    key = bool(serve.get("api_key"))
    host = str(serve.get("host", "0.0.0.0"))
    inner = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    mine, net = "From your machine, through the tunnel", "From the network of the head"
    words = ["ssh", *_ssh(state), "-N", "-L", f"{TUNNEL_PORT}:{inner}:{port}", *_login(server)]
    yield NextCommand("tunnel", shlex.join(words), mine)
    here = f"{'https' if secure else 'http'}://127.0.0.1:{TUNNEL_PORT}/v1"
    yield from _clients(here, model, key, mine, verify=not secure)
    if secure:
        url = _by_name(state, url)
        net += "" if state.facts.get(TRUSTED) else " (clients need the certificate: SSL_CERT_FILE=cert.pem)"
    else:
        yield from _tools(here, model, key, mine, serve)
    yield from _clients(url, model, key, net)
    if secure:
        yield from _tools(url, model, key, net, serve)


def _by_name(state: State, url: str) -> str:
    """The endpoint under the first name that its certificate is for."""
    names = state.facts.get(NAMES)
    usable = [str(name) for name in names if "*" not in str(name)] if isinstance(names, list) else []
    address = url.split("//", 1)[1].rsplit(":", 1)[0]
    if not usable or address.strip("[]") in usable:
        return url
    name = f"[{usable[0]}]" if ":" in usable[0] else usable[0]
    return url.replace(f"//{address}:", f"//{name}:", 1)


def _clients(base: str, model: str, key: bool, where: str, verify: bool = True) -> Iterator[NextCommand]:
    head = ' -H "Authorization: Bearer $VLLM_API_KEY"' if key else ""
    secret = 'os.environ["VLLM_API_KEY"]' if key else '"none"'
    # Through the tunnel: it ends on the machine that ssh has verified, and 127.0.0.1 is in no certificate.
    more, web = (
        ("", "") if verify else (", DefaultHttpxClient", ", http_client=DefaultHttpxClient(verify=False)")
    )
    yield NextCommand(
        "models", f"curl -s{'' if verify else 'k'} {shlex.quote(f'{base}/models')}{head}", where
    )
    python = (
        f"{'import os; ' if key else ''}from openai import OpenAI{more}; "
        f"c = OpenAI(base_url={base!r}, api_key={secret}{web}); "
        f"print(c.chat.completions.create(model={model!r}, "
        "messages=[{'role': 'user', 'content': 'Hello'}]).choices[0].message.content)"
    )
    yield NextCommand("Python", python, where)


def _tools(base: str, model: str, key: bool, where: str, serve: Mapping[str, Any]) -> Iterator[NextCommand]:
    """Coding agents name the model by a variable of their own, or by a flag: aider reads OPENAI_API_BASE,
    Claude Code asks /v1/messages, which vLLM has beside OpenAI's."""
    shown = '"$VLLM_API_KEY"' if key else "none"
    at = shlex.quote(base)
    exported = f"export OPENAI_BASE_URL={at} OPENAI_API_BASE={at} OPENAI_API_KEY={shown}"
    yield NextCommand("other tools", exported, where)
    tools = "" if any("tool-choice" in str(flag) for flag in serve.get("extra_flags", ())) else _TOOLS
    yield NextCommand("aider", f"{exported}; aider --model {shlex.quote(f'openai/{model}')}", where)
    names = " ".join(
        f"ANTHROPIC_DEFAULT_{size}_MODEL={shlex.quote(model)}" for size in ("OPUS", "SONNET", "HAIKU")
    )
    root = shlex.quote(base.removesuffix("/v1"))
    yield NextCommand(
        "Claude Code", f"ANTHROPIC_BASE_URL={root} ANTHROPIC_AUTH_TOKEN={shown} {names} claude{tools}", where
    )
    yield NextCommand(
        "Open WebUI",
        f"docker run -d --network host -e PORT={WEBUI_PORT} -e OPENAI_API_BASE_URL={at} "
        f"-e OPENAI_API_KEY={shown} -e ENABLE_OLLAMA_API=false -v open-webui:/app/backend/data "
        "ghcr.io/open-webui/open-webui:main",
        where,
    )


def _ssh(state: State) -> list[str]:
    """Options of ssh where the cluster file names files of its own."""
    ssh = state.cluster.get("ssh") or {}
    config, hosts = str(ssh.get("config") or _CONFIG), str(ssh.get("known_hosts") or _HOSTS)
    found = ["-F", config] if config != _CONFIG else []
    found += ["-o", f"UserKnownHostsFile={hosts}"] if hosts != _HOSTS else []
    return [*found, *(word for one in ssh.get("identity") or () for word in ("-i", str(one)))]


def _login(server: Mapping[str, Any]) -> list[str]:
    user, host, port = server.get("user") or "", str(server.get("host", "")), int(server.get("port") or 0)
    return [*(["-p", str(port)] if port else []), f"{user}@{host}" if user else host]


def _times(state: State) -> list[tuple[str, float]]:
    spent = [(step.title, step.elapsed(state.t)) for step in state.steps if step.ended is not None]
    return sorted(spent, key=lambda pair: -pair[1])


def _following(state: State, file: str, folder: str) -> Iterator[NextCommand]:
    name = shlex.quote(file)
    if state.facts.get("ray_address") and not state.simulated:
        yield NextCommand("dashboard", f"milepost dashboard {name}", "")
    if not state.simulated:
        yield NextCommand("watch it", f"milepost top {name}", "")
        if not state.facts.get(LOAD):
            yield NextCommand("measure it", f"milepost load {name}", "")
        if state.facts.get(SERVED_BY) or state.facts.get(KEPT_BY):
            yield NextCommand("no services", f"milepost disable {name}", "")
        else:
            yield NextCommand("keep it", f"milepost enable {name}", "")
    elif not state.facts.get(LOAD) or not state.facts.get(SERVED_BY):
        yield NextCommand("try more", "milepost --lab --load --services", "")
    if folder:
        yield NextCommand("export", f"milepost export {shlex.quote(folder)} --to html -o walk.html", "")
        yield NextCommand("bundle", f"milepost bundle {shlex.quote(folder)}", "")
    if not state.simulated:
        yield NextCommand("stop it", f"milepost down {name}", "")
