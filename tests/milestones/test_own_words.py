"""What is said of a milestone is the milestone's own: no table of step ids anywhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.case_runner import CLUSTER
from tests.helpers.walk_maker import record
from tui.app import present
from tui.app.phase import PhaseWatch
from tui.app.waiting import waiting
from wizard_steps.plan import OPTIONAL, PATHS, milestone
from wizard_steps.recording.journal import Walk, load
from wizard_steps.recording.spool import DiskSpool
from wizard_steps.recording.state import fold
from wizard_steps.walks.bundle import pieces

ROOT = Path(__file__).parents[2]
WALKS = ROOT / "snapshots" / "walks"
STEPS = {step.id: step for steps in (*PATHS.values(), OPTIONAL) for step in steps}
WITHOUT_RAY = f'path = "docker"\n{CLUSTER}\n[docker]\nray = "none"\n'
CASES = {
    "docker_ready": "no-ray-and-file-says-none",
    "fabric": "docker-cpu-gloo",
    "head": "docker-without-ray",
    "workers": "docker-without-ray",
    "ray_status": "docker-without-ray",
    "serve": "docker-without-ray-ready",
}


@pytest.fixture
async def without_ray(tmp_path: Path) -> Walk:
    walk = await record(tmp_path / "w", CASES, cluster=WITHOUT_RAY)
    assert all(step.passed for step in fold(walk.events).steps if step.id in CASES), fold(walk.events).detail
    return walk


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("healthy-bare-metal", ["Ray head on node-1", "Ray worker on node-2", "vllm serve on node-1"]),
        (
            "healthy-docker",
            [
                "Ray head in container milepost-real-hosts-node-a on node-a",
                "Ray worker in container milepost-real-hosts-node-b on node-b",
                "vllm serve in container milepost-real-hosts-node-a on node-a",
            ],
        ),
        ("ssh-refused", []),
    ],
)
def test_the_last_words_name_what_keeps_running(name: str, wanted: list[str]) -> None:
    assert present.left_running(fold(load(WALKS / name).events)) == wanted


async def test_without_ray_containers_and_ranks_keep_running(without_ray: Walk) -> None:
    assert present.left_running(fold(without_ray.events)) == [
        "container milepost-milepost-a on a",
        "container milepost-milepost-b on b",
        "vllm serve in container milepost-milepost-a on a",
        "vllm serve in container milepost-milepost-b on b",
    ]


def test_the_stages_of_vllm_are_read_on_both_paths() -> None:
    step = "serve"
    for name in ("healthy-bare-metal", "healthy-docker"):
        walk = load(WALKS / name)
        state = fold(walk.events)
        spool = DiskSpool(walk.folder / "out")
        assert PhaseWatch(spool).phase(step, 1, state.runs_of(step)) == "ready"
        assert ("● ready  ", "accent") in waiting(step, "ready", None, 200)


async def test_the_stages_are_read_without_ray(without_ray: Walk) -> None:
    spool = DiskSpool(without_ray.folder / "out")
    assert PhaseWatch(spool).phase("serve", 1, fold(without_ray.events).runs_of("serve")) == "ready"


async def test_a_bundle_has_the_logs_of_every_way(without_ray: Walk) -> None:
    bare = {piece.name: piece.text for piece in pieces(load(WALKS / "healthy-bare-metal"))}
    docker = {piece.name: piece.text for piece in pieces(load(WALKS / "healthy-docker"))}
    mp = {piece.name: piece.text for piece in pieces(without_ray)}
    for files in (bare, docker, mp):
        assert "Application startup complete" in files["vllm-serve-first.txt"]
    for files in (bare, docker):
        assert "Ray runtime started." in files["ray-start.txt"]
        assert "Total Usage" in files["ray-status.txt"]
    assert "shm:" in docker["facts.txt"]
    assert "rank 8 in world size 16" in mp["vllm-serve-first.txt"]


def test_old_ids_lead_to_todays_milestones() -> None:
    for old, new in (("docker_head", "head"), ("docker_serve", "serve"), ("docker_fabric", "fabric")):
        assert (step := milestone(old)) is not None
        assert step.id == new
    assert milestone("nothing-of-ours") is None


def test_every_milestone_has_a_short_title() -> None:
    assert all(0 < len(step.short) <= 14 for step in STEPS.values())


#: Words that recordings keep when hosts are renamed: among them some that are ids, too.
_WORDS_ONLY = {"wizard_steps/walks/rename.py"}


@pytest.mark.parametrize("room", ["wizard_steps", "tui"])
def test_no_step_id_stands_as_a_string_outside_milestones_and_plan(room: str) -> None:
    found = []
    for path in sorted((ROOT / room).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("wizard_steps/milestones/") and name not in _WORDS_ONLY:
            found += [f"{name}:{line}" for line in _ids(ast.parse(path.read_text(encoding="utf-8")))]
    assert found == []


#: Where the path is asked for: the plan, the place, the checks of the file and its changes for an upgrade, and
#: what only tells it. (planning.py repeats the word for a reader.)
_PATH = (
    "plan.py",
    "planning.py",
    "node/places.py",
    "cluster/checks.py",
    "cluster/newer.py",
    "engine/engine.py",
)


def test_which_path_it_is_only_place_and_plan_ask() -> None:
    texts = {
        p.relative_to(ROOT / "wizard_steps").as_posix(): p.read_text()
        for p in ROOT.glob("wizard_steps/**/*.py")
    }
    asked = sorted(name for name, text in texts.items() if "cluster.path" in text and name not in _PATH)
    assert asked == []


def test_the_search_for_ids_finds_them() -> None:
    for text in (
        'X = {"head": 1, "workers": 2}',
        'X = ("smi", "curl")',
        'if step.id == "serve": pass',
        'if step in ("serve",): pass',
        'state.step("head")',
        'milestone("ip")',
    ):
        assert list(_ids(ast.parse(text))) == [1], text
    for text in ('role == "head"', '{"ip": 1, "port": 2}', 'Cmd("probe", x)'):
        assert list(_ids(ast.parse(text))) == [], text


def _ids(tree: ast.AST) -> Iterator[int]:
    """Lines where a step is told by its id: tables of ids, comparisons with a step, calls that take one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            inner, least = node.keys, 2
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            inner, least = list(node.elts), 2
        elif isinstance(node, ast.Compare) and "step" in ast.unparse(node.left):
            inner, least = [e for c in node.comparators for e in ast.walk(c)], 1
        elif isinstance(node, ast.Call) and _name(node.func) in ("step", "runs_of", "milestone"):
            inner, least = list(node.args[:1]), 1
        else:
            continue
        if len({e.value for e in inner if isinstance(e, ast.Constant) and e.value in STEPS}) >= least:
            yield node.lineno


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
