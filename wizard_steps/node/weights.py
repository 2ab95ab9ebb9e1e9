"""The model on the nodes: programs that look at it, fetch it and copy it, and what they print.

The programs are files of scripts/; those that one imports are sent along with it, in one argument.
"""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from wizard_steps.cluster.devices import environment, outward
from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Node, Result
from wizard_steps.node import remote
from wizard_steps.node.place import FETCH, Place, Service
from wizard_steps.node.program import program as script

MARK, LOOPBACK = "weights-json: ", "127.0.0.1"
#: Seconds for a look at thousands of files, and for the hub to answer.
LOOK, ASK = 120.0, 90.0
#: Seconds that a fetch is followed: hundreds of GB over a slow line.
LONGEST = 48 * 3600.0
_ROOM = "wizard_steps.node.scripts"
#: Makes modules of the texts that come in the first argument, and runs the last one.
_BOOT = (
    "import base64, json, sys, types, zlib\n"
    "texts = json.loads(zlib.decompress(base64.b64decode(sys.argv[1])))\n"
    "for name in ('wizard_steps', 'wizard_steps.node', 'wizard_steps.node.scripts'):\n"
    "    sys.modules[name] = types.ModuleType(name)\n"
    "    sys.modules[name].__path__ = []\n"
    f"for short, text in texts:\n    name = '{_ROOM}.' + short\n"
    "    sys.modules[name] = module = types.ModuleType(name)\n"
    "    exec(compile(text, short, 'exec'), module.__dict__)\n"
    "sys.exit(module.run(sys.argv[2:]))\n"
)
_NEEDS = {
    "weights_look": ("weights_files",),
    "weights_hub": ("weights_files", "weights_web"),
    "weights_fetch": ("weights_files", "weights_web", "weights_hub"),
    "weights_rsync": ("weights_files", "weights_web", "weights_hub", "weights_fetch"),
    "weights_share": ("weights_files", "weights_hand"),
    "image_share": ("weights_files", "weights_hand"),
    "kit_receive": ("weights_files",),
    "kit_place": ("weights_files",),
}


class WeightsSource(Struct, frozen=True):
    """What is to be had: a model of the hub at a revision, or a folder. ``local``: the hub is not asked.
    ``web``: the address of a server that is asked in its place, see scripts/weights_web.py."""

    repo: str = ""
    revision: str = "main"
    folder: str = ""
    consolidated: bool = False
    local: bool = False
    web: str = ""


class WeightsSeen(Struct, frozen=True):
    """What one node has. ``files``: name -> (bytes, SHA-256 where it is verified). ``inodes`` -1: not known.

    ``parts``: bytes of a copy that was cut off and goes on, ``cut``: those of each file; ``source``: where
    the disk's files really are.
    """

    folder: str = ""
    commit: str = ""
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    free: int = 0
    inodes: int = -1
    fs: str = ""
    source: str = ""
    at: str = ""
    writable: bool = True
    parts: int = 0
    cut: Mapping[str, int] = field(default_factory=dict)
    orphans: int = 0

    @property
    def size(self) -> int:
        return sum(size for size, _ in self.files.values())


class HubListing(Struct, frozen=True):
    """What the hub has: bytes by name. ``rate``: bytes per second that the node gets; 0: not measured."""

    commit: str
    files: Mapping[str, int]
    rate: int = 0
    endpoint: str = ""

    @property
    def size(self) -> int:
        return sum(self.files.values())


@lru_cache
def program(name: str) -> tuple[str, str]:
    """The two words after ``python -I -c``."""
    texts = [(one, script(f"{one}.py")) for one in (*_NEEDS[name], name)]
    # Packed: Linux takes 128 KiB in one word, and every shell on the way quotes the quotes once more.
    packed = zlib.compress(json.dumps(texts, separators=(",", ":")).encode(), 9)
    return _BOOT, base64.b64encode(packed).decode()


def look(cluster: Cluster, place: Place, node: Node, source: WeightsSource) -> Cmd:
    what = source.folder or source.repo
    shown = f"(which files of {what} are here, which are verified, and how much room is there?)"
    return _command(cluster, place, node, "weights_look", source, Cmd("disk", "", timeout=LOOK, show=shown))


