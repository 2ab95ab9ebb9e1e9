"""What the gate of the weights says: the plan before a fetch, what went wrong, what was proved."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wizard_steps.engine.step import Known
from wizard_steps.milestones import weights_need as need
from wizard_steps.milestones.common import failure
from wizard_steps.model import Check, Option, Question, Result, Results, Verdict, counted
from wizard_steps.node import weights

_HINTS = {
    "gated": "accept the licence on the model's page with the account of HF_TOKEN, and export that",
    "token": "export HF_TOKEN for the wizard; the hub also answers 401 for a name that does not exist",
    "revision": "look for the branch, tag or commit on the model's page; it comes from --revision",
    "model": "is serve.model spelt as on the hub? a private model is only seen with HF_TOKEN",
    "busy": "the hub limits requests: wait some minutes; with HF_TOKEN the limits are higher",
    "offline": "HF_HUB_OFFLINE is set, and not every file is here: unset it, or copy the model",
    "library": "huggingface_hub is missing in the environment of vLLM, which needs it: install vLLM again",
    "space": "free some disk, or set HF_HOME in [env] to a larger one; what has arrived is kept",
    "rights": "give this user the right to write there, or set HF_HOME in [env]",
    "corrupt": "retry: the file is fetched again; if it happens again, look at this node's disk and memory",
    "differs": "nothing is overwritten: remove the wrong copy, and it is copied again",
    "source": "was the node before it lost? retry: what has arrived is kept, and the copy resumes there",
    "rsync": "log in from this node to that one with ssh first (key, host key), or leave weights.copy out",
    "port": "end the process that has the port, or edit weights.port",
    "disk": "look at this disk (`sudo dmesg`); what has arrived is kept",
    "address": "correct weights.from, or what that server has; try it on this node with `curl -I`",
    "hub": "no route to it? Set HF_ENDPOINT (a mirror) or HTTPS_PROXY in [env], or another weights.node",
}
#: Files without which a snapshot is no model.
_WEIGHTS = (".safetensors", ".bin", ".pt")
_SHARD = re.compile(r"(?P<stem>.{1,200})-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<end>\.\w{1,20})")
_CHOICES = (
    Option("once", "Fetch it once", "one node fetches, the others copy from it; every file is verified"),
    Option("each", "Leave it to vLLM", "every node that loads a part downloads it when vLLM starts"),
    Option("stop", "Stop here", "nothing is fetched"),
)


def size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def ask(known: Known, done: Results) -> Question | None:
    """The plan, to say yes to: how much, from where, how long, what is there. None where nothing is fetched,
    or the file has decided."""
    text = plan(known, done)
    if known.cluster.weights.fetch != "ask" or "fetch" in done.answers or not text:
        return None
    why = "Every node needs the complete model, on its own disk or a shared one: each reads its own part."
    return Question("fetch", text, "choice", _CHOICES, "once", why=why, unattended="once")


def plan(known: Known, done: Results) -> str:
    """In words; "" where every node has all files, verified or not."""
    first, hub = need.origin(known, done), need.listed(done)
    lacks = need.missing(known, done, first)
    others = [m for node in need.targets(known, done) if (m := need.missing(known, done, node)).names]
    if not lacks.names and not others:
        return ""
    parts = []
    if hub is not None and not hub.commit:
        return f"{first.name} fetches the model once; how much that is, the hub has not been asked yet."
    if hub is not None and lacks.names:
        rate = "; the rate was not measured"
        if hub.rate > 0:
            rate = f", about {duration(lacks.size / hub.rate)} at the measured {hub.rate / 1e6:.0f} MB/s"
        parts.append(
            f"{first.name} fetches {size(lacks.size)} of {size(hub.size)} from {hub.endpoint}"
            f" (commit {hub.commit[:12]}){rate}"
        )
    else:
        parts.append(f"{first.name} has all of it")
    if others:
        nodes = ", ".join(f"{m.node.name} {size(m.size - m.have)}" for m in others[:8])
        more = f" and {len(others) - 8} more nodes" if len(others) > 8 else ""
        parts.append(f"copied over the GPU network at the same time, node to node: {nodes}{more}")
    return "; ".join(parts) + "."


def hub_failure(known: Known, done: Results) -> list[Check]:
    """Why the hub's answer does not do. Nothing where every node has the same files anyway."""
    result = next(iter(done.of("hub").values()), None)
    if result is None or weights.listed(result) is not None:
        return []
    want = need.wanted(known, done)
    if any(name.endswith(_WEIGHTS) for name in want) and not any(
        need.missing(known, done, node).names for node in need.loading(known)
    ):
        return []
    return [_failed(result, "hub")]


