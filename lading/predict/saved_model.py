"""Finds a SavedModel on disk and reads what its MetaGraphDef declares.

Format: tensorflow/core/protobuf/{saved_model,meta_graph}.proto, and TensorFlow's guide to the SavedModel format.
"""

from pathlib import Path
from typing import Any

from lading.errors import InvalidModel
from lading.predict.signature import Signature, TensorSpec, numpy_type

_VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})


def find_saved_model(path: Path) -> tuple[Path, int]:
    """The directory that holds ``saved_model.pb``, and its version.

    Args:
        path: A SavedModel, or a version base as TensorFlow Serving has it: ``<base>/<number>/saved_model.pb``.

    Returns:
        The directory, and the number it is named by. A SavedModel whose name is no number is version 1.

    Raises:
        InvalidModel: there is neither.
    """
    if (path / "saved_model.pb").is_file():
        numbers = (version_number(name) for name in (path.name, path.resolve().name))
        return path, next((number for number in numbers if number is not None), 1)
    if not path.is_dir():
        raise InvalidModel(
            f"expected a SavedModel directory at {path}, found {'a file' if path.exists() else 'nothing'}"
        )
    # The highest number wins, not the last by name: 10 comes after 9.
    numbered = ((version_number(entry.name), entry) for entry in path.iterdir())
    versions = sorted((number, entry) for number, entry in numbered if number is not None)
    if not versions:
        raise InvalidModel(
            f"expected a SavedModel at {path}: it has no saved_model.pb, and no sub-directory that is named by a "
            "version number"
        )
    version, newest = versions[-1]
    if not (newest / "saved_model.pb").is_file():
        raise InvalidModel(
            f"expected a SavedModel at {newest}, the highest version below {path}: it has no saved_model.pb "
            "(is it still being copied?)"
        )
    return newest, version


def version_number(name: str) -> int | None:
    """The version that a directory of this name is: digits, at most int64; None if it is none."""
    number = int(name) if name.isascii() and name.isdigit() else None
    return number if number is not None and number < 2**63 else None


def read_signatures(meta_graph: bytes) -> dict[str, Signature]:
    """The signatures of a serialized MetaGraphDef, by name."""
    from lading.predict.protos import message  # here: an engine that reads no MetaGraphDef needs no protobuf

    graph = message("tensorflow.MetaGraphDef").FromString(meta_graph)
    return {
        name: Signature(
            name,
            definition.method_name,
            _specs(definition.inputs),
            _specs(definition.outputs),
            {name: definition.defaults[name].SerializeToString() for name in sorted(definition.defaults)},
        )
        for name, definition in sorted(graph.signature_def.items())
    }


def check_variables(path: Path, meta_graph: bytes) -> None:
    """Refuse a SavedModel whose variables were lost.

    TensorFlow loads such a model without a word (cc/saved_model/loader.cc: "The specified SavedModel has no
    variables; no checkpoints were restored") and fails at the first prediction.

    Raises:
        InvalidModel: the graph has variables and a restore operation, and ``variables/variables.index`` is missing.
    """
    index = path / "variables" / "variables.index"
    if index.is_file():
        return
    from lading.predict.protos import message

    graph = message("tensorflow.MetaGraphDef").FromString(meta_graph)
    functions = (node for function in graph.graph_def.library.function for node in function.node_def)
    has_variables = any(node.op in _VARIABLE_OPS for nodes in (graph.graph_def.node, functions) for node in nodes)
    if has_variables and graph.saver_def.restore_op_name:
        raise InvalidModel(f"the SavedModel {path} has variables, but their file is missing: expected {index}")


def _specs(infos: Any) -> dict[str, TensorSpec]:
    return {name: _spec(name, infos[name]) for name in sorted(infos)}


def _spec(name: str, info: Any) -> TensorSpec:
    shape = info.tensor_shape
    dims = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return TensorSpec(name, numpy_type(info.dtype), dims, info.name, info.dtype)
