"""What the texts claim about vLLM, Ray and others, with version and source: ``snapshots/claims.toml``.

A claim names a file of the package and texts that it has or lacks, so that a test can ask the package itself;
or a document and its words; or how it was measured. It also names the sentences that teach it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec
from msgspec import Struct

from wizard_steps.cluster import versions
from wizard_steps.engine.expected import SNAPSHOTS
from wizard_steps.errors import MilepostError

FILE = SNAPSHOTS / "claims.toml"


class Claim(Struct, frozen=True, forbid_unknown_fields=True):
    """``version``: the release it was checked against. ``file``: inside the package's folder, or METADATA.

    ``taught``: ``file: words`` of each text that says it. ``gone``: wrong words, which no text may have.
    """

    says: str
    package: str
    version: str
    taught: tuple[str, ...]
    file: str = ""
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    document: str = ""
    quote: str = ""
    measured: str = ""
    gone: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        if self.file:
            return f"{self.package}/{self.file}"
        return f'{self.document}: "{self.quote}"' if self.document else f"measured: {self.measured}"

    @property
    def dated(self) -> bool:
        """It was checked against another release than the one milepost installs."""
        return self.version != {"vllm": versions.VLLM, "ray": versions.RAY}.get(self.package, self.version)


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    claim: tuple[Claim, ...]


@lru_cache(maxsize=2)
def load(path: Path = FILE) -> tuple[Claim, ...]:
    """All claims. Raises MilepostError for a wrong file."""
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=_File).claim
    except (OSError, msgspec.DecodeError) as error:
        raise MilepostError(f"{path}: {error}") from None
    for claim in found:
        sources = (claim.file and (claim.has or claim.lacks), claim.document and claim.quote, claim.measured)
        if sum(map(bool, sources)) != 1:
            raise MilepostError(
                f"{path}: a claim has one source: a file with texts, a document with its words, "
                f"or how it was measured: {claim.says}"
            )
    return found


def problem(claim: Claim, package: Path) -> str:
    """Why the package in this folder does not bear the claim out; "" when it does, or none can tell."""
    if not claim.file:
        return ""
    path = package / claim.file
    if claim.file == "METADATA":
        path = next(package.parent.glob(f"{package.name}-*.dist-info/METADATA"), path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    missing = [one for one in claim.has if one not in text]
    present = [one for one in claim.lacks if one in text]
    return "; ".join(
        [*(f"{path} has no {one!r}" for one in missing), *(f"{path} has {one!r}" for one in present)]
    )


def listing() -> str:
    """All claims as Markdown, those of an older release first."""
    claims = sorted(load(), key=lambda claim: not claim.dated)
    old = sum(claim.dated for claim in claims)
    head = (
        f"{old} of {len(claims)} were checked against another release than the one milepost installs."
        if old
        else f"All {len(claims)} were checked; vLLM's and Ray's against the releases that milepost installs."
    )
    lines = ["# What the texts say, where it comes from, and which texts say it", "", head, ""]
    for claim in claims:
        mark = "OLDER RELEASE: " if claim.dated else ""
        where = ", ".join(dict.fromkeys(one.partition(": ")[0] for one in claim.taught))
        lines.append(f"- {mark}{claim.says} ({claim.package} {claim.version}; {claim.source}). In {where}")
    return "\n".join(lines)
