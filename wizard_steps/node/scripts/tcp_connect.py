"""Connects from an address to others at the same time, and says the word to each that answers.

Arguments: own address, port, seconds, word, addresses. Exits with 1 when one of them was not reached.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time

MINE, PORT, WAIT = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
WORD, TARGETS = sys.argv[4].encode(), sys.argv[5:]
END = time.monotonic() + WAIT
CLOSED: list[str] = []


def reach(ip: str) -> None:
    why = "?"
    while time.monotonic() < END:
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as s:
            s.settimeout(3)
            try:
                s.bind((MINE, 0))
                start = time.monotonic()
                s.connect((ip, PORT))
                ms = (time.monotonic() - start) * 1000
                with contextlib.suppress(OSError):
                    s.sendall(WORD)
                # One write for the line and its end: the threads share the output.
                print(f"{MINE} -> {ip}:{PORT} open, {ms:.1f} ms\n", end="", flush=True)
                return
            except socket.timeout:
                why = "no answer (dropped by a firewall, or no such host)"
            except OSError as error:
                why = error.strerror or str(error)
        time.sleep(0.3)
    CLOSED.append(ip)
    print(f"{MINE} -> {ip}:{PORT} closed: {why}\n", end="", flush=True)


def main() -> None:
    threads = [threading.Thread(target=reach, args=(ip,)) for ip in TARGETS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(1 if CLOSED else 0)


main()
