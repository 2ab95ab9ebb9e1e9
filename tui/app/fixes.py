"""What can be done at a failed gate with one key: a change of the cluster file, a start done again, or a
command that a finding offers. Each is shown as what it is before it is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tui.app.fields import fields
from wizard_steps.cluster.file import Cluster
from wizard_steps.cluster.toml_text import line_of
from wizard_steps.diagnose.explain import fix_command, fix_nodes
from wizard_steps.diagnose.model import Diagnosis
from wizard_steps.engine.decide import Answer
from wizard_steps.engine.engine import Engine
from wizard_steps.engine.step import Known
from wizard_steps.milestones.remedies import Edits, remedies
from wizard_steps.model import Verdict
from wizard_steps.recording.state import State

#: The digit of the first offer; those before it choose the view.
FIRST_KEY = 4
#: Offers that have a key of their own; all of them are in the list on ``a``.
KEYS = 6


@dataclass(frozen=True, slots=True)
class FixOffer:
    """``command``: what is run on ``nodes``. ``edits``: fields of the cluster file. ``restart``: the node on
    which the wizard ends what it started (``command`` says how), to start it again."""

    text: str
    command: str
    nodes: tuple[str, ...]
    edits: Edits = ()
    restart: bool = False
    #: The fields of ``edits`` as they are now, with file and line.
    before: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        if self.edits:
            return Answer("edit", edits=self.edits)
        if self.restart:
            return Answer("restart", where=" ".join(self.nodes))
        return Answer("fix", where=" ".join(self.nodes), text=self.command)

    @property
    def lines(self) -> list[str]:
        """The command or the file change, line by line."""
        return list(self.before) if self.edits else [f"$ {line}" for line in self.command.splitlines()]


def offers(known: Known, findings: Sequence[Diagnosis]) -> list[FixOffer]:
    """Fixes whose command and nodes are known, those of the likeliest finding first."""
    found: dict[tuple[str, tuple[str, ...]], FixOffer] = {}
    for finding in likely(findings):
        for fix in finding.fixes:
            command, nodes = fix_command(known, finding, fix), tuple(fix_nodes(known, finding, fix))
            if command is not None and nodes:
                found.setdefault((command, nodes), FixOffer(fix.text, command, nodes))
    return list(found.values())


def likely(findings: Sequence[Diagnosis]) -> list[Diagnosis]:
    """The answer, and a second one that is about as likely."""
    return [f for f in findings[:2] if f.confidence >= 0.8 * findings[0].confidence]


def remedy_offers(engine: Engine, state: State, verdict: Verdict, file: Path | None) -> list[FixOffer]:
    """Changes of the cluster file, and starts that can be done again."""
    known = Known(engine.cluster, state.facts)
    ending = {node.name: engine.started(state.current, [node.name]) for node in known.nodes}
    started = {
        name: what
        for name, found in ending.items()
        for step, work in found[:1]
        if (what := step.leaves_running(known, work[0][0]))
    }
    made = []
    for remedy in remedies(engine.cluster, verdict, started):
        if remedy.restart:
            work = [cmd for _, pairs in ending[remedy.restart] for _, cmd in pairs]
            commands = "\n".join(cmd.show or cmd.key for cmd in work)
            made.append(FixOffer(remedy.text, commands, (remedy.restart,), restart=True))
        else:
            before = tuple(_changes(engine.cluster, remedy.edits, file))
            made.append(FixOffer(remedy.text, "", (), remedy.edits, before=before))
    return made


def _changes(cluster: Cluster, edits: Edits, file: Path | None) -> Iterator[str]:
    """``serve.port: 8000 → 8001   (milepost.toml:12)``."""
    now = dict(fields(cluster))
    try:
        text = file.read_text(encoding="utf-8") if file is not None else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    for where, value in edits:
        line = line_of(text, where) if text else 0
        place = f"   ({file.name}:{line})" if file is not None and line else ""
        yield f"{where}: {now.get(where) or 'not set'} → {value}{place}"
