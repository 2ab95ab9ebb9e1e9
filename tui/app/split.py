"""What the set-up form says about TP x PP while it is being typed. Looks at nothing but this machine."""

from __future__ import annotations

import shlex
from functools import lru_cache

from tui.app.form import Form, NodeForm
from wizard_steps.advisor.flags import wanted_by
from wizard_steps.advisor.here import known
from wizard_steps.advisor.plan import Box
from wizard_steps.advisor.sits import Sits, sits, whole

#: As in the cluster file.
_MOST_GPUS = 1024
#: Asked at every key: a config.json is read once.
_known = lru_cache(maxsize=64)(known)


def split_line(form: Form) -> Sits:
    """How the pair sits on the machines, or what cannot be read yet."""
    nodes = sorted(form.nodes, key=lambda node: node.role != "head")
    tp, pp = (_number(form.values[f"serve.{name}_parallel"]) for name in ("tensor", "pipeline"))
    if tp is None or pp is None:
        return Sits("bad", f"{'TP' if tp is None else 'PP'} is an integer, 1 or more.")
    boxes = []
    for place, node in enumerate(nodes):
        gpus = _number(node.gpus, _MOST_GPUS)
        if gpus is None:
            return Sits("bad", f"How many GPUs has {_name(node, place)}? A number from 1 to {_MOST_GPUS}.")
        boxes.append(Box(_name(node, place), gpus))
    wanted = wanted_by(_words(form.values.get("serve.extra_flags", "")))
    return sits(boxes, tp, pp, _known(form.values["serve.model"].strip()), wanted)


def advised(form: Form) -> tuple[int, int] | None:
    """TP and PP that take the most GPUs with every layer inside one machine; with room for the weights where
    their size is known."""
    nodes = sorted(form.nodes, key=lambda node: node.role != "head")
    counts = [_number(node.gpus, _MOST_GPUS) if node.gpus.strip() != "0" else 0 for node in nodes]
    if any(count is None for count in counts):
        return None
    boxes = [
        Box(_name(node, n), count) for n, (node, count) in enumerate(zip(nodes, counts, strict=True)) if count
    ]
    return whole(boxes, _known(form.values["serve.model"].strip()).shape) if boxes else None


def _words(flags: str) -> list[str]:
    """As the file will have them; none while a quote is open."""
    try:
        return shlex.split(flags)
    except ValueError:
        return []


def _number(text: str, most: int = 10**6) -> int | None:
    """A whole number from 1 to ``most``, else None."""
    text = text.strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
    return number if 1 <= number <= most else None


def _name(node: NodeForm, place: int) -> str:
    return node.host.strip() or f"machine {place + 1}"
