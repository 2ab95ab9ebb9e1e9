"""Ranks that wait for each other: told from a real vLLM's log lines, on the node."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.node import meeting

AT = (
    "(Worker pid=4236) INFO 11-24 11:42:19 [parallel_state.py:1906] world_size=2 rank=0 local_rank=0 "
    "distributed_init_method=tcp://10.0.0.1:29501 backend=gloo\n"
)
MET = (
    AT
    + "(Worker pid=4236) INFO 11-24 11:42:20 [parallel_state.py:2351] rank 0 in world size 2 is assigned as DP rank 0\n"
)


def told(folder: Path, log: str) -> str:
    """What the watch prints of a silent log; here it runs in the foreground and ends by itself."""
    (folder / "serve.log").write_text(log)
    text = meeting.watch("serve.log").replace("sleep 2", "sleep 0.01").rstrip().removesuffix("&")
    argv = ["sh", "-c", text]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_silent_log_at_the_meeting_says_where_it_waits(tmp_path: Path) -> None:
    text = told(tmp_path, AT)
    assert meeting.where(text) == "tcp://10.0.0.1:29501"
    assert text.strip().endswith(f"for {meeting.SILENT} s")


def test_ranks_that_have_met_wait_for_nobody(tmp_path: Path) -> None:
    assert told(tmp_path, MET) == ""


@given(st.text())
def test_any_text_has_an_address_or_none(text: str) -> None:
    assert isinstance(meeting.where(text), str)
