"""How secrets look: the forms in which a known one may be printed, and what is one by its look alone.

Written with care against the other mistake: ordinary output of vLLM, Ray and NCCL (``tokenizer=``,
``api_key=None``, ``max_tokens: 32``, ``task-…``) has to come through as it is.
"""

from __future__ import annotations

import html
import json
import re
import shlex
from base64 import b32encode, b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

#: Environment variables whose values are secrets, whatever they look like.
SECRET_VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "MODELSCOPE_API_TOKEN",
    "VLLM_API_KEY",
    "OPENAI_API_KEY",
    "RAY_AUTH_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "WANDB_API_KEY",
    "NGC_API_KEY",
)
#: A shorter form would blank out ordinary words.
LEAST = 6
_LEAST_PIECE = 8


#: Where a line was wrapped: its end, with a frame or a backslash before it, and the indentation or frame of
#: the next one.
WRAP = re.compile(r"(?:\\|[ \t]{0,200}[│|])?\r?\n[ \t│|>]{0,40}")
#: The end of a text that may become one.
WRAP_BEGINS = re.compile(r"(?:\\|[ \t]{0,200}[│|]?)\r?\Z")
#: Where no line has any of these, taking the line ends out is enough.
_FRAMED = ("\n ", "\r", "\n│", "\n|", "\n>", "\n\t", "│\n", "|\n", "\\\n")
#: A character of ASCII as JSON, Python, C, URLs (encoded several times, too) and HTML may write it.
_ESCAPED = re.compile(
    r"\\\\{0,7}(?:(?:u00|x|U000000)([0-9A-Fa-f]{2})|u\{0{0,4}([0-9A-Fa-f]{2})\}|([01][0-7]{2})|([^\w\s\\]))"
    r"|%(?:25){0,4}(?:u00)?([0-7][0-9A-Fa-f])|&#(?:[xX]0{0,4}([0-9A-Fa-f]{2})|0{0,4}([0-9]{2,3}));"
)
#: How the groups of the above write it: the base of the number, or the character itself.
_BASES = (0, 16, 16, 8, 1, 16, 16, 10)


def unwrapped(text: str) -> str:
    """``text`` without its line ends, and the indentation or frame behind them."""
    if any(mark in text for mark in _FRAMED):
        return WRAP.sub("", text)
    return text.replace("\n", "")


def unescaped(text: str) -> str:
    """``text`` with every escaped character of ASCII as itself."""
    return _ESCAPED.sub(_character, text) if "\\" in text or "%" in text or "&#" in text else text


def _character(found: re.Match[str]) -> str:
    group = found.lastindex or 0
    return found[group] if _BASES[group] == 1 else chr(int(found[group], _BASES[group]))


def kept(text: str) -> list[int]:
    """Where the characters of :func:`unwrapped` stand in ``text``."""
    wraps = [place for wrap in WRAP.finditer(text) for place in wrap.span()]
    ends = [0, *wraps, len(text)]
    return [place for begin, end in zip(ends[::2], ends[1::2], strict=True) for place in range(begin, end)]


def spans(text: str, secrets: Iterable[str], known: Iterable[str]) -> list[tuple[int, int]]:
    """Where ``text`` has one of ``secrets`` with any of its characters escaped, or one of ``known``.

    Both are found across wrapped lines. First character and end, in order; those that overlap are one.
    """
    places = kept(text)
    flat = "".join(map(text.__getitem__, places))
    found = [(places[begin], places[end - 1] + 1) for begin, end in _each(flat, known)]
    plain, origin = [], []
    last = 0
    for escape in _ESCAPED.finditer(flat):
        plain += [*flat[last : escape.start()], _character(escape)]
        origin += [*((place, place + 1) for place in range(last, escape.start())), escape.span()]
        last = escape.end()
    plain += flat[last:]
    origin += [(place, place + 1) for place in range(last, len(flat))]
    for begin, end in _each("".join(plain), secrets):
        found.append((places[origin[begin][0]], places[origin[end - 1][1] - 1] + 1))
    return _joined(found)


def _each(text: str, words: Iterable[str]) -> Iterator[tuple[int, int]]:
    for word in words:
        begin = text.find(word)
        while begin >= 0:
            yield begin, begin + len(word)
            begin = text.find(word, begin + 1)


