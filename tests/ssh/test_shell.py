"""The command line that goes over SSH, under every shell that this machine has; known_hosts; ProxyJump."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.waiting import wait_for
from wizard_steps.model import Node
from wizard_steps.transport.framed import Frame
from wizard_steps.transport.ssh_ask import NoAsker
from wizard_steps.transport.ssh_config import Target
from wizard_steps.transport.ssh_errors import Unreachable
from wizard_steps.transport.ssh_hosts import KnownHosts, entry_name
from wizard_steps.transport.ssh_options import parse_hop
from wizard_steps.transport.ssh_shell import remote

SHELLS = [
    shell for shell in ("sh", "dash", "bash", "zsh", "ksh", "csh", "tcsh", "fish") if shutil.which(shell)
]
WORDS = 'it\'s "odd" $HOME `id` \\ !! !x * ? {a,b} ~\n\tünï'


def run(shell: str, text: str, fed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """As sshd does it: the login shell gets the line with -c; input ends only when the command did."""
    process = subprocess.Popen(
        [shell, "-c", remote(text, len(fed))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    frame = Frame()
    process.stdin.write(frame.line + fed)
    process.stdin.flush()
    out = frame.feed(process.stdout.read()) + frame.end()
    code = process.wait()
    process.stdin.close()
    assert frame.code == code
    return subprocess.CompletedProcess([], code, out)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("fed", [b"", b"input\n"])
def test_whatever_the_login_shell(shell: str, fed: bytes) -> None:
    quoted = "'" + WORDS.replace("'", "'\\''") + "'"
    done = run(shell, f"printf %s {quoted}; cat; exit 3", fed)
    assert done.stdout == WORDS.encode() + fed
    assert done.returncode == 3


@given(st.text(max_size=200), st.integers(0, 10**6))
def test_only_plain_characters_are_sent(text: str, fed: int) -> None:
    r"""Nothing that csh (! and newline) or fish (\\ and \') reads differently in single quotes."""
    line = remote(text.encode("utf-8", "replace").decode(), fed)
    assert re.fullmatch(r"exec /bin/sh -c '([^'!\\\n]|\\0[0-3][0-7]{2})*'", line)


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=60))
def test_any_text_arrives(text: str) -> None:
    quoted = "'" + text.replace("'", "'\\''") + "'"
    assert run("sh", f"printf %s {quoted}").stdout == text.encode()


def test_only_setsid_is_needed_and_only_where_a_command_leads_no_group(tmp_path: Path) -> None:
    def run_it(own_group: bool) -> tuple[int, str]:
        words = ["/bin/sh", "-c", remote("echo hi")]
        frame = Frame()
        with subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": str(tmp_path)},
            start_new_session=own_group,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            # A shell that finds no setsid ends at once and may not have read what it was sent.
            with suppress(BrokenPipeError):
                process.stdin.write(frame.line)
                process.stdin.flush()
            out = frame.feed(process.stdout.read()) + (b"" if frame.opened else frame.noise)
            with suppress(BrokenPipeError):
                process.stdin.close()
            return process.wait(), out.decode()

    code, out = run_it(own_group=False)
    assert code == 127
    assert "setsid" in out
    assert run_it(own_group=True) == (0, "hi\n")


def test_the_watchdog_leaves_with_the_command() -> None:
    done = run("sh", "echo $$; sleep 0.2")
    group = int(done.stdout)
    wait_for(lambda: not _group(group), "the end of the watchdog")


def _group(group: int) -> str:
    return subprocess.run(["ps", "-o", "pid=,args=", "-g", str(group)], capture_output=True, text=True).stdout


# --- known_hosts ------------------------------------------------------------------------------------


def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519").convert_to_public()


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("GPU-a.Example", 22, "gpu-a.example"),
        ("gpu-a", 2222, "[gpu-a]:2222"),
        ("fe80::1", 22, "fe80::1"),
        ("fe80::1", 2222, "[fe80::1]:2222"),
    ],
)
def test_an_added_key_is_found_under_its_name(tmp_path: Path, host: str, port: int, name: str) -> None:
    hosts, wanted = KnownHosts(tmp_path / "known_hosts"), key()
    hosts.add(host, port, wanted)
    assert entry_name(host, port) == name
    assert hosts.path.read_text().split()[0] == name
    assert hosts.look(host.upper(), port).trusted == (wanted,)
    assert [(record.line, record.key) for record in hosts.records(host, port)] == [(1, wanted)]
    assert hosts.look(host, port + 1).trusted == (() if port != 22 else (wanted,))
    assert hosts.records(host, port + 1) == []


def test_lines_that_cannot_be_read_hide_no_others(tmp_path: Path) -> None:
    hosts, wanted = KnownHosts(tmp_path / "known_hosts"), key()
    hosts.path.write_bytes(b"@nonsense\nalone\n|1|bad|hash ssh-ed25519 AAAA\n\xff\xfe\n")
    hosts.add("a", 22, wanted)
    assert hosts.look("a", 22).trusted == (wanted,)
    assert hosts.records("a", 22)[0].line == 5


def test_missing_files_hold_nothing(tmp_path: Path) -> None:
    hosts = KnownHosts(tmp_path / "none", [tmp_path / "also none"])
    assert hosts.look("a", 22).trusted == ()
    assert hosts.records("a", 22) == []


def test_other_files_are_read_but_never_written(tmp_path: Path) -> None:
    other, wanted = KnownHosts(tmp_path / "other"), key()
    other.add("a", 22, wanted)
    before = other.path.read_bytes()
    hosts = KnownHosts(tmp_path / "own", [other.path])
    assert hosts.look("a", 22).trusted == (wanted,)
    hosts.add("b", 22, wanted)
    assert other.path.read_bytes() == before


# --- small parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("bastion", Target("bastion")),
        ("me@bastion:2222", Target("bastion", "me", 2222)),
        ("me@corp@bastion", Target("bastion", "me@corp")),
        ("ssh://me@bastion:2222/", Target("bastion", "me", 2222)),
        ("[fe80::1]:22", Target("fe80::1", "", 22)),
        ("fe80::1", Target("fe80::1")),
        (" 10.0.0.1 ", Target("10.0.0.1")),
    ],
)
def test_a_jump_host_as_the_ssh_config_writes_it(text: str, hop: Target) -> None:
    assert parse_hop(text) == hop


@pytest.mark.parametrize("text", ["", "me@", "host:port", "[fe80::1"])
def test_a_jump_host_that_makes_no_sense(text: str) -> None:
    with pytest.raises(Unreachable, match="ProxyJump"):
        parse_hop(text)


async def test_nobody_trusts_nothing() -> None:
    asker, node = NoAsker(), Node(name="n", host="h")
    assert await asker.host_key(node, "h", 22, "ssh-ed25519", "SHA256:x") is False
    assert await asker.password(node, "Password:") is None
    assert await asker.passphrase(node, "/key") is None
