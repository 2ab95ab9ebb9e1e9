"""probe: the openai client, from the wizard's own machine through an SSH tunnel: as users will call it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from wizard_steps.engine.expected import SNAPSHOTS
from wizard_steps.engine.step import Known, Step
from wizard_steps.milestones.common import failure
from wizard_steps.model import WIZARD, Check, Cmd, Forward, Results, Round, Verdict
from wizard_steps.node import api_key
from wizard_steps.node.lines import fields, number

PROMPT = "Explain Ray in one short paragraph."
MAX_TOKENS = 128
SCRIPT = "probe_vllm_cluster.py"


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


def probe_command(known: Known) -> Cmd:
    serve = known.cluster.serve
    host = "127.0.0.1" if serve.host in ("0.0.0.0", "::") else serve.host
    model = shlex.quote(serve.name)
    text = (
        # -P: a file of the current folder (openai.py) is no module; -E: nor one that PYTHONPATH names.
        f'exec "$MILEPOST_PYTHON" -EP -c {shlex.quote(script())} '
        f'--base-url "http://127.0.0.1:$MILEPOST_PORT/v1" --model {model} '
        f"--prompt {shlex.quote(PROMPT)} --max-tokens {MAX_TOKENS}\n"
    )
    shown = f"python {SCRIPT} --base-url http://127.0.0.1:<tunnel>/v1 --model {model}"
    forward = Forward(known.server, host, serve.port)
    return Cmd("probe", text, timeout=240, forward=forward, show=shown, secrets=(api_key.NAME,))


class Probe(Step):
    id = "probe"
    effects: Mapping[str, str] = {"write": "writes the script into the folder you are in"}
    title = "Python probe"
    short = "Python probe"
    keys = ("probe",)

    def rounds(self, known: Known, done: Results) -> Round | None:
        if not done.has("write"):
            return Round(work=((WIZARD, write_command()),))
        if not done.has("probe"):
            return Round(work=((WIZARD, probe_command(known)),))
        return None

    def judge(self, known: Known, done: Results) -> Verdict:
        result = done.get("probe", WIZARD)
        if result is None or not result.ok:
            hint = "the API answered on the head, so look at the tunnel, the API key, or a timeout"
            return Verdict(False, "the probe failed", (failure(result, WIZARD, hint),))
        found = fields(result.text)
        name = known.cluster.serve.name
        tokens = found.get("completion_tokens", "0")
        checks = (
            Check("model", found.get("model") == name, found.get("model", "none"), name, WIZARD.name),
            Check("reply", number(tokens) > 0, f"{tokens} tokens", "at least one", WIZARD.name),
        )
        ok = all(check.ok for check in checks)
        return Verdict(
            ok, f"the openai client got {tokens} tokens from {name}" if ok else "the probe failed", checks
        )
