"""A login shell that prints something of its own: which of its start-up files may do it."""

from __future__ import annotations

from wizard_steps.model import Cmd

#: Start-up files that are read although nobody is there, by shell; then sshd's own. Those that seem to print.
_FILES = r"""
s=${SHELL##*/}
set -- "$HOME/.ssh/rc" /etc/ssh/sshrc
case $s in
bash) set -- "$HOME/.bashrc" /etc/bash.bashrc /etc/bashrc "$@";;
zsh) set -- "${ZDOTDIR:-$HOME}/.zshenv" /etc/zsh/zshenv /etc/zshenv "$@";;
fish) set -- "$HOME/.config/fish/config.fish" "$HOME"/.config/fish/conf.d/*.fish /etc/fish/config.fish "$@";;
csh|tcsh) set -- "$HOME/.tcshrc" "$HOME/.cshrc" /etc/csh.cshrc "$@";;
esac
echo "shell: $s"
for f do
  grep -qsE '^[^#]*(echo|print|cat |stty|module|figlet|fetch|conda|source|tput|uptime|motd|df |who)' "$f" &&
    echo "file: $f"
done
exit 0
"""
WHICH = Cmd(key="profile", text=_FILES, quiet=True, timeout=10)
#: So many files are named.
MOST = 3


def sentence(count: int, said: str) -> str:
    """``count`` lines came around a command's output; ``said`` is what WHICH printed."""
    found = [line.partition(": ") for line in said.splitlines()]
    shell = next((value for name, _, value in found if name == "shell"), "")
    files = [value for name, _, value in found if name == "file"][:MOST]
    lines = "1 line" if count == 1 else f"{count} lines"
    where = " or ".join(files) or "its start-up files, or ForceCommand of sshd"
    named = f" ({shell})" if shell else ""
    return (
        f"the login shell{named} prints {lines} on every non-interactive login: look in {where}. "
        "milepost reads past it, scp and rsync may not: have it print for a terminal only"
    )
