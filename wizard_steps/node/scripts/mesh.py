"""TCP between many nodes at once: listens on some addresses, connects to others, ends by itself.

One argument, JSON: ``wait`` (seconds in all), ``listen`` [[ip, port, connections to expect]], ``to``
[[peer's name, own ip, its ip, port, bytes to time]]. Prints one line for each connection that was tried.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import sys
import threading
import time

BLOCK = 1 << 18
SPEC = json.loads(sys.argv[1])
END = time.monotonic() + SPEC["wait"]
#: When a peer first answered; a timed transfer at a time, or they would share the line.
ALIVE: dict[str, float] = {}
PRINTING, TRANSFER = threading.Lock(), threading.Lock()
ANSWERING: list[threading.Thread] = []
#: Why an address and port could not be listened on, as long as it is so.
TAKEN: dict[str, str] = {}


def say(text: str) -> None:
    with PRINTING:
        print(text, flush=True)


def fresh(ip: str) -> socket.socket:
    s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return s


def receive(s: socket.socket, n: int) -> None:
    """Read ``n`` bytes and drop them."""
    while n > 0:
        got = len(s.recv(min(n, BLOCK)))
        if not got:
            raise OSError("closed")
        n -= got


def answer(s: socket.socket) -> None:
    """A peer names a number of bytes, sends them, and gets as many back."""
    with s, contextlib.suppress(OSError):
        s.settimeout(max(1, END - time.monotonic()))
        head = s.recv(8)
        if len(head) < 8:
            return
        n = int.from_bytes(head, "big")
        s.settimeout(5)
        receive(s, n)
        s.sendall(b"!")
        s.sendall(bytes(n))


def accept(s: socket.socket, wanted: int) -> None:
    with s:
        while wanted > 0 and time.monotonic() < END:
            s.settimeout(max(0.1, END - time.monotonic()))
            try:
                peer = s.accept()[0]
            except OSError:
                return
            wanted -= 1
            thread = threading.Thread(target=answer, args=(peer,), daemon=True)
            thread.start()
            ANSWERING.append(thread)


def timed(s: socket.socket, n: int) -> str:
    """Send ``n`` bytes and get them back; a transfer of more than a second is cut off."""
    s.settimeout(2)
    start = time.monotonic()
    s.sendall(n.to_bytes(8, "big"))
    block, sent = bytes(BLOCK), 0
    while sent < n:
        part = block[: n - sent]
        s.sendall(part)
        sent += len(part)
        took = time.monotonic() - start
        if took > 1:
            return f", {sent * 8e-6 / took:.0f} Mbit/s there"
    receive(s, 1)
    there = n * 8e-6 / (time.monotonic() - start)
    start = time.monotonic()
    receive(s, n)
    back = n * 8e-6 / (time.monotonic() - start)
    return f", {there:.0f} Mbit/s there, {back:.0f} Mbit/s back"


def rate(s: socket.socket, n: int) -> str:
    if not n:
        return ""
    with TRANSFER, contextlib.suppress(OSError):
        if time.monotonic() < END:
            return timed(s, n)
    return ""


def reach(name: str, mine: str, ip: str, port: int, n: int) -> None:
    why, way = "?", f"{mine} -> {name} {ip}:{port}"
    # A peer that answered elsewhere listens here too: then a few seconds decide.
    while time.monotonic() < min(END, ALIVE.get(name, END) + 3):
        with fresh(ip) as s:
            s.settimeout(2)
            try:
                s.bind((mine, 0))
                start = time.monotonic()
                s.connect((ip, port))
                ms = (time.monotonic() - start) * 1000
                ALIVE.setdefault(name, time.monotonic())
                say(f"{way} open, {ms:.2f} ms{rate(s, n)}")
                return
            except socket.timeout:
                why = "no answer (dropped by a firewall, or no such host)"
            except OSError as error:
                why = error.strerror or str(error)
        time.sleep(0.3)
    say(f"{way} closed: {why}")


def opened(ip: str, port: int) -> socket.socket:
    s = fresh(ip)
    try:
        s.bind((ip, port))
        s.listen(512)
    except OSError:
        s.close()
        raise
    return s


def late(ip: str, port: int, wanted: int) -> None:
    """A high port may be the near end of a connection: that one may end while the peers still try."""
    while time.monotonic() < END:
        try:
            s = opened(ip, port)
        except OSError:
            time.sleep(0.2)
        else:
            TAKEN.pop(f"{ip}:{port}", None)
            accept(s, wanted)
            return


def listeners() -> list[threading.Thread]:
    """All that can be opened is open when this returns."""
    threads = []
    for ip, port, wanted in SPEC["listen"]:
        try:
            s = opened(ip, port)
        except OSError as error:
            TAKEN[f"{ip}:{port}"] = error.strerror or str(error)
            if error.errno == errno.EADDRINUSE:
                threads.append(threading.Thread(target=late, args=(ip, port, wanted), daemon=True))
        else:
            threads.append(threading.Thread(target=accept, args=(s, wanted), daemon=True))
    return threads


def main() -> None:
    waiting = listeners()
    going = [threading.Thread(target=reach, args=tuple(to), daemon=True) for to in SPEC["to"]]
    for thread in waiting + going:
        thread.start()
    for thread in going:
        thread.join()
    # Who is still to come had this long: it began when this node did, and gives up as soon.
    last = min(END, time.monotonic() + 4)
    for thread in waiting:
        thread.join(max(0, last - time.monotonic()))
    for thread in ANSWERING:
        thread.join(max(0, END - time.monotonic()))
    for where, why in TAKEN.items():
        say(f"cannot listen on {where}: {why}")


main()
