"""`milepost completion SHELL`: prints a completion script."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

#: Arguments that are a recording: a shipped one by its name, or a folder.
_WALKS = ("walk", "before", "after", "replay")


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "completion",
        help="print a shell completion script",
        description='Prints a completion script. For bash: eval "$(milepost completion bash)" in ~/.bashrc; '
        "for fish: milepost completion fish > ~/.config/fish/completions/milepost.fish",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh", "fish"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import shtab

    script = shtab.complete(_parser(), shell=args.shell)
    # A cluster file without a command in front of it.
    print(script.replace("complete -o bashdefault -F", "complete -o bashdefault -o default -F"))
    if args.shell == "fish":
        print('complete -c milepost -n _shtab_milepost_using -ka "(__fish_complete_path (commandline -ct))"')
    return 0


def _parser() -> argparse.ArgumentParser:
    """With the options of a walk at the top too (`milepost FILE --option`), and what their values can be."""
    from tui.cli.main import build, walk_options

    parser, commands = build()
    walk_options(parser)
    for one in (parser, *commands.values()):
        for action in one.added:
            _values(action)
    return parser


def _values(action: argparse.Action) -> None:
    import shtab

    from wizard_steps.lab.faults import FAULTS
    from wizard_steps.learn.lessons import course
    from wizard_steps.walks.shipped import names

    more: Any = action
    if "--watch" in action.option_strings:
        action.choices = names()
    elif "--fault" in action.option_strings:
        action.choices = [fault.name for fault in FAULTS]
    elif action.dest == "lesson":
        action.choices = [str(n) for n in range(1, len(course()) + 1)]
    elif action.dest in _WALKS and "--walk" not in action.option_strings:
        more.complete = _walks(names())
    elif action.type is Path or action.dest in ("cluster", "files"):
        more.complete = shtab.FILE


def _walks(names: list[str]) -> dict[str, Any]:
    words = " ".join(names)
    function = f'_milepost_walks() {{ compgen -f -- "$1"; compgen -W "{words}" -- "$1"; }}'
    return {
        "bash": "_milepost_walks",
        "zsh": f"{{_files; compadd {words}}}",
        "tcsh": "f",
        "fish": f"{words} (__fish_complete_path (commandline -ct))",
        "preamble": {"bash": function},
    }
