"""The reference of the cluster file covers every field, and nothing that is none."""

from __future__ import annotations

import pytest

from wizard_steps.cluster.file import parse
from wizard_steps.cluster.reference import fields, json_schema, meanings, nearest
from wizard_steps.errors import UsageError

NODE = '[[nodes]]\nhost = "a"\nrole = "head"\ngpus = 64\n'


def test_every_field_has_a_meaning_and_every_meaning_a_field() -> None:
    assert {doc.path for doc in fields()} == set(meanings())


def test_types_and_defaults_come_from_the_structs() -> None:
    port = next(doc for doc in fields() if doc.path == "serve.port")
    assert (port.type, port.default, port.required) == ("integer, 1 to 65535", "8000", False)
    gpus = next(doc for doc in fields() if doc.path == "nodes[].gpus")
    assert gpus.required
    assert gpus.default == ""


def test_the_schema_describes_its_fields() -> None:
    serve = json_schema()["$defs"]["Serve"]["properties"]
    assert serve["port"]["description"] == meanings()["serve.port"]["meaning"]


@pytest.mark.parametrize("doc", fields(), ids=lambda doc: doc.path)
def test_every_example_is_accepted_by_the_file(doc) -> None:
    table, _, leaf = doc.path.rpartition(".")
    line = f"{leaf} = {doc.example}\n"
    if table == "nodes[]":
        others = [row for row in NODE.splitlines(keepends=True) if not row.startswith(f"{leaf} =")]
        text = "".join(others) + line
    elif table:
        text = f"{NODE}[{table}]\n{line}"
    else:
        text = line + NODE
    parse(text)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("serve.prot", "serve.port"),
        ("nodes[0].gpu", "nodes[].gpus"),
        ("tensor_paralel", "serve.tensor_parallel"),
        ("port", "nodes[].port, serve.port, ray.port or weights.port"),
        ("server", "serve"),
        ("zzz", ""),
    ],
)
def test_the_nearest_field_is_named(typed: str, meant: str) -> None:
    assert nearest(typed) == meant


def test_an_unknown_field_names_the_nearest_and_a_command_that_exists() -> None:
    with pytest.raises(
        UsageError,
        match=r"milepost.toml:6: serve.prot: unknown field; did you mean serve.port\?.*milepost help cluster-file",
    ):
        parse(NODE + "[serve]\nprot = 1\n")