def _joined(found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(found):
        if joined and begin < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def forms(secret: str) -> set[str]:
    """``secret`` as programs print it: plain, in JSON, Python, shell, URL, HTML; in hexadecimal, base64, and
    those of UTF-16 (wherever it begins in what was encoded). Line ends are left out: they are looked past."""
    found = {secret, *_quoted(secret), *_encoded(secret.encode("utf-8", "surrogateescape"))}
    found |= set(_encoded(secret.encode("utf-16-le", "surrogatepass")))
    return {flat for form in found if len(flat := form.replace("\n", "")) >= LEAST}


def _quoted(secret: str) -> Iterator[str]:
    plain = json.dumps(secret)[1:-1]
    yield from (plain, json.dumps(secret, ensure_ascii=False)[1:-1], plain.replace("/", "\\/"))
    yield json.dumps(plain)[1:-1]
    yield repr(secret)[1:-1]
    yield shlex.quote(secret)[1:-1] if shlex.quote(secret) != secret else secret
    yield secret.replace("'", "'\\''")
    yield re.sub(r"([^A-Za-z0-9_\n])", r"\\\1", secret)
    yield re.sub(r"([\\\"$`])", r"\\\1", secret)
    for safe in ("", "/", "/:@!$&'()*+,;="):
        url = quote(secret, safe=safe, errors="surrogateescape")
        yield from (url, re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), url))
    yield quote_plus(secret, errors="surrogateescape")
    marked = html.escape(secret)
    yield from (marked, marked.replace("&#x27;", "&#39;"), marked.replace("&quot;", "&#34;"))
    yield html.escape(secret, quote=False)


