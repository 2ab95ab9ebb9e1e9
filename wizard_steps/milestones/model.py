"""A model given as a path must be on every node: each loads its own part from its own disk.

The nodes themselves are looked at on both paths: a container has the folder from there.
"""

from __future__ import annotations

import shlex

from wizard_steps.engine.step import Known
from wizard_steps.model import Check, Cmd, Results, Work
from wizard_steps.node import remote


def work(known: Known) -> tuple[Work, ...]:
    """The look on every node; nothing for a model of the hub."""
    model = known.cluster.serve.model
    return tuple((node, _command(model)) for node in known.nodes) if model.startswith("/") else ()


def _command(model: str) -> Cmd:
    path, said = shlex.quote(model), remote.in_double_quotes(model)
    text = (
        f'if [ -f {path}/config.json ]; then echo "model: {said}, $(du -sh {path} 2>/dev/null | cut -f1)"\n'
        f'else echo "model: no config.json in {said}"; exit 1; fi\n'
    )
    return Cmd(key="model", text=text, quiet=True, show=f"ls {path}/config.json; du -sh {path}")


def checks(known: Known, done: Results) -> list[Check]:
    """The nodes that do not have it."""
    bad = [result for node in known.nodes if (result := done.get("model", node)) and not result.ok]
    hint = "copy the model to the same path on this node too: every node loads its own part"
    wanted = known.cluster.serve.model
    return [
        Check("model", False, r.lines[-1] if r.lines else r.reason, wanted, r.node.name, hint) for r in bad
    ]
