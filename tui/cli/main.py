"""The command line. Nothing heavy is imported before it is known to be needed: a replay needs no screen
and no SSH, and `--help` needs neither."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tui.cli.door import guarded, needs_screen
from tui.cli.lab import add_lab_options, refuse_without_lab
from tui.cli.replay_options import add_replay_options
from wizard_steps.errors import MilepostError, UsageError

EXAMPLES = """\
examples:
  milepost --lab                     try it: a complete cluster on this machine, nothing to set up
  milepost                           the wizard; writes ./milepost.toml with you
  milepost cluster.toml              the wizard on a cluster file
  milepost cluster.toml --dry-run    every command, on which node; runs only those that read
  milepost cluster.toml --headless   no screen: a plain log, answers from the cluster file
  milepost --replay WALK [WALK ...]  replay recordings against today's steps (for CI)
  milepost --watch WALK              watch a recording: pause, speed, jump, the author's notes
  milepost learn                     a course: recordings, questions, faults to find in the lab
  milepost down cluster.toml         end what milepost started on the nodes, and only that
  milepost dashboard cluster.toml    Ray's dashboard here, through an SSH tunnel
  milepost completion bash           shell completion (bash, zsh, fish, tcsh)

exit status: 0 passed, 1 a gate failed, 2 usage or cluster file, 3 drift (a recording does not fit
today's steps), 130 interrupted
"""
#: Commands that live in a module of their own: each has add(subparsers) and run(args) -> exit status.
MODULES = (
    "tui.cli.down",
    "tui.cli.dashboard",
    "tui.cli.diagnose",
    "tui.cli.bundle",
    "tui.cli.check",
    "tui.cli.advise",
    "tui.cli.plan",
    "tui.cli.pack",
    "tui.cli.load",
    "tui.cli.enable",
    "tui.cli.upgrade",
    "tui.cli.nodes",
    "tui.cli.proxy",
    "tui.cli.top",
    "tui.cli.walks",
    "tui.cli.learn",
    "tui.cli.completion",
    "tui.cli.help",
)
DEFAULT_FILE = "milepost.toml"


def walk_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lab", action="store_true", help="use the embedded lab on this machine")
    parser.add_argument("--fault", metavar="NAME", default="", help="with --lab: something is wrong; find it")
    add_lab_options(parser)
    parser.add_argument("--list-faults", action="store_true", help="list the faults of the lab")
    parser.add_argument(
        "--keep",
        nargs="?",
        type=Path,
        const=Path("milepost-lab.toml"),
        metavar="FILE",
        help="with --lab: leave its cluster file, for `milepost check FILE` and others while the lab runs",
    )
    parser.add_argument("--headless", action="store_true", help="no screen: a plain log on standard output")
    parser.add_argument(
        "--dry-run", action="store_true", help="list every command and its node; run only those that read"
    )
    parser.add_argument(
        "--replay", nargs="+", type=Path, metavar="WALK", help="replay recorded walks against today's steps"
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        const="",
        metavar="WALK",
        help="watch a recording in the wizard's screen; without a name the shipped ones are listed",
    )
    parser.add_argument(
        "--walk", type=Path, metavar="DIR", help="where to record (default: milepost-walks/…)"
    )
    parser.add_argument(
        "--take-over", action="store_true", help="walk although another wizard holds this cluster"
    )
    parser.add_argument(
        "--yes", action="store_true", help="begin at once: without the form of an existing file and the plan"
    )
    parser.add_argument(
        "--on-difference",
        choices=("stop", "restart", "keep", "write"),
        help="headless: where Ray or vLLM of this cluster runs with other values than the file: stop and say "
        "so (default), restart it, keep it with a warning, or keep it and write its values into the file",
    )
    parser.add_argument("--load", action="store_true", help="measure the server under load as well")
    parser.add_argument(
        "--services", action="store_true", help="systemd services of what runs as well, as `milepost enable`"
    )
    parser.add_argument("--quiet", action="store_true", help="headless: verdicts and failures only")
    add_replay_options(parser)


class Parser(argparse.ArgumentParser):
    """Keeps what was added, for completion: argparse has no public list of it."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        self.added: list[argparse.Action] = []
        super().__init__(*words, **settings)

    def add_argument(self, *words: Any, **settings: Any) -> argparse.Action:
        action = super().add_argument(*words, **settings)
        self.added.append(action)
        return action


def build() -> tuple[Parser, dict[str, Parser]]:
    """The whole parser, for parsing, help and completion, and those of its commands by name."""
    parser = Parser(
        prog="milepost",
        description="From bare GPU machines to a verified multi-node vLLM server on Ray, step by step.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"milepost {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    walk = commands.add_parser(
        "walk",
        help="walk the milestones (the default: `milepost FILE` is `milepost walk FILE`)",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    walk.add_argument("cluster", nargs="?", type=Path, help=f"cluster file (default: ./{DEFAULT_FILE})")
    walk_options(walk)
    walk.set_defaults(run=run_walk)
    for name in MODULES:
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        module.add(commands)
    return parser, dict(commands.choices)


def _version() -> str:
    from wizard_steps.recording.journal import milepost_version

    return milepost_version()


def with_default_command(argv: Sequence[str], known: Iterable[str]) -> list[str]:
    """`milepost FILE --headless` means `milepost walk FILE --headless`."""
    if argv and argv[0] in (*known, "-h", "--help", "--version"):
        return list(argv)
    return ["walk", *argv]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run. Returns the exit status; argparse itself exits with 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser, commands = _small() if not words or "--replay" in words else build()
    with guarded():
        return _run(parser, words, commands)


def _run(parser: argparse.ArgumentParser, words: Sequence[str], commands: Mapping[str, Parser]) -> int:
    try:
        if words and not words[0].startswith("-") and words[0] not in commands:
            refuse_word(Path(words[0]), commands)
        args, rest = parser.parse_known_args(with_default_command(words, commands))
        if rest:
            refuse_rest(rest, commands[args.command])
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except MilepostError as error:
        print(f"milepost: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("milepost: interrupted; what was started on the nodes keeps running", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _small() -> tuple[Parser, dict[str, Parser]]:
    """Only the walk command: what a replay needs, without the time to import the rest."""
    parser = Parser(prog="milepost")
    commands = parser.add_subparsers(dest="command")
    walk = commands.add_parser("walk")
    walk.add_argument("cluster", nargs="?", type=Path)
    walk_options(walk)
    walk.set_defaults(run=run_walk)
    return parser, dict(commands.choices)


def run_walk(args: argparse.Namespace) -> int:
    if args.replay:
        from tui.cli.replays import Options, run_replays

        options = Options(args.quiet, args.junit, args.json, args.annotations, args.as_recorded, args.strict)
        return run_replays(args.replay, options)
    if args.junit or args.json or args.annotations or args.as_recorded or args.strict:
        raise UsageError("--junit, --json, --annotations, --as-recorded and --strict go with --replay WALK")
    if args.watch is not None:
        return run_watch(args.watch)
    if args.list_faults:
        from wizard_steps.lab.faults import listing

        print(listing())
        return 0
    refuse_without_lab(args)
    if args.cluster is not None:
        refuse_word(args.cluster, build()[1])
    if args.lab and args.cluster:
        raise UsageError("--lab has its own cluster file; leave the file out")
    if args.on_difference and not args.headless:
        raise UsageError("--on-difference goes with --headless; the wizard asks")
    if args.headless or args.dry_run:
        from tui.cli.headless import run_headless

        return run_headless(args)
    needs_screen("the wizard asks; with --headless the answers come from a cluster file")
    from tui.cli.interactive import run_interactive

    return run_interactive(args)


def refuse_word(path: Path, commands: Iterable[str]) -> None:
    """Raises UsageError for a bare word that is neither a file nor named like one: mostly a typing error."""
    if path.exists() or path.suffix == ".toml":
        return
    from difflib import get_close_matches

    close = get_close_matches(str(path).lower(), commands, 1, 0.6)
    hint = f"Did you mean `milepost {close[0]}`?" if close else "`milepost --help` lists the commands."
    raise UsageError(f"{path}: no such command, and no such file. {hint} A new cluster file ends in .toml.")


def refuse_rest(rest: Sequence[str], command: Parser) -> None:
    """Ends the program with the usage of the command that was meant: the whole program's has no options."""
    from difflib import get_close_matches

    options = [word for action in command.added for word in action.option_strings]
    close = get_close_matches(rest[0].partition("=")[0], options, 1, 0.6)
    command.error(f"unrecognized arguments: {' '.join(rest)}{f'. Did you mean {close[0]}?' if close else ''}")


def run_watch(name: str) -> int:
    from wizard_steps.walks.shipped import listing, watchable

    if not name:
        print(listing())
        return 0
    folder = watchable(Path(name))
    needs_screen(
        "--watch needs a terminal with a cursor; `milepost export` makes a page, a cast or pictures of a walk"
    )
    from tui.app.watch_app import run_watch as watch

    return watch(folder)


if __name__ == "__main__":
    sys.exit(main())
