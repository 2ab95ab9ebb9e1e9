"""`milepost proxy`: configurations that pass /v1 alone; a name that is none is refused. `outside.py` for real."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helpers.case_runner import CLUSTER
from tui.cli.main import main
from wizard_steps.node import proxy
from wizard_steps.node.program import program


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(CLUSTER)
    return path


def test_caddy_asks_for_the_key_where_vllm_does_not(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proxy", str(file), "--domain", "llm.example.org"]) == 0
    text = capsys.readouterr().out
    assert "reverse_proxy /v1/* http://10.0.0.1:8000" in text
    assert "{env.VLLM_API_KEY}" in text
    assert text.count("{") == text.count("}")
    # Caddy 2.6 took a * in a `header` matcher's key for anything, and broke answers off with `flush_interval -1`.
    assert 'vars {header.Authorization} "Bearer {env.VLLM_API_KEY}"' in text
    assert "flush_interval" not in text
    # Tried with Caddy 2.6: outside of a route it passes /v1 first, and asks nobody for a key.
    lines = [line.strip() for line in text.splitlines()]
    order = [lines.index(one) for one in ("route {", "respond @nokey 401", "respond 404")]
    assert order == sorted(order)
    assert order[1] < next(n for n, line in enumerate(lines) if line.startswith("reverse_proxy /v1/*"))
    file.write_text(CLUSTER + "api_key = true\n")
    assert main(["proxy", str(file), "--domain", "llm.example.org"]) == 0
    assert "@nokey" not in capsys.readouterr().out


def test_nginx_wants_a_server_with_a_key(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proxy", str(file), "--domain", "llm.example.org", "--nginx"]) == 2
    assert "serve.api_key = true" in capsys.readouterr().err
    file.write_text(CLUSTER + 'api_key = true\nhost = "fd00::1"\n')
    assert main(["proxy", str(file), "--domain", "llm.example.org", "--nginx"]) == 0
    text = capsys.readouterr().out
    assert "proxy_pass http://[fd00::1]:8000;" in text
    assert "location / { return 404; }" in text


@pytest.mark.parametrize("name", ["a b", "x;", "-a", "a..b", "{env.HOME}", "a\n", "", "x" * 300])
def test_what_is_no_host_name_is_refused(file: Path, name: str) -> None:
    assert main(["proxy", str(file), f"--domain={name}"]) == 2


def test_nginx_itself_takes_it(file: Path, tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or pytest.skip("no nginx on this machine")
    from wizard_steps.cluster.file import parse

    text = proxy.nginx(parse(CLUSTER + "api_key = true\n"), "llm.example.org")
    key, own = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=llm.example.org")
    subprocess.run([*openssl, "-keyout", str(key), "-out", str(own)], check=True, capture_output=True)
    live = "/etc/letsencrypt/live/llm.example.org"
    text = text.replace(f"{live}/fullchain.pem", str(own)).replace(f"{live}/privkey.pem", str(key))
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp = "".join(f"{place}_temp_path {tmp_path}/{place};\n" for place in places)
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}{text}}}\n")
    done = subprocess.run(
        [nginx, "-e", str(tmp_path / "log"), "-t", "-c", str(conf)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_caddy_itself_takes_it(tmp_path: Path) -> None:
    caddy = shutil.which("caddy") or pytest.skip("no Caddy on this machine")
    from wizard_steps.cluster.file import parse

    conf = tmp_path / "Caddyfile"
    for more in ("", "api_key = true\n"):
        conf.write_text(proxy.caddy(parse(CLUSTER + more), "llm.example.org"))
        done = subprocess.run([caddy, "fmt", "--diff", str(conf)], capture_output=True, text=True)
        assert "+ " not in done.stdout
        argv = [caddy, "validate", "--adapter", "caddyfile", "--config", str(conf)]
        done = subprocess.run(argv, capture_output=True, text=True, env={"HOME": str(tmp_path)})
        assert done.returncode == 0, done.stderr


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_outside_tells_open_closed_and_its_own_machine() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    port = server.server_address[1]
    wanted = {
        "ports": [["a", "127.0.0.1", port], ["a", "127.0.0.1", closed]],
        "urls": [
            ["x", "GET", f"http://127.0.0.1:{port}/v1/models"],
            ["y", "GET", f"https://127.0.0.1:{port}/"],
        ],
    }
    argv = [sys.executable, "-I", "-c", program("outside.py"), json.dumps(wanted)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    server.shutdown()
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = done.stdout.splitlines()
    assert first == f"port a 127.0.0.1 {port} self"
    assert second == f"port a 127.0.0.1 {closed} closed"
    assert third == "url x GET /v1/models 401"
    assert fourth.startswith("url y GET / tls ")
