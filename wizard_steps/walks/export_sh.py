"""The commands of a recording as a shell script, for people who want to leave the wizard."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from wizard_steps.recording import events as ev
from wizard_steps.recording.journal import Walk
from wizard_steps.walks.story import Chapter, Shot, about, story

_HEAD = """\
#!/bin/sh
# {title}
{about}
#
# What ran on which node, in order; each block is what the wizard ran, not a shortened form. It goes on to the
# next command whatever the one before did: read it, take what you need, or run it as a whole. The judging is
# yours. Secrets are in none of these lines. What a server needs (HF_TOKEN, ...) is read from the file that
# SECRETS names, one NAME=value a line, and handed over on standard input.

on() {{ # on HOST COMMAND: run it there. `ON=local` runs everything on this machine.
    printf '\\n== %s\\n' "$1" >&2
    if [ "${{ON:-}}" = local ] || [ "$1" = localhost ]; then sh -c "$2" < "${{SECRETS:-/dev/null}}"
    else ssh -- "$1" "$2" < "${{SECRETS:-/dev/null}}"; fi
}}
"""


def script(walk: Walk) -> str:
    """POSIX sh. Only the last attempt at each milestone is in it, and only commands a person needs."""
    hosts = _hosts(walk)
    lines = [f"# {name}: {_comment(value)}" for name, value in about(walk)]
    title = _comment(f"The commands of {walk.meta.title or walk.folder.name}")
    parts = [_HEAD.format(title=title, about="\n".join(lines))]
    latest: dict[str, Chapter] = {chapter.step: chapter for chapter in story(walk)}
    for chapter in sorted(latest.values(), key=lambda c: c.number):
        parts.append("\n".join(_chapter(chapter, hosts)))
    return "\n".join(parts)


def _hosts(walk: Walk) -> Mapping[str, str]:
    first = walk.events[0]
    nodes: Any = first.cluster.get("nodes", ()) if isinstance(first, ev.WalkStarted) else ()
    found = {"wizard": "localhost"}
    for node in nodes:
        user = f"{node['user']}@" if node.get("user") else ""
        where = user + str(node["host"])
        found[str(node.get("name") or node["host"])] = (
            f"ssh://{where}:{node['port']}" if node.get("port") else where
        )
    return found


def _chapter(chapter: Chapter, hosts: Mapping[str, str]) -> Iterator[str]:
    said = chapter.verdict.summary if chapter.verdict else "not judged"
    yield f"\n# ---- {chapter.number}. {_comment(chapter.title)}: {chapter.status}: {_comment(said)}"
    for note in chapter.notes:
        yield f"# note: {_comment(note)}"
    for shot in chapter.shots:
        if not shot.quiet or shot.mutates:
            yield from _shot(shot, hosts)


def _shot(shot: Shot, hosts: Mapping[str, str]) -> Iterator[str]:
    yield f"\n# {_comment(shot.node)}: {_comment(shot.command)}"
    if shot.uses > 1:
        yield f"# repeated {shot.uses} times over {shot.seconds:.0f} s until it showed what was waited for"
    if shot.ending:
        yield f"# then: {_comment(shot.ending)}"
    where = shlex.quote(hosts.get(shot.node, shot.node))
    if shot.reason == "stopped":
        yield "# It follows a log and does not end by itself: run it in a terminal of its own."
        yield from (f"# {line}" for line in f"on {where} {shlex.quote(shot.text)}".splitlines())
        return
    yield f"on {where} {shlex.quote(shot.text.strip())}"


def _comment(text: str) -> str:
    """On one line: nothing of a recording may end a comment."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())
