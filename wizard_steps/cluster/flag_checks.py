"""Flags of serve.extra_flags that contradict the cluster file, each other, or the checks that follow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from packaging.version import InvalidVersion, Version

from wizard_steps.cluster.flags import Flag, ever, history, known, nearest, parse
from wizard_steps.cluster.values import Cluster

#: Flags that a field of the cluster file decides.
FIELDS = {
    "--tensor-parallel-size": "serve.tensor_parallel",
    "--pipeline-parallel-size": "serve.pipeline_parallel",
    "--model": "serve.model",
    "--served-model-name": "serve.served_model_name",
    "--host": "serve.host",
    "--port": "serve.port",
    "--data-parallel-size": "serve.data_parallel",
    "--enable-expert-parallel": "serve.expert_parallel",
    "--decode-context-parallel-size": "serve.decode_context_parallel",
    "--data-parallel-rpc-port": "serve.data_parallel_port",
    "--distributed-executor-backend": "serve.executor",
    "--data-parallel-backend": "serve.executor",
    "--master-port": "serve.master_port",
}

#: Flags that milepost writes itself, or that none of its checks could follow: why they are refused.
REFUSED = {
    "--nnodes": "milepost counts the nodes itself",
    "--node-rank": "milepost gives every node its own rank",
    "--master-addr": "it is the head's address (fabric_ip of the head)",
    "--headless": "milepost gives it to the nodes without an API server",
    "--config": "milepost cannot see what that file says: write its flags here, or in the fields of [serve]",
    "--uds": "the checks reach the API over TCP (serve.host, serve.port), and a Unix socket has no port",
    "--grpc": "the checks speak HTTP, and with it vLLM serves gRPC",
    "--help": "with it vLLM prints its help and ends",
}

_WORDS = re.compile(r"[a-z]+|\d+")
#: Words that make a name the name of a secret, and those in front of "token" that do not.
_SECRET = {"secret", "password", "passwd", "apikey", "credential", "credentials"}
_TOKENS = {
    "eos",
    "bos",
    "pad",
    "unk",
    "cls",
    "sep",
    "mask",
    "image",
    "audio",
    "video",
    "start",
    "end",
    "stop",
}


def flag_problems(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """(field, message) of the first thing wrong with each flag, then of what cannot go together."""
    flags = parse(cluster.serve.extra_flags)
    for flag in flags:
        names = [flag.typed.replace("_", "-"), flag.name]
        message = _problem(flag) or _of_another_release(_called(flag), names, cluster.serve.vllm_version)
        message = message or _of_no_release(flag, cluster.serve.vllm_version)
        if message:
            yield f"serve.extra_flags[{flag.place}]", message
    yield from _fields(cluster)
    yield from _together(cluster, {flag.name: flag for flag in flags})


def _problem(flag: Flag) -> str:
    if not flag.name:
        return f"{flag.typed!r} belongs to no flag; `vllm serve` takes one model, and that is serve.model"
    if re.match(r"--?[\w.-]+\s", flag.typed):
        return f"{flag.typed!r} has a blank in it: write the flag and its value as two words, or with ="
    if secret := _secret(flag):
        return secret
    if flag.name in FIELDS:
        return f"{_called(flag)} is the field {FIELDS[flag.name]}: set it there"
    if flag.name in REFUSED:
        return f"{_called(flag)} is not possible here: {REFUSED[flag.name]}"
    if flag.name == "--ssl-cert-reqs" and flag.number != 0:
        why = "it asks clients for a certificate, and the checks have none"
        return f"{_called(flag)} is not possible here: {why}"
    if flag.name.startswith("--data-parallel"):
        return (
            f"{_called(flag)} is not possible here: milepost distributes the replicas over the nodes itself "
            "(serve.data_parallel)"
        )
    if flag.name == "--prefill-context-parallel-size" and flag.number != 1:
        return f"{_called(flag)}: it multiplies the GPUs of a replica, which milepost counts as TP x PP"
    return ""


def _of_another_release(called: str, names: Sequence[str], version: str) -> str:
    """vLLM ends at once at a flag that it does not know. ``names``: as typed, then the full name."""
    try:
        here = Version(Version(version).public)
    except InvalidVersion:
        return ""
    past = history()
    for name in names:
        came, went = past.since.get(name), past.until.get(name)
        # The release before it, of those that were read: what lies between the two is not known.
        last = past.releases[past.releases.index(came) - 1] if came is not None else ""
        if came is not None and here <= Version(last):
            said = (
                f"with vLLM {came}"
                if _follows(last, came)
                else f"after vLLM {last}, with {came} at the latest"
            )
            return f"{called} came {said}, and serve.vllm_version is {version}"
        if went is not None and here >= Version(went):
            return f"{called} is gone since vLLM {went}, and serve.vllm_version is {version}"
    return ""


def _of_no_release(flag: Flag, version: str) -> str:
    """vLLM ends at once at it. A build of one's own (``0.33.0+mine``) and a newer release may have it."""
    try:
        here, read = Version(version), history().releases
    except InvalidVersion:
        return ""
    if here.local or here.is_prerelease or here > Version(read[-1]) or known(flag.name) or ever(flag.name):
        return ""
    close = nearest(flag.name)
    hint = f"; did you mean {close}?" if close else ""
    return f"{_called(flag)} is a flag of no vLLM release from {read[0]} to {read[-1]}{hint}"


