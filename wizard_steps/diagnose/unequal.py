"""Rules about what has to be the same everywhere, such as a version: a line counts only beside another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from wizard_steps.diagnose.hits import Hit

#: The group of such a rule's patterns.
VALUE = "differs"


def only(texts: Sequence[Sequence[Hit]]) -> list[tuple[Hit, ...]]:
    """The hits of each text, less those of a value that all texts and nodes agree on. Of one node in one text
    the last value counts: it was started again. What is kept has all of the values as ``values``."""
    last: dict[str, dict[tuple[int, str], str]] = {}
    for place, hit in _about(texts):
        last.setdefault(hit.rule.rule.id, {})[place, hit.where.node or hit.where.near] = hit.groups[VALUE]
    said = {rule: sorted(set(found.values())) for rule, found in last.items()}
    return [tuple(_kept(hits, said)) for hits in texts]


def _about(texts: Sequence[Sequence[Hit]]) -> Iterator[tuple[int, Hit]]:
    return ((place, hit) for place, hits in enumerate(texts) for hit in hits if VALUE in hit.groups)


def _kept(hits: Sequence[Hit], said: dict[str, list[str]]) -> Iterator[Hit]:
    for hit in hits:
        if VALUE not in hit.groups:
            yield hit
        elif len(values := said[hit.rule.rule.id]) > 1:
            yield replace(hit, groups={**hit.groups, "values": ", ".join(values)})
