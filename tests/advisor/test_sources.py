"""Where a model's numbers come from: files, the cache, a Hub (a local server), and what is refused."""

from __future__ import annotations

import json
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.cli.main import main
from wizard_steps.advisor.files import checkpoint, tensors
from wizard_steps.advisor.sources import find_model, load_model
from wizard_steps.errors import UsageError

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2,
         "num_attention_heads": 2, "hidden_size": 128, "intermediate_size": 256, "vocab_size": 1000,
         "max_position_embeddings": 4096}  # fmt: skip


def safetensors(file: Path, tensors: dict[str, tuple[str, list[int]]]) -> None:
    """Only the header: nothing behind it is read."""
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}
        for name, (dtype, shape) in tensors.items()
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)


def test_headers_tell_dtype_and_shape_of_each_tensor(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    safetensors(tmp_path / "model.safetensors", {
        "model.layers.0.mlp.up_proj.weight": ("F8_E4M3", [256, 128]),
        "model.layers.0.mlp.up_proj.weight_scale_inv": ("F32", [2, 1]),
        "lm_head.weight": ("BF16", [1000, 128]),
        "model.layers.2.eh_proj.weight": ("BF16", [128, 256]),
        "packed": ("F4", [10]),
    })  # fmt: skip
    shape = load_model(tmp_path)
    assert shape.weight_bytes == 256 * 128 + 8 + 2 * 1000 * 128 + 5
    assert shape.weights_from == "tensors in 1 safetensors file"
    assert any("speculative decoding" in note for note in shape.notes)


def test_a_second_copy_of_the_weights_is_not_counted(tmp_path: Path) -> None:
    for name in ("model-00001-of-00001.safetensors", "consolidated.safetensors"):
        safetensors(tmp_path / name, {"a": ("BF16", [100])})
    assert checkpoint(tmp_path).size == 200


def test_an_index_stands_for_files_that_are_not_there(tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 5000}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    safetensors(tmp_path / "one.safetensors", {"a": ("BF16", [100])})
    assert checkpoint(tmp_path).size == 5000
    safetensors(tmp_path / "two.safetensors", {"b": ("BF16", [300])})
    found = checkpoint(tmp_path)
    assert (found.size, found.source) == (800, "tensors in 2 safetensors files")


@given(st.binary(max_size=300))
def test_any_bytes_as_a_safetensors_file(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(data)
        file.flush()
        assert all(size > 0 for _, size in tensors(Path(file.name)))


def test_gguf_is_refused_with_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    for path in (tmp_path, tmp_path / "model-Q4_K_M.gguf"):
        assert main(["advise", str(path), "--gpus", "1"]) == 2
        assert "GGUF is not judged here" in capsys.readouterr().err


def test_params_json_of_mistral(tmp_path: Path) -> None:
    params = {"dim": 128, "n_layers": 2, "head_dim": 64, "hidden_dim": 256, "n_heads": 2, "n_kv_heads": 1,
              "vocab_size": 1000, "sliding_window": None}  # fmt: skip
    (tmp_path / "params.json").write_text(json.dumps(params))
    shape = load_model(tmp_path)
    assert shape.known
    assert shape.model_type == "mistral"
    assert shape.kv_bytes_per_token == 2 * 2 * 64 * 2


def test_infinity_and_missing_fields_are_read_as_transformers_reads_them(tmp_path: Path) -> None:
    text = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 34,
            "hidden_size": 2560, "intermediate_size": 10240, "sliding_window": 1024},
            "vision_config": {"hidden_size": 1152}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(text)[:-1] + ', "time_step_limit": [0.0, Infinity]}')
    shape = load_model(tmp_path)
    assert (shape.known, shape.heads, shape.kv_heads, shape.head_dim) == (True, 8, 4, 256)
    assert shape.tied


