"""Does TCP pass from one node to another? A listener for a moment on one side, connections from the other.

Both are short Python scripts run on the nodes: vLLM needs Python there anyway, and nc is often missing.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence

from wizard_steps.engine.step import Known
from wizard_steps.model import Cmd

_LISTEN = """
import socket, sys, threading, time
ip, port, wanted, wait = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
word, lock = sys.argv[5].encode(), threading.Lock()
def take(c):
    global seen
    said = b""
    with c:
        c.settimeout(3)
        try:
            while len(said) < len(word):
                part = c.recv(len(word) - len(said))
                if not part: return
                said += part
        except OSError: return
    if said == word:
        with lock: seen += 1
s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    s.bind((ip, port))
except OSError as e:
    if e.errno == 98:
        print(f"{ip}:{port} is listened on already"); sys.exit(0)
    print(f"cannot listen on {ip}:{port}: {e.strerror}"); sys.exit(1)
s.listen(512)
end, seen = time.monotonic() + wait, 0
while seen < wanted and time.monotonic() < end:
    s.settimeout(0.2)
    try:
        c, a = s.accept()
    except socket.timeout: continue
    except OSError: break
    threading.Thread(target=take, args=(c,), daemon=True).start()
print(f"{ip}:{port} was reached by {seen} of {wanted}")
"""
_CONNECT = """
import socket, sys, threading, time
mine, port, wait = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
word, targets = sys.argv[4].encode(), sys.argv[5:]
end, closed = time.monotonic() + wait, []
def reach(ip):
    why = "?"
    while time.monotonic() < end:
        s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
        s.settimeout(3)
        try:
            s.bind((mine, 0))
            t = time.monotonic(); s.connect((ip, port)); ms = (time.monotonic() - t) * 1000
            try: s.sendall(word)
            except OSError: pass
            print(f"{mine} -> {ip}:{port} open, {ms:.1f} ms\\n", end="", flush=True)
            return
        except socket.timeout:
            why = "no answer (dropped by a firewall, or no such host)"
        except OSError as e:
            why = e.strerror or str(e)
        finally:
            s.close()
        time.sleep(0.3)
    closed.append(ip)
    print(f"{mine} -> {ip}:{port} closed: {why}\\n", end="", flush=True)
threads = [threading.Thread(target=reach, args=(ip,)) for ip in targets]
for t in threads: t.start()
for t in threads: t.join()
sys.exit(1 if closed else 0)
"""


def _python(known: Known, script: str, *words: str) -> str:
    arguments = " ".join(shlex.quote(word) for word in words)
    venv = shlex.quote(known.cluster.venv)
    find = f"p=$(command -v python3 || echo {venv}/bin/python)\n"
    return f'{find}exec "$p" -I -c {shlex.quote(script)} {arguments}\n'


def _word(known: Known) -> str:
    """What our own connections say first. A raylet that dials its lost head is not one of them."""
    return "milepost " + hashlib.sha256(known.cluster.name.encode()).hexdigest()[:16]


def _wait(known: Known) -> float:
    """Seconds both sides try: with many nodes, SSH reaches the last of them late."""
    return 20 + len(known.nodes) / 4


def listen(known: Known, ip: str, port: int, wanted: int) -> Cmd:
    wait = _wait(known) + 5
    text = _python(known, _LISTEN, ip, str(port), str(wanted), f"{wait:g}", _word(known))
    return Cmd("listen", text, timeout=wait + 15, quiet=True, show=f"(listen on {ip}:{port} for a moment)")


def connect(known: Known, mine: str, port: int, targets: Sequence[str], key: str) -> Cmd:
    wait = _wait(known)
    text = _python(known, _CONNECT, mine, str(port), f"{wait:g}", _word(known), *targets)
    shown = "; ".join(f"nc -zv -s {mine} {ip} {port}" for ip in targets[:8])
    return Cmd(key, text, timeout=wait + 15, show=shown + ("; …" if len(targets) > 8 else ""))
