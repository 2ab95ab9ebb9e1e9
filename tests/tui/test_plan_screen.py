"""The plan before a walk: what it says, that nothing runs before its key, and the pauses between milestones."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from rich.style import Style

from tests.helpers.tui_fakes import (
    Scripted,
    Toy,
    ToyWalk,
    WriteExpected,
    plain,
    toy_cluster,
    toy_expected,
    until,
)
from tui.app.app import MilepostApp
from tui.app.plan_view import machines, plan_text
from tui.cli import interactive
from tui.cli.main import main
from tui.screens.plan import PlanScreen, first_change
from tui.screens.setup import SetupScreen
from wizard_steps.cluster.file import Cluster, dump, parse
from wizard_steps.planning import plan

__all__ = ["toy_expected"]
FILE = """# two boxes
[[nodes]]
host = "root@gpu-a:2222"  # the first
role = "head"
gpus = 8
[[nodes]]
host = "gpu-b"
gpus = 8
[serve]
model = "meta-llama/Llama-3.1-70B-Instruct"
tensor_parallel = 8
pipeline_parallel = 2
"""


def page(text: str, commands: bool = False, width: int = 76) -> str:
    cluster = parse(text)
    return plan_text(plan(cluster), cluster, lambda _: Style(), width, commands).plain


def test_it_says_what_changes_on_which_machine() -> None:
    text = page(FILE)
    for words in (
        "TP 8 inside each machine, PP 2 across the 2 machines",
        "root@gpu-a:2222",
        "vLLM 0.33.0 and Ray 2.60.0 in /opt/vllm-venv: about 12 GB",
        "about 140 GB",
        "Ray head, vllm serve",
        "8000",
        "Ray worker",
    ):
        assert words in text.replace("\n               ", " ").replace("\n              ", " "), words
    assert "$ nvidia-smi" not in text
    assert "gpu-a, gpu-b $ nvidia-smi" in page(FILE, commands=True)


def test_a_port_in_a_range_is_not_listed_beside_it() -> None:
    found = dict(machines(plan(parse(FILE)), parse(FILE))[0].does)
    assert found["ports"].startswith("6379, 8000, 8265, 10002-19999, 29512")
    assert found["ports"].endswith("and random ones above 1023")
    alone = dict(machines(plan(parse(FILE + 'executor = "mp"\n')), parse(FILE + 'executor = "mp"\n'))[0].does)
    assert "10002, 19999" in alone["ports"]


@pytest.mark.parametrize("width", [60, 76, 116, 196])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    assert max(len(line) for line in page(FILE, True, width).splitlines()) <= width


def test_machines_that_do_the_same_are_one() -> None:
    more = "".join(f'[[nodes]]\nhost = "n{n}"\nname = "n{n}"\ngpus = 8\n' for n in range(60))
    cluster = parse(FILE + more)
    found = machines(plan(cluster), cluster)
    assert [len(machine.names) for machine in found] == [1, 61]
    assert ("SSH", "gpu-b … n59 (61 in all)") in found[1].does
    docker = parse('path = "docker"\n' + FILE.replace("# two boxes\n", ""))
    assert any("vllm/vllm-openai" in words for _, words in machines(plan(docker), docker)[0].does)


class Factory:
    """Makes a toy walk, and remembers the clusters it was asked for."""

    def __init__(self, tmp_path: Path, toy_expected: WriteExpected) -> None:
        for name in ("reach", "install", "serve"):
            toy_expected(name, name, f"{name} on {{{{node}}}}")
        self.plan = [Toy("reach", "Reach"), Toy("install", "Install", mutates=True), Toy("serve", "Serve")]
        self.transport = Scripted({})
        self.clusters: list[Cluster] = []
        self._folder = tmp_path / "walk"

    def __call__(self, cluster: Cluster, folder: Path | None) -> ToyWalk:
        self.clusters.append(cluster)
        return ToyWalk(self._folder, self.plan, self.transport, cluster)

    def app(self, path: Path) -> MilepostApp:
        return MilepostApp(None, path, engine_factory=self, linger=0.0, cluster=toy_cluster(), plan=True)


@pytest.fixture
def factory(tmp_path: Path, toy_expected: WriteExpected) -> Factory:
    return Factory(tmp_path, toy_expected)


def shows_plan(app: Any) -> bool:
    return isinstance(app.screen, PlanScreen) and "PLAN: nothing runs yet" in plain(app)


async def test_nothing_runs_before_the_key(tmp_path: Path, factory: Factory) -> None:
    app: Any = factory.app(tmp_path / "milepost.toml")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: shows_plan(app))
        assert (factory.clusters, factory.transport.ran, list(tmp_path.glob("walk*"))) == ([], [], [])
        await pilot.press("enter")
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")


async def test_step_by_step_and_on_without_pauses(tmp_path: Path, factory: Factory) -> None:
    app: Any = factory.app(tmp_path / "milepost.toml")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: shows_plan(app))
        await pilot.press("s")
        await until(pilot, lambda: "Paused before: Install  it changes the machines" in plain(app))
        ran = len(factory.transport.ran)
        await pilot.press("enter")
        await until(pilot, lambda: "Paused before: Serve" in plain(app))
        assert len(factory.transport.ran) > ran
        await pilot.press("s")
        await until(pilot, lambda: app.session.state.outcome == "passed")


async def test_check_only_pauses_before_the_first_change(tmp_path: Path, factory: Factory) -> None:
    app: Any = factory.app(tmp_path / "milepost.toml")
    assert first_change(toy_cluster()) == "install"
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: shows_plan(app))
        await pilot.press("c")
        await until(pilot, lambda: "Paused before: Install" in plain(app))
        assert app.session.state.step("install").attempt == 0
        await pilot.press("ctrl+c")
        app.simulate_key("ctrl+c")
        await until(None, lambda: app.return_value is not None)
    assert app.return_value == 130


async def test_save_only_leaves_with_0_and_edit_goes_to_the_form(tmp_path: Path, factory: Factory) -> None:
    path = tmp_path / "milepost.toml"
    path.write_text("# ours\n" + dump(toy_cluster()))
    app: Any = factory.app(path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: shows_plan(app))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))
        await pilot.pause()
        app.screen.query_one("#f-serve-port").value = "8111"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: shows_plan(app) and ":8111/v1" in plain(app))
        app.simulate_key("w")
        await until(None, lambda: app.return_value is not None)
    assert (app.return_value, factory.clusters) == (0, [])
    assert path.read_text().startswith("# ours\n")
    assert "8111" in path.read_text()


@pytest.mark.parametrize(("yes", "form"), [(False, True), (True, False)])
def test_an_existing_file_opens_the_form_unless_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yes: bool, form: bool
) -> None:
    made: list[Any] = []
    path = tmp_path / "c.toml"
    path.write_text(FILE)
    monkeypatch.setattr(MilepostApp, "start", lambda self: made.append(self) or 0)
    args = Namespace(lab=False, cluster=path, walk=None, take_over=False, yes=yes, load=False)
    assert interactive.run_interactive(args) == 0
    assert (made[0]._show_setup, made[0]._life._plan) == (form, not yes)


@pytest.mark.parametrize(
    ("word", "hint"), [("chek", "milepost check"), ("dwon", "milepost down"), ("xyzzy", "--help")]
)
def test_an_unknown_word_is_no_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([word]) == 2
    assert hint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
