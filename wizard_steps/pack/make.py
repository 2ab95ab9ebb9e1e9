"""Makes a kit: packages or image, the model where it is wanted, kit.json, checksums and a README."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import MilepostError, UsageError
from wizard_steps.node import docker, weights
from wizard_steps.node.kit import FORMAT, IMAGE, LOCK, MODEL, Kit, KitFile, KitModel
from wizard_steps.node.places import place_of
from wizard_steps.pack import wheels
from wizard_steps.pack.wheels import PackTarget, run

KIT, SUMS, README = "kit.json", "SHA256SUMS", "README.md"
_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


def make(cluster: Cluster, target: PackTarget, kit: Path, model: bool, revision: str) -> Kit:
    """Fill the folder; what is there of an earlier try is used again. Raises MilepostError or UsageError."""
    if kit.exists() and any(kit.iterdir()) and not (kit / KIT).exists() and not (kit / ".packing").exists():
        raise UsageError(f"{kit}: is not empty and no kit; name another folder with -o")
    kit.mkdir(parents=True, exist_ok=True)
    (kit / ".packing").touch()
    (kit / KIT).unlink(missing_ok=True)  # it says what is here, and is written last
    contained = place_of(cluster, {}).contained
    if contained:
        save_image(cluster, target, kit)
    else:
        wheels.fetch(cluster, target, kit)
    fetched = fetch_model(cluster, kit, revision) if model else None
    if not model:
        shutil.rmtree(kit / MODEL, ignore_errors=True)
    files = listed(kit)
    if not contained:
        (kit / LOCK).write_text(wheels.lock(files), encoding="utf-8")
        files.append(_listed(kit, kit / LOCK))
    made = Kit(
        format=FORMAT,
        machine=target.machine,
        files=tuple(sorted(files, key=lambda one: one.name)),
        python="" if contained else target.python,
        glibc="" if contained else target.glibc,
        vllm="" if contained else cluster.serve.vllm_version,
        ray="" if contained or cluster.without_ray else cluster.ray.version,
        image=docker.image_of(cluster) if contained else "",
        model=fetched,
    )
    (kit / README).write_text(readme(made), encoding="utf-8")
    (kit / KIT).write_bytes(msgspec.json.format(msgspec.json.encode(made)))
    sums = [f"{one.sha256}  {one.name}\n" for one in made.files]
    sums += [f"{digest(kit / name)}  {name}\n" for name in (KIT, README)]
    (kit / SUMS).write_text("".join(sums), encoding="utf-8")
    (kit / ".packing").unlink()
    return made


def save_image(cluster: Cluster, target: PackTarget, kit: Path) -> None:
    engine, image = shlex.split(cluster.docker.command), docker.image_of(cluster)
    platform = f"--platform=linux/{_ARCH.get(target.machine, target.machine)}"
    run([*engine, "pull", platform, image], {**os.environ, **cluster.env})
    part = kit / f"{IMAGE}.part"
    part.unlink(missing_ok=True)
    run([*engine, "save", "-o", str(part), image], os.environ)
    part.rename(kit / IMAGE)


def fetch_model(cluster: Cluster, kit: Path, revision: str) -> KitModel:
    """With the program that fetches on a node: every file verified, a cut line gone on with."""
    repo = cluster.serve.model
    if find_spec("huggingface_hub") is None:
        raise MilepostError(
            "huggingface_hub is not installed in the environment of milepost: pip install huggingface_hub"
        )
    spec = {"repo": repo, "revision": revision, "folder": "", "local": False, "consolidated": True}
    cache = kit.resolve() / ".hub"
    with tempfile.TemporaryDirectory() as state:
        words = [sys.executable, "-I", "-c", *weights.program("weights_fetch"), json.dumps(spec)]
        environment = {**os.environ, **cluster.env, "HF_HUB_CACHE": str(cache)}
        run(["env", "-C", state, *words], environment)
        said: dict[str, Any] = json.loads((Path(state) / "weights.json").read_text(encoding="utf-8"))
    shutil.rmtree(kit / MODEL, ignore_errors=True)
    for one in said["files"]:
        path = kit / MODEL / one["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        (Path(said["snapshot"]) / one["name"]).resolve().rename(path)
    shutil.rmtree(cache)
    blobs = {one["name"]: one["blob"] or one["sha256"] for one in said["files"]}
    return KitModel(repo, revision, said["commit"], blobs)


def listed(kit: Path) -> list[KitFile]:
    """What goes to the nodes, without the lock, which is made of it."""
    own = {KIT, SUMS, README, ".packing"}
    paths = (path for path in kit.rglob("*") if path.is_file() and path.name not in own)
    return [_listed(kit, path) for path in sorted(paths) if path != kit / LOCK]


def _listed(kit: Path, path: Path) -> KitFile:
    return KitFile(str(path.relative_to(kit)), path.stat().st_size, digest(path))


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readme(kit: Kit) -> str:
    what = [f"- image {kit.image} (image.tar)"] if kit.image else []
    if kit.vllm:
        ray = f" and Ray {kit.ray}" if kit.ray else ""
        what.append(f"- vLLM {kit.vllm}{ray} with all they need, as wheels for Python {kit.python}")
        what[-1] += f", {kit.machine}, glibc {kit.glibc} or newer (wheels/, requirements.txt)"
    if kit.model:
        what.append(f"- model {kit.model.repo} at {kit.model.revision}, commit {kit.model.commit} (model/)")
    offline = '\n\n    [env]\n    HF_HUB_OFFLINE = "1"' if kit.model else ""
    hand = (
        "    docker load -i image.tar"
        if kit.image
        else "    pip install --no-index --find-links wheels --require-hashes -r requirements.txt"
    )
    return (
        "# A kit of milepost\n\nMade by `milepost pack`, for nodes without internet. It holds:\n\n"
        + "\n".join(what)
        + "\n\nCopy this folder to the machine where milepost runs, check it with `sha256sum -c SHA256SUMS`, "
        f'and name it in the cluster file:\n\n    [install]\n    from = "PATH/OF/THIS/FOLDER"{offline}\n\n'
        "milepost copies it to every node over SSH and verifies every file. By hand, in this folder:\n\n"
        f"{hand}\n"
    )
