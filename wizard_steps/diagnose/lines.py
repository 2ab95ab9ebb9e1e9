"""What a log line says about itself: when, how bad, on which node; and the message without all that."""

from __future__ import annotations

import re
from calendar import isleap, timegm

from msgspec import Struct

from wizard_steps.diagnose.json_lines import readable
from wizard_steps.diagnose.prefixes import peel

# No part of these may reach over a line end: line numbers must stay those of the file.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
)
#: Codes whose first letter was written out (\\e, ESC) or lost on the way.
_WRITTEN = re.compile(
    r"(?:\\(?:e|x1b|033|u001b)|\bESC|\^\[|␛)\[[0-9;]{0,12}[A-Za-z]"
    r"|\[[0-9]{1,3}(?:;[0-9]{1,3}){0,4}m",
    re.IGNORECASE,
)
#: What chat and word processors make of quotes and spaces.
_TYPED = str.maketrans("\u2018\u2019\u201c\u201d\u00a0", "''\"\" ")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff\ufeff]"
)


def strip_codes(text: str) -> str:
    """``text`` without escape codes, controls and lone surrogates; newlines, returns and tabs stay."""
    if "[0m" in text or "[m" in text or "[0;0m" in text or "ESC[" in text or ("\\" in text and "[" in text):
        text = _WRITTEN.sub("", _ESCAPE.sub("", text))
    if text.isascii() and text.replace("\n", "").replace("\t", "").replace("\r", "").isprintable():
        return text
    return _CONTROL.sub("", _ESCAPE.sub("", text)).translate(_TYPED)


def unwrapped(line: str) -> list[str]:
    """The messages inside a line that is itself JSON (a record, or a string as recordings have them), or that
    holds several parts between returns.
    """
    return strip_codes(readable(line)).replace("\r", "\n").split("\n")


#: Characters of a message that a guess repeats.
_SAID = 240
#: Level, time and place of vLLM's and Ray's logs before the message.
_PLACE = re.compile(
    r"^\s*(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL) \d\d-\d\d [\d:]{8} \[[^\]]{1,80}\]"
    r"|\[20\d\d-\d\d-\d\d [\d:,.]+ [IWEFC](?: \d+ \d+)?\] (?:\([^)]{1,40}\) )?(?:\S+:\d+: )?"
    r"|20\d\d-\d\d-\d\d [\d:,.]+\s+(?:INFO|WARNING|ERROR)\s+(?:\S+:\d+ -- )?)\s*"
)


def words(message: str) -> str:
    """What a line says behind its level, time and place, shortened."""
    words = " ".join(_PLACE.sub("", message, count=1).split())
    return words if len(words) <= _SAID else words[: _SAID - 1] + "…"


