"""What a person typed or set, as it stands in texts beside what programs say: it is no message.

``export NCCL_IB_TIMEOUT=22`` names a time-out, and a search for "address already in use" names a port:
nothing is wrong there.
"""

from __future__ import annotations

import re

_NAME = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
#: A variable of the environment with its value, as shells, containers and lists of settings write it.
_SETTING = re.compile(
    rf"(?:Environment=|--env=)?[\"']?{_NAME}(?:=|[\"']?: ?[\"']?(?:\d|(?i:true|false|none|on|off)\b))"
)
#: What stands before one: nothing, the word for it, or another one.
_BEFORE = re.compile(
    rf"(?:^\s*|(?:^|\s)(?:-|export|env|-[ex]|--env)\s+|(?:^|\s)[\"']?{_NAME}=\S{{0,200}}\s+)$"
)
#: One of many settings that a server prints on one line: ``ServerArgs(model_path='m', dtype='auto', …``.
_ARGUMENT = re.compile(r"\b[a-z][a-z0-9_]*=[^\s,=]{1,200}, ")
_MANY = 12
#: Commands that name words without any of them having been said.
_NAMES_WORDS = re.compile(
    r"\s{0,40}(?:[+]{1,4} |[>#] )?(?:sudo )?(?:[ef]?grep|rg|echo|printf|export|alias|sed|awk)\s+[^\s:]"
    r"|[^|]{1,400}\| {0,4}(?:[ef]?grep|rg) +[-'\"\w]"
)


def is_command(line: str) -> bool:
    """Whether a line is a command that only names words, or one that goes on in the next line."""
    return bool(_NAMES_WORDS.match(line)) or line.rstrip().endswith(" \\")


def is_set(match: re.Match[str]) -> bool:
    """Whether what an expression found stands in a variable that is given a value, or among the settings of a
    server, not in a sentence.
    """
    text, (start, end) = match.string, match.span()
    if (
        text.count("=") >= _MANY
        and _ARGUMENT.search(text, 0, start)
        and len(_ARGUMENT.findall(text)) >= _MANY
    ):
        return True
    if any(map(str.isspace, match[0])):
        return False
    begin = max(text.rfind(mark, 0, end) for mark in " \t") + 1
    return bool(_SETTING.match(text, begin)) and bool(_BEFORE.search(text[max(0, begin - 240) : begin]))
