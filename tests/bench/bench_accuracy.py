"""How often the diagnosis is right: family, help, node, and how far its confidence can be believed.

python tests/bench/bench_accuracy.py [-v] [FILE or FOLDER ...]

Without arguments it reads our own collection, tests/cases/diagnose/corpus: failures that people reported in
public, each with its source. Every file of it was written before a rule was changed for it; what was measured
then stands at its head ([measured]) and is printed before what is right now. A file is TOML ([[failure]] with log, family, also, want, node) or JSON lines
(log_excerpt, family, also_ok, want, node_expected); a folder named healthy holds texts in which nothing is wrong.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wizard_steps.diagnose import Source, diagnose

CORPUS = Path(__file__).parents[1] / "cases" / "diagnose" / "corpus"
#: Lower ends of the confidence classes that are compared with how often they were right.
CLASSES = (0.9, 0.8, 0.65, 0.4, 0.0)


class Failure(NamedTuple):
    """One reported failure and what a person would have said of it."""

    id: str
    log: str
    family: str
    also: tuple[str, ...] = ()
    want: str = ""
    node: str = ""
    #: Known to be told wrongly: counted all the same.
    open: bool = False


class Told(NamedTuple):
    """What the diagnosis said of it. None where there was nothing to be right about."""

    failure: Failure
    said: str
    family: bool
    helps: bool | None
    node: bool | None
    confidence: float

    @property
    def right(self) -> bool:
        return self.family and self.helps is not False


def read(path: Path) -> Iterator[Failure]:
    """The failures of one file."""
    if path.suffix == ".toml":
        for row in tomllib.loads(path.read_text(encoding="utf-8")).get("failure", []):
            yield Failure(
                row["id"],
                row["log"],
                row["family"],
                tuple(row.get("also", ())),
                row.get("want", ""),
                row.get("node", ""),
                row.get("open", False),
            )
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        one: dict[str, Any] = json.loads(line)
        also, node = tuple(one.get("also_ok", ())), one.get("node_expected") or ""
        yield Failure(one["id"], one["log_excerpt"], one["family"], also, one.get("want", ""), node)


def measured(path: Path) -> str:
    """What was right before any rule was changed for the cases of one file; empty where it is not noted."""
    if path.suffix != ".toml":
        return ""
    was = tomllib.loads(path.read_text(encoding="utf-8")).get("measured")
    if was is None:
        return ""
    (node, named), (right, sure) = was["node"], was["sure"]
    return (
        f"  before any change for it: family {was['family']}, helps {was['helps']} of {was['cases']}; "
        f"node {node} of {named}; told at 0.90 and more: right {right} of {sure}"
    )


def tell(failure: Failure) -> Told:
    """Diagnose one failure and compare."""
    found = diagnose([Source(failure.id, failure.log)])
    if not found:
        return Told(
            failure, "nothing", False, False if failure.want else None, False if failure.node else None, 0.0
        )
    first = found[0]
    text = json.dumps([first.cause, [(a.text, a.command) for a in first.try_]])
    return Told(
        failure,
        f"{first.family}/{first.rule} on {first.node or '-'}",
        first.family in (failure.family, *failure.also),
        bool(re.search(failure.want, text, re.IGNORECASE)) if failure.want else None,
        bool(re.search(failure.node, first.node)) if failure.node else None,
        first.confidence,
    )


def report(name: str, told: list[Told], verbose: bool) -> None:
    exact = sum(t.said.startswith(t.failure.family + "/") for t in told)
    print(f"{name}: {len(told)} failures")
    print(f"  family {_share([t.family for t in told])} (the very one: {exact})")
    print(f"  helps  {_share([t.helps for t in told if t.helps is not None])}")
    print(f"  node   {_share([t.node for t in told if t.node is not None])}")
    for low, high in zip(CLASSES, (1.01, *CLASSES), strict=False):
        group = [t.right for t in told if low <= t.confidence < high]
        if group:
            print(f"  told at {low:.2f} and more: right {_share(group)}")
    for t in told if verbose else ():
        if not t.right or t.node is False:
            print(
                f"  missed {t.failure.id}: {t.said} at {t.confidence}, wanted {t.failure.family} {t.failure.node}"
            )


def _share(values: list[bool]) -> str:
    return f"{sum(values)}/{len(values)} = {100 * sum(values) / len(values):.0f} %" if values else "-"


def quiet(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and texts in which nothing is wrong: files, and tables [text] of TOML files."""
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from tomllib.loads(text)["text"].items() if path.suffix == ".toml" else [(path.stem, text)]


def healthy(folder: Path) -> None:
    """How many of the texts in which nothing is wrong raise an alarm (a remark is none)."""
    texts = list(quiet(folder))
    loud = [name for name, text in texts if any(f.kind != "hint" for f in diagnose([Source(name, text)]))]
    print(f"{folder}: {len(loud)} alarms in {len(texts)} healthy logs {' '.join(loud)}".rstrip())


def main() -> None:
    words = sys.argv[1:]
    verbose = "-v" in words
    paths = [Path(word) for word in words if word != "-v"] or [CORPUS]
    everything: list[Told] = []
    for path in paths:
        files = sorted([*path.glob("*.toml"), *path.glob("*.jsonl")]) if path.is_dir() else [path]
        for file in files:
            told = [tell(failure) for failure in read(file)]
            report(file.name, told, verbose)
            if before := measured(file):
                print(before)
            everything += told
        if path.is_dir() and (path / "healthy").is_dir():
            healthy(path / "healthy")
    if len(everything) > 0:
        report("all", everything, False)


if __name__ == "__main__":
    main()
