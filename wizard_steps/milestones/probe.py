"""probe: the openai client, from the wizard's own machine through an SSH tunnel: as users will call it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping

from wizard_steps.cluster.api import own_host, through_tunnel
from wizard_steps.engine.expected import SNAPSHOTS
from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones import engines, vllm
from wizard_steps.milestones.common import failure, placed
from wizard_steps.model import WIZARD, Check, Cmd, Forward, Results, Round, Verdict, Work
from wizard_steps.node import api_key
from wizard_steps.node.lines import fields, number

PROMPT = "Explain Ray in one short paragraph."
MAX_TOKENS = 128
#: Tokens of each request that only has to reach an engine.
SPREAD_TOKENS = 16
SCRIPT = "probe_vllm_cluster.py"
#: Requests for every engine, and the look at the counters after them.
_TRIES = (("spread", engines.AFTER), ("spread-2", engines.AFTER + "-2"))


def script() -> str:
    return (SNAPSHOTS / "probe" / SCRIPT).read_text(encoding="utf-8")


def write_command() -> Cmd:
    """Leaves the script with the user; a file of that name which milepost did not write is kept."""
    text = (
        f"if [ -e {SCRIPT} ] && ! grep -q 'Written by milepost' {SCRIPT}; then\n"
        f"  echo '{SCRIPT} is there already and not ours: kept'; exit 0; fi\n"
        f'printf %s {shlex.quote(script())} > {SCRIPT} && echo "wrote $PWD/{SCRIPT}"\n'
    )
    return Cmd("write", text, mutates=True, quiet=True, show=f"(write {SCRIPT} into the current folder)")


def probe_command(known: Known, key: str = "probe", requests: int = 1) -> Cmd:
    """The script through a tunnel; more than one request go out at once."""
    serve = known.cluster.serve
    model = shlex.quote(serve.name)
    many = f" --requests {requests}" if requests > 1 else ""
    limit = MAX_TOKENS if requests == 1 else SPREAD_TOKENS
    text = (
        # -P: a file of the current folder (openai.py) is no module; -E: nor one that PYTHONPATH names.
        f'exec "$MILEPOST_PYTHON" -EP -c {shlex.quote(script())} '
        f"{through_tunnel(known.cluster, '$MILEPOST_PORT')} --model {model} "
        f"--prompt {shlex.quote(PROMPT)} --max-tokens {limit}{many}\n"
    )
    shown = f"python {SCRIPT} {through_tunnel(known.cluster, '<tunnel>')} --model {model}{many}"
    forward = Forward(known.server, own_host(known.cluster), serve.port)
    secrets, guard = (api_key.NAME,), vllm.guard(known)
    return Cmd(key, text, timeout=240, forward=forward, show=shown, secrets=secrets, guard=guard)


class Probe(Step):
    id = "probe"
    effects: Mapping[str, str] = {"write": "writes the script into the folder you are in"}
    title = "Python probe"
    short = "Python probe"
    keys = ("probe", "spread", "spread-2", "engines-*")

    def ways(self, known: Known) -> Collection[str]:
        return placed(known).ways

    def rounds(self, known: Known, done: Results) -> Round | None:
        replicas = known.cluster.serve.data_parallel > 1
        if not done.has("write"):
            work: list[Work] = [(WIZARD, write_command())]
            if replicas:
                work.append((known.server, engines.metrics(known, engines.BEFORE)))
            return Round(work=tuple(work))
        if not done.has("probe"):
            return Round(work=((WIZARD, probe_command(known)),))
        if replicas and _ran(done, "probe"):
            return _every_engine(known, done)
        return None

    def judge(self, known: Known, done: Results) -> Verdict:
        result = done.get("probe", WIZARD)
        if result is None or not result.ok:
            hint = "the API answered on the head, so look at the tunnel, the API key, or a timeout"
            return Verdict(False, "the probe failed", (failure(result, WIZARD, hint),))
        found = fields(result.text)
        name = known.cluster.serve.name
        tokens = found.get("completion_tokens", "0")
        checks = [
            Check("model", found.get("model") == name, found.get("model", "none"), name, WIZARD.name),
            Check("reply", number(tokens) > 0, f"{tokens} tokens", "at least one", WIZARD.name),
        ]
        summary = f"the openai client got {tokens} tokens from {name}"
        if known.cluster.serve.data_parallel > 1:
            checks += _spread(known, done)
            summary += f", and all {known.cluster.serve.data_parallel} engines made some"
        ok = all(check.ok for check in checks)
        return Verdict(ok, summary if ok else "the probe failed", tuple(checks))


def _ran(done: Results, key: str) -> bool:
    result = done.get(key, WIZARD)
    return result is not None and result.ok


def _every_engine(known: Known, done: Results) -> Round | None:
    """Many requests, and a look; once more where an engine had none: which one gets a request is no rule."""
    for spread, after in _TRIES:
        if not done.has(spread):
            return Round(work=((WIZARD, probe_command(known, spread, engines.requests(known))),))
        if not _ran(done, spread):
            return None
        if not done.has(after):
            return Round(work=((known.server, engines.metrics(known, after)),))
        if engines.check(known, done, after).ok:
            return None
    return None


def _spread(known: Known, done: Results) -> list[Check]:
    spread, after = next(((s, a) for s, a in reversed(_TRIES) if done.has(s)), _TRIES[0])
    asked = f"{engines.requests(known)} requests at once"
    if not _ran(done, spread):
        return [failure(done.get(spread, WIZARD), WIZARD, f"one request was answered, {asked} were not")]
    return [
        Check("requests", True, f"{asked}, all answered", "all answered", WIZARD.name),
        engines.check(known, done, after),
    ]
