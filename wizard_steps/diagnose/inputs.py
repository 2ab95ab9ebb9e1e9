"""What a person names to be diagnosed: files, folders, archives, standard input; each with its node."""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO, TypeVar, cast

from wizard_steps.diagnose import walk_events
from wizard_steps.diagnose.model import Source
from wizard_steps.diagnose.reading import MOST as MOST_BYTES
from wizard_steps.errors import UsageError

T = TypeVar("T")
Stream = tuple[Source, Callable[[], BinaryIO]]

#: Files of a folder or archive that are looked at; a Ray session of a large cluster has some thousand.
MOST = 20_000
_TAR = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".txz")
#: No logs, or what milepost itself says of a walk: its advice must not be diagnosed.
_SKIPPED = (
    ".so", ".bin", ".safetensors", ".pt", ".pth", ".gguf", ".whl", ".pyc", ".png", ".jpg", ".svg", ".db",
    ".toml", ".yaml", ".yml", ".py", ".sh", ".pid", ".sock", ".jsonl", ".md",
)  # fmt: skip
_OWN = {"diagnosis.txt", "diagnosis.json", "summary.txt", "meta.json", "check.txt", "README.md"}
#: What a walk is recorded in; other programs use the name as well.
_EVENTS = "events.jsonl"
#: Folders of this name hold logs of one machine: they name no node.
_NO_NODE = {"logs", "log", "out", "old", "walk", "tmp", "ray", "events", "var", "export", "archive"}


def streams(names: Sequence[str]) -> list[Stream]:
    """What ``[NODE=]FILE``, folders and archives hold, each to be opened later. Raises UsageError."""
    if sum(_split(name)[1] == "-" for name in names) > 1:
        raise UsageError("- is given twice: standard input can be read once")
    return [stream for name in names for stream in _of(*_split(name))]


def _split(name: str) -> tuple[str, str]:
    """``NODE=FILE``, unless a file of that whole name is there."""
    node, found, path = name.partition("=")
    if not found or not node or "/" in node or Path(name).exists():
        return "", name
    return node, path


def _of(node: str, path: str) -> list[Stream]:
    if path == "-":
        return [(Source("-", "", node), lambda: cast(BinaryIO, _Kept(sys.stdin.buffer)))]
    file = Path(path)
    try:
        if file.is_dir():
            return _folder(node, file)
        if path.endswith(_TAR):
            return _tar(node, file)
        if path.endswith(".zip"):
            return _zip(node, file)
        with file.open("rb"):
            pass
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', '') or error}") from None
    return [(Source(path, "", node), lambda: file.open("rb"))]


class _Kept:
    """Standard input, which stays open when its reader is done."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read = file.read

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _folder(node: str, folder: Path) -> list[Stream]:
    files = list(_files(folder.resolve()))
    if not files:
        raise UsageError(f"{folder}: no log files in this folder")
    names = [file.relative_to(folder.resolve()) for file in files]
    nodes = _nodes(names)
    return [
        (Source(str(folder / name), "", node or nodes(name)), _opened(file))
        for file, name in zip(files, names, strict=True)
    ]


def _opened(file: Path) -> Callable[[], BinaryIO]:
    return _member(file.name, lambda: file.open("rb"))


def _files(folder: Path) -> Iterator[Path]:
    """Readable regular files, in the order of their names; links are not followed (session_latest is one)."""
    count = 0
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if _is_log(name) and path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                count += 1
                if count > MOST:
                    raise UsageError(f"{folder}: more than {MOST} files; name the folder of the logs")
                yield path


def _is_log(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return (
        not base.startswith(".")
        and base not in _OWN
        and (base == _EVENTS or not base.endswith(_SKIPPED))
        and ".facts." not in base
        # What was there before a step began its work.
        and ".look." not in base
        # Asked without a key on purpose, to see it refused.
        and ".keyless." not in base
    )


def _nodes(names: Sequence[Path]) -> Callable[[Path], str]:
    """How a path names its node: the first folder that has others beside it; in a walk the log itself."""
    levels = [{name.parts[depth] for name in names if len(name.parts) > depth + 1} for depth in (0, 1, 2)]
    named = ({top for top in tops if top not in _NO_NODE and "session_" not in top} for tops in levels)
    tops = next((level for level in named if len(level) > 1), set())

    def of(name: Path) -> str:
        if name.parent.name == "out" and name.suffix in (".log", ".gz"):
            # A recording names its outputs NODE.STEP.COMMAND.
            return name.name.removesuffix(".gz").removesuffix(".log").rsplit(".", 2)[0]
        return next((part for part in name.parts[:-1] if part in tops), "")

    return of


def _member(name: str, opened: Callable[[], BinaryIO]) -> Callable[[], BinaryIO]:
    return walk_events.opened(opened) if name.rsplit("/", 1)[-1] == _EVENTS else opened


def _within(path: Path, members: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """The members of an archive, which may not be endless: a small one can hold more than any disk."""
    left, count = MOST_BYTES, 0
    for member in members:
        left, count = left - size(member), count + 1
        if left < 0:
            raise UsageError(f"{path}: unpacks to more than 4 GiB; unpack it, and name the logs that matter")
        if count > MOST:
            raise UsageError(f"{path}: more than {MOST} files; unpack it, and name the folder of the logs")
        yield member


def _tar(node: str, path: Path) -> list[Stream]:
    archive = tarfile.open(path)  # noqa: SIM115 (its members are read later)
    members = [
        m for m in _within(path, archive, lambda m: m.size) if m.isreg() and m.size and _is_log(m.name)
    ]
    nodes = _nodes([Path(m.name) for m in members])
    return [
        (
            Source(f"{path}:{m.name}", "", node or nodes(Path(m.name))),
            _member(m.name, lambda m=m: cast(BinaryIO, archive.extractfile(m))),  # type: ignore[misc]
        )
        for m in members
    ]


def _zip(node: str, path: Path) -> list[Stream]:
    archive = zipfile.ZipFile(path)
    listed = _within(path, archive.infolist(), lambda m: m.file_size)
    members = [m for m in listed if not m.is_dir() and m.file_size and _is_log(m.filename)]
    nodes = _nodes([Path(m.filename) for m in members])
    return [
        (
            Source(f"{path}:{m.filename}", "", node or nodes(Path(m.filename))),
            _member(m.filename, lambda m=m: cast(BinaryIO, archive.open(m))),  # type: ignore[misc]
        )
        for m in members
    ]
