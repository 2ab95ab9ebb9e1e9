"""Listens on an address for a moment and counts those who say the word.

Arguments: address, port, connections to wait for, seconds, word.
"""

from __future__ import annotations

import errno
import socket
import sys
import threading
import time

IP, PORT, WANTED, WAIT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
WORD = sys.argv[5].encode()
#: One entry for each peer that said the word.
SEEN: list[bool] = []


def take(peer: socket.socket) -> None:
    heard = b""
    with peer:
        peer.settimeout(3)
        try:
            while len(heard) < len(WORD):
                part = peer.recv(len(WORD) - len(heard))
                if not part:
                    return
                heard += part
        except OSError:
            return
    if heard == WORD:
        SEEN.append(True)


def main() -> None:
    s = socket.socket(socket.AF_INET6 if ":" in IP else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((IP, PORT))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            print(f"{IP}:{PORT} is listened on already")
            sys.exit(0)
        print(f"cannot listen on {IP}:{PORT}: {error.strerror}")
        sys.exit(1)
    s.listen(512)
    s.settimeout(0.2)
    end = time.monotonic() + WAIT
    while len(SEEN) < WANTED and time.monotonic() < end:
        try:
            peer = s.accept()[0]
        except socket.timeout:
            continue
        except OSError:
            break
        threading.Thread(target=take, args=(peer,), daemon=True).start()
    print(f"{IP}:{PORT} was reached by {len(SEEN)} of {WANTED}")


main()
