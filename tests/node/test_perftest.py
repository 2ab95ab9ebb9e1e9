"""perftest and nccl-tests: what is run, and what their own output says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard_steps.node import perftest
from wizard_steps.node.perftest import PerftestPort

# The forms of perftest 4.5 to 24 and of nccl-tests 2.13 to 2.20, as users paste them.
LINE = "-" * 87
BANDWIDTH = f"""************************************
* Waiting for client to connect... *
************************************
{LINE}
                    RDMA_Write BW Test
 Dual-port       : OFF\t\tDevice         : mlx5_0
 Link type       : Ethernet
 GID index       : 3
{LINE}
 local address: LID 0000 QPN 0x0108 PSN 0x63ad7d RKey 0x17eedf VAddr 0x007f760c947000
 #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]
 1048576    2000             367.53             367.21   \t\t   0.043775
{LINE}
"""
LATENCY = f"""                    Send Latency Test
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec]
 2       1000          1.71           5.40         1.83     \t       1.84     \t0.10\t\t1.95 \t\t5.40
{LINE}
"""
TIMED = """ #bytes        #iterations       t_avg[usec]    tps average
 2       1000            2.25        444444.00
"""
NO_DEVICE = """ Did not detect devices
 If device exists, check if driver is up
 Unable to find the Infiniband/RoCE device
"""
NCCL = """# nThread 1 nGpus 8 minBytes 536870912 maxBytes 536870912 step: 1048576(bytes) warmup iters: 5 iters: 20
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
   536870912     134217728     float     sum      -1   2270.1  236.50  413.87      0   2263.1  237.23  415.15      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 414.51
"""


def test_bandwidth_and_latency_of_each_rail_are_read() -> None:
    text = f"rail mlx5_0\n{BANDWIDTH}{LATENCY}rail mlx5_1\n{BANDWIDTH}{TIMED}rail mlx5_2\n{NO_DEVICE}"
    one, two, three = perftest.read(text)
    assert (one.device, one.gbit, one.usec, one.problem) == ("mlx5_0", 367.21, 1.83, "")
    assert (two.gbit, two.usec) == (367.21, 2.25)
    assert (three.gbit, three.problem) == (0.0, "Did not detect devices")


@pytest.mark.parametrize(("unit", "gbit"), [("MiB/sec", 8.39), ("MB/sec", 8.39), ("Gb/sec", 1000.0)])
def test_units_are_read_from_the_head_of_the_table(unit: str, gbit: float) -> None:
    text = f" #bytes #iterations BW peak[{unit}] BW average[{unit}] MsgRate[Mpps]\n 65536 5000 0.00 1000.00 0.1\n"
    (one,) = perftest.read(f"rail a\n{text}")
    assert one.gbit == gbit


def test_the_bus_bandwidth_of_nccl_tests_is_read_and_wrong_values_are_counted() -> None:
    assert perftest.read_inside(NCCL) == perftest.InsideReport(413.87, 0, "")
    assert perftest.read_inside(NCCL.replace(": 0 OK", ": 4 FAILED")).wrong == 4
    broken = perftest.read_inside("a: Test NCCL failure all_reduce.cu:44 'unhandled cuda error'\n")
    assert broken.problem.startswith("a: Test NCCL failure")
    slow = NCCL.replace(" 2270.1  236.50  413.87", "1.2e+07    0.04    0.07")
    assert perftest.read_inside(slow).gbytes == 0.07
    few = perftest.read_inside(
        "Invalid number of GPUs: 8 requested but only 4 were found.\nPlease check it.\n"
    )
    assert few.problem.startswith("Invalid number of GPUs: 8 requested")
    assert perftest.read_inside("# head\nterminated by signal 9\n").problem == "terminated by signal 9"


def test_each_side_names_its_own_card_and_gid() -> None:
    ports = [PerftestPort("mlx5_0", 3), PerftestPort("mlx5_1"), PerftestPort("mlx4_0:2")]
    server = perftest.command("perf-0-1", ports, True)
    client = perftest.command("perf-0-1", ports, True, "10.0.0.1")
    assert "t ib_write_bw -d mlx5_0 -F -x 3 -p 29600 -s 1048576 -n 2000 --report_gbits\n" in server.text
    assert "t ib_write_bw -d mlx4_0 -F -i 2 -p 29604 " in client.text
    assert "t ib_send_lat -d mlx5_1 -F -p 29603 -s 2 -n 1000 10.0.0.1\n" in client.text


@pytest.mark.skipif(not shutil.which("ib_write_bw"), reason="perftest is not installed")
def test_the_real_tool_without_cards_says_so() -> None:
    cmd = perftest.command("perf-0-1", [PerftestPort("no_such_card")], False)
    done = subprocess.run(["sh", "-c", cmd.text], capture_output=True, text=True, timeout=60)
    (one,) = perftest.read(done.stdout)
    assert (one.gbit, bool(one.problem)) == (0.0, True)


PIECES = [*BANDWIDTH.splitlines(), *LATENCY.splitlines(), *TIMED.splitlines(), *NCCL.splitlines(), "rail a"]


#: A SIMULATED ib_write_bw: the client is early once, as where SSH reaches the other node later.
FAKE = """#!/bin/sh
case "$*" in *10.0.0.1) [ -e early ] || { touch early; echo "Couldn't connect to 10.0.0.1:29600"; exit 1; };; esac
echo "$0 $*" >> ran
cat <<'END'
%s
END
"""


def test_the_client_tries_again_until_the_server_is_there(tmp_path: Path) -> None:
    for name, text in (("ib_write_bw", BANDWIDTH), ("ib_send_lat", LATENCY)):
        (tmp_path / name).write_text(FAKE % text)
        (tmp_path / name).chmod(0o755)
    text = perftest.command("perf-0-1", [PerftestPort("mlx5_0", 3)], True, "10.0.0.1").text
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    shell = ["sh", "-c", text.replace("sleep 0.5", ":")]
    done = subprocess.run(shell, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    (rate,) = perftest.read(done.stdout)
    assert (rate.device, rate.gbit, rate.usec, rate.problem) == ("mlx5_0", 367.21, 1.83, "")
    write, latency = (tmp_path / "ran").read_text().splitlines()
    assert "-d mlx5_0 -F -x 3 -p 29600 -s 1048576" in write
    assert "-p 29601 -s 2" in latency
    assert (tmp_path / "early").exists()


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=80)), max_size=30))
def test_any_output_ends_in_values(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert all(one.gbit >= 0 and one.usec >= 0 for one in perftest.read(text))
    assert perftest.read_inside(text).gbytes >= 0
