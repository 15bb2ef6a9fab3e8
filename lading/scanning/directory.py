"""Judges the files of a model: what is there, what leads out of it, what does not belong."""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lading.errors import InvalidModel, StorageError
from lading.files import digest_file
from lading.results import ScanFinding
from lading.scanning.meta_graph import Asset
from lading.scanning.plain import plain
from lading.values import FileDigest

MAX_FILES = 100_000
TEXT_GRAPH, CHUNKED_GRAPH, GRAPH = "saved_model.pbtxt", "saved_model.cpb", "saved_model.pb"
_THREADS = 4
_PROGRAMS = frozenset(
    {".py", ".pyc", ".pyd", ".so", ".dylib", ".dll", ".exe", ".sh", ".bat", ".cmd", ".ps1", ".jar", ".class", ".js"}
    | {".rb", ".pl", ".whl", ".egg"}
)
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth"})
_OTHER_MODELS = frozenset({".keras", ".h5", ".hdf5", ".onnx", ".mar", ".gguf"})
_PROGRAM_STARTS = (b"\x7fELF", b"MZ", b"#!", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95")
_OWN = ("saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables/", "assets/", "assets.extra/", "debug/")


@dataclass
class Directory:
    """What is in a model's directory."""

    files: dict[str, Path] = field(default_factory=dict)
    """Regular files, and links to such inside the model, by the path below it."""
    findings: list[ScanFinding] = field(default_factory=list)

    def digests(self) -> dict[str, FileDigest]:
        """Size and SHA-256 of every file; several are read at the same time.

        Raises:
            StorageError: a file cannot be read.
        """
        names = sorted(self.files)
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                return dict(zip(names, pool.map(digest_file, (self.files[name] for name in names)), strict=True))
            except OSError as error:
                raise StorageError(f"cannot read {error.filename}: {error.strerror}") from error


def read_directory(root: Path) -> Directory:
    """List a model's directory and judge its files by name, kind and first bytes. Links are not followed out of it.

    Raises:
        InvalidModel: there are too many files.
        StorageError: it cannot be read.
    """
    found = Directory()
    waiting = [""]
    try:
        real = os.path.realpath(root)
        while waiting:
            below = waiting.pop()
            with os.scandir(root / below) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    name = f"{below}{entry.name}"
                    found.findings += _judge_entry(found, real, name, entry)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{name}/")
                    if len(found.files) + len(waiting) + len(found.findings) > MAX_FILES:
                        raise InvalidModel(f"{root} has more than {MAX_FILES:,} files: is it a SavedModel?")
    except OSError as error:
        raise StorageError(f"cannot read {error.filename}: {error.strerror}") from error
    return found


def judge_assets(assets: tuple[Asset, ...], directory: Directory) -> Iterator[ScanFinding]:
    """Assets that lie outside of ``assets``, and those that are missing."""
    for asset in assets:
        parts = PurePosixPath(asset.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or "://" in asset.filename or "\0" in asset.filename:
            yield ScanFinding(
                "assets/escape",
                "critical",
                plain(asset.tensor),
                f"the asset {plain(asset.filename)!r} leads out of the model: its file would be read as a vocabulary, "
                "and answers can tell what is in it",
                "Do not use this model: TensorFlow writes no such names.",
            )
        elif f"assets/{asset.filename}" not in directory.files:
            yield ScanFinding(
                "assets/missing",
                "low",
                plain(asset.tensor),
                f"the asset {plain(asset.filename)!r} is declared, and not there: the model will not load",
                "Copy the model again, with all of its files.",
            )


def _judge_entry(found: Directory, real: str, name: str, entry: "os.DirEntry[str]") -> Iterator[ScanFinding]:
    shown = plain(name)
    if shown != name:
        yield ScanFinding(
            "files/name", "medium", shown, "a name with characters that are not printable", "Rename the file."
        )
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        yield from _judge_link(found, real, name, Path(entry.path))
    elif stat.S_ISREG(status.st_mode):
        found.files[name] = Path(entry.path)
        if status.st_nlink > 1:
            yield ScanFinding(
                "files/hard-link",
                "info",
                shown,
                f"one of {status.st_nlink} names of the same file: who can write another changes the model",
                "Nothing if a cache or a build made it; what is packaged is a copy.",
            )
        yield from _judge_file(name, shown, entry.path)
    elif not stat.S_ISDIR(status.st_mode):
        yield ScanFinding(
            "files/irregular",
            "high",
            shown,
            "neither a file nor a directory (a pipe, a socket or a device): reading it may hang or do something",
            "Remove it: a SavedModel has none.",
        )


def _judge_link(found: Directory, real: str, name: str, path: Path) -> Iterator[ScanFinding]:
    target = os.path.realpath(path)
    inside = target.startswith(real.rstrip("/") + "/")
    if inside and Path(target).is_file():
        found.files[name] = Path(target)
        yield ScanFinding(
            "files/symlink-inside",
            "info",
            plain(name),
            f"a symbolic link to {plain(os.path.relpath(target, real))}",
            "Nothing; not every tool that copies models keeps links.",
        )
        return
    yield ScanFinding(
        "files/symlink",
        "high",
        plain(name),
        f"a symbolic link to {plain(target)}, which is "
        + ("no file; it was not looked into" if inside else "outside of the model; it was not followed"),
        "Copy what it leads to in its place, if that belongs to the model.",
    )


def _judge_file(name: str, shown: str, path: str) -> Iterator[ScanFinding]:
    if name in (TEXT_GRAPH, CHUNKED_GRAPH):
        kind = "text" if name == TEXT_GRAPH else "chunks"
        yield ScanFinding(
            "format/other-graph",
            "high",
            shown,
            f"the graph a second time, as {kind}: TensorFlow loads it where {GRAPH} is missing, and it was not read",
            f"Remove it, or load the model and save it anew, as {GRAPH}.",
        )
        return
    suffix = PurePosixPath(name).suffix.lower()
    with Path(path).open("rb") as file:
        start = file.read(4)
    is_pickle = suffix in _PICKLES or start.startswith(_PICKLE_STARTS)
    if is_pickle or suffix in _PROGRAMS or start.startswith(_PROGRAM_STARTS):
        yield ScanFinding(
            "files/program",
            "medium",
            shown,
            f"{'pickled objects, which run code when they are read' if is_pickle else 'a program'}: nothing in a "
            "SavedModel needs it, and lading does not run it",
            "Remove it, unless you know what it is for.",
        )
    elif suffix in _OTHER_MODELS:
        yield ScanFinding(
            "files/other-model",
            "low",
            shown,
            "a model in another format, which was not read: a SavedModel needs none, and lading does not load it",
            "Remove it, or scan it with a tool for its format.",
        )
    elif not name.startswith(_OWN):
        yield ScanFinding("files/unknown", "info", shown, "no part of a SavedModel", "Nothing; it is packaged as well.")
