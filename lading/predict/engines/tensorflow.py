"""The engine ``tensorflow``: a Session of TensorFlow's C API on a SavedModel."""

import ctypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import c_char_p, c_void_p
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lading.errors import EngineError, InvalidInstance, InvalidModel
from lading.predict.cpus import available_cpus
from lading.predict.engines import tensorflow_tensors as tensors
from lading.predict.engines.tensorflow_c import Buffer, Output, library
from lading.predict.saved_model import check_variables, read_signatures
from lading.predict.signature import Signature, TensorSpec

TAG = b"serve"
# tensorflow/c/tsl_status.h, TSL_Code
_CODES = {
    1: "CANCELLED", 2: "UNKNOWN", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 12: "UNIMPLEMENTED", 14: "UNAVAILABLE",
    15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}  # fmt: skip
_DEADLINE_EXCEEDED = 4
_INVALID_ARGUMENT, _RESOURCE_EXHAUSTED, _OUT_OF_RANGE, _INTERNAL, _DATA_LOSS = 3, 8, 11, 13, 15


def load(path: Path, *, threads: int | None, timeout_seconds: float | None = None) -> "Session":
    """Load the SavedModel in the directory ``path``, as ``lading.predict.load_model`` says.

    With a timeout, operations run in TensorFlow's own threads, which can be told to stop; without, in the thread that
    asks, which costs a small model half the time.
    """
    lib = library()
    # What reads the MetaGraphDef is imported while the library loads the model, for which it needs no GIL.
    threading.Thread(target=_prepare_protobuf, name="import-protobuf").start()
    graph, meta_graph = lib.TF_NewGraph(), lib.TF_NewBuffer()
    options = lib.TF_NewSessionOptions()
    try:
        with _status(lib) as status:
            config = _config(threads or available_cpus(), inline=timeout_seconds is None)
            lib.TF_SetConfig(options, config, len(config), status)
            _raise(lib, status, "TensorFlow refused its configuration", EngineError)
            tags = (c_char_p * 1)(TAG)
            session = lib.TF_LoadSessionFromSavedModel(
                options, None, str(path).encode(), tags, 1, graph, meta_graph, status
            )
            exhausted = lib.TF_GetCode(status) in (_RESOURCE_EXHAUSTED, _INTERNAL)
            # TensorFlow's own text of a file that was not copied as a whole is "Read less bytes than requested".
            damaged = lib.TF_GetCode(status) in (_OUT_OF_RANGE, _DATA_LOSS)
            what = f"cannot load the SavedModel {path}{', whose files are cut off or damaged' if damaged else ''}"
            _raise(lib, status, what, EngineError if exhausted else InvalidModel)
        serialized = ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length)
    except BaseException:
        lib.TF_DeleteGraph(graph)
        raise
    finally:
        lib.TF_DeleteBuffer(meta_graph)
        lib.TF_DeleteSessionOptions(options)
    loaded = Session(session, graph, timeout_seconds)
    try:
        check_variables(path, serialized)
        loaded.prepare(read_signatures(serialized), path)
    except BaseException:
        loaded.close()
        raise
    return loaded


@dataclass(frozen=True)
class _Plan:
    """A signature in the form that ``TF_SessionRun`` takes."""

    inputs: "ctypes.Array[Output]"
    input_types: tuple[int, ...]
    outputs: "ctypes.Array[Output]"
    fed: "type[ctypes.Array[c_void_p]]"
    """Holds the tensors of the inputs."""
    fetched: "type[ctypes.Array[c_void_p]]"


