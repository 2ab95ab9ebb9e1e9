"""The words that the screens explain, the field's and milepost's own: found and linked in texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

from wizard_steps.learn.glossary import parse

PAGES = tuple(Path(__file__).resolve().parents[1] / "help" / name for name in ("glossary.md", "words.md"))
#: What a link to a word begins with.
SCHEME = "word:"
#: Of Markdown, what no word is linked in: code, links, headings, and lines that are set as they are.
_KEPT = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\[[^\]\n]*\]\([^)\n]*\)|^#[^\n]*|^ {4}[^\n]*", re.MULTILINE | re.DOTALL
)


@lru_cache(maxsize=1)
def words() -> Mapping[str, str]:
    """The field's words, then milepost's own."""
    found: dict[str, str] = {}
    for page in PAGES:
        found |= parse(page.read_text(encoding="utf-8"))
    return found


def used_in(text: str) -> list[str]:
    """The words that a text uses."""
    low = text.lower()
    return [word for word in words() if any(re.search(_whole(part), low) for part in _spellings(word))]


def linked(text: str) -> str:
    """Markdown in which each word is a link where it comes first."""
    names = {part: word for word in words() for part in _spellings(word)}
    by_length = "|".join(re.escape(part) for part in sorted(names, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w/.-])(?:{by_length})s?(?![\w/-]|\.\w)", re.IGNORECASE)
    done: set[str] = set()

    def link(found: re.Match[str]) -> str:
        low = found[0].lower()
        word = names.get(low) or names.get(low.removesuffix("s"), "")
        if word in done:
            return found[0]
        done.add(word)
        return f"[{found[0]}]({SCHEME}{quote(word)})"

    parts, at = [], 0
    for kept in _KEPT.finditer(text):
        parts += [pattern.sub(link, text[at : kept.start()]), kept[0]]
        at = kept.end()
    return "".join([*parts, pattern.sub(link, text[at:])])


def of_link(href: str) -> str:
    """The word that a link leads to; "" for any other link."""
    return unquote(href.removeprefix(SCHEME)) if href.startswith(SCHEME) else ""


def _spellings(word: str) -> list[str]:
    """``tensor parallelism (TP)`` is also written in short; ``NVLink, NVSwitch`` are two."""
    short = re.findall(r"\(([^)]+)\)", word)
    plain = re.sub(r"\([^)]*\)", "", word).split(",")
    return [part.strip().lower() for part in [*plain, *short] if part.strip()]


def _whole(part: str) -> str:
    return rf"(?<!\w){re.escape(part)}s?(?!\w)"