_DAY = 86_400
_MARCH = 60 * _DAY
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = (
    r"(?:(?P<year>20\d\d)[-/](?P<m1>[01]\d)[-/](?P<d1>[0-3]\d)[T ]"
    r"|(?P<m2>[01]\d)-(?P<d2>[0-3]\d) "
    r"|(?<![A-Za-z])[IWEF](?P<m3>1[0-2]|0?[1-9])(?P<d3>[0-3]\d) "
    rf"|\b(?P<m4>{'|'.join(_MONTHS)}) {{1,2}}(?P<d4>[0-3]?\d) )"
    r"(?P<h>[0-2]\d):(?P<min>[0-5]\d):(?P<s>[0-6]\d)(?:[.,](?P<f>\d{1,9}))?"
)
_TIME = re.compile(_DATE)
_WORD = r"(?P<l>DEBUG|INFO|SUCC|WARN(?:ING)?|ERROR|CRITICAL|FATAL)"
_LEVELS = (
    # a launcher that calls all of standard error an error: what the program itself says counts
    re.compile(rf"\|\s*(?:stderr|stdout)\s*\|\s*{_WORD}\b"),
    # vLLM, uvicorn and Python's logging
    re.compile(rf"^(?:\S+ +){{0,2}}?\[?{_WORD}\]?(?::| +\d\d-\d\d |\s+\S+\.py:\d+)"),
    re.compile(rf"^\[?20\d\d[-/]\d\d[-/]\d\d.\d\d:\d\d:\d\d\S*[\s|:-]+\[?{_WORD}\b"),
    # LMCache: its name before the level
    re.compile(rf"^\[20\d\d-\d\d-\d\d [\d:,.]{{8,15}}\] \w{{2,20}} \[?{_WORD}:"),
    # Ray's C++ parts, and glog as PyTorch writes it
    re.compile(r"^\[20\d\d-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+ (?P<l>[DIWEFC])[\s\]]"),
    re.compile(r"^(?:\[rank\d+\]:)?\[?(?P<l>[IWEF])\d{3,4} \d\d:\d\d:\d\d"),
    re.compile(r"^(?:\[rank\d+\]:)?\[(?P<l>[IWEF]) [\w.]+:\d+\]"),
    # TensorFlow and XLA
    re.compile(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: (?P<l>[IWEF]) "),
    re.compile(r"\bNCCL (?P<l>INFO|TRACE|VERSION)\b"),
    re.compile(r"\bUCX +(?P<l>WARN|DIAG|INFO|DEBUG|TRACE|REQ|DATA|FUNC|POLL)\b"),
    # checks of kubeadm: the level and what is checked
    re.compile(r"^\s{0,8}\[(?P<l>WARNING|ERROR) [\w-]{3,80}\]:"),
    # programs with the level alone in brackets
    re.compile(rf"^\[{_WORD}\]\s"),
    # The warnings module of Python: FILE:LINE: UserWarning: TEXT
    re.compile(r"\b(?:[A-Z]\w*)?(?P<l>Warning): "),
    re.compile(r"\blevel=\"?(?P<l>debug|info|warn(?:ing)?|error|fatal)\b"),
)
#: What failed, in a line of containerd or Docker whose level says that the engine itself goes on.
_WITH_ERROR = re.compile(r"\blevel=\S+ .{0,2000}?\berror=\"(?!\"|<?nil)(?!.{0,2000}\bskip plugin\b)")
_QUIET = {"DEBUG", "INFO", "SUCC", "D", "I", "TRACE", "VERSION", "REQ", "DATA", "FUNC", "POLL"}
_WARN = {"WARN", "WARNING", "W", "DIAG"}


class Stamp(Struct, frozen=True):
    """A time as written; ``year`` is 0 when the line does not say it. ``seconds`` count from 1 January."""

    year: int
    seconds: float


class Line(Struct, frozen=True):
    """``level`` is info, warning, error, or empty where there is none. ``message`` has no process prefix."""

    message: str
    level: str
    node: str
    stamp: Stamp | None


def parse(line: str) -> Line:
    """Take one cleaned line apart. Cheap enough for lines that may matter, not for every line of a log."""
    message, node = peel(line[:4096])
    return Line(message, _level(message), node, stamp_of(line[:400]))


def _level(message: str) -> str:
    head = message[:200]
    for pattern in _LEVELS:
        match = pattern.search(head)
        if match:
            word = match["l"].upper()
            if word == "INFO" and _WITH_ERROR.search(message):
                return "warning"
            return "info" if word in _QUIET else "warning" if word in _WARN else "error"
    return ""


def stamp_of(text: str) -> Stamp | None:
    """The first time in ``text``."""
    found = _TIME.search(text)
    return _stamp(found) if found else None


def _stamp(match: re.Match[str]) -> Stamp | None:
    named = _MONTHS.index(match["m4"]) + 1 if match["m4"] else 0
    month = named or int(match["m1"] or match["m2"] or match["m3"])
    day = int(match["d1"] or match["d2"] or match["d3"] or match["d4"])
    if not (1 <= month <= 12 and 1 <= day <= 31 and int(match["h"]) < 24):
        return None
    # 2000 is a leap year: a day of February fits whatever the true year is.
    start = timegm((2000, 1, 1, 0, 0, 0))
    moment = timegm((2000, month, day, int(match["h"]), int(match["min"]), int(match["s"])))
    fraction = float(f"0.{match['f']}") if match["f"] else 0.0
    return Stamp(int(match["year"] or 0), moment - start + fraction)


def unix(stamp: Stamp, year: int) -> float:
    """Seconds on one scale for all stamps; ``year`` stands in where a line has none. Zones are not known:
    machines of one cluster are taken to log in the same zone."""
    own = stamp.year or year
    # The seconds were counted in a leap year.
    skipped = _DAY if stamp.seconds >= _MARCH and not isleap(own) else 0
    return float(timegm((own, 1, 1, 0, 0, 0))) + stamp.seconds - skipped


def latest(one: Stamp | None, other: Stamp | None) -> Stamp | None:
    """A line without a time is not older than what was read before it."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda stamp: stamp.seconds)
