"""What stands around a line: for rules that look there, and for the time of a line that has none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from wizard_steps.diagnose.compiled import Compiled
from wizard_steps.diagnose.lines import Stamp, stamp_of, strip_codes
from wizard_steps.diagnose.nodes import addresses, called, header, said
from wizard_steps.diagnose.prefixes import peel

#: How far back a time is looked for: a traceback belongs to the record above it.
_BACK = 80
#: A longer line is cut before a rule looks at it.
_LONG = 4096
_STEP = re.compile(r"\s*slurmstepd: ")
_FRAME = re.compile(r'\bFile "([^"]{1,400})", line \d')
_BEGINS = re.compile(
    r"Traceback \(most recent call last\)|During handling of the above|direct cause of the following"
)


class Around:
    """The lines before and after one line, put together only when somebody asks.

    ``tail`` are the last lines before the block, ``after`` is the beginning of the text behind it.
    """

    def __init__(self, tail: Sequence[str], lines: Sequence[str], index: int, after: str) -> None:
        self._tail, self._lines, self._index, self._after = tail, lines, index, after
        self._texts: dict[int, str] = {}

    def before(self, count: int) -> list[str]:
        lines = list(self._lines[max(0, self._index - count) : self._index])
        if len(lines) < count and self._tail:
            lines = [*self._tail[len(lines) - count :], *lines]
        return [line[:_LONG] for line in lines]

    def after(self, count: int) -> list[str]:
        lines = list(self._lines[self._index + 1 : self._index + 1 + count])
        if len(lines) < count and self._after:
            lines += self._after.split("\n")[: count - len(lines)]
        return [line[:_LONG] for line in lines]

    def text(self, count: int) -> str:
        if count not in self._texts:
            own = self._lines[self._index][:_LONG]
            self._texts[count] = strip_codes("\n".join([*self.before(count), own, *self.after(count)]))
        return self._texts[count]

    @cached_property
    def _frames(self) -> tuple[str, ...]:
        """Files of the traceback above, the nearest first."""
        files: list[str] = []
        lines = self.before(_BACK)
        # Most lines stand below no traceback.
        for line in reversed(lines) if 'File "' in "\n".join(lines) else ():
            if _BEGINS.search(line):
                break
            if match := _FRAME.search(line):
                files.append(match[1])
        return tuple(files)

    def fits(self, rule: Compiled) -> bool:
        """Whether what stands around is as the rule's ``near`` and ``unless`` want it."""
        if rule.near is None and rule.unless is None:
            return True
        text = self.text(rule.rule.within)
        if rule.unless is not None and rule.unless.search(text):
            return False
        return rule.near is None or bool(rule.near.search(text))

    def depth(self, path: re.Pattern[str]) -> int | None:
        """How many frames of the traceback above are nearer than the first whose file ``path`` matches."""
        return next((depth for depth, file in enumerate(self._frames) if path.search(file)), None)

    def values(self, rule: Compiled) -> dict[str, str]:
        """What the rule's ``gather`` expressions find around; of two places the first."""
        if not rule.gather:
            return {}
        text = self.text(rule.rule.within)
        found = [match.groupdict() for one in rule.gather if (match := one.search(text))]
        return {name: value for groups in found for name, value in groups.items() if value}

    def called_node(self) -> str:
        """The machine to which the ssh or scp goes that stands nearest before the line, or just behind it."""
        return next(
            (node for line in [*reversed(self.before(8)), *self.after(2)] if (node := called(line))), ""
        )

    def caller(self) -> str:
        """The node that the nearest header or prompt names, not the one that is called there."""
        return header(self._neighbours(), ("section", "prompt"))

    def _neighbours(self) -> list[str]:
        """The lines before, the nearest first, and then those after."""
        return [*reversed(self.before(_BACK)), *self.after(12)]

    def said_node(self, loose: bool = False) -> str:
        """The node that the nearest header, prompt or message of a launcher names; for a loose line else the
        only one that printed the lines around, or that they speak of."""
        if _STEP.match(self._lines[self._index]):
            # A step of Slurm runs on another machine than the one on which somebody typed srun.
            return header([*self.after(12), *reversed(self.before(_BACK))], ("section", "call"))
        if node := header(self._neighbours()):
            return node
        if not loose:
            return ""
        before, after = self.before(8), self.after(8)
        lines = [*before, self._lines[self._index][:_LONG], *after]
        printers = [peel(line)[1] for line in lines]
        above = next(filter(None, reversed(printers[: len(before)][-3:])), "")
        below = next(filter(None, printers[len(before) + 1 :][:3]), "")
        if above and above == below:
            return above
        if len(one := set(filter(None, printers))) == 1:
            return one.pop()
        named = {node for line in lines if (node := said(line))} or set().union(*map(addresses, lines))
        return named.pop() if len(named) == 1 else ""

    def shown(self, count: int = 2) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """A few lines before and after, for a person."""
        return (
            tuple(strip_codes(line) for line in self.before(count)),
            tuple(strip_codes(line) for line in self.after(count)),
        )

    def stamp(self) -> Stamp | None:
        """The nearest time before the line."""
        for line in reversed(self.before(_BACK)):
            if (stamp := stamp_of(line[:400])) is not None:
                return stamp
        return None
