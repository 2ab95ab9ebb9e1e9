"""Sends what a command writes to every peer at once, as it comes.

Arguments: address, port, seconds to wait for the peers, their addresses (JSON list), the command (JSON list).
Only connections from these addresses are answered.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

IP, PORT, WAIT = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
PEERS, COMMAND = json.loads(sys.argv[4]), json.loads(sys.argv[5])
BLOCK, EVERY = 1 << 20, 5.0


def gather() -> dict[str, socket.socket]:
    s = socket.socket(socket.AF_INET6 if ":" in IP else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((IP, PORT))
    except OSError as error:
        print(f"cannot listen on {IP}:{PORT}: {error.strerror}")
        sys.exit(1)
    s.listen(64)
    s.settimeout(0.5)
    found: dict[str, socket.socket] = {}
    end = time.monotonic() + WAIT
    while len(found) < len(PEERS) and time.monotonic() < end:
        try:
            peer, where = s.accept()
        except socket.timeout:
            continue
        if where[0] in PEERS and where[0] not in found:
            peer.settimeout(300)
            found[where[0]] = peer
        else:
            peer.close()
    s.close()
    return found


def hand_on(block: bytes, peers: dict[str, socket.socket]) -> None:
    """To all at the same time: the slowest sets the pace. One that breaks off is left behind."""

    def one(where: str) -> None:
        try:
            peers[where].sendall(block)
        except OSError as error:
            print(f"{where}: broke off: {error}", flush=True)
            broken.append(where)

    broken: list[str] = []
    threads = [threading.Thread(target=one, args=(where,)) for where in peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for where in broken:
        peers.pop(where).close()


def main() -> None:
    peers = gather()
    for where in sorted(set(PEERS) - set(peers)):
        print(f"{where}: did not connect within {WAIT:.0f} s")
    if not peers:
        sys.exit(1)
    start = told = time.monotonic()
    count = 0
    command = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert command.stdout is not None
    while peers:
        block = command.stdout.read(BLOCK)
        if not block:
            break
        hand_on(block, peers)
        count += len(block)
        if time.monotonic() - told >= EVERY:
            told = time.monotonic()
            print(f"{count / 1e9:.2f} GB sent, {count / (told - start) / 1e6:.0f} MB/s", flush=True)
    if not peers:
        command.kill()
    code = command.wait()
    for peer in peers.values():
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_WR)
    took = max(time.monotonic() - start, 0.001)
    print(f"sent: {count} bytes to {len(peers)} of {len(PEERS)} in {took:.1f} s")
    sys.exit(code or (0 if len(peers) == len(PEERS) else 1))


main()
