"""A kit of `milepost pack`: what it holds, and how it comes onto the nodes and to use there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from wizard_steps.cluster.devices import environment
from wizard_steps.cluster.file import Cluster
from wizard_steps.model import WIZARD, Cmd, Node, Result
from wizard_steps.node import remote, weights
from wizard_steps.node.lines import fields
from wizard_steps.node.place import Place, Service
from wizard_steps.node.program import program
from wizard_steps.node.weights import WeightsSource
from wizard_steps.recording.safe import safe_line

#: The layout of kit.json; another number is another milepost's.
FORMAT = 1
MARK = "kit-json: "
#: In a kit: the packages, what pip is to install of them, the image, the model's files.
WHEELS, LOCK, IMAGE, MODEL = "wheels", "requirements.txt", "image.tar", "model"
#: One part of a name: no "." or "..", and no name that milepost has for files of its own.
_PART = r"(?!\.{1,2}(?:/|\Z)|\.milepost|[^/]*\.milepost-part(?:/|\Z))[A-Za-z0-9_.+!%~@ -]{1,230}"
_NAME = re.compile(rf"(?:requirements\.txt|image\.tar|(?:wheels|model)(?:/{_PART}){{1,9}})")
#: A name on the hub, a folder of the nodes, a branch or a tag of the hub.
_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95})?")
_FOLDER = re.compile(r"[/~.][^\x00-\x1f\x7f]{0,1000}")
_REVISION = re.compile(
    r"(?!.*\.\.)(?:[A-Za-z0-9_][A-Za-z0-9_.+-]{0,100})(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]{0,100}){0,5}"
)
#: A version or a machine; the name of an image. "": none.
Word = Annotated[str, Meta(pattern=r"^(?:[A-Za-z0-9_][A-Za-z0-9_.+!-]{0,63})?\Z")]
Image = Annotated[str, Meta(pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9_./:@+-]{0,500})?\Z")]


class KitFile(Struct, frozen=True):
    name: str
    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class KitModel(Struct, frozen=True):
    """``blobs``: what the hub's cache calls each file of MODEL, by name. Without a ``revision`` ``repo`` is
    the path of a folder."""

    repo: str
    revision: str
    commit: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{1,64}\Z")]
    blobs: Mapping[str, Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}\Z")]]


class Kit(Struct, frozen=True):
    """kit.json. ``python``, ``machine`` and ``glibc``: of the nodes that it is for; "": any. ``base``: what
    ``image`` was made of, where Ray was added to it."""

    format: int
    machine: Word
    files: tuple[KitFile, ...]
    python: Word = ""
    glibc: Word = ""
    vllm: Word = ""
    ray: Word = ""
    image: Image = ""
    base: Image = ""
    model: KitModel | None = None

    @property
    def size(self) -> int:
        return sum(one.size for one in self.files)

    @property
    def id(self) -> str:
        """The same for the same content."""
        text = "".join(f"{one.sha256} {one.name}\n" for one in sorted(self.files, key=lambda f: f.name))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class KitHere(Struct, frozen=True):
    """As it lies on the wizard's machine."""

    folder: str
    kit: Kit


class KitSeen(Struct, frozen=True):
    """One node: what of the kit is there, and what the node is. ``glibc``: "" where it has none."""

    files: weights.WeightsSeen
    machine: str = ""
    python: str = ""
    glibc: str = field(default="")


def parse(text: str | bytes) -> KitHere:
    """Raises ValueError, in words, for what is no kit. A stranger may have made it: its words become paths on
    the nodes, arguments of programs there, and text on the screen."""
    try:
        here = msgspec.json.decode(text, type=KitHere)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a kit that `milepost pack` made: {error}") from None
    if here.kit.format != FORMAT:
        raise ValueError(
            f"a kit of format {here.kit.format}, and this milepost reads {FORMAT}: pack it again"
        )
    _check_names([one.name for one in here.kit.files])
    if here.kit.model:
        _check_model(here.kit.model)
    return here


def _check_names(names: Sequence[str]) -> None:
    """Each file has a place of its own, where `milepost pack` puts files, and is no folder of another."""
    bad = next((name for name in names if not _NAME.fullmatch(name)), None)
    if bad is not None:
        raise ValueError(f"a kit with a file name that is not allowed: {ascii(bad)[:200]}")
    folders = {name[:at] for name in names for at in _slashes(name)}
    twice = next((name for name, count in Counter(names).items() if count > 1 or name in folders), None)
    if twice is not None:
        raise ValueError(f"a kit with a file name that is not allowed: {twice!a} is there twice")


def _slashes(name: str) -> Iterator[int]:
    return (at for at, char in enumerate(name) if char == "/")


def _check_model(model: KitModel) -> None:
    """Without a revision ``repo`` is a folder."""
    form = _REPO if model.revision else _FOLDER
    if not form.fullmatch(model.repo) or safe_line(model.repo) != model.repo:
        raise ValueError(f"a kit with the name of a model that is not allowed: {ascii(model.repo)[:200]}")
    if model.revision and not _REVISION.fullmatch(model.revision):
        raise ValueError(f"a kit with a revision that is not allowed: {ascii(model.revision)[:200]}")


def here(result: Result | None) -> KitHere | None:
    """None where the kit could not be read; the output says why."""
    line = weights.marked(result, MARK)
    try:
        return _parsed(line) if line else None
    except ValueError:
        return None


