"""Answers find their way into the cluster file."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wizard_steps.cluster.edit import with_value
from wizard_steps.cluster.file import load, parse
from wizard_steps.errors import UsageError
from wizard_steps.model import Question
from wizard_steps.persist import Persist, write
from wizard_steps.recording import events as ev
from wizard_steps.recording.state import State

TEXT = """\
# ours
[[nodes]]
host = "a"
role = "head"
gpus = 8  # all
[[nodes]]
host = "b"
gpus = 8
"""


def test_a_chosen_address_and_an_edit_are_written_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "milepost.toml"
    path.write_text(TEXT)
    path.chmod(0o640)
    persist = Persist(path)
    question = Question("ip-b", "Which?", "choice", field="nodes[1].fabric_ip")
    for event in (
        ev.Asked(0, "ip", question),
        ev.Answered(1, "ip", "ip-b", "10.0.0.2"),
        ev.Answered(2, "serve", "gate", "edit", "serve.port", "9000"),
        ev.Answered(3, "serve", "gate", "retry"),
    ):
        persist(event, State())
    cluster = load(path)
    assert cluster.workers[0].fabric_ip == "10.0.0.2"
    assert cluster.serve.port == 9000
    assert "gpus = 8  # all" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["milepost.toml"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "milepost.toml"
    path.write_text(TEXT)
    with pytest.raises(UsageError, match="cannot be written"):
        write(tmp_path / "none" / "milepost.toml", load(path))


@given(where=st.text(alphabet="env.[]0123nodeshtrv_ ", max_size=30), text=st.text(max_size=20))
@example(where="env.0", text="1")
@example(where="", text="")
def test_a_field_that_is_none_is_an_error_in_words(where: str, text: str) -> None:
    with contextlib.suppress(UsageError):
        with_value(parse(TEXT), where, text)
