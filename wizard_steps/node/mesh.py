"""TCP between many nodes at once: who reaches whom, with what latency and, where asked for, how fast.

One short Python script runs on every node at the same time. It listens on some addresses, connects to
others, and ends by itself. A line it prints for each connection:

    10.0.0.1 -> b 10.0.0.2:19998 open, 0.21 ms, 9412 Mbit/s there, 9380 Mbit/s back
    10.0.0.1 -> b 10.0.0.2:19998 closed: no answer (dropped by a firewall, or no such host)
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

from msgspec import Struct

from wizard_steps.cluster.file import Cluster
from wizard_steps.model import Cmd, Result

#: Bytes of one timed transfer and way; it is cut off after a second.
TRANSFER = 8 << 20

_SCRIPT = """
import json, socket, sys, threading, time
spec = json.loads(sys.argv[1])
now = time.monotonic
end, alive, told, turn = now() + spec["wait"], {}, threading.Lock(), threading.Lock()
active = []
def say(text):
    with told: print(text, flush=True)
def fresh(ip):
    s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return s
def take(c, n):
    while n > 0:
        got = len(c.recv(min(n, 1 << 18)))
        if not got: raise OSError("closed")
        n -= got
def answer(c):
    with c:
        try:
            c.settimeout(max(1, end - now()))
            head = c.recv(8)
            if len(head) < 8: return
            n = int.from_bytes(head, "big")
            c.settimeout(5); take(c, n); c.sendall(b"!"); c.sendall(bytes(n))
        except OSError: pass
def accept(s, wanted):
    while wanted > 0 and now() < end:
        s.settimeout(max(0.1, end - now()))
        try: c = s.accept()[0]
        except OSError: return
        wanted -= 1
        t = threading.Thread(target=answer, args=(c,), daemon=True); t.start(); active.append(t)
def timed(s, n):
    s.settimeout(2); t = now(); s.sendall(n.to_bytes(8, "big"))
    block, sent = bytes(1 << 18), 0
    while sent < n:
        part = block[:n - sent]; s.sendall(part); sent += len(part)
        if now() - t > 1: return f", {sent * 8e-6 / (now() - t):.0f} Mbit/s there"
    take(s, 1); there = n * 8e-6 / (now() - t); t = now()
    take(s, n); back = n * 8e-6 / (now() - t)
    return f", {there:.0f} Mbit/s there, {back:.0f} Mbit/s back"
def reach(name, mine, ip, port, n):
    why, way = "?", f"{mine} -> {name} {ip}:{port}"
    # A peer that answered elsewhere listens here too: then a few seconds decide.
    while now() < min(end, alive.get(name, end) + 3):
        s = fresh(ip); s.settimeout(2)
        try:
            s.bind((mine, 0)); t = now(); s.connect((ip, port)); ms = (now() - t) * 1000
            alive.setdefault(name, now())
            rate = ""
            if n:
                with turn:
                    try: rate = timed(s, n) if now() < end else ""
                    except OSError: rate = ""
            say(f"{way} open, {ms:.2f} ms{rate}"); return
        except socket.timeout: why = "no answer (dropped by a firewall, or no such host)"
        except OSError as e: why = e.strerror or str(e)
        finally: s.close()
        time.sleep(0.3)
    say(f"{way} closed: {why}")
waits, goes = [], []
for ip, port, wanted in spec["listen"]:
    s = fresh(ip)
    try: s.bind((ip, port)); s.listen(512)
    except OSError as e: say(f"cannot listen on {ip}:{port}: {e.strerror}"); continue
    waits.append(threading.Thread(target=accept, args=(s, wanted), daemon=True))
goes = [threading.Thread(target=reach, args=tuple(t), daemon=True) for t in spec["to"]]
for t in waits + goes: t.start()
for t in goes: t.join()
# Who is still to come had this long: it began when this node did, and gives up as soon.
last = min(end, now() + 4)
for t in waits: t.join(max(0, last - now()))
for t in active: t.join(max(0, end - now()))
"""
_LINE = re.compile(
    r"^(?P<mine>\S+) -> (?P<name>\S+) (?P<ip>\S+):(?P<port>\d+) "
    r"(?:open, (?P<ms>[\d.]+) ms(?:, (?P<there>\d+) Mbit/s there)?(?:, (?P<back>\d+) Mbit/s back)?"
    r"|closed: (?P<why>.*))$"
)


class Way(Struct, frozen=True):
    """One connection that was tried. ``mbit`` is the slower of both directions, 0 when not measured."""

    name: str
    ip: str
    port: int
    open: bool
    ms: float = 0.0
    mbit: float = 0.0
    why: str = ""


def wait_for(count: int) -> float:
    """Seconds all sides try: with many nodes, SSH reaches the last of them late."""
    return 15 + count / 4


def command(
    cluster: Cluster,
    key: str,
    listen: Sequence[tuple[str, int, int]],
    to: Sequence[tuple[str, str, str, int, int]],
    show: str,
) -> Cmd:
    """``listen``: (ip, port, connections to expect); ``to``: (peer, own ip, its ip, port, bytes to time)."""
    wait = wait_for(len(cluster.nodes))
    spec = json.dumps({"wait": wait, "listen": listen, "to": to}, separators=(",", ":"))
    venv = shlex.quote(cluster.venv)
    text = (
        f"p=$(command -v python3 || echo {venv}/bin/python)\n"
        f'exec "$p" -I -c {shlex.quote(_SCRIPT)} {shlex.quote(spec)}\n'
    )
    return Cmd(key, text, timeout=wait + 25, show=show)


def ways(result: Result | None) -> list[Way]:
    """What the script printed; lines that are anything else are left out."""
    found = []
    for line in result.lines if result else []:
        row = _LINE.match(line.strip())
        if row:
            rates = [float(row[k]) for k in ("there", "back") if row[k]]
            found.append(
                Way(
                    row["name"],
                    row["ip"],
                    int(row["port"]),
                    row["ms"] is not None,
                    float(row["ms"] or 0),
                    min(rates, default=0.0),
                    row["why"] or "",
                )
            )
    return found
