"""rehearse: `vllm serve --load-format dummy` on the real nodes, before a byte of weights is downloaded: the
chosen split, network, memory and kernels are proved, and vLLM itself says what the model needs. Then it is
ended, and the real one starts. Optional: serve.rehearse.

vLLM makes the layers from config.json with random values (model_executor/model_loader/dummy_loader.py): only
small files are needed from the hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from wizard_steps.advisor import rehearsal
from wizard_steps.advisor.rehearsed import Said, read
from wizard_steps.engine.step import Bundled, Known
from wizard_steps.milestones import over_ray, ranks, vllm
from wizard_steps.milestones.common import Placed, failure, placed
from wizard_steps.model import Check, Option, Question, Result, Results, Round, Verdict
from wizard_steps.node.place import SERVE
from wizard_steps.node.remote import Look

ASK, LOOK = "rehearse", "running"
_CHOICES = (
    Option("yes", "Rehearse", "vLLM starts with random weights on the real GPUs, is measured and ended"),
    Option("no", "Not now", "straight on to the real start"),
)


class Rehearse(Placed):
    """The rounds of the serve step, with dummy weights."""

    id = "rehearse"
    title = "Rehearse without weights"
    short = "rehearse"
    keys = ("launch", "log", "joined", "mp-log")
    owns = (r"serve\.rehearse",)
    phases = vllm.PHASES
    bundled = (Bundled(vllm.LOGS, "rehearsal-first.txt", "vLLM's output with dummy weights"),)
    effects: Mapping[str, str] = {
        "launch": "starts vLLM with dummy weights; it is ended when it was measured"
    }

    def rounds(self, known: Known, done: Results) -> Round | None:
        if not _wanted(known, done):
            return _question(known) if _to_ask(known, done) else None
        if not done.has(LOOK):
            service = vllm.service(known, known.server)
            return Round(work=((known.server, placed(known).look(service, LOOK)),))
        if _serves_already(known, done):
            return None
        trial = dummy(known)
        wanted = ranks.rounds(trial, done) if placed(known).without_ray else over_ray.rounds(trial, done)
        if wanted is None and vllm.ready(_log(known, done)) and not done.has("stop"):
            place = placed(known)
            nodes = place.serving(known.nodes, known.server)
            return Round(work=tuple((node, place.stop(node, SERVE, grace=8)) for node in nodes))
        return wanted

    def judge(self, known: Known, done: Results) -> Verdict:
        if not _wanted(known, done):
            why = "it was not asked for" if known.cluster.serve.rehearse == "yes" else _reason(known)
            return Verdict(True, f"not rehearsed: {why}" if why else "no rehearsal is needed: it fits")
        look = done.get(LOOK, known.server)
        if look is None or not look.ok:
            return Verdict(False, "nothing was started", (failure(look, known.server),))
        if _serves_already(known, done):
            return Verdict(True, "not rehearsed: vLLM of this cluster serves already")
        trial = dummy(known)
        verdict = ranks.judge(trial, done) if placed(known).without_ray else over_ray.judge(trial, done)
        said = read(_text(known, done), known.cluster.serve.data_parallel)
        checks = list(rehearsal.compare(known.cluster, known.facts, said))
        facts = {rehearsal.FACT: rehearsal.fact(known.cluster, said)} if said.workers or said.tokens else {}
        if not verdict.passed:
            return Verdict(False, f"rehearsal: {verdict.summary}", (*verdict.checks, *checks), facts)
        ended = [failure(r, node) for node in known.nodes if (r := done.get("stop", node)) and not r.ok]
        if ended:
            return Verdict(False, "the rehearsal could not be ended", tuple(ended))
        summary = f"it starts with dummy weights{_numbers(said)}; ended again"
        return Verdict(True, summary, (*_same(verdict.checks), *checks), facts)

    def phase_of(self, line: str) -> str | None:
        return vllm.phase_of(line)


def dummy(known: Known) -> Known:
    """The cluster with random weights in place of the model's own."""
    it = known.cluster.serve
    flags = (*it.extra_flags, "--load-format=dummy")
    # Ray hides lines that several workers print alike; each worker's own numbers are wanted.
    env = {**known.cluster.env, "RAY_DEDUP_LOGS": "0"}
    cluster = replace(known.cluster, serve=replace(it, extra_flags=flags, api_key=False), env=env)
    return Known(cluster, known.facts)


def _reason(known: Known) -> str:
    return rehearsal.reason(known.cluster, known.facts)


def _to_ask(known: Known, done: Results) -> bool:
    return known.cluster.serve.rehearse == "ask" and ASK not in done.answers and bool(_reason(known))


def _wanted(known: Known, done: Results) -> bool:
    return known.cluster.serve.rehearse == "yes" or done.answers.get(ASK) == "yes"


def _question(known: Known) -> Round:
    text = f"Rehearse with dummy weights first? {_reason(known)}."
    why = "It takes some minutes, downloads only small files, and vLLM itself says what fits."
    question = Question(ASK, text, "choice", _CHOICES, "yes", "serve.rehearse", why, unattended="no")
    return Round(questions=(question,))


def _serves_already(known: Known, done: Results) -> bool:
    look = done.get(LOOK, known.server)
    return look is not None and bool(Look(look.text).leader)


def _log(known: Known, done: Results) -> Result | None:
    return done.get("log", known.server) or done.get("mp-log", known.server)


def _text(known: Known, done: Results) -> str:
    """What vLLM printed on all nodes, the longest log of each."""
    logs = [
        max((r.text for k in vllm.LOGS if (r := done.get(k, node))), key=len, default="")
        for node in known.nodes
    ]
    return "\n".join(logs)


def _numbers(said: Said) -> str:
    return f": {said.tokens:,} tokens of KV cache" if said.tokens else ""


def _same(checks: Sequence[Check]) -> Sequence[Check]:
    return [check for check in checks if not check.ok or check.warning or check.name == "rank"]
