"""How much of a download or a load is done, read from a line of output: a share, bytes, a rate."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"(\d{1,9}(?:\.\d{1,6})?)"
_UNIT = r"([kKMGT]?i?B|[kKMGT])"
#: ``12.3 of 141.0 GB``, ``2.23G/4.98G``.
_BYTES = re.compile(rf"(?<![\d.]){_NUMBER} ?{_UNIT}? ?(?:/| of ) ?{_NUMBER} ?{_UNIT}(?![\w/])")
_RATE = re.compile(rf"(?<![\d.]){_NUMBER} ?([kKMGT]?i?B)/s")
#: Where the whole size is not known: ``12.30 GB received, 340 MB/s``.
_GOT = re.compile(rf"(?<![\d.]){_NUMBER} ?([kKMGT]?i?B) (?:received|sent)\b")
#: A bar of tqdm, or vLLM's own words for one. Any other percentage is about something else.
_SHARE = re.compile(r"(?<![\d.])(\d{1,3})% ?(?:\||Completed)")
_SIZES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
#: Of a longer line this much is read (characters).
_MOST = 400


@dataclass(frozen=True, slots=True)
class Amount:
    """``share``: from 0 to 1, None where the whole is not known. ``words``: bytes and rate, where known."""

    share: float | None
    words: str = ""


def amount_of(line: str) -> Amount | None:
    """None where a line says nothing of that."""
    line = line[:_MOST]
    rate = _RATE.search(line)
    told = f"{rate[1]} {rate[2]}/s" if rate else ""
    # Without a rate it may be any other pair of sizes: memory that is used, a disk.
    for found in _BYTES.finditer(line) if rate else ():
        done, whole = _bytes(found[1], found[2] or found[4]), _bytes(found[3], found[4])
        if whole > 0 and done <= whole:
            size = f"{done / 1e9:.3g} of {whole / 1e9:.3g} GB"
            return Amount(done / whole, f"{size}, {told}" if told else size)
    if share := _SHARE.search(line):
        return Amount(min(100, int(share[1])) / 100, told)
    got = _GOT.search(line)
    return Amount(None, f"{got[0]}{', ' if told else ''}{told}") if got else None


def _bytes(number: str, unit: str) -> float:
    return float(number) * _SIZES[unit.upper().replace("I", "").replace("B", "")]