class Hub:
    """A server that answers as the Hub does; ``asked`` are (path, Authorization)."""

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("Authorization")))
                if outer.status == 302 and "/resolve/" in self.path and "/elsewhere/" not in self.path:
                    self.send_response(302)
                    self.send_header("Location", f"{outer.url}/elsewhere{self.path}")
                    self.end_headers()
                    return
                found = outer.files.get(self.path.removeprefix("/elsewhere"))
                self.send_response(404 if found is None else 200 if outer.status == 302 else outer.status)
                self.end_headers()
                self.wfile.write(found if isinstance(found, bytes) else json.dumps(found).encode())

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def model(self, name: str, config: Any, sizes: dict[str, int]) -> None:
        listed = [{"rfilename": one, "size": size} for one, size in {"config.json": 700, **sizes}.items()]
        self.files[f"/api/models/{name}?blobs=true"] = {"siblings": listed}
        self.files[f"/{name}/resolve/main/config.json"] = config


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    made = Hub()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_model_by_name_from_the_hub(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.model(
        "org/tiny",
        LLAMA,
        {"model-1.safetensors": 9000, "model-2.safetensors": 1000, "consolidated.safetensors": 10000},
    )
    assert main(["advise", "org/tiny", "--gpus", "1", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["model"]["known"] is True
    assert data["model"]["weight_bytes"] == 10000
    assert "sizes of 2 safetensors files, from 127.0.0.1" in data["sources"]["weights"]
    assert data["ranges"]["weight_bytes"] == [9700, 10300]
    assert all(token is None for _, token in hub.asked)


def test_the_token_goes_to_the_endpoint_and_not_where_it_redirects(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.model("org/gated", LLAMA, {"model.safetensors": 5000})
    hub.status = 302
    assert find_model("org/gated").weight_bytes == 5000
    sent = dict(hub.asked)
    assert sent["/org/gated/resolve/main/config.json"] == "Bearer hf_secret"
    assert sent["/elsewhere/org/gated/resolve/main/config.json"] is None


@pytest.mark.parametrize(
    ("status", "token", "words"),
    [
        (401, "", "Set HF_TOKEN"),
        (403, "hf_x", "accept the model's licence"),
        (404, "", "no such model"),
        (500, "", "try again"),
    ],
)
def test_what_the_hub_refuses_is_said(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int, token: str, words: str
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.model("org/gated", LLAMA, {})
    hub.status = status
    with pytest.raises(UsageError) as caught:
        find_model("org/gated")
    assert words in str(caught.value)
    assert "hf_x" not in str(caught.value)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{", b"\xff\xfe", b"<html>no</html>"])
def test_an_answer_that_is_no_json_is_an_error(hub: Hub, answer: bytes) -> None:
    hub.files["/api/models/org/odd?blobs=true"] = answer
    with pytest.raises(UsageError, match="no JSON object"):
        find_model("org/odd")


def test_a_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="does not answer"):
        find_model("org/name")
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(UsageError, match="not an http or https address"):
        find_model("org/name")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="the Hub is not asked"):
        find_model("org/name")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line:
                line.recv(4096)
                line.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(UsageError, match=r"org/odd|no JSON"):
            find_model("org/odd")


@pytest.mark.parametrize("token", ["hf_first\nsecond", "hf_näme", "hf_a b", "hf_\x00x"])
def test_a_token_that_no_header_can_carry_is_not_printed(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setattr("os.environ", {**os.environ, "HF_TOKEN": token})
    with pytest.raises(UsageError, match="HF_TOKEN: has a character") as caught:
        find_model("org/tiny")
    assert token not in str(caught.value)
    assert hub.asked == []


@pytest.mark.parametrize("address", ["http://[::1", "http://", "http://h:port", "ftp://h", "hub.example"])
def test_an_endpoint_that_is_no_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(UsageError, match="not an http or https address"):
        find_model("org/name")


def test_the_cache_comes_before_the_hub(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "hf" / "hub" / "models--org--tiny" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert find_model("org/tiny").known
    assert hub.asked == []
