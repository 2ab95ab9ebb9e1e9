"""The cluster file: errors with line and field, comments kept, edits checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from wizard_steps.cluster.edit import with_value
from wizard_steps.cluster.file import dump, load, parse
from wizard_steps.errors import UsageError

GOOD = """\
# our two boxes
name = "demo"  # any name
path = "bare-metal"
venv = "/opt/vllm-venv"

[[nodes]]  # the head
host = "gpu-a"
role = "head"
gpus = 8  # eight of them

[[nodes]]
host = "gpu-b"
gpus = 8

[serve]
tensor_parallel = 8
pipeline_parallel = 2
"""


def test_reads_names_roles_and_defaults() -> None:
    cluster = parse(GOOD)
    assert (cluster.head.name, [w.name for w in cluster.workers]) == ("gpu-a", ["gpu-b"])
    assert (cluster.total_gpus, cluster.ray.port, cluster.serve.port) == (16, 6379, 8000)
    assert cluster.serve.name == "meta-llama/Llama-3.2-1B-Instruct"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("gpus = 8\n", 'gpus = "x"\n', ":13: nodes[1].gpus: must be a whole number, 0 to 1024"),
        ("gpus = 8\n", "", ":12: nodes[1]: gpus is missing"),
        ('role = "head"\n', "", "no node has role"),
        ('host = "gpu-b"', 'host = "gpu-b"\nrole = "head"', ":13: nodes[1].role: a second node"),
        ("tensor_parallel = 8", "tensor_parallel = 80", ":16: serve.tensor_parallel: TP x PP = 80 x 2 = 160"),
        ("path =", "paht =", ":3: paht: unknown field"),
        ("[serve]", "[serve", "not valid TOML"),
        ('host = "gpu-b"', 'host = "gpu-a"', ":12: nodes[1].host: gpu-a is already used"),
        ('host = "gpu-b"', 'host = "-oProxyCommand=x"', ":12: nodes[1].host: must not begin with -"),
        ('host = "gpu-b"', 'host = "gpu-b"\nfabric_ip = "10.0.0"', ":13: nodes[1].fabric_ip:"),
        ("[serve]", '[env]\nHF_TOKEN = "hf_x"\n[serve]', ":16: env.HF_TOKEN: looks like a secret"),
        ("[serve]", '[serve]\nextra_flags = ["--api-key", "x"]', "serve.extra_flags[0]: an API key"),
        ("[serve]", "[ray]\nport = 12000\n[serve]", "ray.port: is in Ray's worker port range"),
        ('venv = "/opt', 'venv = "opt', ":4: venv: must be an absolute path"),
    ],
)
def test_an_error_names_line_and_field(old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        parse(GOOD.replace(old, new, 1), "c.toml")
    assert str(caught.value).startswith("c.toml")
    assert says in str(caught.value)


def test_duplicate_addresses_are_named() -> None:
    text = GOOD.replace("gpus = 8", 'gpus = 8\nfabric_ip = "10.0.0.1"')
    with pytest.raises(UsageError, match=r"nodes\[1\]\.fabric_ip: 10\.0\.0\.1 is already used by node gpu-a"):
        parse(text)


@pytest.mark.parametrize("what", ["absent", "folder", "binary"])
def test_an_unreadable_file_is_an_error_a_person_can_act_on(tmp_path: Path, what: str) -> None:
    path = tmp_path / "c.toml"
    if what == "folder":
        path.mkdir()
    if what == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"c\.toml"):
        load(path)


def test_writing_keeps_comments_and_untouched_lines() -> None:
    cluster = parse(GOOD)
    changed = replace(cluster, serve=replace(cluster.serve, port=9000))
    text = dump(changed, GOOD)
    assert parse(text) == changed
    for line in GOOD.splitlines():
        assert line in text.splitlines()


def test_a_new_file_reads_back() -> None:
    cluster = parse(GOOD)
    assert parse(dump(cluster)) == cluster


def test_removing_and_adding_nodes() -> None:
    cluster = parse(GOOD)
    one = replace(cluster, nodes=cluster.nodes[:1], serve=replace(cluster.serve, pipeline_parallel=1))
    assert parse(dump(one, GOOD)) == one
    assert parse(dump(cluster, dump(one, GOOD))) == cluster


def test_edits_are_typed_and_checked() -> None:
    cluster = parse(GOOD)
    assert with_value(cluster, "serve.port", "9000").serve.port == 9000
    assert with_value(cluster, "nodes[1].fabric_ip", "10.0.0.2").workers[0].fabric_ip == "10.0.0.2"
    flags = with_value(cluster, "serve.extra_flags", "--max-model-len 4096 --seed 'a b'").serve.extra_flags
    assert flags == ("--max-model-len", "4096", "--seed", "a b")
    for where, text in [
        ("serve.port", "many"),
        ("serve.port", "99999"),
        ("serve.tensor_parallel", "64"),
        ("nodes[7].host", "x"),
        ("no.such", "x"),
        ("nodes[1].fabric_ip", "10.0.0"),
    ]:
        with pytest.raises(UsageError):
            with_value(cluster, where, text)
