"""serve.api_key: who is asked for the key and when, what is refused, and that a typed key is nowhere but in memory."""

from __future__ import annotations

import shlex
from collections import ChainMap
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.helpers.headless_help import files_below, milepost
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
from tui.app.fields import fields
from tui.screens.api_key import ApiKeyScreen
from tui.screens.leave import ErrorScreen
from wizard_steps.cluster.file import Cluster, dump, parse
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.milestones import curl, load, probe, vllm
from wizard_steps.model import WIZARD, Chunk, Cmd, Exit, Results
from wizard_steps.node import api_key
from wizard_steps.session import LiveWalk
from wizard_steps.transport.local import run_local
from wizard_steps.transport.secrets import WithSecrets

__all__ = ["toy_expected"]
KEY = "planted-key-that-a-person-typed"


def keyed() -> Cluster:
    cluster = toy_cluster()
    return replace(cluster, serve=replace(cluster.serve, api_key=True))


def never() -> str:
    raise AssertionError("nobody is to be asked")


async def nobody() -> str | None:
    return None


@pytest.mark.parametrize("key", ["", "short", "with a blank", "tab\there", "schl\u00fcssel-lang", "a" * 7])
async def test_a_key_that_cannot_be_used_is_refused(key: str) -> None:
    assert api_key.problem(key)
    with pytest.raises(UsageError, match="VLLM_API_KEY"):
        api_key.check(keyed(), {"VLLM_API_KEY": key})
    api_key.check(toy_cluster(), {"VLLM_API_KEY": key})


async def test_a_person_is_asked_only_when_the_environment_has_none() -> None:
    async def person() -> str | None:
        return KEY

    async def not_asked() -> str | None:
        return never()

    assert await api_key.settle(keyed(), {}, person) == KEY
    assert await api_key.settle(keyed(), {"VLLM_API_KEY": KEY}, not_asked) == ""
    assert await api_key.settle(toy_cluster(), {}, not_asked) == ""
    with pytest.raises(UsageError, match="No API key was given"):
        await api_key.settle(keyed(), {}, nobody)
    with pytest.raises(UsageError, match="cannot be used"):
        await api_key.settle(keyed(), {"VLLM_API_KEY": "x"}, not_asked)


async def test_a_dry_run_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)

    async def not_asked() -> str | None:
        return never()

    walk = LiveWalk(keyed(), tmp_path / "walk", dry=True)
    await walk.settle(not_asked)
    await walk.close()


def test_the_file_says_that_a_key_is_wanted_and_never_the_key() -> None:
    text = dump(keyed())
    assert parse(text).serve.api_key
    with pytest.raises(UsageError, match="never the key itself") as caught:
        parse(text.replace("api_key = true", f'api_key = "{KEY}"'))
    assert KEY not in str(caught.value)
    assert "serve.api_key" not in dict(fields(keyed())), "it is settled before a walk begins"


@pytest.mark.parametrize("given", [None, "short"])
async def test_headless_without_a_key_stops_before_anything(tmp_path: Path, given: str | None) -> None:
    file = tmp_path / "c.toml"
    file.write_text(dump(keyed()))
    environment = {"VLLM_API_KEY": given or ""}
    code, said = await milepost(tmp_path, str(file), "--headless", "--walk", "w", limit=60, **environment)
    assert code == 2
    assert "VLLM_API_KEY" in said
    assert "openssl rand -hex 32" in said
    assert "Traceback" not in said
    assert not (tmp_path / "w").exists()


class Here:
    """The wizard's own machine."""

    async def run(self, node: object, cmd: Cmd) -> object:
        assert KEY not in cmd.text
        async for item in run_local(cmd):
            yield item

    async def close(self) -> None:
        pass


async def test_a_typed_key_reaches_a_command_of_the_wizards_own_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    transport = WithSecrets(Here(), ChainMap({"VLLM_API_KEY": KEY}, {}))  # type: ignore[arg-type]
    code = "import os, sys; print(os.environ['VLLM_API_KEY'][::-1], sys.stdin.read(), sys.argv)"
    text = f'exec "$MILEPOST_PYTHON" -c "{code}"\n'
    said = b""
    async for item in transport.run(
        WIZARD, Cmd("probe", text, stdin="rest", secrets=("HF_TOKEN", "VLLM_API_KEY"))
    ):
        said += item.data if isinstance(item, Chunk) else b""
    assert said.decode().strip() == f"{KEY[::-1]} rest ['-c']"


