"""What there is to fetch of a model: asked of the hub (or the mirror in HF_ENDPOINT) with huggingface_hub, in
one small request, and how fast the line to it is.

Runs with SPEC, JSON: ``repo``, ``revision``, ``consolidated`` (Mistral's own files are what vLLM will load).
The token is HF_TOKEN, of the environment or a line of standard input.
"""

from __future__ import annotations

import fnmatch
import json
import os
import sys
import time
from typing import Any

from wizard_steps.node.scripts import weights_web
from wizard_steps.node.scripts.weights_files import ended, say

#: Other copies of the same weights, and what nobody loads.
_OTHER = "bin pt pth h5 msgpack onnx onnx_data gguf tflite ot ckpt npz mlmodel bin.index.json gitattributes"
OTHER_FORMATS = tuple(f"*.{ending}" for ending in _OTHER.split())
#: Bytes and seconds of the measurement of the line.
SAMPLE, SAMPLE_TIME = 64 << 20, 2.0


def wanted(names: list[str], consolidated: bool) -> list[str]:
    """What vLLM loads: safetensors of the top folder, or PyTorch's where there are none; all small files.
    Hidden ones hold what is said about a model (evaluations), and nobody loads them."""
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    weights = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    mistral = [name for name in weights if name.startswith("consolidated")]
    if consolidated and mistral:
        weights = mistral
    for form in ("*.bin", "*.pt"):
        weights = weights or [n for n in names if "/" not in n and fnmatch.fnmatch(n, form)]
    others = [name for name in names if not name.endswith(".safetensors")]
    small = [n for n in others if not any(fnmatch.fnmatch(n.rpartition("/")[2], f) for f in OTHER_FORMATS)]
    return sorted({*weights, *small})


def listing(spec: dict[str, Any], token: str) -> tuple[str, list[dict[str, Any]]]:
    """(commit, files with size and the hashes that the hub knows, or the server in ``web``)."""
    if spec.get("web"):
        found = weights_web.listing(spec, lambda names: wanted(names, bool(spec.get("consolidated"))))
        return weights_web.commit_of(found), found
    from huggingface_hub import HfApi

    info = HfApi(token=token or None).model_info(
        spec["repo"], revision=spec["revision"], files_metadata=True, timeout=30
    )
    siblings = {one.rfilename: one for one in info.siblings or []}
    files = []
    for name in wanted(list(siblings), bool(spec.get("consolidated"))):
        one = siblings[name]
        lfs: Any = one.lfs or {}
        sha = lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", "")
        git = "" if sha else one.blob_id or ""
        # The hub's cache names a file by its ETag, which is one of the two.
        known = {"sha256": sha or "", "git": git, "blob": sha or git}
        files.append({"name": name, "size": one.size or 0, **known})
    return info.sha or spec["revision"], files


def why(error: BaseException) -> str:
    """A kind that the gate knows, and the first words of what was said."""
    if said := weights_web.why(error):
        return said
    names = [kind.__name__ for kind in type(error).__mro__]
    code = getattr(getattr(error, "response", None), "status_code", 0)
    number = error.errno if isinstance(error, OSError) else 0
    kinds = (
        ("revision", "RevisionNotFoundError" in names),
        ("token", code == 401),
        ("gated", "GatedRepoError" in names or code == 403),
        ("model", "RepositoryNotFoundError" in names or code == 404),
        ("busy", code == 429),
        ("offline", "OfflineModeIsEnabled" in names),
        ("library", isinstance(error, ImportError)),
        ("space", number in (28, 122)),
        ("rights", number in (1, 13, 30)),
        ("corrupt", isinstance(error, Corrupt)),
    )
    kind = next((name for name, holds in kinds if holds), "hub")
    path = f"{error.filename}: " if number and isinstance(error, OSError) and error.filename else ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The first line of the hub's library is a number alone; the address that it was for comes next.
    words = " ".join(lines[:2] if code else lines[:1]) or type(error).__name__
    return f"{kind}: {path}{words[:300]}"


class Corrupt(Exception):
    """A file whose content is not what its hash says."""


def measure(spec: dict[str, Any], commit: str, one: dict[str, Any], token: str) -> float:
    """Bytes per second that this node gets of a file, for a moment; 0 where that cannot be had."""
    if spec.get("web"):
        return weights_web.measure(one, SAMPLE, SAMPLE_TIME)
    from urllib.request import Request, urlopen

    from huggingface_hub import hf_hub_url

    url = hf_hub_url(spec["repo"], str(one["name"]), revision=commit)
    request = Request(url, headers={"Range": f"bytes=0-{SAMPLE - 1}"})
    if token:
        request.add_unredirected_header("Authorization", "Bearer " + token)
    try:
        with urlopen(request, timeout=15) as answer:
            began = now = time.monotonic()
            got = 0
            while now - began < SAMPLE_TIME and (data := answer.read(1 << 18)):
                got += len(data)
                now = time.monotonic()
            return got / max(now - began, 0.01)
    except (OSError, ValueError):
        return 0.0


def resolve(spec: dict[str, Any]) -> None:
    for line in sys.stdin:
        name, _, value = line.partition("=")
        if name in ("HF_TOKEN", "MODELSCOPE_API_TOKEN"):
            os.environ[name] = value.strip()
    token = os.environ.get("HF_TOKEN", "")
    commit, files = listing(spec, token)
    size = sum(int(one["size"]) for one in files)
    largest = max(files, key=lambda one: int(one["size"]), default=None)
    big = largest is not None and int(largest["size"]) > SAMPLE // 4
    rate = measure(spec, commit, largest, token) if largest and big else 0.0
    endpoint = spec.get("web") or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    say(f"{spec['repo']} at {commit[:12]}: {len(files)} files, {size / 1e9:.3f} GB, from {endpoint}")
    if rate:
        say(f"the line gives {rate / 1e6:.1f} MB/s")
    answer = {"commit": commit, "files": {f["name"]: f["size"] for f in files}, "rate": int(rate)}
    say("weights-json: " + json.dumps({**answer, "endpoint": endpoint}, separators=(",", ":")))


def run(words: list[str]) -> int:
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return ended(resolve, words, why)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
