"""nvidia-smi in all its moods."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.facts.gpu import parse_compute_apps, parse_nvidia_smi, remedy

TABLE = """\
Tue Nov 24 08:32:46 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 580.95.05              Driver Version: 580.95.05      CUDA Version: 13.0     |
+-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|=========================================+========================+======================|
|   0  NVIDIA H100 80GB HBM3          On  |   00000000:18:00.0 Off |                    0 |
| N/A   34C    P0             70W /  700W |   70012MiB /  81559MiB |      0%      Default |
+-----------------------------------------+------------------------+----------------------+
|   1  NVIDIA H100 80GB HBM3          Off |   00000000:2A:00.0 Off |                    0 |
| N/A   34C    P0             70W /  700W |       4MiB /  81559MiB |      0%      Default |
+-----------------------------------------+------------------------+----------------------+
|   2  NVIDIA GB10                    On  |   0000000F:01:00.0 Off |                  N/A |
| N/A   40C    P8              4W /  N/A  |     Not Supported      |      0%      Default |
+-----------------------------------------+------------------------+----------------------+
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|=========================================================================================|
|    0   N/A  N/A            4711      C   VLLM::EngineCore                      69998MiB |
+-----------------------------------------------------------------------------------------+
"""


def test_the_plain_table() -> None:
    facts = parse_nvidia_smi(TABLE + "# SIMULATED\n")
    assert (facts.problem, facts.driver, facts.cuda) == ("ok", "580.95.05", "13.0")
    assert [(g.index, g.name, g.memory_mib, g.used_mib) for g in facts.gpus] == [
        (0, "NVIDIA H100 80GB HBM3", 81559, 70012),
        (1, "NVIDIA H100 80GB HBM3", 81559, 4),
        (2, "NVIDIA GB10", 0, 0),
    ]
    assert [(p.pid, p.name, p.used_mib, p.gpu) for p in facts.processes] == [
        (4711, "VLLM::EngineCore", 69998, "0")
    ]


@pytest.mark.parametrize("units", ["{} MiB", "{}"])
def test_the_csv_query_with_and_without_units(units: str) -> None:
    text = (
        "index, name, uuid, memory.total [MiB], memory.used [MiB], driver_version, compute_cap\n"
        f"0, NVIDIA L4, GPU-1, {units.format(23034)}, {units.format(12)}, 570.86.15, 8.9\n"
    )
    facts = parse_nvidia_smi(text)
    (gpu,) = facts.gpus
    assert (facts.driver, gpu.memory_mib, gpu.used_mib, gpu.compute_cap) == ("570.86.15", 23034, 12, "8.9")
    assert facts.memory_mib == 23034


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that",
            "no-driver",
        ),
        (
            "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.144",
            "mismatch",
        ),
        ("No devices were found", "no-devices"),
        ("bash: line 1: nvidia-smi: command not found", "not-installed"),
        ("sh: 1: nvidia-smi: not found", "not-installed"),
        ("Failed to initialize NVML: Insufficient Permissions", "not-permitted"),
        ("Failed to initialize NVML: Unknown Error", "nvml"),
        ("Unable to determine the device handle for GPU0000:01:00.0: GPU is lost.", "lost"),
        ("", "failed"),
    ],
)
def test_failures_are_named_and_have_a_remedy(text: str, problem: str) -> None:
    facts = parse_nvidia_smi(text)
    assert facts.problem == problem
    assert facts.gpus == ()
    assert facts.message
    assert remedy(facts.problem)


def test_processes_of_the_csv_form() -> None:
    (process,) = parse_compute_apps("4711, /opt/venv/bin/python, 1234, GPU-1\nNo running processes found\n")
    assert (process.pid, process.used_mib, process.gpu) == (4711, 1234, "GPU-1")
    assert parse_compute_apps("12, x, [N/A], GPU-1")[0].used_mib == 0


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    assert parse_nvidia_smi(text).problem
    parse_compute_apps(text)