#: A walk asks in every round; a kit may have thousands of files.
_parsed = lru_cache(maxsize=4)(parse)


def read(cluster: Cluster) -> tuple[Node, Cmd]:
    path = cluster.install.kit
    text = f'exec "$MILEPOST_PYTHON" -I -c {shlex.join([program("kit_read.py"), path])}\n'
    return WIZARD, Cmd(
        "kit", text, timeout=60, quiet=True, show=f"cat {shlex.quote(path.rstrip('/'))}/kit.json"
    )


def folder(cluster: Cluster, kit: Kit) -> str:
    """Where it is on every node."""
    return f"~/.milepost/{cluster.name}/kit-{kit.id}"


def as_sh(folder: str) -> str:
    """Such a folder as sh text."""
    return f'"$HOME"/{shlex.quote(folder.removeprefix("~/"))}'


def _source(cluster: Cluster, kit: Kit) -> WeightsSource:
    return WeightsSource(folder=folder(cluster, kit), local=True)


def _run(cluster: Cluster, node: Node, name: str, spec: Mapping[str, Any], before: str) -> str:
    """sh text that runs a program; ``before`` sets ``state``, the folder that it runs in."""
    words = shlex.join([*weights.program(name), json.dumps(spec)])
    return (
        f"{remote.exports(environment(cluster, node))}state={remote.state_dir(cluster, node)}\n{before}\n"
        f"exec python3 -I -c {words}\n"
    )


_ENTER = 'umask 077; mkdir -p "$state" && cd "$state" || exit 1'


def kind(cluster: Cluster) -> str:
    """sh text that prints what packages must fit: the machine, its C library, and the Python to install for,
    which is that of the environment where one is there."""
    own = shlex.quote(f"{cluster.venv}/bin/python")
    return (
        f'echo "machine: $(uname -m)"\np={own}; [ -x "$p" ] || p=python3\n'
        '"$p" -I -c \'import platform, sys; print("python: %d.%d" % sys.version_info[:2]); '
        'print("glibc:", platform.libc_ver()[1])\''
    )


def look(cluster: Cluster, node: Node, kit: Kit) -> Cmd:
    # A look writes nothing: without the state folder nothing is verified.
    before = f'cd "$state" 2>/dev/null || cd /\n{kind(cluster)}'
    spec = msgspec.to_builtins(_source(cluster, kit))
    text = _run(cluster, node, "weights_look", spec, before)
    show = f"(uname -m; python3 -V; which files of {folder(cluster, kit)} are here and verified?)"
    return Cmd("disk", text, timeout=weights.LOOK, quiet=True, show=show)


def seen(result: Result | None) -> KitSeen | None:
    files = weights.seen(result)
    if files is None or result is None:
        return None
    return target_of(result.text, files)


def target_of(text: str, files: weights.WeightsSeen = weights.WeightsSeen()) -> KitSeen:  # noqa: B008  (frozen)
    """What a node is, by what ``kind`` printed there."""
    said = fields(text)
    return KitSeen(files, said.get("machine", ""), said.get("python", ""), said.get("glibc", ""))


def upload(cluster: Cluster, node: Node, here: KitHere, files: Sequence[tuple[KitFile, int]]) -> Cmd:
    """From the wizard's machine, over the SSH connection. Each file with the bytes that are there already."""
    target = folder(cluster, here.kit)
    wanted = [{"name": f.name, "size": f.size, "sha256": f.sha256, "at": at} for f, at in files]
    spec = {"repo": "", "revision": "", "folder": target, "files": wanted}
    size = sum(f.size - at for f, at in files)
    feed = tuple((os.path.join(here.folder, f.name), at) for f, at in files)
    show = f"(over SSH: {len(files)} files of the kit, {size / 1e9:.3f} GB, into {target}; each is verified)"
    text = _run(cluster, node, "kit_receive", spec, _ENTER)
    return Cmd("upload", text, mutates=True, timeout=weights.LONGEST, feed=feed, show=show)


def service(cluster: Cluster, node: Node, role: str, kit: Kit, more: Mapping[str, Any]) -> Service:
    """What hands the kit from node to node: the programs of the weights."""
    return weights.service(cluster, "python3", node, role, _source(cluster, kit), more)


def place_model(cluster: Cluster, place: Place, node: Node, kit: Kit) -> Cmd:
    """Into the hub's cache of a node, where vLLM looks."""
    model = kit.model
    assert model is not None
    sums = {one.name: one.sha256 for one in kit.files}
    files = [
        {"name": name, "sha256": sums[f"{MODEL}/{name}"], "blob": blob}
        for name, blob in model.blobs.items()
        if f"{MODEL}/{name}" in sums
    ]
    spec = {
        "kit": folder(cluster, kit),
        "repo": model.repo,
        "revision": model.revision,
        "commit": model.commit,
        "folder": "" if model.revision else model.repo,
        "files": files,
    }
    before = f"HF_HUB_CACHE={place.model_home}\nexport HF_HUB_CACHE\n{_ENTER}"
    text = _run(cluster, node, "kit_place", spec, before)
    into = "the hub's cache" if model.revision else "its folder"
    show = f"(link {model.repo} from {folder(cluster, kit)} into {into})"
    return Cmd("place", text, mutates=True, timeout=weights.LONGEST, show=show)
