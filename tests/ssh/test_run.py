"""Commands over real SSH servers: output, exit codes, input."""

from __future__ import annotations

import asyncio
import shlex

import psutil
import pytest

from tests.helpers.ssh_fixtures import Server
from tests.helpers.ssh_help import ran
from tests.helpers.sshd import needs_sshd
from tests.helpers.waiting import alive, soon
from wizard_steps.model import Chunk, Cmd, Exit

pytestmark = needs_sshd
ODD = [
    "it's",
    'double "quotes" and `ticks` and $HOME and $(id)',
    "back\\slash \\n \\\\ end",
    "exclamation! !! !1",
    "line one\nline two",
    "tab\tand  spaces",
    "semi; amp & pipe | < > ( ) { } * ? [a] ~ #",
    "ünïcödé ✓ 漢字",
    "%s %% %d",
    "-n",
]


async def test_odd_characters_arrive_unchanged(ssh_either: Server) -> None:
    transport, node = ssh_either
    for word in ODD:
        result = await ran(transport, node, f"printf '%s|' {shlex.quote(word)} end")
        assert result.output.decode() == f"{word}|end|"
        assert result.exit == Exit(code=0)


async def test_runs_under_sh_with_stderr_in_order(ssh_either: Server) -> None:
    transport, node = ssh_either
    text = 'i=0; while [ $i -lt 60 ]; do echo "o$i"; echo "e$i" >&2; i=$((i+1)); done; exit 7'
    result = await ran(transport, node, text)
    assert result.output.decode().split() == [f"{s}{i}" for i in range(60) for s in "oe"]
    assert result.exit == Exit(code=7)
    shell = await ran(transport, node, "tr '\\0' ' ' < /proc/$$/cmdline")
    assert shell.output.startswith(b"/bin/sh -c tr")


@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("TERM", 15), ("SEGV", 11)])
@pytest.mark.parametrize("stdin", ["", "some input"])
async def test_a_signal_is_128_plus_its_number(
    ssh_either: Server, name: str, number: int, stdin: str
) -> None:
    transport, node = ssh_either
    result = await ran(transport, node, f"kill -{name} $$; sleep 5", stdin=stdin)
    assert result.exit.code == 128 + number
    assert result.exit.reason == "exit"


async def test_input_is_fed_and_ends_and_is_in_no_command_line(ssh_either: Server) -> None:
    transport, node = ssh_either
    secret = "hf_s3cret'\"$x"
    result = await ran(transport, node, "cat; echo; ps -eww -o args", stdin=secret)
    lines = result.output.decode(errors="replace").splitlines()
    assert lines[0] == secret
    assert len(lines) > 2
    assert not [line for line in lines[1:] if "hf_s3cret" in line]


@pytest.mark.parametrize("size", [1, 65536, 3_000_000])
async def test_long_input(ssh_either: Server, size: int) -> None:
    transport, node = ssh_either
    result = await ran(transport, node, "wc -c", stdin="x" * size)
    assert result.output.split() == [str(size).encode()]


async def test_input_that_nobody_reads(ssh_either: Server) -> None:
    transport, node = ssh_either
    result = await ran(transport, node, "echo early", stdin="y" * 300_000)
    assert (result.output, result.exit) == (b"early\n", Exit(code=0))


async def test_no_input_is_an_empty_one(ssh_either: Server) -> None:
    transport, node = ssh_either
    assert (await ran(transport, node, "cat; echo end")).output == b"end\n"


async def test_bytes_that_are_no_text(ssh_either: Server) -> None:
    transport, node = ssh_either
    result = await ran(transport, node, r"printf '\377\000\033[0m\r\n'")
    assert result.output == b"\xff\x00\x1b[0m\r\n"


async def test_ten_megabytes_arrive_whole(ssh_either: Server) -> None:
    transport, node = ssh_either
    result = await ran(transport, node, "head -c 10000000 /dev/zero")
    assert (len(result.output), result.exit.code) == (10_000_000, 0)


async def test_output_that_stops_before_the_end_is_not_the_end(ssh_either: Server) -> None:
    transport, node = ssh_either
    result = await ran(transport, node, "echo a; exec >/dev/null 2>&1; sleep 0.5; exit 5")
    assert (result.output, result.exit) == (b"a\n", Exit(code=5))


async def test_endless_output_with_a_slow_reader_keeps_memory_bounded(ssh_either: Server) -> None:
    transport, node = ssh_either
    stream = transport.run(node, Cmd(key="k", text="echo $$; exec yes"))
    before = psutil.Process().memory_info().rss
    got = b""
    for _ in range(10):
        item = await anext(stream)
        assert isinstance(item, Chunk)
        assert len(item.data) <= 65536
        got += item.data
        await asyncio.sleep(0.1)
    grown = psutil.Process().memory_info().rss - before
    assert grown < 40 * 2**20
    await stream.aclose()  # type: ignore[attr-defined]
    await soon(lambda: not alive(int(got.split()[0])), "the end of yes", 2)
