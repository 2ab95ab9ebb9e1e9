"""The values that milepost's parts hand to each other. All are frozen; none knows a screen or a network.

Times are seconds as floats: a duration where the name says so, otherwise seconds since the walk began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from msgspec import Struct, field

Role = Literal["head", "worker", "wizard"]

#: Why a command ended, beside its exit code.
#: exit: by itself; stopped: the engine saw the line it waited for; timeout: over its limit;
#: lost: the connection broke; cancelled: the person or a sibling failure; dry: listed, not run;
#: unrecorded: only in a replay, where the recording does not have the command.
Reason = Literal["exit", "stopped", "timeout", "lost", "cancelled", "dry", "unrecorded"]


class Node(Struct, frozen=True):
    """One machine. ``host`` is what ssh is given (a name, an address or an alias from ~/.ssh/config)."""

    name: str
    host: str
    role: Role = "worker"
    gpus: int = 0
    fabric_ip: str = ""
    user: str = ""
    port: int = 0


#: The machine that the wizard itself runs on, for the steps that must leave the cluster (the probe).
WIZARD = Node(name="wizard", host="localhost", role="wizard")


class Forward(Struct, frozen=True):
    """An SSH tunnel a command needs: to ``port`` of ``host`` as seen from ``node``.

    A local command finds its local end in the environment variable MILEPOST_PORT. For a command on a node it
    goes through the wizard, and begins at the port ``at`` of that node's loopback.
    """

    node: Node
    host: str
    port: int
    at: int = 0


class Result(Struct, frozen=True):
    """What one use of a command did on one node. ``text`` is cleaned and redacted output.

    ``detail``: what the transport has to say of it, e.g. of the login (see Cmd.login); lines of text.
    """

    node: Node
    key: str
    text: str
    code: int
    reason: Reason = "exit"
    started: float = 0.0
    ended: float = 0.0
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0 and self.reason in ("exit", "stopped")

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


class Cmd(Struct, frozen=True):
    """One POSIX sh command line and how to wait for it. Quote every value that goes into ``text``.

    key      names the result inside its step, and its expected block.
    mutates  changes something on the node: a dry run lists it and does not run it.
    timeout  seconds for all uses together (polls included); the remote process is really ended then.
    until    polling: run again every ``every`` seconds until it returns True (or ``timeout``).
    settle   seconds for which ``until`` must stay True before the command counts as done.
    stop     following: end the command as soon as it returns True for one line of its output.
    stdin    handed to the command's standard input, never shown, logged or recorded.
    feed     (path on the wizard's machine, offset) of files whose rest follows ``stdin``; over SSH only,
             never logged or recorded.
    quiet    helper whose output a person need not compare (still recorded).
    show     the plain command a person would type; empty when ``text`` is already that.
    formerly what ``show`` was in older recordings of the same command.
    secrets  names of secrets of the wizard's environment that are handed over as NAME=value lines on
             standard input, before ``stdin``; those that are not set are left out.
    guard    asked before secrets are handed over; where it does not pass, the command is not run.
    login    the Exit's detail says what a person should know of the login: options of the ssh config that
             are not followed, a profile that prints.
    """

    key: str
    text: str
    mutates: bool = False
    timeout: float = 30.0
    every: float = 2.0
    settle: float = 0.0
    until: Callable[[Result], bool] | None = None
    stop: Callable[[str], bool] | None = None
    forward: Forward | None = None
    stdin: str = ""
    feed: tuple[tuple[str, int], ...] = ()
    quiet: bool = False
    show: str = ""
    formerly: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    guard: Guard | None = None
    login: bool = False


class Guard(Struct, frozen=True):
    """Whether a secret goes to whom it is for: ``passes`` reads what ``cmd`` prints on ``node``, ``why`` says
    what it means when it does not. No recording has it."""

    node: Node
    cmd: Cmd
    passes: Callable[[str], bool]
    why: str


class Chunk(Struct, frozen=True):
    """A piece of output, as the node wrote it (before cleaning) or as it was recorded."""

    data: bytes


class Exit(Struct, frozen=True):
    """The last thing a transport yields for a command.

    ``started``/``ended`` are set by a replay, which knows them; a live transport leaves them None.
    """

    code: int
    reason: Reason = "exit"
    detail: str = ""
    started: float | None = None
    ended: float | None = None


Work = tuple[Node, Cmd]


#: How a check, a gate or a walk stands. A warning does not shut a gate, and is no plain "ok" either.
Standing = Literal["ok", "warning", "failed"]


class Check(Struct, frozen=True):
    """One fact a gate rests on: what was wanted, what was found, and what to try when they differ.

    ``ok``: it does not shut the gate. ``warning``: nor is it fine: it may fail later, or was not proved.
    """

    name: str
    ok: bool
    found: str = ""
    wanted: str = ""
    node: str = ""
    hint: str = ""
    warning: bool = False

    @property
    def state(self) -> Standing:
        if not self.ok:
            return "failed"
        # Recordings of before the field had the word in the text.
        return "warning" if self.warning or self.found.startswith("warning: ") else "ok"


class Option(Struct, frozen=True):
    """``edits``: fields of the cluster file and the values that choosing it writes there."""

    value: str
    label: str
    why: str = ""
    edits: tuple[tuple[str, str], ...] = ()


class Question(Struct, frozen=True):
    """Something only a person (or their cluster file) can say.

    ``field`` is where the answer belongs in the cluster file, e.g. ``nodes[0].fabric_ip``. ``unattended`` is
    the answer of a walk without a person; without one such a walk cannot go on.
    """

    id: str
    text: str
    kind: Literal["choice", "text", "confirm", "gate"] = "text"
    options: tuple[Option, ...] = ()
    default: str = ""
    field: str = ""
    why: str = ""
    unattended: str = ""

    def edits(self, answer: str) -> tuple[tuple[str, str], ...]:
        """Fields of the cluster file and the values that an answer writes there."""
        if self.field:
            return ((self.field, answer),)
        return next((option.edits for option in self.options if option.value == answer), ())


class Together(Struct, frozen=True):
    """When the commands of a round end each other (reason "cancelled"): at once when that of ``lead`` (a
    node's name, "" for none) has ended and not failed; ``grace`` seconds after the first of which ``failed``
    says so, the time that the others have to tell of their own trouble."""

    failed: Callable[[Result], bool]
    lead: str = ""
    grace: float = 10.0


class Round(Struct, frozen=True):
    """What a step wants next: questions first, then commands, all of them at the same time.

    together  for commands that belong to one thing, such as the logs of its ranks: None lets each run to its
              own end.
    """

    work: tuple[Work, ...] = ()
    questions: tuple[Question, ...] = ()
    together: Together | None = None


#: Line states of a comparison. ``between`` lines were passed over by a "..." of the expected text.
RowState = Literal["matched", "missing", "unexpected", "between", "optional"]


class Row(Struct, frozen=True, omit_defaults=True):
    state: RowState
    expected: str = ""
    real: str = ""
    kind: str = "literal"
    line: int = 0


class Comparison(Struct, frozen=True):
    """One expected block aligned to one real output."""

    key: str
    node: str
    rows: tuple[Row, ...]

    @property
    def missing(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.state == "missing")


class Verdict(Struct, frozen=True):
    """A gate's answer. ``facts`` is what later steps may know; it must be plain JSON values."""

    passed: bool
    summary: str
    checks: tuple[Check, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.ok)

    @property
    def warnings(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.state == "warning")

    @property
    def state(self) -> Literal["passed", "warning", "failed"]:
        """``warning``: passed, but with warnings."""
        if not self.passed:
            return "failed"
        return "warning" if self.warnings else "passed"

    @property
    def words(self) -> str:
        """``passed``, ``passed with 3 warnings`` or ``failed``."""
        return "failed" if not self.passed else with_warnings("passed", len(self.warnings))


def with_warnings(word: str, count: int) -> str:
    """``word`` with its number of warnings, if there are any."""
    return f"{word} with {counted(count, 'warning')}" if count else word


def counted(number: int, noun: str) -> str:
    """``1 node``, ``2 nodes``: a number with its noun, in the plural where it is one."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


class Results:
    """All results of one attempt at a step, oldest first, found by command key and node name."""

    def __init__(self, items: Sequence[Result] = (), answers: Mapping[str, str] | None = None) -> None:
        self.items = tuple(items)
        self.answers: Mapping[str, str] = dict(answers or {})

    def plus(self, items: Sequence[Result], answers: Mapping[str, str]) -> Results:
        return Results((*self.items, *items), {**self.answers, **answers})

    def of(self, key: str) -> dict[str, Result]:
        """The latest result of ``key`` for each node name."""
        return self._by_key.get(key, {})

    def get(self, key: str, node: Node | str) -> Result | None:
        return self.of(key).get(node if isinstance(node, str) else node.name)

    def has(self, key: str) -> bool:
        return key in self._by_key

    @cached_property
    def _by_key(self) -> dict[str, dict[str, Result]]:
        """Made once: a judge of 256 nodes asks a hundred thousand times."""
        found: dict[str, dict[str, Result]] = {}
        for item in self.items:
            found.setdefault(item.key, {})[item.node.name] = item
        return found