def _encoded(data: bytes) -> Iterator[str]:
    for separator in ("", ":", " "):
        digits = data.hex(separator) if separator else data.hex()
        yield from (digits, digits.upper())
    pairs = ((data.hex(" ", -2), ""), (data[:1].hex(), data[1:].hex(" ", -2)))  # as xxd prints them
    yield from (" ".join(filter(None, pair)) for pair in pairs)
    for separator in (", ", ",", " "):  # the bytes as C, Python, JSON and Go list them
        yield separator.join(map(str, data))
        yield separator.join(f"0x{byte:02x}" for byte in data)
    yield b32encode(data).decode()[: len(data) * 8 // 5]
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            whole = encode(bytes(before) + data).decode()
            # Only what no neighbour has a bit in: the same wherever the secret stands.
            piece = whole[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
            if len(piece) >= _LEAST_PIECE:
                yield piece


_VALUE = r"[^\s'\",;)}\]]"
#: Not a secret although it stands where one would.
_NONE = (
    r"(?!(?:[Nn]one|null|true|false|True|False|[Uu]nset|\*+|\$|<|\[|\{"
    r"|[A-Z][A-Z_]{0,40}(?![\w-])|[\w.]{1,60}\())"
)
_NAMES = (
    "(?:[Pp]assword|PASSWORD|[Pp]asswd|PASSWD|MYSQL_PWD|PGPASS|[Ss]ecret(?:[_-]?[Kk]ey)?|SECRET(?:_KEY)?"
    "|(?:[Aa]pi|[Aa]ccess|[Pp]rivate)[_-]?[Kk]ey|(?:API|ACCESS)_KEY"
    "|(?:[Hh]f|[Aa]uth|[Aa]ccess|[Rr]efresh|[Ss]ession|[Bb]earer)[_-]?[Tt]oken|TOKEN)"
)
#: (words of which one is in every match, the match: what is kept as group 1, then the secret). A pattern is
#: only tried where its word occurs: a flood of output passes ten times as fast. No match spans two lines,
#: and none looks at a character more than a few times, whatever it is fed with.
Shapes = tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]
_TOKENS: Shapes = tuple(
    (words, re.compile(pattern))
    for words, pattern in (
        (("hf_",), r"((?<![A-Za-z0-9_.]))hf_[A-Za-z0-9]{16,}"),
        (("sk-",), r"((?<![A-Za-z0-9]))sk-[A-Za-z0-9_-]{16,}"),
        (("nvapi-",), r"()nvapi-[A-Za-z0-9_-]{16,}"),
        (("glpat-",), r"()glpat-[A-Za-z0-9_-]{16,}"),
        (("github_pat_",), r"()github_pat_[A-Za-z0-9_]{20,}"),
        (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"()gh[pousr]_[A-Za-z0-9]{20,}"),
        (("xox",), r"((?<![A-Za-z0-9]))xox[abeoprs]-[A-Za-z0-9-]{10,}"),
        (("AKIA", "ASIA"), r"((?<![A-Z0-9]))A[KS]IA[A-Z0-9]{16}(?![A-Z0-9])"),
    )
)
_NAMED: Shapes = tuple(
    (words, re.compile(pattern))
    for words, pattern in (
        (("AIza",), r"((?<![\w-]))AIza[\w-]{35}"),
        (("eyJ",), r"((?<![\w.-]))eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
        (("earer ",), r"([Bb]earer )(?=\S{0,60}\d)[A-Za-z0-9._~+/-]{8,}=*"),
        (
            ("uthorization", "UTHORIZATION"),
            r"((?:[Pp]roxy-)?(?:[Aa]uthorization|AUTHORIZATION)['\"]? ?[:=] ?['\"]?"
            rf"(?:(?:[Bb]earer|[Bb]asic|[Tt]oken|[Dd]igest|[Aa]pi[Kk]ey) )?){_NONE}{_VALUE}{{8,}}",
        ),
        (
            ("-api-key", "-Api-Key", "-API-Key", "-API-KEY"),
            rf"([Xx]-(?i:api-key)['\"]?: ?['\"]?){_VALUE}{{6,}}",
        ),
        (
            ("-key", "_key", "-token", "_token", "--password", "--token"),
            r"(--(?:(?:api|hf|auth|access|secret)[-_](?:key|token)|password|token)(?:=| )['\"]?)"
            rf"{_NONE}(?!-)[^\s'\"]+",
        ),
        (("PASSWORD=",), rf"(PASSWORD=['\"]?){_NONE}[^\s'\"]+"),
        (("@",), r"((?<=://))[^\s/:@]+:[^\s/]+(?=@)"),
        (
            ("assw", "ASSW", "PWD", "PGPASS", "ecret", "SECRET", "ey", "KEY", "oken", "TOKEN"),
            rf"({_NAMES}['\"]?=\[?['\"]?){_NONE}{_VALUE}{{6,}}",
        ),
        (
            ("assw", "ASSW", "PWD", "PGPASS", "ecret", "SECRET", "ey", "KEY", "oken", "TOKEN"),
            rf"({_NAMES}['\"]?: ?\[?['\"]?){_NONE}(?={_VALUE}{{0,60}}\d){_VALUE}{{8,}}",
        ),
    )
)
SHAPES: Shapes = _TOKENS + _NAMED

# --- in a value that a person wrote -------------------------------------------------------------------

#: What tokens of the usual services look like: longer than in output,
#: where a word too much is taken out.
_TOKEN = re.compile(
    r"(?:\b|_)(?:hf_[A-Za-z0-9]{20}|sk-[\w-]{20}|gh[pousr]_\w{20}|github_pat_\w{20}|glpat-[\w-]{20}"
    r"|xox[abeoprs]-[\w-]{10}|nvapi-[\w-]{20}|A[KS]IA[A-Z0-9]{16})"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY")
_WITH_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]{0,19}://[^/?#\s@:]{0,200}:[^/?#\s@]{1,200}@", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[: ]?){12,}")
#: How often a reading is read again: an escape in an escape, base64 of JSON.
_DEPTH = 3
#: A longer value is no token, and costs time.
_LONGEST = 16384


def holds_token(read: Iterable[str]) -> bool:
    """Whether one of the readings has what looks like a token, a key or a named password."""
    return any(
        _TOKEN.search(one) or _PRIVATE_KEY.search(one) or any(shape.search(one) for _, shape in _NAMED)
        for one in read
    )


def holds_password(read: Iterable[str]) -> bool:
    """Whether one of the readings has an address with a password."""
    return any(_WITH_PASSWORD.search(one) for one in read)


def readings(text: str) -> set[str]:
    """``text``, and what it is without invisible characters, quotes, escapes, base64 or hexadecimal."""
    last = {text[:_LONGEST]}
    found = set(last)
    for _ in range(_DEPTH):
        last = {other for one in last for other in _undone(one)} - found
        found |= last
    return found


def _undone(text: str) -> Iterator[str]:
    yield "".join(character for character in text if character.isprintable())
    yield unescaped(text)
    yield re.sub(r"[\\'\"`^]", "", text)
    for run in _BASE64.findall(text):
        for begin in range(min(4, len(run))):
            yield from _decoded(run[begin:])
    for run in _HEX.findall(text):
        yield from _words(bytes.fromhex(re.sub("[: ]", "", run)))


def _decoded(run: str) -> Iterator[str]:
    plain = run.replace("-", "+").replace("_", "/")
    yield from _words(b64decode(plain + "A" * (-len(plain) % 4)))  # its padding is often left out


def _words(data: bytes) -> Iterator[str]:
    """What was encoded, as text, and as ASCII in UTF-16; what was none has no token in it."""
    yield from (data.decode("latin-1"), data[::2].decode("latin-1"), data[1::2].decode("latin-1"))