class Session:
    """A session and its graph; ``TF_SessionRun`` may be called by several threads at once and releases the GIL."""

    def __init__(self, session: int, graph: int, timeout_seconds: float | None) -> None:
        self.signatures: Mapping[str, Signature] = {}
        self._lib = library()
        self._session = session
        self._graph = graph
        self._plans: dict[str, _Plan] = {}
        self._options = None if timeout_seconds is None else _run_options(timeout_seconds)

    def prepare(self, signatures: Mapping[str, Signature], path: Path) -> None:
        """Look up the tensors of every signature that can be called."""
        self.signatures = signatures
        for name, signature in signatures.items():
            if signature.is_callable:
                self._plans[name] = _Plan(
                    self._outputs(signature.inputs, path),
                    tuple(spec.data_type for spec in signature.inputs.values()),
                    self._outputs(signature.outputs, path),
                    c_void_p * len(signature.inputs),
                    c_void_p * len(signature.outputs),
                )

    def run(self, signature: str, arrays: Sequence[tensors.Array]) -> list[tensors.Array]:
        """Run a signature; arrays in the order of its inputs, of the numpy types of its specs."""
        plan = self._plans.get(signature)
        if plan is None:
            raise InvalidInstance(
                f'signature "{signature}" cannot be called: it is an initialiser or takes no plain tensors'
            )
        lib, fed, fetched = self._lib, plan.fed(), plan.fetched()
        status = lib.TF_NewStatus()
        try:
            for index, (array, data_type) in enumerate(zip(arrays, plan.input_types, strict=True)):
                fed[index] = tensors.from_array(array, data_type)
            lib.TF_SessionRun(
                *(self._session, self._options),
                *(plan.inputs, fed, len(fed)),
                *(plan.outputs, fetched, len(fetched)),
                *(None, 0, None, status),
            )
            _raise_run(lib, status)
            return [tensors.to_array(tensor) for tensor in fetched if tensor]
        finally:
            for tensor in (*fed, *fetched):
                if tensor:
                    lib.TF_DeleteTensor(tensor)
            lib.TF_DeleteStatus(status)

    def close(self) -> None:
        """Free the session and its graph."""
        with _status(self._lib) as status:
            self._lib.TF_CloseSession(self._session, status)
            self._lib.TF_DeleteSession(self._session, status)
        self._lib.TF_DeleteGraph(self._graph)

    def _outputs(self, specs: Mapping[str, TensorSpec], path: Path) -> "ctypes.Array[Output]":
        found = (Output * len(specs))()
        for place, spec in zip(found, specs.values(), strict=True):
            operation, _, index = spec.tensor_name.rpartition(":")
            place.oper = self._lib.TF_GraphOperationByName(self._graph, operation.encode())
            place.index = int(index)
            if not place.oper or place.index >= self._lib.TF_OperationNumOutputs(place.oper):
                raise InvalidModel(
                    f'the SavedModel {path} is damaged: its signatures name the tensor "{spec.tensor_name}", '
                    "which is not in its graph"
                )
        return found


def _prepare_protobuf() -> None:
    from lading.predict.protos import message

    message("tensorflow.MetaGraphDef")


def _config(threads: int, *, inline: bool) -> bytes:
    """A serialized ``tensorflow.ConfigProto``, without protobuf, which takes longer to import than to do without."""
    # -1: operations run in the thread that asks. Handing them to TensorFlow's own threads cost a small model several
    # times its time (``benchmarks/request_parts.py``); and other requests keep the processors busy.
    inter = -1 if inline else threads
    return b"\x10" + _varint(threads) + b"\x28" + _varint(inter) + _NO_TFG


# graph_options.rewrite_options.disable_tfg_optimizer. It costs each load time (``benchmarks/engine_start.py``); what it
# does to a graph that serves (it moves operations into the branches that alone use them) no benchmark noticed.
_NO_TFG = b"\x52\x05\x52\x03\x80\x02\x01"


def _varint(number: int) -> bytes:
    """An int32 in protobuf's encoding: https://protobuf.dev/programming-guides/encoding/."""
    number &= 0xFFFFFFFFFFFFFFFF
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _run_options(timeout_seconds: float) -> Buffer:
    from lading.predict.protos import message

    options = message("tensorflow.RunOptions")(timeout_in_ms=max(1, round(timeout_seconds * 1000)))
    return Buffer.holding(options.SerializeToString())


@contextmanager
def _status(lib: SimpleNamespace) -> Iterator[int]:
    status = lib.TF_NewStatus()
    try:
        yield status
    finally:
        lib.TF_DeleteStatus(status)


def _raise(lib: SimpleNamespace, status: int, what: str, kind: type[Exception]) -> None:
    if lib.TF_GetCode(status):
        raise kind(f"{what}: {_message(lib, status)}")


def _raise_run(lib: SimpleNamespace, status: int) -> None:
    code = lib.TF_GetCode(status)
    if code:
        refused = code in (_INVALID_ARGUMENT, _OUT_OF_RANGE)
        if refused:
            raise InvalidInstance(_message(lib, status))
        # TensorFlow's own text is "Timed out waiting for notification".
        text = "the model did not answer within its time" if code == _DEADLINE_EXCEEDED else _message(lib, status)
        raise EngineError(text, code=_CODES.get(code, "INTERNAL"))


def _message(lib: SimpleNamespace, status: int) -> str:
    said: Any = lib.TF_Message(status)
    return str(said.decode(errors="replace"))
