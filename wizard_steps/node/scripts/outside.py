"""What answers from this machine: TCP ports, and paths of HTTP servers, each asked without a key.

The JSON on the command line: {"ports": [[node, address, port], ...], "urls": [[label, method, url], ...]}.
Prints `port NODE ADDRESS PORT open|self|closed|silent` and `url LABEL METHOD PATH STATUS` with error words.
"""

import http.client
import json
import socket
import ssl
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

#: Seconds for a connection, and for an answer.
CONNECT, ANSWER = 3.0, 30.0


def port(target: list[Any]) -> str:
    node, address, number = target
    try:
        with socket.create_connection((address, number), CONNECT) as line:
            # Both ends on one machine: no way from outside was taken.
            same = line.getsockname()[0] == line.getpeername()[0]
        state = "self" if same else "open"
    except ConnectionRefusedError:
        state = "closed"
    except OSError:
        state = "silent"
    return f"port {node} {address} {number} {state}"


def url(target: list[str]) -> str:
    label, method, whole = target
    parts = urllib.parse.urlsplit(whole)
    host, status, said = parts.hostname or "", "", ""
    try:
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            # A proxy must have a certificate that this machine trusts. vLLM's own is judged on the server,
            # and whoever wants in does not care.
            own = label.startswith("api-")
            context = ssl._create_unverified_context() if own else ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, parts.port, timeout=ANSWER, context=context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=ANSWER)
        body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
        headers = {"Content-Type": "application/json"} if method == "POST" else {}
        connection.request(method, parts.path or "/", body if method == "POST" else None, headers)
        status = str(connection.getresponse().status)
        connection.close()
    except ssl.SSLError as error:
        status, said = "tls", str(error)
    except (OSError, ValueError, http.client.HTTPException) as error:
        status, said = "none", f"{type(error).__name__}: {error}"
    words = " ".join(said.split())[:200]
    return f"url {label} {method} {parts.path or '/'} {status} {words}".strip()


def main() -> None:
    wanted = json.loads(sys.argv[1])
    with ThreadPoolExecutor(32) as pool:
        for line in [*pool.map(port, wanted["ports"]), *pool.map(url, wanted["urls"])]:
            print(line, flush=True)


if __name__ == "__main__":
    main()
