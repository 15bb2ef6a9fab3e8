"""The models that stay loaded between runs, and the memory that they share with the runs."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from lading.batch.files import find_inputs
from lading.batch.model import OpenModel
from lading.batch.options import MIB
from lading.batch.service.memory import TooLarge
from lading.errors import InvalidReference
from lading.model_files import find_version
from lading.packaged import find_model
from lading.storage import is_remote
from lading.wait import Deadline

LIBRARY_BYTES = 16 * MIB
"""Of a model, beside its variables: the graph, and what the engine makes of it."""
_FIND_SECONDS = 60.0


@dataclass(frozen=True)
class ModelRef:
    """A model as it is now."""

    uri: str
    key: str
    """Changes when the model does: the digest of its layer in an image; of a directory the names of its files with
    their generations, or their times on this machine."""
    bytes: int
    """What it takes: its files as they are loaded, and once more for the copy of one that lies elsewhere."""


def look_up(uri: str, *, environ: Mapping[str, str]) -> ModelRef:
    """Find a model, without reading it.

    Args:
        uri: As ``lading.batch.model.open_model`` takes it.
        environ: Likewise.

    Raises:
        InvalidModel: there is none.
        InvalidReference: an image by tag.
        NotFound, AccessDenied, RemoteError, StorageError: it cannot be looked at.
    """
    if "@sha256:" in uri:
        found = find_model(uri, environ=environ, deadline=Deadline.after(_FIND_SECONDS))
        return ModelRef(uri, found.diff_id, 3 * found.layer.size + LIBRARY_BYTES)
    directory = f"{find_version(uri)[0].rstrip('/')}/"
    if any(character in directory for character in "*?["):
        raise InvalidReference(f"expected the directory of a model, without *, ? and [, received {uri!r}")
    files = find_inputs([directory])
    key = "\n".join(f"{file.uri} {file.size} {file.identity}" for file in files)
    copies = 2 if is_remote(uri) else 1
    return ModelRef(uri, key, copies * sum(file.size for file in files) + LIBRARY_BYTES)


@dataclass
class _Loaded:
    """A model of the cache, or one that is about to be."""

    ref: ModelRef
    users: int = 0
    last_used: float = 0.0
    opened: OpenModel | None = None
    closing: ExitStack = field(default_factory=ExitStack)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while it is loaded: who comes meanwhile waits for the same."""


class Lease:
    """Memory for a run and its model; to be closed."""

    def __init__(self, models: "Models", loaded: _Loaded, run_bytes: int, going: Sequence[_Loaded]) -> None:
        self._models, self._loaded, self._bytes, self._going = models, loaded, run_bytes, going

    def open(self) -> OpenModel:
        """The model; loaded now unless it is. Those whose place it takes are unloaded before.

        Raises:
            LadingError: as ``lading.batch.model.open_model``; the next one tries again.
        """
        for one in self._going:
            one.closing.close()
        return self._models._open(self._loaded)

    def close(self) -> None:
        """Give the memory of the run back; the model stays while nothing else needs its place."""
        self._models._give_back(self._loaded, self._bytes)


class Models:
    """Loaded models within a budget. Thread-safe.

    Args:
        budget: Bytes for models and runs together.
        load: Loads the model of a URI, until the block ends.

    Attributes:
        budget: See there.
        run_bytes: What runs hold of it now.
        model_bytes: What models hold of it now.
        loads: Models that were loaded so far.
    """

    def __init__(self, budget: int, load: Callable[[str], AbstractContextManager[OpenModel]]) -> None:
        self.budget, self.run_bytes, self.model_bytes, self.loads = budget, 0, 0, 0
        self._load = load
        self._lock = threading.Lock()
        self._loaded: dict[str, _Loaded] = {}

    def check(self, ref: ModelRef, run_bytes: int) -> None:
        """See that a run with this model would fit if it were alone.

        Raises:
            TooLarge: with the numbers.
        """
        if ref.bytes + run_bytes > self.budget:
            raise TooLarge(
                f"this takes up to {_mib(run_bytes)} MiB for its blocks and {_mib(ref.bytes)} MiB for the model, and "
                f"the service has {self.budget // MIB} MiB: lower max_line_bytes, or give the service more memory "
                "(--memory-bytes)"
            )

    def reserve(self, ref: ModelRef, run_bytes: int) -> Lease | None:
        """Memory for a run, if there is enough once idle models are gone; None if there is not."""
        with self._lock:
            loaded = self._loaded.get(ref.key)
            going = self._in_the_way(ref, loaded, run_bytes + (0 if loaded else ref.bytes))
            if going is None:
                return None
            for one in going:
                self._remove(one)
            if loaded is None:
                loaded = self._loaded[ref.key] = _Loaded(ref)
                self.model_bytes += ref.bytes
            loaded.users += 1
            self.run_bytes += run_bytes
            return Lease(self, loaded, run_bytes, going)

    @property
    def names(self) -> list[str]:
        """The URIs of the models that are loaded."""
        with self._lock:
            return [loaded.ref.uri for loaded in self._loaded.values() if loaded.opened is not None]

    def close(self) -> None:
        """Unload what nobody uses."""
        with self._lock:
            idle = self._idle(None)
            for one in idle:
                self._remove(one)
        for one in idle:
            one.closing.close()

    def _open(self, loaded: _Loaded) -> OpenModel:
        with loaded.lock:
            if loaded.opened is None:
                with contextlib.ExitStack() as opening:
                    loaded.opened = opening.enter_context(self._load(loaded.ref.uri))
                    loaded.closing = opening.pop_all()
                with self._lock:
                    self.loads += 1
            return loaded.opened

    def _give_back(self, loaded: _Loaded, run_bytes: int) -> None:
        with self._lock:
            self.run_bytes -= run_bytes
            loaded.users -= 1
            loaded.last_used = time.monotonic()
            if loaded.opened is None and not loaded.users:  # it could not be loaded
                self._remove(loaded)

    def _idle(self, wanted: _Loaded | None) -> list[_Loaded]:
        return [one for one in self._loaded.values() if not one.users and one is not wanted]

    def _in_the_way(self, ref: ModelRef, loaded: _Loaded | None, needed: int) -> list[_Loaded] | None:
        """The idle models that have to go so that so many bytes are free; None if that is not enough.

        What was at the same place before the model was changed goes in any case.
        """
        going: list[_Loaded] = []
        free = self.budget - self.run_bytes - self.model_bytes
        idle = sorted(self._idle(loaded), key=lambda one: (one.ref.uri != ref.uri, one.last_used))
        for one in idle:
            if free < needed or one.ref.uri == ref.uri:
                going.append(one)
                free += one.ref.bytes
        return going if free >= needed else None

    def _remove(self, loaded: _Loaded) -> None:
        del self._loaded[loaded.ref.key]
        self.model_bytes -= loaded.ref.bytes


def _mib(size: int) -> int:
    return -(-size // MIB)
