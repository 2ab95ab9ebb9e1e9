"""The same failure in everything that people keep logs in: it is found, on its line, with its node."""

from __future__ import annotations

import bz2
import gzip
import html
import io
import json
import lzma
import quopri
import shutil
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wizard_steps.diagnose import diagnose_streams, shapes
from wizard_steps.diagnose.json_lines import readable
from wizard_steps.diagnose.model import Source
from wizard_steps.diagnose.nodes import header, said
from wizard_steps.diagnose.prefixes import peel
from wizard_steps.diagnose.reading import texts
from wizard_steps.diagnose.shapes import shaped
from wizard_steps.diagnose.values import found

LINES = [
    "(EngineCore pid=1305) INFO 12-12 22:31:20 [core.py:97] Initializing a V1 LLM engine (v0.33.0)",
    "(EngineCore pid=1305) ERROR 12-12 22:31:21 [worker_base.py:620] torch.OutOfMemoryError: CUDA out of memory. "
    "Tried to allocate 896.00 MiB. GPU 0 has a total capacity of 79.25 GiB of which 768.00 KiB is free.",
    "(APIServer pid=934) RuntimeError: Engine core initialization failed. See root cause above.",
]
TEXT = "\n".join(LINES) + "\n"


def each(form: Callable[[str], str]) -> bytes:
    return "".join(form(line) + "\n" for line in LINES).encode()


def cut(text: str, width: int) -> str:
    return "\n".join(line[i : i + width] for line in text.splitlines() for i in range(0, len(line), width))


def cast(text: str) -> bytes:
    """A terminal recording that cuts lines where it likes."""
    head = json.dumps({"version": 3, "term": {"cols": 80, "rows": 24}})
    raw = text.replace("\n", "\r\n")
    events = [json.dumps([0.1, "o", raw[i : i + 37]]) for i in range(0, len(raw), 37)]
    return "\n".join([head, *events, json.dumps([0.1, "x", "1"])]).encode()


