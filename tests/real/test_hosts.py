"""The test bed is what it claims to be: separate hosts, real sshd, and nothing left afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.real import hostfiles, hosts
from tests.real.hosts import Hosts
from tests.real.netlab import run

pytestmark = pytest.mark.real_hosts


def ssh(
    config: Path, host: str, command: str, *options: str, answer: str = ""
) -> subprocess.CompletedProcess[str]:
    """The machine's own OpenSSH client; ``answer`` is what it is told when it asks for a secret."""
    env = {**os.environ, "SSH_AUTH_SOCK": ""}
    if answer:
        helper = config.parent / "askpass"
        helper.write_text('#!/bin/sh\necho "$LAB_ANSWER"\n')
        helper.chmod(0o700)
        env |= {"SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force", "LAB_ANSWER": answer}
    argv = ["ssh", "-F", str(config), "-o", "StrictHostKeyChecking=yes", *options, host, command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, env=env, stdin=subprocess.DEVNULL)


def test_three_hosts_share_nothing_that_a_program_would_notice(bed: Hosts) -> None:
    config = bed.ssh_config()
    look = (
        "hostname; cd /proc/self/ns; readlink pid net mnt; echo own > /tmp/x$$; ls /tmp | wc -l; rm /tmp/x$$"
    )
    seen = [ssh(config, f"node-{name}", look).stdout.split() for name in bed.names]
    assert [lines[0] for lines in seen] == ["node-a", "node-b", "node-c"]
    for column in (1, 2, 3):
        assert len({lines[column] for lines in seen}) == 3
    assert {lines[4] for lines in seen} == {"1"}
    assert len({(bed.folder / name / "host_key.pub").read_text() for name in bed.names}) == 3


def test_a_host_with_another_key_is_refused(bed: Hosts) -> None:
    config = bed.ssh_config()
    known = bed.home / "known_hosts_swapped"
    known.write_text(
        (bed.home / "known_hosts").read_text().replace("node-a,", "node-x,").replace("node-b,", "node-a,")
    )
    refused = ssh(config, "node-a", "true", "-o", f"UserKnownHostsFile={known}", "-o", "HostKeyAlias=node-a")
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_one_host_is_reached_only_through_another(bed: Hosts) -> None:
    bed.network.link("c", "eth0", "down")
    try:
        direct = ssh(bed.ssh_config(), "node-c", "hostname", "-o", "ConnectTimeout=2")
        through = ssh(bed.ssh_config(jump={"c": "a"}), "node-c", "hostname")
    finally:
        bed.network.heal("c")
    assert direct.returncode == 255
    assert through.stdout == "node-c\n", through.stderr


def test_a_password_and_an_encrypted_key_both_let_lab_in(bed: Hosts) -> None:
    config = bed.ssh_config(user="lab", identity=None)
    only_password = ["-o", "PreferredAuthentications=password", "-o", "PubkeyAuthentication=no"]
    good = ssh(config, "node-b", "whoami; pwd", *only_password, answer=hostfiles.PASSWORD)
    bad = ssh(config, "node-b", "whoami", *only_password, answer="wrong")
    assert good.stdout.split() == ["lab", "/home/lab"], good.stderr
    assert bad.returncode == 255
    locked = bed.ssh_config(user="lab", identity="id_locked")
    assert ssh(locked, "node-b", "whoami", answer=hostfiles.PASSPHRASE).stdout == "lab\n"
    assert ssh(locked, "node-b", "whoami", answer="wrong").returncode == 255


def test_a_dropped_port_is_silent_until_healed(bed: Hosts) -> None:
    config = bed.ssh_config()
    bed.network.drop("b", "tcp dport 22")
    try:
        began = time.monotonic()
        assert ssh(config, "node-b", "true", "-o", "ConnectTimeout=1").returncode == 255
        assert time.monotonic() - began > 0.9
        assert ssh(config, "node-a", "true").returncode == 0
    finally:
        bed.network.heal("b")
    assert ssh(config, "node-b", "true").returncode == 0


def test_a_full_disk_is_full_on_one_host_only(bed: Hosts) -> None:
    bed.fill_disk("c", "/root")
    try:
        full = bed.run("c", "echo more | tee /root/more", check=False)
        assert "No space left" in full.stderr
        bed.run("a", "echo more > /root/more && rm /root/more")
    finally:
        bed.free_disk("c", "/root")


def test_processes_sees_what_a_login_starts_and_kill_ends_it(bed: Hosts) -> None:
    assert bed.processes("a") == {}
    bed.run("a", "exec setsid --fork sleep 321 >/dev/null 2>&1")
    deadline = time.monotonic() + 5
    while list(bed.processes("a").values()) != ["sleep 321"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(bed.processes("a").values()) == ["sleep 321"]
    assert len(bed.kill("a", "sleep 321")) == 1
    assert bed.left("a") == {}


def test_a_vanished_host_stops_answering_and_leaves_no_process(possible: None) -> None:
    with Hosts(names=("a",)) as own:
        first = own.first_pid("a")
        own.vanish("a")
        assert not psutil.pid_exists(first)
        assert ssh(own.ssh_config(), "node-a", "true", "-o", "ConnectTimeout=1").returncode == 255
    assert own.prefix not in run("ip", "netns", "list") + run("ip", "-br", "link")
    assert not own.folder.exists()


def test_hosts_end_with_a_session_that_is_killed_and_the_next_one_sweeps(possible: None) -> None:
    script = (
        "import sys, time\nfrom tests.real.hosts import Hosts\nbed = Hosts(names=('a',))\nbed.up()\n"
        "print(bed.prefix, bed.folder, bed.first_pid('a'), flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        prefix, folder, first = session.stdout.readline().split()
        session.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(int(first)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(int(first))
    hosts.sweep()
    assert prefix not in run("ip", "netns", "list") + run("ip", "-br", "link")
    assert not Path(folder).exists()
