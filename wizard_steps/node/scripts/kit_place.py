"""The model of a kit into the hub's cache of this node, as huggingface_hub would have put it there. Takes no
more room where both are on one disk: the files are linked. A model that is a folder (``folder``) goes there.

Runs in the node's state folder with SPEC, JSON: ``kit`` (folder), ``repo``, ``revision``, ``commit`` and
``files``, each with ``name``, ``sha256`` and ``blob``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import Any

from wizard_steps.node.scripts.weights_files import (
    PART,
    Failed,
    ended,
    folder_of,
    hashes,
    in_snapshot,
    in_words,
    name_commit,
    read,
    record_of,
    remember,
    say,
    snapshot_of,
    verified,
    write,
)


def place(spec: dict[str, Any]) -> None:
    if spec.get("folder"):
        return into_folder(spec)
    folder, record = folder_of(spec), record_of(spec)
    kit, known = os.path.expanduser(spec["kit"]), read(record)
    snapshot = snapshot_of(spec, spec["commit"])
    for one in spec["files"]:
        blob = os.path.join(folder, "blobs", one["blob"])
        os.makedirs(os.path.dirname(blob), exist_ok=True)
        if not os.path.exists(blob) or (verified(known, blob) or hashes(blob)[0]) != one["sha256"]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(blob)
            linked(os.path.join(kit, "model", one["name"]), blob)
        link = os.path.join(snapshot, one["name"])
        in_snapshot(blob, link)
        remember(known, blob, one["sha256"])
        write(record, json.dumps(known))
    name_commit(folder, spec["revision"], spec["commit"])
    say(f"kit: the model is in {folder}: {len(spec['files'])} files, as at {spec['commit'][:12]}")


def into_folder(spec: dict[str, Any]) -> None:
    """A model that is a folder: nothing that is there is written over."""
    folder, record = folder_of(spec), record_of(spec)
    kit, known = os.path.expanduser(spec["kit"]), read(record)
    for one in spec["files"]:
        path = os.path.join(folder, one["name"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path):
            linked(os.path.join(kit, "model", one["name"]), path)
        elif (verified(known, path) or hashes(path)[0]) != one["sha256"]:
            raise Failed(f"differs: the content differs from the kit's, and is not overwritten: {path}")
        remember(known, path, one["sha256"])
        write(record, json.dumps(known))
    say(f"kit: the model is in {folder}: {len(spec['files'])} files")


def linked(source: str, path: str) -> None:
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path + PART)
        os.replace(path + PART, path)


def run(words: list[str]) -> int:
    return ended(place, words, in_words, "kit")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