LOKI = {
    "status": "success",
    "data": {
        "resultType": "streams",
        "result": [
            {"stream": {"host": "gpu-b"}, "values": [["1766183000000000000", line] for line in LINES]}
        ],
    },
}
MAIL = b"Subject: help\nContent-Transfer-Encoding: quoted-printable\n\n"
#: name: (bytes, line on which it stands or 0 for any, node)
FORMS: dict[str, tuple[bytes, int, str]] = {
    "plain": (TEXT.encode(), 2, ""),
    "gzip": (gzip.compress(TEXT.encode()), 2, ""),
    "gzip, two members": (gzip.compress(LINES[0].encode() + b"\n") + gzip.compress(TEXT.encode()), 3, ""),
    "xz": (lzma.compress(TEXT.encode()), 2, ""),
    "bzip2": (bz2.compress(TEXT.encode()), 2, ""),
    "gzip in gzip": (gzip.compress(gzip.compress(TEXT.encode())), 2, ""),
    "utf-8 with a mark": (b"\xef\xbb\xbf" + TEXT.encode(), 2, ""),
    "utf-16 le with a mark": (b"\xff\xfe" + TEXT.encode("utf-16-le"), 2, ""),
    "utf-16 be with a mark": (b"\xfe\xff" + TEXT.encode("utf-16-be"), 2, ""),
    "utf-16 le": (TEXT.encode("utf-16-le"), 2, ""),
    "utf-16 be": (TEXT.encode("utf-16-be"), 2, ""),
    "zeros between": (TEXT.replace(" ", "\x00 ").encode(), 2, ""),
    "returns only": (TEXT.replace("\n", "\r").encode(), 2, ""),
    "returns and line ends": (TEXT.replace("\n", "\r\n").encode(), 2, ""),
    "escape written as \\e": (each(lambda line: f"\\e[36m{line}\\e[0m".replace("out", "\\e[1mout")), 2, ""),
    "escape written as ESC": (each(lambda line: f"ESC[36m{line}ESC[0m".replace("out", "ESC[1mout")), 2, ""),
    "escape lost": (each(lambda line: f"[36m{line}[0m".replace("out", "[1mout")), 2, ""),
    "cut at 80": (cut(TEXT, 80).encode(), 3, ""),
    "cut at 100": (cut(TEXT, 100).encode(), 2, ""),
    "cut and cited in a mail": (MAIL + quopri.encodestring(TEXT.encode()), 0, ""),
    "quoted": (each(lambda line: f"> > {line}"), 2, ""),
    "markdown": (f"### Logs\n\n```text\n{TEXT}```\n".encode(), 5, ""),
    "typed quotes": (TEXT.replace(" ", "\u00a0").encode(), 2, ""),
    "page": (f"<html><body><pre>{html.escape(TEXT)}</pre></body></html>".encode(), 2, ""),
    "page in one line": (f"<!doctype html><p>{'<br>'.join(map(html.escape, LINES))}</p>".encode(), 1, ""),
    "page with spans": (
        f"<html><pre>{html.escape(TEXT).replace('out', '<span class=x>out</span>')}</pre>".encode(),
        2,
        "",
    ),
    "docker": (each(lambda line: json.dumps({"log": line + "\n", "stream": "stderr"})), 2, ""),
    "string of a recording": (each(lambda line: json.dumps(line + "\r\n") + ","), 2, ""),
    "slack": (json.dumps({"messages": [{"user": "U1", "text": TEXT}]}).encode(), 1, ""),
    "slack, pretty": (json.dumps({"messages": [{"text": TEXT}]}, indent=2).encode(), 4, ""),
    "terminal recording": (cast(TEXT), 0, ""),
    "journald": (each(lambda line: json.dumps({"_HOSTNAME": "gpu-b", "MESSAGE": line})), 2, "gpu-b"),
    "journald, bytes": (
        each(lambda line: json.dumps({"_HOSTNAME": "gpu-b", "MESSAGE": list(line.encode())})),
        2,
        "gpu-b",
    ),
    "journald export": (each(lambda line: f"_HOSTNAME=gpu-b\nMESSAGE={line}\n"), 5, "gpu-b"),
    "fluentd": (each(lambda line: json.dumps({"log": line, "kubernetes": {"host": "gpu-b"}})), 2, "gpu-b"),
    "loki": (json.dumps(LOKI).encode(), 1, "gpu-b"),
    "logcli": (each(lambda line: f'2026-12-12T22:31:20Z {{host="gpu-b", job="vllm"}} {line}'), 2, "gpu-b"),
    "kubectl": (each(lambda line: f"[pod/vllm-0-1/vllm-worker] {line}"), 2, "vllm-0-1"),
    "kubectl with times": (each(lambda line: f"2026-12-12T22:31:20.123456789Z {line}"), 2, ""),
    "stern": (each(lambda line: f"vllm-0-1 vllm-worker {line}"), 2, "vllm-0-1"),
    "cri": (each(lambda line: f"2026-12-12T22:31:20.123456789Z stderr F {line}"), 2, ""),
    "compose": (each(lambda line: f"vllm-worker-1  | {line}"), 2, "vllm-worker-1"),
    "docker service": (each(lambda line: f"vllm.2.x1y2z3@gpu-b    | {line}"), 2, "gpu-b"),
    "syslog": (each(lambda line: f"Dec 12 22:31:20 gpu-b vllm[1305]: {line}"), 2, "gpu-b"),
    "syslog, iso": (each(lambda line: f"2026-12-12T22:31:20.1+00:00 gpu-b vllm[1305]: {line}"), 2, "gpu-b"),
    "syslog, rfc 5424": (
        each(lambda line: f"<34>1 2026-12-12T22:31:20.1Z gpu-b vllm 1305 - - {line}"),
        2,
        "gpu-b",
    ),
    "srun": (each(lambda line: f"1: {line}"), 2, "task 1"),
    "mpirun": (each(lambda line: f"[1,0]<stderr>: {line}"), 2, ""),
    "pdsh": (each(lambda line: f"gpu-b: {line}"), 2, "gpu-b"),
    "dshbak": (f"----------------\ngpu-b\n----------------\n{TEXT}".encode(), 5, "gpu-b"),
    "ansible": (f"gpu-b | FAILED | rc=1 >>\n{TEXT}".encode(), 3, "gpu-b"),
    "prompt": (f"root@gpu-b:~# docker logs vllm\n{TEXT}".encode(), 3, "gpu-b"),
    "heading": (f"### [gpu-b] 10.1.15.28\n{TEXT}".encode(), 3, "gpu-b"),
    "title": (f"**worker node gpu-b2:**\n{TEXT}".encode(), 3, "gpu-b2"),
    "addressed": (f"On the head (10.0.0.2):\n{TEXT}".encode(), 3, "10.0.0.2"),
}


