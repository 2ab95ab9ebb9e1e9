"""`milepost export`: asciicast v3, HTML, Markdown, SVG, a shell script that runs."""

from __future__ import annotations

import html.parser
import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from tests.helpers import asciicast
from tests.helpers.walk_maker import make, settled_plan, steps
from tui.cli.main import main
from wizard_steps.engine.decide import Answer
from wizard_steps.recording import journal as walks
from wizard_steps.recording import notes
from wizard_steps.walks.export_html import PAGE
from wizard_steps.walks.story import story

__all__ = ["settled_plan"]

EVIL = "<script>alert(1)</script> ``` | $(touch pwned) `touch pwned`"


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk that failed once and was mended, ended at a shut gate, and printed things it should not."""
    folder = tmp_path_factory.mktemp("export") / "walk"
    cases = {"smi": ("one-gpu-lost", "eight-and-eight"), "serve": "too-many-gpus"}
    make(folder, cases, (Answer("retry"),), swap=(("Ubuntu 24.04.2 LTS", f"Ubuntu 24.04.2 LTS {EVIL}"),))
    notes.append(folder, notes.now("serve", f"the lesson {EVIL}"))
    notes.append(folder, notes.now("serve", "what would you try?", kind="ask"))
    return folder


def export(walk: Path, form: str, file: Path, *more: str, code: int = 0) -> str:
    assert main(["export", str(walk), "--to", form, "-o", str(file), *more]) == code
    return file.read_text() if file.is_file() else ""


def test_the_story_tells_attempts_polls_and_answers(walk: Path) -> None:
    chapters = story(walks.load(walk))
    assert [(c.number, c.step, c.attempt, c.status) for c in chapters if c.step in ("smi", "serve")] == [
        (steps().index("smi") + 1, "smi", 1, "failed"),
        (steps().index("smi") + 1, "smi", 2, "passed"),
        (steps().index("serve") + 1, "serve", 1, "failed"),
    ]
    first = next(c for c in chapters if c.step == "smi")
    assert first.answer == "retry"
    polled = next(s for c in chapters if c.step == "ray_status" for s in c.shots if s.key == "status")
    assert polled.uses > 5
    assert polled.seconds >= 45
    assert "Active:" in polled.output


def test_asciicast(walk: Path, tmp_path: Path) -> None:
    header, events = asciicast.read(export(walk, "asciicast", tmp_path / "w.cast"))
    recorded = walks.load(walk)
    assert header["timestamp"] > 1_700_000_000
    markers = [data for _, code, data in events if code == "m"]
    assert markers == [c.heading for c in story(recorded)]
    assert events[-1][1:] == ("x", "1")
    assert sum(wait for wait, _, _ in events) == pytest.approx(recorded.events[-1].t, abs=0.01)
    printed = "".join(data for _, code, data in events if code == "o")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    assert "FAILED serve" in plain
    assert "note: the lesson" in plain
    assert "\n" not in plain.replace("\r\n", "")


class Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._raw = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.words.append(data)


def test_html_is_one_file_that_needs_nothing_else(walk: Path, tmp_path: Path) -> None:
    text = export(walk, "html", tmp_path / "w.html")
    page = Page()
    page.feed(text)
    for tag, attrs in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")
        assert not [name for name in attrs if name.startswith("on")]
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "url(" not in text


def test_html_shows_the_walk_and_escapes_what_hosts_printed(walk: Path, tmp_path: Path) -> None:
    text = export(walk, "html", tmp_path / "w.html")
    page = Page()
    page.feed(text)
    words = "".join(page.words)
    assert EVIL in words
    assert "<script>alert" not in text
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    ids = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert links == [f"#{name}" for name in ids]
    assert [name for name in ids if "smi" in name] == ["smi-1", "smi-2"]
    for said in ("RECORDED", "what would you try?", "Ray cannot place", "full output", "At the gate: "):
        assert said in words


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to parse the script")
def test_the_script_of_the_page_is_valid() -> None:
    subprocess.run(["node", "--check", str(PAGE / "walk.js")], check=True)


def test_markdown(walk: Path, tmp_path: Path) -> None:
    text = export(walk, "markdown", tmp_path / "w.md")
    assert text.count("\n## ") == len(story(walks.load(walk)))
    assert "❌ failed" in text
    assert "**Question:** what would you try?" in text
    # What a host printed stays inside a fence longer than its own backticks, or loses its markup.
    fences = re.findall(r"^(`{3,})(?:sh|text)\n(.*?)\n\1$", text, re.M | re.S)
    assert any(EVIL in body and len(fence) > 3 for fence, body in fences)
    outside = re.sub(r"^(`{3,})(?:sh|text)\n.*?\n\1$", "", text, flags=re.M | re.S)
    assert "<script>" not in outside
    assert "the lesson \\<script\\>" in outside


def test_svg(walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(walk, "svg", tmp_path / "pictures")
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    walked = steps()[: steps().index("serve") + 1]
    wanted = [f"{n:02d}-{step}.svg" for n, step in enumerate(walked, 1)]
    assert names == sorted([*wanted, f"{steps().index('smi') + 1:02d}-smi-2.svg"])
    text = export(walk, "svg", tmp_path / "serve.svg", "--step", "serve")
    drawn = "".join(Xml.fromstring(text).itertext()).replace("\xa0", " ")
    for said in ("RECORDED", "vllm serve", "failed", "Ray cannot place", "the lesson"):
        assert said in drawn
    assert text == export(walk, "svg", tmp_path / "again.svg", "--step", "serve")
    assert main(["export", str(walk), "--to", "svg"]) == 2
    export(walk, "svg", tmp_path / "x", "--step", "nosuch", code=2)
    export(walk, "svg", tmp_path / "x", "--kept", code=2)


SSH = """#!/bin/sh
[ "$1" = -- ] || exit 9
echo "to:$2 stdin:$(cat)" >> "$LOG"
printf '%s\\n' "$3" >> "$LOG"
"""


def test_the_shell_script_sends_what_ran_to_where_it_ran(walk: Path, tmp_path: Path) -> None:
    file = tmp_path / "w.sh"
    text = export(walk, "sh", file)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "ssh").write_text(SSH)
    (bin_ / "ssh").chmod(0o755)
    (tmp_path / "secrets").write_text("HF_TOKEN=x")
    env = {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "SECRETS": str(tmp_path / "secrets"),
    }
    done = subprocess.run(["sh", str(file)], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "log").read_text()
    assert not (tmp_path / "pwned").exists()
    assert "to:gpu-a stdin:HF_TOKEN=x" in log
    chapters = {c.step: c for c in story(walks.load(walk))}
    ran = [
        s
        for c in chapters.values()
        for s in c.shots
        if (not s.quiet or s.mutates) and s.reason != "stopped" and s.node != "wizard"
    ]
    assert len(re.findall(r"^to:", log, re.M)) == len(ran)
    for shot in ran:
        assert shot.text.strip() in log
    assert "# repeated" in text
    assert "the lesson" in text


def test_a_command_cannot_break_out_of_the_script(tmp_path: Path) -> None:
    """A stranger's recording: a node's name and a command with quotes and line ends in them."""
    make(tmp_path / "w")
    events = tmp_path / "w" / "events.jsonl"
    evil = "x\\n touch pwned\\n#'; touch pwned; '"
    events.write_text(events.read_text().replace('"gpu-a"', f'"{evil}"').replace("nvidia-smi", evil))
    text = export(tmp_path / "w", "sh", tmp_path / "w.sh")
    assert "touch pwned" in text
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "ssh").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "w.sh"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "yntax" not in done.stderr
    assert not (tmp_path / "pwned").exists()


def test_a_walk_with_a_secret_is_not_exported(
    walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "24.04.2 LTS")
    for form in ("asciicast", "html", "markdown", "svg", "sh"):
        export(walk, form, tmp_path / "x", code=2)
    assert not (tmp_path / "x").exists()
    assert "24.04.2 LTS" not in capsys.readouterr().err
