"""Takes what comes from another node and hands it to a command's standard input.

Arguments: own address, the sender's address, its port, seconds to try, the command (JSON list).
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time

MINE, IP, PORT, WAIT = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
COMMAND = json.loads(sys.argv[5])
BLOCK, EVERY = 1 << 20, 5.0


def connect() -> socket.socket:
    end = time.monotonic() + WAIT
    while True:
        s = socket.socket(socket.AF_INET6 if ":" in IP else socket.AF_INET)
        s.settimeout(5)
        try:
            s.bind((MINE, 0))
            s.connect((IP, PORT))
        except OSError as error:
            s.close()
            if time.monotonic() > end:
                print(f"cannot reach {IP}:{PORT} from {MINE}: {error}")
                sys.exit(1)
            time.sleep(0.5)
            continue
        # Until the last of the others has connected nothing comes.
        s.settimeout(WAIT + 300)
        return s


def main() -> None:
    s = connect()
    command = subprocess.Popen(COMMAND, stdin=subprocess.PIPE)
    assert command.stdin is not None
    start = told = time.monotonic()
    count = 0
    try:
        while True:
            block = s.recv(BLOCK)
            if not block:
                break
            command.stdin.write(block)
            count += len(block)
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                print(f"{count / 1e9:.2f} GB received, {count / (told - start) / 1e6:.0f} MB/s", flush=True)
    except OSError as error:
        print(f"broke off after {count} bytes: {error}", flush=True)
    with contextlib.suppress(OSError):
        command.stdin.close()
    code = command.wait()
    print(f"received: {count} bytes in {max(time.monotonic() - start, 0.001):.1f} s")
    sys.exit(code if count else 1)


main()