def first(data: bytes) -> tuple[str, int, str]:
    finding = diagnose_streams([(Source("x", ""), lambda: io.BytesIO(data))])[0]
    return finding.rule, finding.evidence[0].line, finding.node


@pytest.mark.parametrize("name", FORMS)
def test_a_failure_is_found_in(name: str) -> None:
    data, line, node = FORMS[name]
    rule, number, where = first(data)
    assert rule == "cuda-out-of-memory"
    assert number == line or not line
    assert where == node


def test_a_zstd_file_is_unpacked_by_its_program() -> None:
    program = shutil.which("zstd")
    if program is None:
        pytest.skip("no zstd program on this machine")
    packed = subprocess.run([program, "-qc"], input=TEXT.encode(), capture_output=True, check=True).stdout
    assert first(packed)[:2] == ("cuda-out-of-memory", 2)


def test_a_packed_file_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    data = gzip.compress(TEXT.encode() + bytes(range(256)) * 400)
    assert first(data[: len(data) - 20])[0] == "cuda-out-of-memory"


def test_a_file_that_unpacks_without_end_needs_no_memory() -> None:
    packed = gzip.compress(gzip.compress(bytes(1 << 26)))
    assert sum(map(len, texts(iter([packed])))) == 0


def test_scripts_of_a_page_are_not_read() -> None:
    page = b"<html><script>var x = 'CUDA out of memory';\nvar y;</script><p>fine</p></html>"
    assert diagnose_streams([(Source("x", ""), lambda: io.BytesIO(page))]) == []


ANY = st.text() | st.text('\n\r\x1b[]{}":,<>/=|0123456789abcdefmo. ', max_size=300)


@settings(max_examples=80, deadline=None)
@given(
    st.binary(max_size=400)
    | st.binary(max_size=200).map(gzip.compress)
    | st.binary(max_size=99).map(lzma.compress)
)
def test_any_bytes_become_text(data: bytes) -> None:
    assert "\x00" not in "".join(texts(iter([data[:3], data[3:]])))


HEADER = "content-transfer-encoding: quoted-printable\n"


@example("0=", HEADER)
@example("=\n", HEADER)
@settings(max_examples=150, deadline=None)
@given(
    ANY,
    st.sampled_from(["", "<html>", '{"a": 1}\n', "[1]\n", HEADER]),
)
def test_lines_stay_where_they_are(text: str, head: str) -> None:
    whole = head + text
    changed = "".join(shaped([whole[:5], whole[5:]]))
    assert changed.count("\n") in (whole.count("\n"), whole.count("\r"))


@settings(max_examples=150, deadline=None)
@given(ANY)
def test_no_line_upsets_the_parsers(text: str) -> None:
    message, _ = peel(text)
    assert text.endswith(message)
    for parser in (readable, said, lambda t: header(t.split("\n")), lambda t: found(t, t.lower())):
        parser(text)


@pytest.mark.parametrize(
    "filler", ["a", "a-", "(a ", "[", "1:", "> ", "2026-01-01T", '{"a":', "=", "<b", "x.y-"]
)
def test_no_parser_is_slow_on_long_lines(filler: str) -> None:
    """Not a timing: an expression that needs seconds would run into the time limit of the test."""
    line = filler * (4096 // len(filler))
    for _ in range(20):
        peel(line)
        said(line)
        header([line])
        readable(line)
        found(line, line.lower())


def test_a_record_longer_than_the_beginning_of_a_file_is_taken_apart() -> None:
    filler = "quiet " * 30_000
    record = {"_HOSTNAME": "gpu-z", "MESSAGE": [*f"{filler}CUDA out of memory".encode()]}
    found = diagnose_streams([(Source("j", ""), lambda: io.BytesIO(json.dumps(record).encode()))])
    assert [(f.rule, f.node) for f in found] == [("cuda-out-of-memory", "gpu-z")]


def test_a_line_too_long_for_a_record_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "LONGEST", 1 << 17)
    line = b'{"MESSAGE": "' + b"quiet " * 300_000 + b'", "_HOSTNAME": "gpu-z"}'
    found = diagnose_streams([(Source("j", ""), lambda: io.BytesIO(line))])
    assert [(f.rule, f.kind) for f in found] == [("line-too-long", "hint")]
