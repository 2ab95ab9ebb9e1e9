"""How the diagnosis takes lines apart, and the words it looks for before it matches."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from wizard_steps.diagnose import (
    Source,
    diagnose,
)
from wizard_steps.diagnose.lines import parse, stamp_of, strip_codes, unix


@pytest.mark.parametrize(
    ("line", "level", "node", "message"),
    [
        ("(APIServer pid=1) INFO 11-24 08:49:36 [a.py:1] hi", "info", "", "INFO 11-24 08:49:36 [a.py:1] hi"),
        ("(EngineCore pid=1) (RayWorkerProc pid=2, ip=10.0.0.2) boom", "", "10.0.0.2", "boom"),
        ("2026-11-24 08:13:03,187\tWARNING services.py:2248 -- x", "warning", "", None),
        ("[2026-11-24 08:44:30,673 W 9 9] network_util.cc:330: x", "warning", "", None),
        ("[2026-11-24 08:44:30,673 E 9 9] (raylet) x", "error", "", None),
        ("[rank0]:[E1124 08:45:00.123456789 ProcessGroupNCCL.cpp:632] x", "error", "", None),
        ("[W socket.cpp:601] [c10d] The client socket cannot be initialized", "warning", "", None),
        ("[2026-11-24 08:44:30,673] LMCache WARNING: x (a.py:1:lmcache)", "warning", "", None),
        ("INFO:     Application startup complete.", "info", "", None),
        ("gpu-a:1:1 [0] NCCL INFO Bootstrap : Using eth0", "info", "gpu-a", None),
        ("gpu-a:1:1 [0] NCCL WARN Bootstrap : no socket interface found", "", "gpu-a", None),
        ("11月 15 14:15:47 gpu-3 systemd[1]: Stopped.", "", "gpu-3", "Stopped."),
        ("févr. 03 10:00:00 gpu2 kernel: NVRM: x", "", "gpu2", "NVRM: x"),
        ("[  14.699972] cloud-init[36]: Jun 11 08:11:04 ip-10-0-0-4 systemd[1]: x", "", "ip-10-0-0-4", "x"),
        ("qwen  | ERROR 11-24 08:00:00 [x.py:1] y", "error", "qwen", "ERROR 11-24 08:00:00 [x.py:1] y"),
    ],
)
def test_line_is_taken_apart(line: str, level: str, node: str, message: str | None) -> None:
    parsed = parse(line)
    assert (parsed.level, parsed.node) == (level, node)
    assert parsed.message == (message or line)


@pytest.mark.parametrize(
    "line",
    [
        '"\\u001b[31mINFO 11-24 08:00:00 [a.py:1] x\\u001b[0m\\r\\nCUDA out of memory\\n",',
        '{"log":"CUDA out of memory\\n","stream":"stderr","time":"2026-11-24T08:00:00.1Z"}',
        '{"label": "X", "message": "CUDA out of memory", "severity": "ERROR"}',
    ],
)
def test_lines_inside_json_are_found(line: str) -> None:
    finding = diagnose([Source("x", f"one\n{line}\n")])[0]
    assert finding.family == "gpu-memory"
    assert finding.evidence[0].line == 2
    assert finding.evidence[0].text.endswith("CUDA out of memory")


@pytest.mark.parametrize(
    "line", ['"', '{"', '{"log": 1}', '"unfinished', "{}", '{"a": [}', '"\\ud800"', '{"a":' * 800 + "}"]
)
def test_what_looks_like_json_is_not_minded(line: str) -> None:
    assert diagnose([Source("x", line)]) == []


def test_times_of_all_writers_compare() -> None:
    texts = [
        "[2026-11-24 08:44:30,673 W 9 9] x",
        "INFO 11-24 08:44:31 [a.py:1] x",
        "E1124 08:44:32.5 1310 x",
        "2026-11-24T08:44:33.25Z x",
        "2026/11/24 08:44:34 x",
    ]
    stamps = [stamp_of(text) for text in texts]
    assert all(stamps)
    times = [unix(stamp, 2026) for stamp in stamps if stamp]
    assert times == sorted(times)
    assert times[-1] - times[0] < 5
    assert stamp_of("99-99 77:00:00") is None


def test_codes_go_and_line_ends_stay() -> None:
    raw = "\x1b[31mred\x1b[0m\x1b]0;title\x07 a\n\x1b]unfinished\nb\x00\u202e c\r\n"
    assert strip_codes(raw).count("\n") == raw.count("\n")
    assert "red a" in strip_codes(raw)
    assert "\x1b[" not in strip_codes(raw)


@pytest.mark.parametrize("year", [0, 2024, 2026])
def test_a_time_is_that_of_its_own_day_in_any_year(year: int) -> None:
    stamp = stamp_of(f"{year or 2023}-11-26T01:02:03 x")
    assert stamp is not None
    assert unix(stamp, 2000) == datetime(year or 2023, 11, 26, 1, 2, 3, tzinfo=UTC).timestamp()
