"""Makes a kit: packages or image, the model where it is wanted, kit.json, checksums and a README."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from wizard_steps.cluster.devices import outward
from wizard_steps.cluster.file import Cluster
from wizard_steps.errors import MilepostError, UsageError
from wizard_steps.facts.model_script import is_path
from wizard_steps.milestones.docker_probe import build_command
from wizard_steps.model import WIZARD
from wizard_steps.node import docker, weights
from wizard_steps.node.kit import FORMAT, IMAGE, LOCK, MODEL, WHEELS, Kit, KitFile, KitModel
from wizard_steps.node.places import place_of
from wizard_steps.node.scripts.weights_files import walk
from wizard_steps.pack import wheels
from wizard_steps.pack.target import PackTarget
from wizard_steps.pack.wheels import run

KIT, SUMS, README = "kit.json", "SHA256SUMS", "README.md"
_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


def make(cluster: Cluster, target: PackTarget, kit: Path, model: bool, revision: str) -> Kit:
    """Fill the folder; what is there of an earlier try is used again. Raises MilepostError or UsageError."""
    if kit.exists() and any(kit.iterdir()) and not (kit / KIT).exists() and not (kit / ".packing").exists():
        raise UsageError(f"{kit}: is not empty and no kit; name another folder with -o")
    kit.mkdir(parents=True, exist_ok=True)
    if link := next((path for path in sorted(kit.iterdir()) if path.is_symlink()), None):
        raise UsageError(
            f"{link}: is a link, and what it leads to would be written to; remove it, or use another -o"
        )
    (kit / ".packing").touch()
    (kit / KIT).unlink(missing_ok=True)  # it says what is here, and is written last
    contained = place_of(cluster, {}).contained
    _clear(kit, contained, model)
    image = save_image(cluster, target, kit) if contained else ""
    if not contained:
        wheels.fetch(cluster, target, kit)
    fetched = fetch_model(cluster, kit, revision) if model else None
    files = listed(kit)
    derived = image if image != docker.image_of(cluster) else ""
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
        ray="" if (contained and not derived) or cluster.without_ray else cluster.ray.version,
        image=image,
        base=docker.image_of(cluster) if derived else "",
        model=fetched,
    )
    (kit / README).write_text(readme(made), encoding="utf-8")
    (kit / KIT).write_bytes(msgspec.json.format(msgspec.json.encode(made)))
    sums = [f"{one.sha256}  {one.name}\n" for one in made.files]
    sums += [f"{digest(kit / name)}  {name}\n" for name in (KIT, README)]
    (kit / SUMS).write_text("".join(sums), encoding="utf-8")
    (kit / ".packing").unlink()
    return made


def _clear(kit: Path, contained: bool, model: bool) -> None:
    """What an earlier try left of another kind of kit."""
    for name in (*((WHEELS, f"{WHEELS}.new") if contained else ()), *(() if model else (MODEL, ".hub"))):
        shutil.rmtree(kit / name, ignore_errors=True)
    for name in (LOCK,) if contained else (IMAGE, f"{IMAGE}.part"):
        (kit / name).unlink(missing_ok=True)


def save_image(cluster: Cluster, target: PackTarget, kit: Path) -> str:
    """The image as it is used: with Ray added where the cluster file says so and it has none."""
    engine, image = shlex.split(cluster.docker.command), docker.image_of(cluster)
    platform = f"--platform=linux/{_ARCH.get(target.machine, target.machine)}"
    environment = {**os.environ, **outward(cluster, WIZARD)}
    if not image.startswith("localhost/"):  # such a name is no registry's
        run([*engine, "pull", platform, image], environment)
    image = with_ray(cluster, engine, image, environment)
    part = kit / f"{IMAGE}.part"
    part.unlink(missing_ok=True)
    run([*engine, "save", "-o", str(part), image], os.environ)
    part.rename(kit / IMAGE)
    return image


def with_ray(cluster: Cluster, engine: list[str], image: str, environment: Mapping[str, str]) -> str:
    """Nodes without internet cannot add it."""
    if cluster.without_ray:
        return image
    look = ["run", "--rm", "--entrypoint", "/bin/sh", image, "-c", "command -v ray || echo missing"]
    if run([*engine, *look], os.environ, "").split()[-1:] != ["missing"]:
        return image
    if cluster.docker.ray != "build":
        raise UsageError(
            f'{image} has no Ray, and nodes without internet cannot add it. Set docker.ray = "build" and it '
            'is added here, or serve.executor = "mp" to go without Ray, or name another image in docker.image'
        )
    digest = run([*engine, "image", "inspect", "-f", "{{.Id}}", image], os.environ, "").strip()
    derived = docker.derived_image(cluster, image, digest)
    run(["sh", "-c", build_command(cluster, WIZARD, image, digest, derived, "build").text], environment)
    return derived


def fetch_model(cluster: Cluster, kit: Path, revision: str) -> KitModel:
    """With the program that fetches on a node: every file verified, a cut line gone on with."""
    repo = cluster.serve.model
    if is_path(repo):
        return copy_model(repo, kit)
    web = cluster.weights.address
    if find_spec("huggingface_hub") is None and not web:
        raise MilepostError(
            "huggingface_hub is not installed in the environment of milepost: pip install huggingface_hub"
        )
    spec = {"repo": repo, "revision": revision, "folder": "", "local": False, "consolidated": True}
    spec |= {"web": web} if web else {}
    cache = kit.resolve() / ".hub"
    with tempfile.TemporaryDirectory() as state:
        words = [sys.executable, "-I", "-c", *weights.program("weights_fetch"), json.dumps(spec)]
        environment = {**os.environ, **outward(cluster, WIZARD), "HF_HUB_CACHE": str(cache)}
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


def copy_model(model: str, kit: Path) -> KitModel:
    """A model that is a folder, from the same path on this machine. Raises UsageError where it is none."""
    folder = Path(model).expanduser()
    names = walk(str(folder))
    if "config.json" not in names:
        raise UsageError(f"--model: no config.json in {folder} on this machine (serve.model)")
    shutil.rmtree(kit / MODEL, ignore_errors=True)
    for name in names:
        path, source = kit / MODEL / name, (folder / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, path)
        except OSError:
            shutil.copyfile(source, path)
    return KitModel(model, "", "folder", dict.fromkeys(names, "file"))


def listed(kit: Path) -> list[KitFile]:
    """What goes to the nodes, without the lock, which is made of it."""
    paths = (kit / IMAGE, *(kit / WHEELS).rglob("*"), *(kit / MODEL).rglob("*"))
    return [_listed(kit, path) for path in sorted(paths) if path.is_file()]


def _listed(kit: Path, path: Path) -> KitFile:
    return KitFile(str(path.relative_to(kit)), path.stat().st_size, digest(path))


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readme(kit: Kit) -> str:
    made = f", made of {kit.base} by adding Ray {kit.ray}" if kit.base else ""
    what = [f"- image {kit.image}{made} (image.tar)"] if kit.image else []
    if kit.vllm:
        ray = f" and Ray {kit.ray}" if kit.ray else ""
        what.append(f"- vLLM {kit.vllm}{ray} with all they need, as wheels for Python {kit.python}")
        what[-1] += f", {kit.machine}, glibc {kit.glibc} or newer (wheels/, requirements.txt)"
    if kit.model:
        at = f" at {kit.model.revision}, commit {kit.model.commit}" if kit.model.revision else ""
        what.append(f"- model {kit.model.repo}{at} (model/)")
    offline = '\n\n    [env]\n    HF_HUB_OFFLINE = "1"' if kit.model and kit.model.revision else ""
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
