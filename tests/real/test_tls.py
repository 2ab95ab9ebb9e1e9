"""A vLLM that speaks HTTPS itself: real vLLM on CPU on one host, with a certificate that nobody trusts. Every part of
milepost that asks its API has to go on: the gates, the load, the live page, the look from outside."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.real.hosts import Hosts
from tests.real.walks import environment, milepost
from tests.real.wizard_side import SERVE

pytestmark = [pytest.mark.real_vllm, pytest.mark.long, pytest.mark.timeout(900)]
KEY = "planted-key-of-the-tls-test-0123"
NAME = "llm.example.org"
CERTIFICATE = (
    "mkdir -p /root/tls; openssl req -x509 -newkey rsa:2048 -nodes -keyout /root/tls/key.pem -out /root/tls/cert.pem "
    f"-days 30 -subj /CN={NAME} -addext subjectAltName=DNS:{NAME} 2>/dev/null"
)


def went(bed: Hosts, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        milepost(*words),
        env=environment(bed.home, {"VLLM_API_KEY": KEY}),
        cwd=bed.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    print(f"\n##### milepost {' '.join(words)}: rc {done.returncode}\n{done.stdout[-6000:]}", flush=True)
    assert done.returncode == code, done.stdout[-9000:]
    assert KEY not in done.stdout
    return done.stdout


def test_https_from_the_gates_to_the_look_from_outside(possible: None, tmp_path: Path) -> None:
    with Hosts(names=("a",), gpus={"a": 1}) as bed:
        bed.run("a", CERTIFICATE)
        flags = ["--ssl-certfile=/root/tls/cert.pem", "--ssl-keyfile=/root/tls/key.pem"]
        serve = {"executor": "mp", "pipeline_parallel": 1, "api_key": True, "ready_timeout": 600}
        file = bed.cluster_file(path=tmp_path / "milepost.toml", settle=2,
                                serve={**serve, "extra_flags": [*SERVE["extra_flags"], *flags]})  # type: ignore[misc]  # fmt: skip
        file.write_text(
            file.read_text() + "\n[load]\nconcurrency = [2]\ninput_tokens = 16\noutput_tokens = 8\n"
        )
        text = went(bed, str(file), "--headless")
        assert f"https://{bed.network.fabric_ip('a')}:8000/v1" in text
        assert NAME in text
        went(bed, "load", str(file))
        page = json.loads(went(bed, "top", str(file), "--once", "--json"))
        assert page["engines"]
        assert "401" in went(bed, "exposed", str(file))
        went(bed, "top", str(file), "--export", str(tmp_path / "monitor"))
        scrape = "".join(one.read_text() for one in (tmp_path / "monitor").iterdir())
        assert "scheme: https" in scrape
        went(bed, "down", str(file))
