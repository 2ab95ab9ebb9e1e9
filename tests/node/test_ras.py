"""NCCL's RAS: outputs of NCCL's own documentation, of its source's other forms, and any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.node import ras, stalls
from wizard_steps.node.ras import Suspect

# From docs/userguide/source/troubleshooting/ras.rst of NCCL 2.30.
TABLE = """Communicators... (2.05s)
=============

Group     Comms     Nodes     Ranks     Ranks     Ranks    Status  Errors
    #  in group  per comm  per node  per comm  in group
    0         1         4       7-8        32        32   RUNNING  {}
"""
STOPPED = (
    TABLE.format("INCOMPLETE")
    + """
Errors
======

INCOMPLETE
  Missing communicator data from 1 job process
  Process 3487984 on node 172.16.64.213 managing GPU 5

#0-0 (cf264af53edbe986) INCOMPLETE
  Missing communicator data from 1 rank
  The missing rank: 21

Warnings
========

TIMEOUT
  Encountered 2 communication timeouts while gathering communicator data
"""
)
DEAD = STOPPED.replace(
    "INCOMPLETE\n  Missing communicator data from 1 job process", "DEAD\n  1 job process is"
).replace("1 job process is", "1 job process is considered dead (unreachable via the RAS network)")
NEWER = STOPPED.replace(
    "The missing rank: 21", "Rank 21 -- GPU 5 managed by process 3487984 on node 172.16.64.213"
)
BEHIND = (
    TABLE.format("MISMATCH")
    + """
Warnings
========

#0-0 (27a079b828ff1a75) MISMATCH
  Communicator ranks have different collective operation counts
  26 ranks have launched up to operation 6650
  2 ranks have launched up to operation 6649
  Rank 0 -- GPU 0 managed by process 483072 on node 172.16.64.210
  Rank 2 -- GPU 2 managed by process 483074 on node 172.16.64.210
"""
)
STATUS = (
    TABLE.format("MISMATCH")
    + """
Warnings
========

#0-0 (9e17999afaa87dbb) MISMATCH
  Communicator ranks have different status
  3 ranks have status RUNNING
  Rank 3 has status INIT -- GPU 3 managed by process 77 on node 10.0.0.2
"""
)
ERROR = (
    TABLE.format("ERROR")
    + """
Errors
======

#0-0 (9e17999afaa87dbb) ERROR
  Asynchronous error on 1 rank
  Rank 4 reported unhandled system error -- GPU 0 (NVML 2) managed by process 9 on node 10.0.0.1
