"""The walk's screen with a player below it: what is played, the author's notes, and what would you try?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app.session import WalkSession
from tui.app.text import cut, duration, safe, safe_block
from tui.screens.dialog import Dialog
from tui.screens.walk import WalkScreen
from tui.screens.watch_card import WatchAnswer, WatchCard
from tui.widgets.bars import Bar, ProgressLine
from tui.widgets.panes import InfoPanel
from wizard_steps.walks.watching import Playback

if TYPE_CHECKING:
    from tui.app.watch_app import WatchApp

_KEYS = (
    ("Space", "play, pause"),
    (", .", "milestones"),
    ("- +", "speed"),
    ("J", "jump"),
    ("s", "steps"),
)
#: Notes may take this many lines, more on the step's own page of an export.
_NOTE_LINES = 5


class PlayerBar(Bar):
    """Playing or paused, how fast, where, and from when and on what the recording is."""

    DEFAULT_CSS = "PlayerBar { height: 2; padding: 0 1; background: $panel; }"

    def show(self, playback: Playback) -> None:
        player, meta = playback.player, playback.walk.meta
        state = "? YOUR TURN" if player.question else "❚❚ PAUSED" if player.paused else "▶ PLAYING"
        over = playback.told >= len(playback.walk.events)
        done = sum(n < playback.told for n in playback.milestones)
        values = (
            "■ THE END" if over and not player.question else state,
            f"{player.speed:g}x",
            f"{duration(player.at)} of {duration(player.timeline.length)}",
            f"milestone {done} of {len(playback.milestones)}",
            f"RECORDED {meta.recorded[:16].replace('T', ' ')}",
            f" on {safe(meta.machine)}",
        )
        if self.changed(values):
            self._values = values

    def render(self) -> Text:
        text = Text(no_wrap=True)
        if self._said is None:
            return text
        state, speed, place, milestone, source, machine = self._values
        room = max(0, self.size.width)
        self.add(text, f"{state} ", "accent")
        self.add(text, cut(f"{speed}  {place}  {milestone}  ", max(0, room - text.cell_len)))
        self.add(text, cut(source, max(0, room - text.cell_len)), "strong")
        self.add(text, cut(machine, max(0, room - text.cell_len)), "quiet")
        text.append("\n")
        keys = Text(no_wrap=True)
        for key, what in _KEYS:
            if keys.cell_len + len(key) + len(what) + 4 <= room:
                self.add(keys, f"{key} ", "key")
                self.add(keys, f"{what}   ", "quiet")
        return text.append_text(keys)


class NotePanel(Static):
    """The author's notes beside the step on show; the question while one waits."""

    DEFAULT_CSS = """
    NotePanel { height: auto; max-height: 7; padding: 0 1; display: none; border-top: solid $accent; }
    NotePanel.-ask { border-top: heavy $warning; }
    """

    def __init__(self) -> None:
        super().__init__(id="notes", markup=False)
        self._said = ""

    def say(self, text: str, asking: bool) -> None:
        said = f"{asking}{text}"
        if said == self._said:
            return
        self._said = said
        self.display = bool(text)
        self.set_class(asking, "-ask")
        self.update(text)


class JumpScreen(Dialog[int]):
    """A list of the attempts at milestones; the answer is the place in the list."""

    heading = "Jump to a milestone"

    def __init__(self, titles: list[str], present: int) -> None:
        super().__init__()
        self._titles = titles
        self._present = present

    def body(self) -> ComposeResult:
        yield OptionList(*(Option(Text(safe(title))) for title in self._titles), id="jump")
        yield Static("Enter goes there; Esc stays here", id="dialog-hint", markup=False)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = max(0, self._present)
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option_index)


class WatchScreen(WalkScreen):
    """All panes of a walk, and the player."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", "Play, pause", show=False, priority=True),
        Binding("enter", "answer", "Show the answer", show=False),
        Binding("full_stop", "milestone(1)", "Next", show=False),
        Binding("comma", "milestone(-1)", "Before", show=False),
        Binding("plus,equals_sign", "faster(1)", "Faster", show=False),
        Binding("minus", "faster(-1)", "Slower", show=False),
        Binding("J", "jump", "Jump", show=False),
        Binding("m", "note", "Note", show=False),
        Binding("s", "steps", "Steps", show=False),
    ]
    NO_NOTE = "This is being played, not recorded: `milepost edit WALK --note STEP TEXT` adds a note."

    def __init__(self, lesson: bool = False, card: bool = False) -> None:
        """``card``: what is recorded is said first, and nothing plays meanwhile."""
        super().__init__()
        self._lesson = lesson
        self._card = card

    def on_mount(self) -> None:
        if self._lesson:
            self.action_info()
        if self._card:
            self.app.push_screen(WatchCard(self.playback), self._begin)

    def _begin(self, answer: WatchAnswer | None) -> None:
        if answer == "step":
            self.action_steps()
        self.playback.player.toggle()

    def action_steps(self) -> None:
        """Stop after every milestone from now on, with the prose beside it; or no longer."""
        playback = self.playback
        playback.stepping = not playback.stepping
        info = self.query_one(InfoPanel)
        if playback.stepping and not info.display:
            self.action_info()
        words = "It stops after each milestone; Space goes on." if playback.stepping else "It plays on."
        self.app.notify(words, title="Step by step", markup=False, timeout=4)

    @property
    def playback(self) -> Playback:
        return cast("WatchApp", self.app).playback

    def compose(self) -> ComposeResult:
        for widget in super().compose():
            if isinstance(widget, ProgressLine):
                yield NotePanel()
                yield PlayerBar(id="player")
            yield widget

    def tick(self, session: WalkSession) -> None:
        super().tick(session)
        # On the way out a last frame finds the screen mounted and its parts gone.
        if not self.is_mounted or not self.query(PlayerBar) or not self.query(NotePanel):
            return
        self.query_one(PlayerBar).show(self.playback)
        question = self.playback.player.question
        text = f"{safe_block(question)}\nSpace shows what the gate says." if question else self._notes()
        self.query_one(NotePanel).say(text, bool(question))

    def _notes(self) -> str:
        shown = self.shown
        if not shown or not self.state.steps:
            return ""
        step = self.state.step(shown)
        if step.verdict is None and self.playback.answers(shown, step.attempt):
            return ""
        notes = self.playback.notes(shown, step.attempt)
        lines = [line for note in notes for line in safe_block(note).splitlines()]
        if self._lesson and self.playback.told >= len(self.playback.walk.events):
            lines.append("The recording is over: q goes back to the lesson.")
        return "\n".join(lines[:_NOTE_LINES])

    def action_play(self) -> None:
        self.playback.player.toggle()
        self.redraw()

    def action_answer(self) -> None:
        if self.playback.player.question:
            self.playback.player.answer()

    def action_milestone(self, by: int) -> None:
        self.pinned = ""
        self.playback.move(by)

    def action_faster(self, by: int) -> None:
        self.playback.player.faster(by)
        self.redraw()

    def action_jump(self) -> None:
        playback = self.playback
        present = sum(n < playback.told for n in playback.milestones) - 1
        self.app.push_screen(JumpScreen(playback.titles(), present), self._jumped)

    def _jumped(self, number: int | None) -> None:
        if number is not None:
            self.pinned = ""
            self.playback.jump(number)
