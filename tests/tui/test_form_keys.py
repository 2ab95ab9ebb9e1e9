"""The form's keys: what is pasted lands where it belongs, hosts of the ssh configuration, Test SSH, advice,
messages by label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual.widgets import Input, Label, SelectionList

from tests.helpers.tui_fakes import plain, shows, toy_cluster, until
from tui.app.app import MilepostApp
from tui.app.form import form_of, labelled, spoken
from tui.app.split import advised
from tui.screens.hosts import HostsScreen
from tui.screens.setup import SetupScreen
from tui.screens.setup_widgets import Choice, NodeRow
from wizard_steps.cluster.file import Cluster, NodeEntry, load
from wizard_steps.facts.gpu import Gpu, GpuFacts
from wizard_steps.facts.network import Interface, InterfaceAddress
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.setup import MachineSeen, SetUp, seen
from wizard_steps.transport.ssh_names import names


def burst(app: Any, *keys: str) -> None:
    """Keys as a slow line delivers them: all at once, nothing drawn between them."""
    for key in keys:
        app.post_message(events.Key(key, key if len(key) == 1 else None))


@pytest.fixture
def no_hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("no_hosts")
async def test_a_burst_of_keys_lands_field_by_field(tmp_path: Path) -> None:
    app: Any = MilepostApp(None, tmp_path / "milepost.toml")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        row = app.screen.query(NodeRow).first()
        for name in ("host", "gpus", "ip"):
            row.query_one(f".{name}", Input).value = ""
        # Role is a button between host and GPUs.
        burst(app, *"root@10.0.0.1:2222", "tab", "tab", *"4", "tab", *"10.1.0.1", "tab", "tab", *"x")
        await until(pilot, lambda: row.value.fabric_ip == "10.1.0.1")
        await pilot.pause()
        assert (row.value.host, row.value.gpus) == ("root@10.0.0.1:2222", "4")
        assert app.screen.query(NodeRow).last().value.host.endswith("x")


@pytest.mark.usefixtures("no_hosts")
async def test_keys_after_a_new_row_are_in_it(tmp_path: Path) -> None:
    app: Any = MilepostApp(None, tmp_path / "milepost.toml")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        burst(app, "ctrl+n", *"node3")
        await until(pilot, lambda: app.screen.query(NodeRow).last().value.host == "node3")
        assert [row.value.host for row in app.screen.query(NodeRow)] == ["gpu-a", "gpu-b", "node3"]


async def test_machines_are_taken_from_the_ssh_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host one two\n  User root\nHost *\nHost three # far\n")
    app: Any = MilepostApp(None, tmp_path / "milepost.toml")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, HostsScreen))
        assert app.screen.query_one(SelectionList).option_count == 3
        assert "▐ ▌ one" in plain(app)
        await pilot.press("space", "down", "space", "down", "space")
        await shows(app, "▐X▌ one", "▐X▌ three")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))
        await until(pilot, lambda: len(app.screen.query(NodeRow)) == 3)
        assert [row.value.host for row in app.screen.query(NodeRow)] == ["one", "two", "three"]


@pytest.mark.usefixtures("no_hosts")
async def test_test_ssh_fills_the_form(tmp_path: Path) -> None:
    async def look(cluster: Cluster) -> SetUp:
        seen_ = MachineSeen("", 4, "10.0.0.1", "4 x H100, Docker 27")
        return SetUp((seen_, MachineSeen("connection refused")), "docker")

    app: Any = MilepostApp(None, tmp_path / "milepost.toml")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        app.screen._look = look
        await pilot.press("f5")
        await until(pilot, lambda: "gpu-b: connection refused" in plain(app))
        first, second = app.screen.query(NodeRow)
        assert (first.value.gpus, first.value.fabric_ip) == ("4", "10.0.0.1")
        assert second.value.gpus == "8"
        assert app.screen.query_one("#f-path", Choice).value == "docker"
        assert app.screen.query_one("#row-f-docker-image").display
        assert not app.screen.query_one("#row-f-venv").display
        await pilot.press("f2")
        await until(pilot, lambda: app.screen.query_one("#f-serve-tensor-parallel", Input).value == "4")
        assert app.screen.query_one("#f-serve-pipeline-parallel", Input).value == "3"


@pytest.mark.usefixtures("no_hosts")
async def test_a_message_stands_beside_its_field_under_its_label(tmp_path: Path) -> None:
    app: Any = MilepostApp(None, tmp_path / "milepost.toml")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: app.focused is not None)
        for number in range(4):
            app.notify(str(number) * 200, timeout=1000)
        # Messages keep clear of the field, which is in the upper half.
        await shows(app, "0000", "gpu-a ")
        app.clear_notifications()
        field = app.screen.query_one("#f-serve-port", Input)
        field.value = "70000"
        await pilot.press("ctrl+s")
        label = app.screen.query_one("#hint-f-serve-port", Label)
        await until(pilot, lambda: label.has_class("-bad"))
        assert "Port: must be a whole number, 1 to 65535" in plain(app)
        field.value = "8001"
        await until(pilot, lambda: not label.has_class("-bad"))


async def test_what_the_form_does_not_ask_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "milepost.toml"
    text = '# ours\n[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 1\nport = 22  # kept\n[ssh]\nidentity = ["~/k"]\n'
    path.write_text(text)
    app: Any = MilepostApp(None, path, engine_factory=lambda *_: pytest.fail("no walk here"), plan=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        assert app.screen.query_one("#f-ssh-identity", Input).value == "'~/k'"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: not isinstance(app.screen, SetupScreen))
    assert load(path).ssh.identity == ("~/k",)
    assert "port = 22  # kept" in path.read_text()


def test_words_for_errors_and_hosts() -> None:
    assert labelled("nodes[1].gpus: must be x", ["a", "b"]) == (
        "nodes[1].gpus",
        "Machine 2 (b), GPUs: must be x",
    )
    assert labelled("serve.port: must be x", []) == ("serve.port", "Port: must be x")
    assert labelled("plain words", []) == ("", "plain words")
    assert spoken("root@node2:2222") == "ssh to host node2, user root, port 2222"
    assert "not read as" in spoken("a:b:c@")
    entry = NodeEntry(host="a", gpus=1, user="op", port=23)
    assert spoken("a", entry) == "ssh to host a, user op, port 23"
    assert spoken("root@a", entry) == "ssh to host a, user root, port 23"
    assert advised(form_of(toy_cluster())) == (8, 2)


def test_included_files_are_followed_and_loops_end(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Include more\nHost a b?c !d\nhost=e\n")
    (tmp_path / "more").write_text(f'Include {config}\nHost "f"\nHost "broken\n')
    assert names(config) == ["f", "a", "e"]
    assert names(tmp_path / "absent") == []


@given(st.binary(max_size=300))
def test_any_configuration_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-config"
    file.write_bytes(data)
    assert isinstance(names(file), list)


def test_what_the_machines_say_is_what_the_form_gets() -> None:
    cluster = toy_cluster()
    card = Gpu(0, "NVIDIA H100 80GB HBM3", 81559)
    one = NodeFacts(
        gpu=GpuFacts("ok", gpus=(card, card)),
        interfaces=(
            Interface("eth0", "UP", (InterfaceAddress("10.0.0.1", 24),)),
            Interface("lo", "UP", (InterfaceAddress("127.0.0.1", 8),)),
        ),
    )
    both = seen({"gpu-a": one, "gpu-b": one}, cluster)
    assert [(m.gpus, m.fabric_ip) for m in both.machines] == [(2, "10.0.0.1"), (2, "10.0.0.1")]
    found = seen({"gpu-a": one, "gpu-b": NodeFacts(problem="refused\nmore")}, cluster)
    assert (found.machines[0].gpus, found.machines[0].fabric_ip) == (2, "")
    assert (found.machines[1].problem, found.path) == ("refused", "")
