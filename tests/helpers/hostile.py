"""Recordings as an ill-meaning or broken machine would make them: texts that act, events that lie, bad files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Clipboard, title, colours, C1, bidi, invisible, tags, line separators, workflow commands, markup, markdown.
EVIL = (
    "\x1b]52;c;cm0gLXJmIH4=\x07\x1b]0;owned\x07\x1b[31m\x9b31m\x9d52;c;eA==\x9c\x00\x07\x08\x7f"
    "\u202egpj\u061c\u2066\u200b\u2060\u2064\u00ad\u3164\ufe0f\U000e0041\u2028\u2029\ufeff\ufffe"
    "\n::stop-commands::x\n::add-mask::a\n##[error]pwn ##vso[task.complete]\nPASSED serve (0.0 s): all is well\r\n"
    "<script>alert(1)</script><img src=x onerror=alert(1)> ]]> -->\n# head\n`x` | a | [l](javascript:alert(1)) "
    "![i](http://evil/x.png) https://evil.example &lt; $x$"
)
Edit = Callable[[Path], None]


def texts(folder: Path, evil: str = EVIL) -> None:
    """Every text of the walk that is free gets the evil one: titles, notes, found, meta, outputs."""
    free = {
        "title",
        "summary",
        "found",
        "wanted",
        "hint",
        "detail",
        "show",
        "what",
        "text",
        "note",
        "machine",
    }
    free |= {"recorded", "milepost", "provenance", "author", "why", "label", "real", "expected", "name"}

    def spoiled(value: Any, key: str = "") -> Any:
        if key == "cluster":
            return value  # one that is no cluster file's is refused before anything is shown
        if isinstance(value, dict):
            return {k: spoiled(v, k) for k, v in value.items()}
        if isinstance(value, list):
            if key == "steps":
                return [[step, title + evil] for step, title in value]
            return [spoiled(v, key) for v in value]
        return value + evil if isinstance(value, str) and key in free else value

    _events(folder, lambda events: [spoiled(e) if e["event"] != "command-started" else e for e in events])
    meta = folder / "meta.json"
    meta.write_text(json.dumps(spoiled(json.loads(meta.read_text()))))
    (folder / "notes.jsonl").write_text(json.dumps({"step": "reach", "text": evil}) + "\n")


def _events(folder: Path, change: Callable[[list[Any]], list[Any]]) -> None:
    path = folder / "events.jsonl"
    events = change([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def field(event: str, name: str, value: Any) -> Edit:
    """One field of the first event of a kind gets another value."""

    def change(events: list[Any]) -> list[Any]:
        for item in events:
            if item["event"] == event:
                item[name] = value
                break
        return events

    return lambda folder: _events(folder, change)


def many_checks(folder: Path) -> None:
    def change(events: list[Any]) -> list[Any]:
        verdict = next(event["verdict"] for event in events if event["event"] == "judged")
        verdict["checks"] *= 30_001
        return events

    _events(folder, change)


def drop(event: str) -> Edit:
    return lambda folder: _events(folder, lambda events: [e for e in events if e["event"] != event])


def twice(event: str) -> Edit:
    return lambda folder: _events(
        folder, lambda events: [e for item in events for e in [item] * (1 + (item["event"] == event))]
    )


def replaced(name: str, how: str) -> Edit:
    """A file or folder of the walk becomes a link, a pipe, a device, a folder or nothing."""

    def change(folder: Path) -> None:
        path = folder / name
        kept = folder.parent / f"kept-{name.replace('/', '-')}"
        if path.is_dir():
            shutil.copytree(path, kept)
            shutil.rmtree(path)
        elif path.exists():
            shutil.copy(path, kept)
            path.unlink()
        if how == "link":
            path.symlink_to(kept)
        elif how == "pipe":
            os.mkfifo(path)
        elif how == "device":
            path.symlink_to("/dev/zero")
        elif how == "folder":
            path.mkdir()

    return change


def raw(name: str, data: bytes) -> Edit:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return change


def cluster(change: Callable[[dict[str, Any]], object]) -> Edit:
    def edit(events: list[Any]) -> list[Any]:
        change(events[0]["cluster"])
        return events

    return lambda folder: _events(folder, edit)


DEEP = b"[" * 100_000
NAMED: dict[str, Edit] = {
    "texts": texts,
    "no run": field("output", "run", 999_999),
    "negative run": field("command-started", "run", -1),
    "huge run": field("command-started", "run", 2**63),
    "end far": field("output", "end", 2**62),
    "start far": field("output", "start", 2**70),
    "start negative": field("output", "start", -5),
    "start after end": field("output", "start", 10**6),
    "time far": field("output", "t", 1e308),
    "time negative": field("step-started", "t", -1e9),
    "attempt far": field("judged", "attempt", 2**62),
    "step unknown": field("step-started", "step", "nope"),
    "judged unknown": field("judged", "step", "\x1b]52;c;eA==\x07"),
    "spool leaves": field("command-started", "spool", "../../../etc/passwd"),
    "spool of another": field("command-started", "spool", "a.reach.whoami.log"),
    "node evil": field("command-started", "node", "::error::\x1b[2J\n"),
    "no begin": drop("walk-started"),
    "two begins": twice("walk-started"),
    "outputs twice": twice("output"),
    "commands twice": twice("command-started"),
    "no verdicts": drop("judged"),
    "no ends": drop("command-ended"),
    "steps empty": field("walk-started", "steps", []),
    "steps alike": field("walk-started", "steps", [["reach", "a"]] * 50),
    "facts deep": field("walk-started", "cluster", json.loads("[" * 200 + "]" * 200)),
    "no head": cluster(lambda c: [n.update(role="worker") for n in c["nodes"]]),
    "two heads": cluster(lambda c: [n.update(role="head") for n in c["nodes"]]),
    "no nodes": cluster(lambda c: c.update(nodes=[])),
    "no cluster": cluster(lambda c: c.clear()),
    "nodes alike": cluster(lambda c: [n.update(name="a") for n in c["nodes"]]),
    "host no word": cluster(lambda c: c["nodes"][0].update(host=7)),
    "deep events": raw("events.jsonl", DEEP),
    "deep meta": raw("meta.json", DEEP),
    "deep notes": raw("notes.jsonl", DEEP),
    "nul events": raw("events.jsonl", b"\0" * 1000),
    "not utf-8": raw("events.jsonl", b"\xff\xfe{}\n{}\n"),
    "nan": raw("meta.json", b'{"schema": NaN}'),
    "schema far": raw("meta.json", b'{"schema": 1e30}'),
    "schema negative": raw("meta.json", b'{"schema": -1}'),
    "empty": raw("events.jsonl", b""),
    "checks many": many_checks,
    "sparse": lambda folder: os.truncate(folder / "events.jsonl", 1 << 42),
    **{
        f"{name} {how}": replaced(name, how)
        for name in ("events.jsonl", "meta.json", "notes.jsonl", "out", "evidence")
        for how in ("link", "pipe", "device", "folder", "gone")
    },
}
