"""What is installed: a wheel in a clean environment, beside packages that bear our folders' names."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def milepost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an installed wheel. Its libraries are those of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    built = subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "clean", with_pip=False)
    site = next((folder / "clean" / "lib").glob("python*")) / "site-packages"
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "zz_libraries.pth").write_text("\n".join(libraries))
    zipfile.ZipFile(wheel).extractall(site)
    command = folder / "clean" / "bin" / "milepost"
    command.write_text(
        f"#!{folder}/clean/bin/python\nimport sys\nfrom milepost import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    return command


def run(milepost: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": "."}
    return subprocess.run([milepost, *words], cwd=cwd, env=env, capture_output=True, text=True)


def test_only_one_folder_of_ours_goes_into_the_environment(milepost: Path) -> None:
    site = next((milepost.parents[1] / "lib").glob("python*")) / "site-packages"
    assert not {"tui", "wizard_steps", "snapshots"} & {path.name for path in site.iterdir()}


def test_a_stray_folder_does_not_take_the_place_of_ours(milepost: Path, tmp_path: Path) -> None:
    for name in ("tui", "wizard_steps"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the stray one ran')\n")
    done = run(milepost, tmp_path, "--version")
    assert (done.returncode, done.stderr) == (0, "")


def test_shipped_walks_replay_and_topics_print(milepost: Path, tmp_path: Path) -> None:
    done = run(milepost, tmp_path, "--replay", "h100-single", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "12 of 12" in done.stdout
    assert run(milepost, tmp_path, "help", "words").returncode == 0