def _follows(before: str, after: str) -> bool:
    """Whether no release between the two was left out."""
    return Version(after).minor - Version(before).minor <= 1


def _fields(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Fields whose flags the release does not have yet."""
    serve, mp = cluster.serve, cluster.without_ray
    replicas, several = serve.data_parallel > 1, len(cluster.nodes) > 1
    for field, flag, used in (
        ("serve.executor", "--nnodes", mp and several and not replicas),
        ("serve.data_parallel", "--data-parallel-size", replicas),
        ("serve.data_parallel", "--data-parallel-start-rank", replicas and mp and several),
        ("serve.data_parallel", "--data-parallel-backend", replicas and not mp),
        ("serve.expert_parallel", "--enable-expert-parallel", serve.expert_parallel),
        (
            "serve.decode_context_parallel",
            "--decode-context-parallel-size",
            serve.decode_context_parallel > 1,
        ),
    ):
        if used and (message := _of_another_release(f"its flag {flag}", [flag], serve.vllm_version)):
            yield field, message


def _called(flag: Flag) -> str:
    """The flag as typed, with its full name where that is another."""
    return flag.typed if flag.typed == flag.name else f"{flag.typed} ({flag.name})"


def _together(cluster: Cluster, flags: dict[str, Flag]) -> Iterator[tuple[str, str]]:
    """What vLLM refuses at its start. Source: vllm/config/parallel.py and vllm/config/vllm.py, 0.32.0."""
    serve = cluster.serve

    def at(name: str) -> str:
        return f"serve.extra_flags[{flags[name].place}]"

    def on(name: str) -> bool:
        return name in flags and not flags[name].off

    size = serve.decode_context_parallel
    if serve.tensor_parallel % size:
        yield (
            "serve.decode_context_parallel",
            f"{serve.tensor_parallel} (serve.tensor_parallel) must be divisible by {size}: vLLM 0.33 refuses "
            "other sizes",
        )
    if on("--enable-eplb") and not serve.expert_parallel:
        yield at("--enable-eplb"), "needs serve.expert_parallel = true: vLLM 0.32 refuses it alone"
    if on("--ssl-keyfile") and not on("--ssl-certfile"):
        yield at("--ssl-keyfile"), "needs --ssl-certfile as well: a key alone makes no HTTPS"
    for name in ("--enable-elastic-ep", "--enable-return-routed-experts"):
        if on(name) and serve.pipeline_parallel > 1:
            yield (
                at(name),
                f"cannot go with pipeline parallelism (serve.pipeline_parallel = {serve.pipeline_parallel}) "
                "in vLLM 0.32",
            )


# --- secrets ------------------------------------------------------------------------------------------


def _secret(flag: Flag) -> str:
    """Why a flag must not be in the file; empty when it holds no secret."""
    if flag.name == "--api-key":
        return "an API key is a secret: set serve.api_key = true, and VLLM_API_KEY in your environment"
    if flag.name == "--hf-token" and flag.value not in ("", "true", "True"):
        return "a token is a secret: set HF_TOKEN in your environment"
    inside = [("", flag.tree)] if flag.keys else [(flag.name, flag.tree)]
    for name in _secret_names(inside):
        return f"{name} looks like a secret; set it in the wizard's environment, never in this file"
    return ""


def _secret_names(inside: list[tuple[str, Any]]) -> Iterator[str]:
    """Names anywhere in a value that hold text and are called like a secret."""
    while inside:
        name, value = inside.pop()
        if isinstance(value, dict):
            inside += value.items()
        elif isinstance(value, list):
            inside += [(name, one) for one in value]
        elif isinstance(value, str) and value and _called_secret(name):
            yield name


def _called_secret(name: str) -> bool:
    words = _WORDS.findall(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    pairs = set(pairwise(words))
    if _SECRET & set(words) or pairs & {("api", "key"), ("access", "key"), ("private", "key")}:
        return True
    return "token" in words[-1:] and not _TOKENS & set(words[-2:-1])
