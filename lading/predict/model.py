"""A loaded model: checks what goes in, and runs it in an engine."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy.typing as npt

from lading.errors import EngineError, InvalidInput, InvalidInstance, InvalidModel, ModelClosed
from lading.predict.conversion import is_converted, read_conversion
from lading.predict.effort import is_unbounded, mark_unbounded
from lading.predict.engine import Engine, TogetherEngine
from lading.predict.fitting import fit
from lading.predict.saved_model import find_saved_model
from lading.predict.signature import DEFAULT_SIGNATURE, Signature

ENGINES = ("tensorflow", "litert")
"""What computes. ``load_model`` also takes ``auto``: LiteRT where the model is converted, else TensorFlow."""
AUTO = "auto"


class Model:
    """A model in memory. Thread-safe; use it as a context manager or call ``close``.

    Attributes:
        path: The directory that holds ``saved_model.pb``.
        version: The number that the directory is named by, else 1.
        engine: What computes, of ``ENGINES``.
        engine_note: Why ``auto`` did not choose LiteRT for a model that was converted; empty otherwise.
        signatures: Every signature by name, ``__saved_model_init_op`` included.
    """

    def __init__(
        self,
        loaded: Engine,
        *,
        path: Path,
        version: int,
        engine: str = "tensorflow",
        engine_note: str = "",
        unbounded: bool = False,
    ) -> None:
        self.path = path
        self.version = version
        self.engine = engine
        self.engine_note = engine_note
        self.signatures: Mapping[str, Signature] = MappingProxyType(dict(loaded.signatures))
        self._loaded = loaded
        self._together = loaded if isinstance(loaded, TogetherEngine) else None
        self._unbounded = unbounded
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._running = 0
        self._closed = False

    def predict(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Collection[str] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Run one signature.

        Args:
            inputs: An array for each input of the signature, batch axis included, of the declared type or one that fits
                into it (int64 goes into float32, float64 is rounded to float32; a float never becomes an integer).
                Strings are ``bytes`` or ``str`` (UTF-8) in an array of dtype object. Shapes are judged by the graph
                alone; the engine ``litert`` insists on the declared ones.
            signature: Its name.
            outputs: Names of the outputs to return; None for all.

        Returns:
            An array of its own memory for each output; strings are ``bytes`` in an array of dtype object.

        Raises:
            InvalidInstance: unknown signature or output, missing or unknown inputs, a type that does not fit, or a
                shape or value that the graph refuses. Unsupported: what the engine does not do.
            EngineError: the model failed; ModelClosed: it was closed.
        """
        wanted = self.signatures.get(signature)
        if wanted is None:
            raise InvalidInstance(f'signature "{signature}" is not in the model (has: {", ".join(self.signatures)})')
        if inputs.keys() != wanted.inputs.keys():
            raise InvalidInstance(_wrong_names(wanted, inputs))
        if outputs is not None and (unknown := [name for name in outputs if name not in wanted.outputs]):
            raise InvalidInstance(
                f'signature "{signature}" has no output {", ".join(unknown)} (has: {", ".join(wanted.outputs)})'
            )
        answer = self.run(wanted, [fit(inputs[name], spec) for name, spec in wanted.inputs.items()])
        return answer if outputs is None else {name: array for name, array in answer.items() if name in outputs}

    def run(self, signature: Signature, arrays: Sequence[npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """As ``predict``, for arrays that are known to fit.

        Args:
            signature: One of this model's.
            arrays: In the order of its inputs; each of the declared type, and C-contiguous.
        """
        self._begin()
        try:
            return dict(zip(signature.outputs, self._loaded.run(signature.name, arrays), strict=True))
        finally:
            self._end()

    def run_together(
        self,
        signature: Signature,
        requests: Sequence[Sequence[npt.NDArray[Any]]],
        *,
        since: Sequence[float],
        until: float,
    ) -> list[Mapping[str, npt.NDArray[Any]] | Exception | None]:
        """As ``run`` for each of several requests, in as few calls of the engine as its batching allows.

        Args:
            signature: One of this model's.
            requests: The arrays of each, as for ``run``.
            since: ``time.perf_counter()`` when each came.
            until: From this time on nothing more is begun.

        Returns:
            For each request its outputs, or what ``run`` would raise, or None: it was not computed, because the time is
            over, or because the engine does no batching or cannot begin a batch now.

        Raises:
            ModelClosed: it was closed.
        """
        if self._together is None:
            return [None] * len(requests)
        self._begin()
        try:
            found = self._together.run_together(signature.name, requests, since=since, until=until)
        finally:
            self._end()
        return [
            dict(zip(signature.outputs, outputs, strict=True)) if isinstance(outputs, list) else outputs
            for outputs in found
        ]

    def _begin(self) -> None:
        if self._unbounded:
            mark_unbounded()
        with self._lock:
            if self._closed:
                raise ModelClosed(f"the model {self.path} was closed")
            self._running += 1

    def _end(self) -> None:
        with self._lock:
            self._running -= 1
            if self._closed and not self._running:
                self._idle.set()

    def close(self) -> None:
        """Free the model once the predictions that run now have ended; later ones raise ModelClosed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if not self._running:
                self._idle.set()
        self._idle.wait()
        self._loaded.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


Wrap = Callable[[Engine], Engine]


def load_model(
    path: Path | str,
    *,
    engine: str = "tensorflow",
    threads: int | None = None,
    timeout_seconds: float | None = None,
    wrap: Wrap | None = None,
) -> Model:
    """Load a SavedModel for prediction.

    Args:
        path: The directory that holds ``saved_model.pb``, or a version base (``<base>/<number>/saved_model.pb``), of
            which the highest number is taken.
        engine: ``tensorflow``: TensorFlow's C library. ``litert``: what ``lading convert`` put beside the graph.
            ``auto``: LiteRT where there is a conversion that passed and belongs to the graph, else TensorFlow.
        threads: TensorFlow: for one operation; these threads are shared by all models of a process, the first model
            decides. Operations side by side run in the thread that asks. LiteRT: predictions side by side, each with
            one thread. Default: the CPU quota of this process.
        timeout_seconds: TensorFlow: a model with loops, whose predictions can take any time, gives up after so long
            (EngineError with the code DEADLINE_EXCEEDED).
        wrap: Puts something around the engine, for instance ``lading.predict.batching.BatchingEngine``.

    Raises:
        InvalidModel: no SavedModel is there, or the engine refuses it; names the path and what the engine said.
            For ``litert`` also: it is not converted, the conversion did not pass, or the graph has changed since.
        EngineError: the engine's library is not installed, or ran out of memory.
        InvalidInput: unknown engine.
    """
    if engine not in (*ENGINES, AUTO):
        raise InvalidInput(f"expected an engine of {', '.join((*ENGINES, AUTO))}, received {engine!r}")
    directory, version = find_saved_model(Path(path))
    unbounded = is_unbounded(directory / "saved_model.pb")
    note = ""
    if engine == "litert":
        return _load_litert(directory, version, threads, wrap, unbounded=unbounded)
    if engine == AUTO and is_converted(directory):
        try:
            return _load_litert(directory, version, threads, wrap, unbounded=unbounded)
        except (InvalidModel, EngineError) as error:
            note = str(error)
    from lading.predict.engines import tensorflow

    try:
        loaded: Engine = tensorflow.load(
            directory, threads=threads, timeout_seconds=timeout_seconds if unbounded else None
        )
    except EngineError as error:
        if not note:
            raise
        raise EngineError(f"{error}; nor can litert serve it: {note}") from error
    return Model(
        wrap(loaded) if wrap else loaded,
        path=directory,
        version=version,
        engine="tensorflow",
        engine_note=note,
        unbounded=unbounded,
    )


def _load_litert(directory: Path, version: int, threads: int | None, wrap: Wrap | None, *, unbounded: bool) -> Model:
    from lading.predict.engines import litert

    conversion = read_conversion(directory)
    loaded: Engine = litert.load(conversion.model, conversion.signatures, threads=threads)
    return Model(
        wrap(loaded) if wrap else loaded, path=directory, version=version, engine="litert", unbounded=unbounded
    )


def _wrong_names(signature: Signature, inputs: Mapping[str, Any]) -> str:
    return (
        f'signature "{signature.name}" takes the inputs {", ".join(signature.inputs) or "(none)"}, '
        f"received {', '.join(inputs) or '(none)'}"
    )
