"""TensorFlow's C API through ctypes: the declarations of tensorflow/c/c_api.h, tf_tensor.h, tf_status.h and
tf_string.h.

The library comes with the Python wheel, which is found but never imported.
"""

import ctypes
import functools
import importlib.util
import os
import sys
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint8, c_void_p
from pathlib import Path
from types import SimpleNamespace

from lading.errors import EngineError

TSTRING_BYTES = 24  # sizeof(TF_TString): tensorflow/core/platform/ctstring_internal.h


class Output(ctypes.Structure):
    """``TF_Output``: an operation and which of its outputs."""

    _fields_ = (("oper", c_void_p), ("index", c_int))


class Buffer(ctypes.Structure):
    """``TF_Buffer``."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("data_deallocator", c_void_p))

    @classmethod
    def holding(cls, content: bytes) -> "Buffer":
        """A buffer around bytes, which it keeps alive."""
        memory = ctypes.create_string_buffer(content, len(content))
        buffer = cls(data=ctypes.addressof(memory), length=len(content))
        buffer._memory = memory
        return buffer


Deallocator = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, c_void_p)
"""Called by TensorFlow, on any thread, when nothing refers to a tensor's memory any more."""

_TENSORS = POINTER(c_void_p)
_FUNCTIONS: dict[str, tuple[object, tuple[object, ...]]] = {
    "TF_Version": (c_char_p, ()),
    "TF_GetAllOpList": (POINTER(Buffer), ()),
    "TF_NewStatus": (c_void_p, ()),
    "TF_DeleteStatus": (None, (c_void_p,)),
    "TF_GetCode": (c_int, (c_void_p,)),
    "TF_Message": (c_char_p, (c_void_p,)),
    "TF_NewBuffer": (POINTER(Buffer), ()),
    "TF_DeleteBuffer": (None, (POINTER(Buffer),)),
    "TF_NewGraph": (c_void_p, ()),
    "TF_DeleteGraph": (None, (c_void_p,)),
    "TF_GraphOperationByName": (c_void_p, (c_void_p, c_char_p)),
    "TF_OperationNumOutputs": (c_int, (c_void_p,)),
    "TF_NewSessionOptions": (c_void_p, ()),
    "TF_SetConfig": (None, (c_void_p, c_char_p, c_size_t, c_void_p)),
    "TF_DeleteSessionOptions": (None, (c_void_p,)),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        (c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p),
    ),
    "TF_CloseSession": (None, (c_void_p, c_void_p)),
    "TF_DeleteSession": (None, (c_void_p, c_void_p)),
    "TF_SessionRun": (
        None,
        (
            *(c_void_p, POINTER(Buffer)),
            *(POINTER(Output), _TENSORS, c_int),
            *(POINTER(Output), _TENSORS, c_int),
            *(c_void_p, c_int, c_void_p, c_void_p),
        ),
    ),
    "TF_AllocateTensor": (c_void_p, (c_int, POINTER(c_int64), c_int, c_size_t)),
    "TF_NewTensor": (c_void_p, (c_int, POINTER(c_int64), c_int, c_void_p, c_size_t, Deallocator, c_void_p)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_TensorType": (c_int, (c_void_p,)),
    "TF_NumDims": (c_int, (c_void_p,)),
    "TF_Dim": (c_int64, (c_void_p, c_int)),
    "TF_TensorData": (c_void_p, (c_void_p,)),
    "TF_TensorByteSize": (c_size_t, (c_void_p,)),
    "TF_StringInit": (None, (c_void_p,)),
    "TF_StringCopy": (None, (c_void_p, c_char_p, c_size_t)),
    "TF_StringGetDataPointer": (POINTER(c_uint8), (c_void_p,)),
    "TF_StringGetSize": (c_size_t, (c_void_p,)),
    "TF_StringDealloc": (None, (c_void_p,)),
}
_LONG = frozenset(
    {"TF_NewGraph", "TF_LoadSessionFromSavedModel", "TF_CloseSession", "TF_DeleteSession", "TF_SessionRun"}
)
"""What takes longer than microseconds (the first graph registers all operations): other threads of Python run then."""


@functools.cache
def library() -> SimpleNamespace:
    """The functions of the C API, by their names.

    Raises:
        EngineError: TensorFlow is not installed, or its library cannot be loaded.
    """
    handles = [(path, _open(path)) for path in _paths()]
    functions = SimpleNamespace()
    for name, (result, arguments) in _FUNCTIONS.items():
        # PyDLL keeps the GIL during a call, CDLL gives it away and then has to wait for it.
        kind = ctypes.CDLL if name in _LONG else ctypes.PyDLL
        libraries = (kind(str(path), handle=handle) for path, handle in handles)
        found = next((getattr(lib, name) for lib in libraries if hasattr(lib, name)), None)
        if found is None:
            raise EngineError(f"the installed TensorFlow has no {name}: lading needs tensorflow-cpu>=2.18")
        found.restype, found.argtypes = result, arguments
        setattr(functions, name, found)
    return functions


def preload() -> None:
    """Do early what the first model would wait for: read the library, and have it register its operations.

    It computes without the GIL, but until the library is read every import that needs a library of its own waits.

    Raises:
        EngineError: as ``library``.
    """
    lib = library()
    lib.TF_DeleteGraph(lib.TF_NewGraph())


def _paths() -> tuple[Path, Path]:
    package = importlib.util.find_spec("tensorflow")
    if package is None or not package.submodule_search_locations:
        raise EngineError(
            "the tensorflow engine needs TensorFlow's C library, which is not installed: pip install 'lading[serving]'"
        )
    directory = Path(package.submodule_search_locations[0])
    ending = "2.dylib" if sys.platform == "darwin" else "so.2"
    # The framework first: the other one asks for it by name.
    return directory / f"libtensorflow_framework.{ending}", directory / f"libtensorflow_cc.{ending}"


def _open(path: Path) -> int:
    # ctypes would hold the GIL all the time that this takes (``benchmarks/engine_start.py`` prints how long), and
    # resolve every function; the C function dlopen lets other threads run (the server imports its web server
    # meanwhile), and resolves a function when it is first called. RTLD_LOCAL: with RTLD_GLOBAL the library's C++
    # symbols would replace those of other extensions (numpy.random crashes).
    loader = ctypes.CDLL(None)
    loader.dlopen.restype, loader.dlopen.argtypes = c_void_p, (c_char_p, c_int)
    loader.dlerror.restype = c_char_p
    handle = loader.dlopen(str(path).encode(), os.RTLD_LAZY | os.RTLD_LOCAL)
    if not handle:
        reason = loader.dlerror() or b"no reason given"
        raise EngineError(f"cannot load TensorFlow's C library {path}: {reason.decode(errors='replace')}")
    return int(handle)