def fetch_failure(result: Result) -> Check:
    if result.reason == "lost":
        hint = "what was started keeps running without the wizard: retry, and its log is followed again"
        return failure(result, result.node, hint)
    return _failed(result, result.key)


def _failed(result: Result, name: str) -> Check:
    kind, words = weights.failed(result)
    if not words:
        hint = "was it ended by somebody, or by the kernel for memory? retry: what has arrived is kept"
        return failure(result, result.node, hint)
    return Check(
        kind if kind in _HINTS else name, False, words, node=result.node.name, hint=_HINTS.get(kind, "")
    )


def _incomplete(files: Iterable[str]) -> Check | None:
    """The same on every node is not enough: without weights, or with a shard missing, nothing starts."""
    names = [name for name in files if name.endswith(_WEIGHTS)]
    wanted = "the model's weights: " + ", ".join(f"*{ending}" for ending in _WEIGHTS)
    if not names:
        hint = "was only a part of the model copied here? fetch all of it, or look at serve.model"
        return Check("weights", False, "no file of weights is in the folder", wanted, hint=hint)
    shards: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        if row := _SHARD.fullmatch(name):
            shards.setdefault((row["stem"], row["count"], row["end"]), set()).add(int(row["number"]))
    for (stem, count, end), there in shards.items():
        lacking = int(count) - len(there)
        if lacking > 0:
            found = f"{counted(lacking, 'shard')} of {int(count)} missing: {stem}-…-of-{count}{end}"
            return Check("weights", False, found, "every shard", hint="fetch the model again, all of it")
    return None


def verdict_of(known: Known, done: Results, settled: bool) -> Verdict:
    """After all has run that had to."""
    source, nodes = need.source(known, done), need.loading(known)
    what, total = source.folder or source.repo, sum(need.wanted(known, done).values())
    if not settled:
        if done.answers.get("fetch") == "stop":
            return Verdict(False, "nothing was fetched", (Check("weights", False, "you stopped here"),))
        if not done.has("fetch"):
            return _left(known, done)
        wrong = [node for node in nodes if not need.right(known, done, node)]
        checks = [
            Check("weights", False, _lacks(known, done, node.name), "every file, verified", node.name)
            for node in wrong
        ]
        return Verdict(False, "the model is not on every node", tuple(checks))
    if (holes := _incomplete(need.wanted(known, done))) is not None:
        return Verdict(False, "the model has no complete weights", (holes,))
    commit = next((one.commit for one in need.seen(known, done).values()), "")
    count = len(need.wanted(known, done))
    text = f"{count} files, {size(total)}, each verified by SHA-256"
    checks = [Check("weights", True, text, node=node.name) for node in nodes]
    checks += [*_unasked(done), *need.mixed(known, done)]
    checks += need.asks_hub(known) if source.web else []
    at = f" at {commit[:12]}" if commit else ""
    everywhere = f"all {len(nodes)} nodes" if len(nodes) > 1 else nodes[0].name
    facts = {"model": what, "commit": commit, "bytes": total}
    return Verdict(
        True, f"{what}{at}: {size(total)} on {everywhere}, verified", tuple(checks), {"weights": facts}
    )


def _left(known: Known, done: Results) -> Verdict:
    """vLLM will download by itself."""
    checks = []
    for node in need.loading(known):
        lacks = need.missing(known, done, node)
        text = f"{size(lacks.size)} to download when vLLM starts" if lacks.names else "all files are here"
        checks.append(Check("weights", True, text, node=node.name, warning=bool(lacks.names)))
    return Verdict(True, "left to vLLM: every node downloads what it lacks", tuple(checks))


def _lacks(known: Known, done: Results, name: str) -> str:
    node = next(node for node in known.nodes if node.name == name)
    lacks = need.missing(known, done, node)
    view = need.seen(known, done)[name]
    if lacks.names:
        return f"{len(lacks.names)} files are missing in {view.folder}, first {lacks.names[0]}"
    return f"not every file in {view.folder} is verified and the same as on the other nodes"


def _unasked(done: Results) -> list[Check]:
    """A warning where nobody knows whether the revision means another commit now."""
    result = next(iter(done.of("hub").values()), None)
    if result is None or weights.listed(result) is not None:
        return []
    text = f"the hub did not answer: {weights.failed(result)[1] or result.reason}"
    hint = "what the nodes have is the same and verified; a newer commit may exist"
    return [Check("hub", True, text, node=result.node.name, hint=hint, warning=True)]
