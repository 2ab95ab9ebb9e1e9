"""Every word on the screen can be read in both themes: the contrast of WCAG 2 (AA, 4.5 to 1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.segment import Segment
from textual.app import App
from textual.pilot import Pilot
from textual.screen import ModalScreen

from tests.helpers.tui_fakes import WriteExpected, still, toy_expected
from tests.tui.test_snapshots import colours, gate, make, question
from tui.app.app import MilepostApp
from tui.app.themes import BASIC, DARK, LIGHT

__all__ = ["colours", "toy_expected"]
READABLE = 4.5
Colour = tuple[float, ...]


def luminance(colour: Colour) -> float:
    parts = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def words(app: App[Any]) -> Iterator[Segment]:
    """What is written on the screen, or in the dialog in front of it."""
    front = (
        app.screen.query_one("#dialog").region if isinstance(app.screen, ModalScreen) else app.screen.region
    )
    for y, strip in enumerate(app.screen._compositor.render_strips()):
        if front.y <= y < front.bottom:
            found = strip.crop(front.x, front.right)
            yield from (segment for segment in found if any(c.isalnum() for c in segment.text))


def unreadable(app: App[Any]) -> list[tuple[float, str]]:
    found = []
    for text, style, _ in words(app):
        assert style is not None
        assert style.color is not None
        assert style.bgcolor is not None
        ink: Colour = style.color.get_truecolor()
        paper: Colour = style.bgcolor.get_truecolor()
        if style.dim:
            ink = tuple((a + b) / 2 for a, b in zip(ink, paper, strict=True))
        if (ratio := contrast(ink, paper)) < READABLE:
            found.append((round(ratio, 2), text.strip()))
    return found


async def look(pilot: Pilot[Any], *keys: str) -> None:
    """In both themes: in the present one, then in the other, which stays."""
    await pilot.press(*keys)
    for _ in range(2):
        await still(pilot)
        assert unreadable(pilot.app) == [], (keys, pilot.app.theme)
        pilot.app.theme = LIGHT.name if pilot.app.theme == DARK.name else DARK.name
    pilot.app.theme = LIGHT.name if pilot.app.theme == DARK.name else DARK.name


async def test_all_words_can_be_read(tmp_path: Path, toy_expected: WriteExpected) -> None:
    app: MilepostApp = make(tmp_path, toy_expected, simulated=True)
    async with app.run_test(size=(100, 30)) as pilot:
        await question(pilot)
        await look(pilot)
        await gate(pilot)
        await look(pilot)
        await look(pilot, "1", "i")
        await look(pilot, "i", "tab")
        await look(pilot, "slash", *"serve", "enter")
        for key in ("f1", "q", "m", "e", "f"):
            await look(pilot, key)
            await pilot.press("escape")


async def test_the_theme_is_ours_and_others_can_be_chosen(
    tmp_path: Path, toy_expected: WriteExpected
) -> None:
    app = make(tmp_path, toy_expected)
    async with app.run_test(size=(80, 24)):
        assert {DARK.name, LIGHT.name, BASIC.name, "textual-dark"} <= set(app.available_themes)