"""
)

#: As one H100 said it with NCCL 2.28.9: rank 1 had ended while rank 0 was in an all_reduce.
REAL = """ras| NCCL version 2.28.9 compiled with CUDA 13.0
ras| CUDA runtime version 13000, driver version 13000
ras|
ras| Job summary
ras| ===========
ras|
ras|   Nodes  Processes         GPUs  Processes     GPUs
ras| (total)   per node  per process    (total)  (total)
ras|       1          2            1          2        2
ras|
ras| Communicators... (0.000s)
ras| =============
ras|
ras| Group     Comms     Nodes     Ranks     Ranks     Ranks    Status  Errors
ras|     #  in group  per comm  per node  per comm  in group
ras|     0         1         1         1         2         1   RUNNING  INCOMPLETE,ERROR
ras|
ras| Errors
ras| ======
ras|
ras| INCOMPLETE
ras|   Missing communicator data from 1 job process
ras|   Process 543 on node 127.0.0.1 managing GPU 0
ras|
ras| #0-0 (68a238d3a80bfb20) INCOMPLETE
ras|   Missing communicator data from 1 rank
ras|   Rank 1 -- GPU 0 managed by process 543 on node 127.0.0.1
ras|
ras| #0-0 (68a238d3a80bfb20) ERROR
ras|   Asynchronous error on 1 rank
ras|   Rank 0 reported Remote process error -- GPU 0 managed by process 541 on node 127.0.0.1
ras|
ras| Warnings
ras| ========
ras|
"""


def asked(answer: str) -> str:
    """As scripts/stall.py prints it."""
    return "".join(f"ras| {line}\n" for line in answer.splitlines())


@pytest.mark.parametrize("answer", [STOPPED, NEWER, DEAD])
def test_a_rank_that_does_not_answer_is_named_with_its_process_and_node(answer: str) -> None:
    (one,) = ras.report(asked(answer)).suspects
    assert (one.rank, one.pid, one.address, one.gpu) == (21, 3487984, "172.16.64.213", "5")
    assert one.sure
    assert one.words("b").startswith("rank 21 on b (GPU 5, process 3487984) ")


def test_ranks_behind_are_named_and_are_only_a_guess() -> None:
    found = ras.report(asked(BEHIND)).suspects
    assert [(one.rank, one.sure) for one in found] == [(0, False), (2, False)]
    assert found[0].why == "has launched 6649 operations, the others 6650"


def test_of_two_ranks_the_one_with_fewer_operations_is_named() -> None:
    text = BEHIND[: BEHIND.index("  26 ranks")].replace("collective operation", "AllReduce operation") + (
        "  Rank 1 has not launched any operations -- GPU 0 managed by process 6 on node 10.0.0.2\n"
        "  Rank 0 has launched up to operation 3 -- GPU 0 managed by process 5 on node 10.0.0.1\n"
    )
    (one,) = ras.report(asked(text)).suspects
    assert (one.rank, one.why) == (1, "has launched 0 AllReduce operations, the others 3")


def test_a_rank_that_is_still_at_its_start_is_named() -> None:
    (one,) = ras.report(asked(STATUS)).suspects
    assert one == Suspect(3, "is in the status INIT, the others are further", "3", 77, "10.0.0.2", False)


def test_an_error_that_a_rank_reports_is_named() -> None:
    (one,) = ras.report(asked(ERROR)).suspects
    assert (one.rank, one.gpu, one.why) == (4, "0 (NVML 2)", "reported unhandled system error")


def test_a_real_answer_names_the_rank_that_is_gone_before_the_one_that_noticed() -> None:
    one, other = ras.report(REAL).suspects
    assert (one.rank, one.pid, one.why, one.sure) == (1, 543, "does not answer NCCL RAS", True)
    assert (other.rank, other.why, other.sure) == (0, "reported Remote process error", False)
    assert ras.report(REAL).said == "RUNNING INCOMPLETE,ERROR"


def test_of_several_answers_the_last_counts() -> None:
    text = REAL + asked("NCCL version 2.28.9 compiled with CUDA 13.0\n" + TABLE.format("OK"))
    assert ras.report(text).suspects == ()


def test_nobody_is_suspected_where_all_is_well() -> None:
    report = ras.report(asked(TABLE.format("OK")))
    assert (report.answered, report.said, report.suspects) == (True, "RUNNING OK", ())


def test_where_ras_is_not_there_it_has_not_answered() -> None:
    report = ras.report(asked("no answer: [Errno 111] Connection refused"))
    assert (report.answered, "Connection refused" in report.said) == (False, True)


def test_what_a_node_says_of_its_ranks_is_read() -> None:
    text = (
        "rank 1: at all_reduce for 25 s\nlast of rank 1: NCCL INFO Using network Socket\n"
        "process rank 1: 4712 is stopped\nstack rank 1: wait (a.py:1)\nstack rank 1: main (a.py:9)\n"
    )
    (one,) = stalls.read(text)
    assert (one.name, one.stage, one.seconds, one.pid, one.gone) == ("rank 1", "all_reduce", 25, 4712, True)
    assert (one.frame, one.last) == ("wait (a.py:1)", "NCCL INFO Using network Socket")


PIECES = [*NEWER.splitlines(), *BEHIND.splitlines(), *STATUS.splitlines(), *ERROR.splitlines()]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=80)), max_size=30))
def test_any_answer_ends_in_a_report(lines: list[str]) -> None:
    text = asked("\n".join(lines))
    report = ras.report(text)
    assert all(one.words("b").isprintable() for one in report.suspects)


@given(st.text(max_size=300), st.lists(st.sampled_from(["rank 1: at x for 9 s", "process rank 2: 7 runs"])))
def test_any_output_of_a_node_ends_in_ranks(text: str, lines: list[str]) -> None:
    assert all(one.name for one in stalls.read("\n".join([*lines, text])))
