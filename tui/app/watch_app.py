"""`milepost --watch WALK`: the wizard's own screen, showing a recording."""

from __future__ import annotations

from pathlib import Path

from tui.app.app import MilepostApp
from tui.app.life import Life
from tui.app.log import LogStore
from tui.app.phase import PhaseWatch
from tui.app.session import WalkSession
from tui.screens.watch_screen import WatchScreen
from wizard_steps.recording.journal import load
from wizard_steps.walks.shipped import FOLDER, find
from wizard_steps.walks.watching import Playback


class WatchLife(Life):
    """Nothing was started, so nothing is left behind to tell of."""

    def _last_words(self) -> str:
        return "That was a recording; nothing was run."


class WatchApp(MilepostApp):
    """Plays ``playback``. Keys of a gate do nothing: the recording has the answers."""

    CSS_PATH = str(Path(__file__).with_name("wizard.tcss"))

    def __init__(self, playback: Playback, lesson: bool = False, card: bool = False) -> None:
        """``lesson``: with the prose open, and a pause at every milestone that has a note. ``card``: what is
        recorded is said before it plays."""
        super().__init__(playback, None, linger=0.0)
        self.playback = playback
        playback.pausing = lesson
        playback.rewound = self._rewound
        if card:
            playback.player.toggle()
        self._walk_screen = WatchScreen(lesson, card)
        self._life = WatchLife(self, playback, False, None, self._no_engine, None)

    def on_ready(self) -> None:
        if number := self.playback.unread:
            what = "1 change" if number == 1 else f"{number} changes"
            self.notify(
                f"{what} of the cluster file in this recording cannot be read by this milepost; "
                "the values from before are shown.",
                severity="warning",
                markup=False,
                timeout=20,
            )

    @staticmethod
    def _no_engine(*_: object) -> Playback:
        raise RuntimeError("a recording needs no engine of its own")

    def _rewound(self) -> None:
        """The walk starts anew: what the screen has gathered of it is forgotten."""
        session = self.session
        if session is None:
            return
        session.logs = LogStore(session.spool)
        session.phases = PhaseWatch(session.spool)
        session.findings.clear()
        session.notices.clear()
        self._drop_pictures(session)
        self._walk_screen.pinned = ""

    def _take_picture(self, session: WalkSession, now: float) -> None:
        """A recording has its pictures; none is taken."""
        self._drop_pictures(session)

    def _drop_pictures(self, session: WalkSession) -> None:
        while session.evidence.held:
            session.evidence.drop()

    def action_ask_quit(self) -> None:
        self.leave()

    def action_debugging(self) -> None:
        self.notify("This is a recording: nothing is started.", markup=False)


def run_watch(folder: Path) -> int:
    """Play a walk on the terminal. Exit status 0 when the person leaves. Raises WalkError, DriftError."""
    code = WatchApp(Playback(load(find(folder))), card=True).start()
    return 0 if code == 130 else code


def run_lesson(name: str) -> bool:
    """Play a shipped walk, whatever the current folder has of that name; whether its last verdict was shown.

    Raises WalkError, DriftError.
    """
    playback = Playback(load(FOLDER / name))
    WatchApp(playback, lesson=True).start()
    return playback.watched
