"""Login shells and profiles of real machines, behind OpenSSH's sshd: what they print is never taken for an answer."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from tests.helpers.requirements import require
from tests.helpers.ssh_help import Ran, ran, transport_to
from tests.helpers.sshd import Bed, needs_sshd
from wizard_steps.transport import ssh as transport_module

pytestmark = needs_sshd

#: The start-up file that each shell reads for a command over ssh; empty: none.
PROFILES = {
    "bash": ".bashrc",
    "zsh": ".zshenv",
    "fish": ".config/fish/config.fish",
    "tcsh": ".cshrc",
    "dash": "",
    "busybox": "",
}
NOISE = {
    "greeting": ("echo 'Welcome to node-a'\necho 'user: mallory'\n", 2),
    "blank line": ("echo ''\n", 1),
    "escape codes": ("printf '\\033[2J\\033]0;title\\007\\033[1mBIG\\033[0m\\n\\n'\n", 2),
    "no line end": ("printf 'loading modules'\n", 1),
    "on standard error": ("sh -c 'echo oops >&2'\n", 0),
    "stty": ("stty erase '^H'\n", 0),
}
TEXT = "printf 'a\\n\\nb'; exit 3"


def line_of(shell: str, before: str = "", after: str = "") -> str:
    """ForceCommand that makes ``shell`` the login shell, with a home of its own."""
    found = shutil.which(shell)
    require("" if found else f"needs the shell {shell}")
    words = f"{found} sh" if shell == "busybox" else str(found)
    run = f'{words} -c "$SSH_ORIGINAL_COMMAND"'
    return f"{before}{'' if after else 'exec '}{run}{after}"


async def run_under(
    bed: Bed, shell: str, profile: str = "", text: str = TEXT, before: str = "", after: str = ""
) -> Ran:
    home = bed.folder / "its home"
    home.mkdir(exist_ok=True)
    if profile:
        file = home / PROFILES[shell]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(profile)
    script = bed.folder / "login"
    environment = f"export HOME={shlex.quote(str(home))} SHELL={shell}; unset ZDOTDIR; SHLVL=0\n"
    script.write_text(f"#!/bin/sh\n{environment}{line_of(shell, before, after)}\n")
    script.chmod(0o755)
    server = bed.sshd(f"ForceCommand {script}")
    cluster = bed.cluster(server.port)
    async with transport_to(cluster) as transport:
        return await ran(transport, cluster.head, text, login=True)


@pytest.mark.parametrize("shell", PROFILES)
async def test_a_command_under_each_shell(ssh_bed: Bed, shell: str) -> None:
    result = await run_under(ssh_bed, shell)
    assert (result.output, result.exit.code, result.exit.detail) == (b"a\n\nb", 3, "")


@pytest.mark.parametrize("shell", [shell for shell, file in PROFILES.items() if file])
@pytest.mark.parametrize("kind", NOISE)
async def test_a_profile_that_prints(ssh_bed: Bed, shell: str, kind: str) -> None:
    profile, lines = NOISE[kind]
    result = await run_under(ssh_bed, shell, profile)
    assert (result.output, result.exit.code) == (b"a\n\nb", 3)
    if not lines:
        assert result.exit.detail == ""
        return
    for words in (f"({shell}) prints {lines} line", PROFILES[shell]):
        assert words in result.exit.detail


async def test_the_same_profile_is_told_by_reach_alone(ssh_bed: Bed) -> None:
    """Only a command that asks for it hears of the login: the sentence is in no other answer."""
    server = ssh_bed.sshd('ForceCommand echo hello; eval "$SSH_ORIGINAL_COMMAND"')
    cluster = ssh_bed.cluster(server.port)
    async with transport_to(cluster) as transport:
        result = await ran(transport, cluster.head, TEXT)
    assert (result.output, result.exit.detail) == (b"a\n\nb", "")


async def test_a_shell_that_says_goodbye_and_loses_the_exit_status(ssh_bed: Bed) -> None:
    result = await run_under(ssh_bed, "dash", before="echo hello; ", after="; echo; echo bye; exit 0")
    assert (result.output, result.exit.code) == (b"a\n\nb", 3)
    assert "prints 3 lines" in result.exit.detail


@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_a_profile_that_stops_at_errors(ssh_bed: Bed, shell: str) -> None:
    result = await run_under(ssh_bed, shell, "set -eu\n", "false; echo $-; exit 4")
    assert result.exit.code == 4
    assert b"e" not in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_a_profile_that_leaves_a_path_of_its_own(ssh_bed: Bed, shell: str) -> None:
    result = await run_under(ssh_bed, shell, "export PATH=/opt/mine\n", "id -u >/dev/null && echo $PATH")
    assert result.exit.code == 0
    assert result.output.startswith(b"/opt/mine:")


async def test_a_home_that_cannot_be_written(ssh_bed: Bed) -> None:
    home = ssh_bed.folder / "its home"
    home.mkdir()
    home.chmod(0o500)
    try:
        result = await run_under(ssh_bed, "bash")
    finally:
        home.chmod(0o700)
    assert (result.output, result.exit.code, result.exit.detail) == (b"a\n\nb", 3, "")


@pytest.mark.parametrize("takeover", ["exec zsh\n", "exec bash\n", "read -r answer\nread -r answer\n"])
async def test_a_profile_that_never_runs_the_command(
    ssh_bed: Bed, takeover: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "SILENT", 2.0)
    result = await run_under(ssh_bed, "bash", takeover)
    assert (result.exit.code, result.exit.reason) == (-1, "lost")
    assert "start-up files" in result.exit.detail


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo 'This account is currently not available.'; exit 1", "currently not available"),
        ('exec rbash -c "$SSH_ORIGINAL_COMMAND"', "restricted"),
        ("exec git-shell-that-is-absent", "git-shell-that-is-absent"),
    ],
)
async def test_a_login_that_runs_no_commands_says_why(ssh_bed: Bed, line: str, words: str) -> None:
    server = ssh_bed.sshd(f"ForceCommand {line}")
    cluster = ssh_bed.cluster(server.port)
    async with transport_to(cluster) as transport:
        result = await ran(transport, cluster.head, TEXT)
    assert result.exit.reason == "lost"
    assert words in result.exit.detail


def test_every_profile_is_one_that_the_finding_names() -> None:
    from wizard_steps.transport.profile import WHICH

    assert [name for name in PROFILES.values() if Path(name).name not in WHICH.text] == []
