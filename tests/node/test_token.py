"""The Ray token without a Ray: where it comes from, what a stray one does, what the file may say."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.helpers.case_runner import CLUSTER
from wizard_steps.cluster.file import Cluster, parse
from wizard_steps.engine.step import Known
from wizard_steps.errors import UsageError
from wizard_steps.facts import judge
from wizard_steps.facts.node import NodeFacts
from wizard_steps.facts.software import Token
from wizard_steps.milestones import head
from wizard_steps.model import Chunk, Cmd, Exit, Node
from wizard_steps.node import ray_token
from wizard_steps.node.places import place_of
from wizard_steps.recording.redact import MARK, Redactor
from wizard_steps.transport.local import run_local
from wizard_steps.transport.token import WithRayToken

WANTED = parse(CLUSTER + '\n[ray]\nauth = "token"\n')
PLAIN = parse(CLUSTER)


class Homes:
    """Each node is this machine with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.off = folder, ""

    def home(self, node: Node) -> Path:
        path = self.folder / node.name
        path.mkdir(exist_ok=True)
        return path

    def file(self, node: Node) -> Path:
        return self.home(node) / ".milepost" / "milepost" / node.name / "ray_token"

    async def run(self, node: Node, cmd: Cmd) -> AsyncGenerator[Chunk | Exit]:
        if node.name == self.off:
            yield Exit(-1, "lost", "no route")
            return
        async for item in run_local(cmd, {"HOME": str(self.home(node))}):
            yield item

    async def close(self) -> None: ...


async def put(transport: WithRayToken, node: Node) -> tuple[str, Exit]:
    said = b""
    async for item in transport.run(node, ray_token.put(WANTED, node)):
        if isinstance(item, Exit):
            return said.decode(), item
        said += item.data
    raise AssertionError("no Exit")


async def test_one_token_for_all_made_once_and_kept_for_the_next_wizard(tmp_path: Path) -> None:
    homes, redactor = Homes(tmp_path), Redactor()
    first = WithRayToken(homes, WANTED, redactor, {})
    said = await asyncio.gather(*(put(first, node) for node in WANTED.node_list))
    tokens = {homes.file(node).read_text() for node in WANTED.node_list}
    assert len(tokens) == 1
    token = tokens.pop()
    assert len(token) == 64
    assert all(token not in text and "sha256" in text and end.code == 0 for text, end in said)
    assert redactor.text(f"x {token} y") == f"x {MARK} y"
    for node in WANTED.node_list:
        assert stat.S_IMODE(homes.file(node).stat().st_mode) == 0o600
    homes.file(WANTED.workers[0]).unlink()
    again = WithRayToken(homes, WANTED, Redactor(), {})
    await put(again, WANTED.workers[0])
    assert homes.file(WANTED.workers[0]).read_text() == token


async def test_the_wizards_own_token_is_taken_when_there_is_one(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    await put(WithRayToken(homes, WANTED, Redactor(), {"RAY_AUTH_TOKEN": "chosen-by-me"}), WANTED.head)
    assert homes.file(WANTED.head).read_text() == "chosen-by-me"


async def test_no_token_is_made_up_while_the_head_cannot_be_asked(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    homes.off = WANTED.head.name
    said, end = await put(WithRayToken(homes, WANTED, Redactor(), {}), WANTED.workers[0])
    assert (said, end.reason) == ("", "lost")
    assert not homes.file(WANTED.workers[0]).exists()


@pytest.mark.parametrize("planted", ["short", "two\nlines-of-it", "\x1b[2Jescape-codes", "x" * 5000])
async def test_what_is_no_token_on_the_head_is_replaced(planted: str, tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    homes.file(WANTED.head).parent.mkdir(parents=True)
    homes.file(WANTED.head).write_text(planted)
    await put(WithRayToken(homes, WANTED, Redactor(), {}), WANTED.head)
    assert len(homes.file(WANTED.head).read_text()) == 64


def test_without_a_wish_for_a_token_nothing_is_different() -> None:
    assert ray_token.setup(PLAIN, PLAIN.head) == ""
    assert ray_token.container_flags(PLAIN, PLAIN.head) == []
    assert not place_of(PLAIN).wants_token
    assert not place_of(WANTED, {"executor": "mp"}).wants_token


def test_the_file_knows_two_words() -> None:
    with pytest.raises(UsageError, match=r"ray\.auth"):
        parse(CLUSTER + '\n[ray]\nauth = "maybe"\n')


@pytest.mark.parametrize(("cluster", "fails"), [(PLAIN, True), (WANTED, False)])
def test_a_stray_token_on_one_node_is_found_before_anything_starts(cluster: Cluster, fails: bool) -> None:
    """With a token of the cluster's own, the stray one is not used and so no reason to stop."""
    facts = {"a": NodeFacts(token=Token("file", digest="abcd1234")), "b": NodeFacts(token=Token("absent"))}
    found = [one for one in judge.judge(facts, cluster).findings if one.fact == "Ray token"]
    assert any(one.verdict == "fail" and "InvalidAuthToken" in one.message for one in found) is fails


def test_an_open_dashboard_is_a_warning_with_its_reason() -> None:
    for host, words in (
        ("127.0.0.1", ""),
        ("0.0.0.0", "WITHOUT any login"),
        ("10.0.0.1", "WITHOUT any login"),
    ):
        cluster = replace(PLAIN, ray=replace(PLAIN.ray, dashboard_host=host))
        checks = head.dashboard_checks(Known(cluster))
        assert [check.ok for check in checks] == ([True] if words else [])
        assert all(words in check.found and "CVE-2023-48022" in check.found for check in checks)