def resolve(cluster: Cluster, place: Place, node: Node, source: WeightsSource) -> Cmd:
    asked = source.web or "the hub"
    shown = f"(what is {source.repo} at {source.revision}, and how fast is the line? asks {asked})"
    cmd = Cmd("hub", "", timeout=ASK, show=shown, secrets=remote.FETCH_SECRETS)
    return _command(cluster, place, node, "weights_hub", source, cmd)


def _command(cluster: Cluster, place: Place, node: Node, name: str, source: WeightsSource, cmd: Cmd) -> Cmd:
    boot, texts = program(name)
    words = shlex.join(["-I", "-c", boot, texts, _spec(source)])
    text = (
        f"{remote.exports(outward(cluster, node))}"
        f"cd {remote.state_dir(cluster, node)} 2>/dev/null || cd /\nexec {place.python} {words}\n"
    )
    return place.run(node, replace(cmd, text=text))


def _spec(source: WeightsSource, more: Mapping[str, Any] | None = None) -> str:
    return json.dumps({**to_builtins(source), **(more or {})})


def service(
    cluster: Cluster, python: str, node: Node, role: str, source: WeightsSource, more: Mapping[str, Any]
) -> Service:
    """The fetch, or the share of a node, as something that outlives the wizard."""
    copies = "weights_rsync" if "rsync" in more else "weights_share"
    boot, texts = program("weights_fetch" if role == FETCH else copies)
    argv = (python, "-I", "-c", boot, texts, _spec(source, more))
    port = int(more.get("port") or 0)
    env = outward(cluster, node) if role == FETCH else environment(cluster, node)
    return Service(node, role, port, argv, env)


def in_chain(at: int, addresses: Sequence[str], port: int) -> dict[str, Any]:
    """What the share of the node at place ``at`` of a chain is told. It asks the node before; where that one
    is gone, the first, which has it all."""
    asked = [at - 1, 0] if at > 1 else list(range(at))
    return {
        "ip": addresses[at],
        "port": port,
        "sources": [[addresses[one], port] for one in asked],
        "followers": int(at + 1 < len(addresses)),
    }


def through_wizard(at: int, followers: int, port: int) -> dict[str, Any]:
    """The same where all ask the first, through a tunnel that begins at the next port of its loopback."""
    if at:
        return {"ip": "", "port": 0, "sources": [[LOOPBACK, port + 1]], "followers": 0}
    return {"ip": LOOPBACK, "port": port, "sources": [], "followers": followers}


def seen(result: Result | None) -> WeightsSeen | None:
    """None where the look said nothing that can be read."""
    data = _data(result)
    try:
        files = {str(k): (int(v[0]), str(v[1])) for k, v in data["files"].items()}
        return WeightsSeen(
            folder=str(data["folder"]),
            commit=str(data["commit"]),
            files=files,
            free=int(data["free"]),
            inodes=int(data["inodes"]),
            fs=str(data["fs"]),
            source=str(data["source"]),
            at=str(data["at"]),
            writable=bool(data["writable"]),
            parts=int(data["parts"]),
            cut={str(k): int(v) for k, v in data.get("cut", {}).items()},
            orphans=int(data["orphans"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
        return None


def listed(result: Result | None) -> HubListing | None:
    """None where the hub's answer cannot be read."""
    data = _data(result)
    try:
        files = {str(name): int(size) for name, size in data["files"].items()}
        return HubListing(str(data["commit"]), files, int(data["rate"]), str(data["endpoint"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def marked(result: Result | None, mark: str) -> str:
    """What the last line with that mark says; "" where there is none, or the command failed."""
    lines = result.lines if result is not None and result.ok else []
    return next((line.removeprefix(mark) for line in reversed(lines) if line.startswith(mark)), "")


def _data(result: Result | None) -> dict[str, Any]:
    line = marked(result, MARK)
    try:
        found = json.loads(line) if line else {}
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def over(line: str) -> bool:
    """Whether a line of a fetch or a copy is its last word."""
    return line.startswith(("weights: complete", "weights: failed"))


def complete(result: Result | None) -> bool:
    return result is not None and any(x.startswith("weights: complete") for x in result.lines)


def failed(result: Result | None) -> tuple[str, str]:
    """(kind, words) of the last word of a program that failed; the words are "" where it said none."""
    lines: Sequence[str] = result.lines if result is not None else ()
    line = next((x for x in reversed(lines) if x.startswith(("weights: failed: ", "kit: failed: "))), "")
    kind, _, words = line.partition(": failed: ")[2].partition(": ")
    return kind, words[:400]
