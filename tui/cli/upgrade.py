"""`milepost upgrade`: another vLLM, Ray or model revision beside what runs, proved, and a way back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from wizard_steps.cluster.file import Cluster, load
from wizard_steps.engine.decide import FileDecider, GivenAnswer
from wizard_steps.engine.step import Step
from wizard_steps.errors import UsageError


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "upgrade",
        help="change to another vLLM, Ray or model revision, with proof and comparison, or go back",
        description="Measures the running server, judges whether the new version fits the nodes, installs it "
        "on every node without touching the old one (in another venv or image), changes the cluster file, "
        "restarts Ray and vLLM, walks all gates, and compares the load with before. The old server "
        "runs until the cluster file is changed. FILE.previous is the cluster file of before.",
    )
    parser.add_argument("cluster", nargs="?", type=Path, default=Path("milepost.toml"))
    parser.add_argument("--vllm", default="", metavar="VERSION", help="the vLLM to change to")
    parser.add_argument("--ray", default="", metavar="VERSION", help="the Ray to change to")
    parser.add_argument(
        "--model-revision", default="", metavar="REV", help="branch, tag or commit of the model"
    )
    parser.add_argument(
        "--venv", default="", metavar="PATH", help="the new environment (default: VENV-VERSION)"
    )
    parser.add_argument("--image", default="", metavar="IMAGE", help="the new image, on the Docker path")
    parser.add_argument(
        "--rollback", action="store_true", help="change back to FILE.previous, and walk the gates"
    )
    parser.add_argument("--no-load", action="store_true", help="do not measure the server before and after")
    parser.add_argument("--walk", type=Path, metavar="DIR", help="beginning of the recordings' names")
    parser.add_argument("--dry-run", action="store_true", help="show what would change; change nothing")
    parser.add_argument("--take-over", action="store_true", help="although another wizard holds this cluster")
    parser.add_argument("--quiet", action="store_true", help="verdicts and failures only")
    parser.set_defaults(run=run, lab=False, load=False, fault="")


def previous(file: Path) -> Path:
    """Where the cluster file of before an upgrade is."""
    return file.with_name(f"{file.name}.previous")


def run(args: argparse.Namespace) -> int:
    from wizard_steps.cluster.newer import newer

    old = load(args.cluster)
    named = (args.vllm, args.ray, args.model_revision, args.venv, args.image)
    if args.rollback and any(named):
        raise UsageError("--rollback changes back to FILE.previous, and takes no version")
    if not args.rollback and not any(named):
        raise UsageError(
            "say what to change: --vllm VERSION, --ray VERSION, --model-revision REV, or --rollback"
        )
    change = Change(args, old, _before(args.cluster) if args.rollback else newer(old, *named))
    change.tell()
    return change.back() if args.rollback else change.there()


def _before(file: Path) -> Cluster:
    kept = previous(file)
    if not kept.exists():
        raise UsageError(f"{kept}: is not there: no upgrade has changed {file} yet")
    return load(kept)


def _environment(cluster: Cluster) -> tuple[str, ...]:
    """What Ray and vLLM are started from."""
    return (cluster.venv, cluster.docker.image, cluster.serve.vllm_version, cluster.ray.version)


def _parts(base: Path) -> dict[str, Path]:
    """The recordings of one upgrade."""
    names = ("prepare", "switch", "load-before", "load-after")
    return {name: base.with_name(f"{base.name}-{name}") for name in names}


class Change:
    """One upgrade or the way back: its parts are walks of their own, each with its recording."""

    def __init__(self, args: argparse.Namespace, old: Cluster, new: Cluster) -> None:
        from itertools import count

        from wizard_steps.session import default_folder

        self.args, self.old, self.new = args, old, new
        base = args.walk or default_folder(old).with_name(f"{default_folder(old).name}-upgrade")
        bases = (base if n == 1 else base.with_name(f"{base.name}-{n}") for n in count(1))
        self._base = next(one for one in bases if not any(map(Path.exists, _parts(one).values())))

    def there(self) -> int:
        """The exit status."""
        measured = not (self.args.dry_run or self.args.no_load) and self._load("before", self.old)
        if (code := self._prepared()) is not None:
            return code
        code = self._switch()
        if not code and not self.args.no_load:
            code = 0 if self._load("after", self.new) else 1
            if measured:
                self._compare()
        print(f"\n{'It failed. ' if code else ''}The way back: {self._rollback()}")
        return code

    def back(self) -> int:
        """The exit status."""
        if (code := self._prepared()) is not None:
            return code
        code = self._switch()
        kept = f"{previous(self.args.cluster)} has the values that were rolled back."
        print(f"\n{'The gates failed. ' if code else ''}{kept}")
        return code

    def _prepared(self) -> int | None:
        """The exit status where it ends here: a dry run, or a version that does not fit."""
        from wizard_steps.plan import preparing

        code = self._walk("Prepare; nothing is interrupted", "prepare", self.new, preparing(self.new))
        if code and not self.args.dry_run:
            print(f"\nNothing was changed: {self.args.cluster} is as it was, nothing was interrupted.")
        return code if code or self.args.dry_run else None

    def _rollback(self) -> str:
        return f"milepost upgrade {self.args.cluster} --rollback"

    def tell(self) -> None:
        """Prints what changes in the file."""
        from tui.app.fields import fields

        print(f"{self.args.cluster}:")
        now = dict(fields(self.old))
        for where, after in fields(self.new):
            if (before := now.get(where, "")) != after:
                print(f"  {where}: {before or 'not set'} -> {after or 'not set'}", flush=True)

    def _switch(self) -> int:
        """The file first: whatever happens from here on, `milepost down` and a walk know what runs."""
        from wizard_steps.milestones.running import DIFFERS
        from wizard_steps.persist import keep, write
        from wizard_steps.plan import optional, plan_for

        keep(self.args.cluster, previous(self.args.cluster))
        write(self.args.cluster, self.new)
        print(f"\n{self.args.cluster} is changed; before: {previous(self.args.cluster)}", flush=True)
        if _environment(self.old) != _environment(self.new) and (code := self._down()):
            return code
        services = optional("units") if self._services() else []
        steps = [*plan_for(self.new), *services]
        restart = GivenAnswer(DIFFERS, "restart")
        return self._walk("Restart; all gates", "switch", self.new, steps, restart)

    def _down(self) -> int:
        """Another environment means another Ray everywhere: all of it ends first, in its order."""
        import asyncio

        from tui.cli.down import down

        print("\n=== End what runs", flush=True)
        return asyncio.run(down(self.old, take_over=self.args.take_over))

    def _services(self) -> bool:
        """Whether systemd services of this cluster were seen: they are written anew after the gates."""
        from wizard_steps.milestones.upgrade import SERVICES
        from wizard_steps.recording.journal import load as recorded
        from wizard_steps.recording.state import fold

        return bool(fold(recorded(self._folder("prepare")).events).facts.get(SERVICES))

    def _folder(self, part: str) -> Path:
        return _parts(self._base)[part]

    def _load(self, when: str, cluster: Cluster) -> bool:
        from wizard_steps.plan import optional

        code = self._walk(f"The load {when}", f"load-{when}", cluster, optional("load"))
        if code and when == "before":
            print("\nThe server did not pass its load: there will be nothing to compare with.", flush=True)
        return not code

    def _compare(self) -> None:
        from wizard_steps.recording.journal import load as recorded
        from wizard_steps.walks.diff import diff
        from wizard_steps.walks.diff_lines import load_lines

        before, after = (recorded(self._folder(f"load-{when}")) for when in ("before", "after"))
        lines = load_lines(diff(before, after))
        print("\nThe load, compared with before:")
        print("\n".join(lines or ["     no number differs by more than two runs of the same server do"]))
        print(f"     all of it: milepost diff {before.folder} {after.folder}")

    def _walk(
        self, title: str, part: str, cluster: Cluster, steps: list[Step], decider: FileDecider | None = None
    ) -> int:
        from tui.cli.headless import run_headless
        from wizard_steps.milestones import upgrade

        print(f"\n=== {title}", flush=True)
        words = vars(self.args) | {
            "walk": None if self.args.dry_run else self._folder(part),
            "steps": steps,
            "change": lambda _: cluster,
            "decider": decider or GivenAnswer(upgrade.FROM, upgrade.answer(self.old)),
        }
        return run_headless(argparse.Namespace(**words))