async def test_a_secret_of_several_lines_is_an_error_and_nothing_is_run() -> None:
    transport = WithSecrets(Here(), {"HF_TOKEN": f"{KEY}\n{KEY}"})  # type: ignore[arg-type]
    got = [item async for item in transport.run(WIZARD, Cmd("hub", "echo ran\n", secrets=("HF_TOKEN",)))]
    said = b"".join(item.data for item in got if isinstance(item, Chunk)).decode()
    assert "HF_TOKEN of the environment that milepost runs in has more than one line" in said
    assert KEY not in said
    assert "ran\n" not in said
    assert isinstance(got[-1], Exit)
    assert got[-1].code == 1


@pytest.mark.parametrize(
    ("there", "sent"),
    [
        ("ours: 7\nleader: 7\nport 8000: listening", True),
        ("ours: \nservice: milepost-x.service\nport 8000: listening", True),
        ("ours: \nport 8000: listening", False),
        ("ours: 7\nleader: 8\nport 8000: listening", False),
        ("ours: \nport 8000: free", False),
        ("", False),
    ],
)
async def test_the_key_goes_to_no_server_but_ours(there: str, sent: bool) -> None:
    known = Known(keyed())
    real = vllm.guard(known)
    guard = replace(real, node=WIZARD, cmd=Cmd("look", f"printf '%s\\n' {shlex.quote(there)}\n"))
    transport = WithSecrets(Here(), {"VLLM_API_KEY": KEY})  # type: ignore[arg-type]
    asks = Cmd("chat", "env | grep -c planted-key\n", secrets=("VLLM_API_KEY",), guard=guard)
    got = [item async for item in transport.run(WIZARD, asks)]
    said = b"".join(item.data for item in got if isinstance(item, Chunk)).decode()
    assert got[-1] == Exit(0 if sent else 1)
    assert said.strip() == "1" if sent else "VLLM_API_KEY was not sent" in said
    # Where no key is to be sent, nobody is asked.
    bare = [item async for item in transport.run(WIZARD, replace(asks, secrets=(), text="echo ran\n"))]
    assert b"".join(item.data for item in bare if isinstance(item, Chunk)) == b"ran\n"


@pytest.mark.parametrize("path", ["bare-metal", "docker"])
def test_every_request_with_the_key_asks_who_listens(path: str) -> None:
    known = Known(replace(keyed(), path=path))
    made = [probe.probe_command(known), load.client(known, "warm-up", 1), load.bench(known, 1)]
    made += [cmd for _, cmd in curl.Curl().rounds(known, Results()).work if cmd.secrets]  # type: ignore[union-attr]
    assert len(made) >= 5
    assert all(cmd.guard is not None and cmd.guard.node == known.server for cmd in made)


class KeyedToy(ToyWalk):
    """A toy walk that settles the key as a live one does, and whose command prints it."""

    settle = LiveWalk.settle
    dry = False

    def ready(self) -> KeyedToy:
        self._typed: dict[str, str] = {}
        return self


async def test_the_key_is_asked_for_masked_and_is_nowhere_afterwards(
    tmp_path: Path, toy_expected: WriteExpected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    toy_expected("reach", "Reach", "...")
    transport = Scripted({})
    walk = KeyedToy(tmp_path / "walk", [Toy("reach", "Reach", "true")], transport, keyed()).ready()
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ApiKeyScreen) and app.focused)
        assert not transport.ran, "nothing runs before the key is there"
        await pilot.press("enter")
        await until(pilot, lambda: "It is empty" in plain(app))
        assert "openssl rand -hex 32" in plain(app)
        await pilot.press(*KEY)
        await until(pilot, lambda: f"{len(KEY)} characters" in plain(app))
        assert KEY not in plain(app)
        assert KEY not in app.export_screenshot()
        await pilot.press("enter")
        await until(pilot, lambda: app.session and app.session.state.outcome == "passed")
        assert KEY not in plain(app)
    assert walk._typed == {"VLLM_API_KEY": KEY}
    assert walk.redactor.text(f"key {KEY}.") == "key [REDACTED]."
    places = files_below(tmp_path)
    assert any(path.name == "events.jsonl" for path in places)
    assert not [path for path in places if KEY.encode() in path.read_bytes()]


async def test_escape_gives_none_and_nothing_runs(
    tmp_path: Path, toy_expected: WriteExpected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    toy_expected("reach", "Reach", "...")
    transport = Scripted({})
    walk = KeyedToy(tmp_path / "walk", [Toy("reach", "Reach")], transport, keyed()).ready()
    app = MilepostApp(walk, None, linger=0.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ApiKeyScreen) and app.focused)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ErrorScreen))
        await until(pilot, lambda: "No API key was given" in plain(app))
        app.simulate_key("enter")
        await until(None, lambda: app.return_value is not None)
    assert app.return_value == 2
    assert not transport.ran
