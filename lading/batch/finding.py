"""Finds the input files of a run."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lading import buckets
from lading.batch.files import InputFile
from lading.batch.globs import Glob, has_magic, is_hidden
from lading.batch.plan import NOTES
from lading.batch.sources import GENERATION, local_identity
from lading.errors import InvalidInput, NotFound, StorageError
from lading.storage import is_remote, local_path, read_bytes

_LIST = "@"
_FIELDS = "items(name,size,generation),nextPageToken"


def find_inputs(inputs: Sequence[str], *, without: str = "") -> list[InputFile]:
    """See ``lading.batch.files.find_inputs``."""
    found: dict[str, InputFile] = {}
    with buckets.kept():
        for uri in _listed(inputs):
            for file in _in_bucket(uri, without) if is_remote(uri) else _on_disk(uri, without):
                found.setdefault(file.uri, file)
    files = sorted(found.values(), key=lambda file: file.uri)
    _see_names(files)
    return files


def find_by_prefix(prefixes: Sequence[str], *, without: str = "") -> list[InputFile]:
    """See ``lading.batch.files.find_by_prefix``."""
    with buckets.kept():
        found = {file.uri: file for uri in prefixes for file in _by_prefix(uri, f"{without.rstrip('/')}/")}
    files = sorted(found.values(), key=lambda file: file.uri)
    _see_names(files)
    return files


def _by_prefix(uri: str, output: str) -> Iterator[InputFile]:
    bucket, text = buckets.split(uri)
    root = f"gs://{bucket}/{text}".rpartition("/")[0] + "/"
    hidden = output if output.startswith(root) and output != root else f"{output}{NOTES}/"
    with buckets.opened(bucket, uri) as opened:
        for blob in opened.list_blobs(prefix=text, fields=_FIELDS, retry=buckets.retry()):
            whole = f"gs://{bucket}/{blob.name}"
            if not whole.endswith("/") and not whole.startswith(hidden):
                yield _object(bucket, blob, whole.removeprefix(root))


def _listed(inputs: Sequence[str]) -> Iterator[str]:
    """The inputs, with lists replaced by what is in them."""
    for uri in inputs:
        if not uri.strip(_LIST):
            raise InvalidInput(f"expected an input, received {uri!r}")
        if not uri.startswith(_LIST):
            yield uri
            continue
        try:
            text = read_bytes(uri[1:]).decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{uri}: expected a list of inputs, one a line in UTF-8: {error}") from error
        lines = [line.strip() for line in text.splitlines()]
        named = [line for line in lines if line and not line.startswith("#")]
        if not named:
            raise NotFound(f"{uri}: the list names no input")
        if nested := next((line for line in named if line.startswith(_LIST)), None):
            raise InvalidInput(f"{uri}: a list cannot name another list ({nested})")
        yield from named


def _on_disk(uri: str, without: str) -> list[InputFile]:
    path = Path(os.path.abspath(local_path(uri)))  # noqa: PTH100 - links stay as they were given
    ends = uri.endswith("/")
    if path.is_dir():
        is_output = _below(os.path.realpath(path), _real(without), uri=uri)
        return _found(uri, _walk(path, lambda name: _is_data(name) and not is_output(name), _is_data))
    if path.is_file() and not ends:
        return [_local_file(path, path.name, path.stat())]
    if path.exists():
        raise InvalidInput(f"expected a file or a directory, received {uri}, which is neither")
    if not has_magic(uri):
        raise NotFound(f"no input at {uri}: there is no such file or directory")
    glob = Glob(str(path)[1:] + ("/" if ends else ""))
    root = Path("/", glob.root)
    if not root.is_dir():
        raise NotFound(f"no input at {uri}: there is no directory {root}")
    is_output = _below(os.path.realpath(root), _real(without), uri=uri)
    return _found(uri, _walk(root, lambda name: glob.may_hold(name) and not is_output(name), glob.fits))


def _walk(root: Path, may_hold: Callable[[str], bool], fits: Callable[[str], bool]) -> Iterator[InputFile]:
    """The files below a directory that fit. Links to directories are not followed: they may lead in circles."""
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(root / directory) as entries:
                for entry in entries:
                    name = f"{directory}/{entry.name}" if directory else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting += [name] if may_hold(name) else []
                    elif fits(name) and entry.is_file():
                        yield _local_file(Path(entry.path), name, entry.stat())
        except OSError as error:
            raise StorageError(f"cannot list {root / directory}: {error.strerror}") from error


def _local_file(path: Path, name: str, status: os.stat_result) -> InputFile:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the name of {os.fsencode(path)!r} is not UTF-8: rename the file") from error
    return InputFile(str(path), name, status.st_size, local_identity(status))


def _in_bucket(uri: str, without: str) -> list[InputFile]:
    bucket, name = buckets.split(uri)
    with buckets.opened(bucket, uri) as opened:
        if name and not name.endswith("/"):
            single = opened.get_blob(name, retry=buckets.retry())
            if single is not None:
                return [_object(bucket, single, name.rpartition("/")[2])]
        glob = Glob(name) if has_magic(name) else None
        root = glob.root if glob else name.rstrip("/")
        prefix = glob.prefix if glob else (f"{root}/" if root else "")
        is_output = _below(f"gs://{bucket}/{root}".rstrip("/"), without.rstrip("/"), uri=uri)
        fits = glob.fits if glob else _is_data
        listed = opened.list_blobs(prefix=prefix, fields=_FIELDS, retry=buckets.retry())
        below = ((blob, blob.name[len(root) + 1 if root else 0 :]) for blob in listed if not blob.name.endswith("/"))
        return _found(uri, (_object(bucket, blob, rest) for blob, rest in below if fits(rest) and not is_output(rest)))


def _object(bucket: str, blob: Any, name: str) -> InputFile:
    parts = [part for part in name.split("/") if part]
    if ".." in parts or "." in parts:
        raise InvalidInput(f"gs://{bucket}/{blob.name} has a name that leads out of its directory: leave it out")
    return InputFile(f"gs://{bucket}/{blob.name}", "/".join(parts), blob.size, f"{GENERATION}{blob.generation}")


def _is_data(name: str) -> bool:
    return not any(is_hidden(part) for part in name.split("/"))


def _real(without: str) -> str:
    """The output as links lead to it; empty if it is not on this machine."""
    return "" if not without or is_remote(without) else os.path.realpath(local_path(without))


def _below(root: str, output: str, *, uri: str) -> Callable[[str], bool]:
    """Whether a name below ``root`` is in the output directory.

    Raises:
        InvalidInput: all are.
    """
    if not output:
        return lambda name: False
    if f"{root.rstrip('/')}/".startswith(f"{output.rstrip('/')}/"):
        raise InvalidInput(
            f"the input {uri} lies in the output directory {output}, which would then hold both: choose another output"
        )
    inside = f"{output}/".removeprefix(f"{root.rstrip('/')}/")
    return lambda name: f"{name}/".startswith(inside)


def _found(uri: str, files: Iterable[InputFile]) -> list[InputFile]:
    found = list(files)
    if not found:
        hint = " A pattern names files: `**` stands for all directories below" if has_magic(uri) else ""
        raise NotFound(f"no input at {uri}: there is no file (hidden ones and _lading/ do not count).{hint}")
    return found


def _see_names(files: Sequence[InputFile]) -> None:
    """Refuse inputs whose outputs would be the same file."""
    by_name: dict[str, InputFile] = {}
    for file in files:
        other = by_name.setdefault(file.name, file)
        if other is not file:
            raise InvalidInput(
                f"two inputs have the name {file.name}, so that their outputs would be one: {other.uri} and "
                f"{file.uri}. Name a directory above both, or a pattern with ** that begins there"
            )
