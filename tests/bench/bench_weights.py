"""A model onto N hosts through one line: each host by itself, one download and rsync in a loop, and milepost.

    python -m tests.bench.bench_weights [--hosts 4] [--mb 48] [--line 40] [--fabric 400]

Hosts are network namespaces of this machine (root). Their line to the hub (SIMULATED) and their fabric links
are shaped with tc; rates in Mbit/s. All three ways download with the real huggingface_hub. Ratios are those of
one run on one machine. Without rsync the loop is `tar` over ssh, and the output says so.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shlex
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.bench_scale import machine
from tests.helpers.weights_walk import WeightsWalk
from tests.real import vllm_env
from tests.real.hosts import Hosts
from tests.real.netlab import run
from wizard_steps.cluster.file import load
from wizard_steps.lab import tiny
from wizard_steps.lab.hub import Hub
from wizard_steps.model import Verdict
from wizard_steps.recording import events as ev

REPO = "org/bench"
AT = "/root/.cache/huggingface/hub"
_GET = "from huggingface_hub import snapshot_download as s; s({!r})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--mb", type=int, default=48)
    parser.add_argument("--line", type=int, default=40)
    parser.add_argument("--fabric", type=int, default=400)
    args = parser.parse_args()
    print(f"machine: {machine()}")
    names = tuple("abcdefghijklmnop"[: args.hosts])
    with tempfile.TemporaryDirectory() as folder, Hosts(names) as hosts:
        model = Path(folder) / "model"
        write(model, args.mb)
        size = sum(path.stat().st_size for path in model.iterdir())
        shape(hosts, args.line, args.fabric)
        hub = Hub(model, REPO, host=hosts.network.wizard_ip)
        print(
            f"{args.hosts} hosts, {size / 1e6:.0f} MB; line {args.line}, fabric {args.fabric} Mbit/s, shaped"
        )
        print(f"the least: one download {size * 8 / 1e6 / args.line:.1f} s")
        ways = {"each by itself": each, "one download, then a loop": loop, "milepost (the whole gate)": gate}
        took = {}
        for name, way in ways.items():
            hub.sent = 0
            took[name] = way(hosts, hub)
            print(f"  {name}: {took[name]:.1f} s, {hub.sent / 1e6:.0f} MB from the hub", flush=True)
            for host in names:
                hosts.run(host, "rm -rf /root/.cache /root/.milepost")
        ours = took["milepost (the whole gate)"]
        for name in list(ways)[:-1]:
            print(f"milepost to {name}: {ours / took[name]:.2f}")
        print(f"milepost to one download and one copy: {ours / ONE[-1]:.2f}")
        hub.close()


def write(folder: Path, megabytes: int) -> None:
    tiny.write(folder)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    noise = random.Random(1)
    for number in range(8):
        (folder / f"model-{number}.safetensors").write_bytes(noise.randbytes(megabytes * 125_000))


def shape(hosts: Hosts, line: int, fabric: int) -> None:
    """All hosts share the wizard's cable; each has its own fabric link."""
    form = ("burst", "64kb", "latency", "200ms")
    cable = f"{hosts.network.prefix}-w"
    run("tc", "qdisc", "add", "dev", cable, "root", "tbf", "rate", f"{line}mbit", *form)
    for name in hosts.names:
        space = hosts.network.namespace(name)
        run("tc", "-n", space, "qdisc", "add", "dev", "eth1", "root", "tbf", "rate", f"{fabric}mbit", *form)


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def get(hosts: Hosts, hub: Hub, name: str) -> None:
    python = f"{vllm_env.MOUNTED_AT}/bin/python -I -c {shlex.quote(_GET.format(REPO))}"
    quiet = "HF_HUB_DISABLE_PROGRESS_BARS=1"
    hosts.run(name, f"HOME=/root HF_ENDPOINT={hub.url} {quiet} {python}", timeout=300)
    hosts.run(name, f"test -d {AT}")


def each(hosts: Hosts, hub: Hub) -> float:
    def all_at_once() -> None:
        with ThreadPoolExecutor(len(hosts.names)) as pool:
            list(pool.map(lambda name: get(hosts, hub, name), hosts.names))

    return timed(all_at_once)


def loop(hosts: Hosts, hub: Hub) -> float:
    first, *others = hosts.names
    key = (hosts.folder / "id_between_hosts").read_text()
    hosts.run(first, f"umask 077; printf %s {shlex.quote(key)} > /root/.ssh/id; echo >> /root/.ssh/id")
    ssh = "ssh -i /root/.ssh/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    rsync = hosts.run(first, "command -v rsync || true").stdout.strip()
    if not rsync:
        print("  (no rsync here: the loop is tar over ssh)")

    def copy(name: str) -> None:
        to = f"root@{hosts.network.fabric_ip(name)}"
        hosts.run(first, f"{ssh} {to} mkdir -p {AT}")
        if rsync:
            hosts.run(first, f"rsync -a -e {shlex.quote(ssh)} {AT}/ {to}:{AT}/", timeout=300)
        else:
            hosts.run(first, f"tar -C {AT} -cf - . | {ssh} {to} tar -C {AT} -xf -", timeout=300)
        hosts.run(name, f"ls {AT}/models--*/snapshots/*/config.json")

    download = timed(lambda: get(hosts, hub, first))
    copies = [timed(lambda name=name: copy(name)) for name in others]  # type: ignore[misc]
    ONE.append(download + copies[0])
    print(f"  one download {download:.1f} s, one copy {copies[0]:.1f} s")
    return download + sum(copies)


def gate(hosts: Hosts, hub: Hub) -> float:
    serve = {"model": REPO, "served_model_name": ""}
    cluster = load(hosts.cluster_file(serve=serve, env={"HF_ENDPOINT": hub.url}))
    with tempfile.TemporaryDirectory() as folder:
        walk = WeightsWalk(cluster, Path(folder) / "walk")
        took = timed(lambda: verdicts.append(asyncio.run(walk.run())))
        print(f"  of the gate, from the start of the fetch to the last copy: {transfer(walk):.1f} s")
    verdict = verdicts[-1]
    assert verdict is not None
    assert verdict.passed, verdict
    return took


def transfer(walk: WeightsWalk) -> float:
    """Seconds without the looks before and after it."""
    started = {e.run: e for e in walk.events if isinstance(e, ev.CommandStarted)}
    ended = [e for e in walk.events if isinstance(e, ev.CommandEnded) and started[e.run].key == "copy"]
    begun = next(e.t for e in started.values() if e.key == "begin")
    return max(e.t for e in ended) - begun


verdicts: list[Verdict | None] = []
#: Seconds of one download and one copy, as the loop took them.
ONE: list[float] = []


if __name__ == "__main__":
    main()
