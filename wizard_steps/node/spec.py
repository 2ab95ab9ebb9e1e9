"""What a process was started with, kept beside its pid (or as a container's label), against today's wish.

One line of JSON: argv, the environment we set (never a secret, see ``Cmd.secrets``), the image
of a container, and ``of``: the starts it hangs on (ids with blanks between), e.g. that of the head that a
worker joined.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from msgspec import Struct, field


class Spec(Struct, frozen=True):
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    of: str = ""
    image: str = ""

    def line(self) -> str:
        """As it is kept: printable ASCII on one line."""
        plain = {"argv": self.argv, "env": dict(self.env), "of": self.of, "image": self.image}
        return json.dumps({name: value for name, value in plain.items() if value}, separators=(",", ":"))


def parse(text: str) -> Spec | None:
    """The spec in a line; None where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    argv, env = found.get("argv", []), found.get("env", {})
    if not isinstance(argv, list) or not isinstance(env, dict):
        return None
    names = {str(name): str(value) for name, value in env.items()}
    return Spec(tuple(map(str, argv)), names, str(found.get("of", "")), str(found.get("image", "")))


def differences(then: Spec, now: Spec) -> list[str]:
    """What differs, one entry each: ``NAME: then -> now``. Flags are compared one by one, in any order.

    An image that is known on one side only is no difference.
    """
    first = "image name: " if then.image or now.image else "program: "
    found = [one.replace("word 0: ", first, 1) for one in _changed(flags(then.argv), flags(now.argv))]
    found += _changed(then.env, now.env)
    if then.image and now.image and then.image != now.image:
        found.append(f"image: {then.image[:19]} -> {now.image[:19]}")
    return found


def stale(then: Spec, now: Spec) -> bool:
    """Whether it hangs on something that is gone: a head that was started anew since. What was started beside
    it later (a node that was added) takes nothing from it."""
    return bool(now.of) and not set(then.of.split()) <= set(now.of.split())


def _changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = list(dict.fromkeys([*then, *now]))
    return [
        f"{name}: {then.get(name, 'not set')} -> {now.get(name, 'not set')}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def flags(argv: Sequence[str]) -> dict[str, str]:
    """``--name=value`` and ``--name value`` as one; what comes twice keeps all its values."""
    found: dict[str, list[str]] = {}
    name, place = "", 0
    for word in argv:
        if word.startswith("-") and not is_number(word):
            name, equals, value = word.partition("=")
            found.setdefault(name, []).append(value if equals else "")
            name = "" if equals else name
        elif name:
            found[name][-1] = f"{found[name][-1]} {word}".strip()
        else:
            found[f"word {place}"] = [word]
            place += 1
    return {name: _said(values) for name, values in found.items()}


def _said(values: Sequence[str]) -> str:
    if any(values):
        return ", ".join(values)
    return "set" if len(values) == 1 else f"set {len(values)} times"


def is_number(word: str) -> bool:
    """Whether a word with a dash is a negative number, and no flag."""
    return word[1:].replace(".", "", 1).isdigit()
