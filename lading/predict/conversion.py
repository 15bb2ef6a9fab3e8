"""A model that was converted for LiteRT, as it lies inside its SavedModel, and what keeps the two together.

::

    assets.extra/lading/litert/model.tflite       a subgraph for each signature that can be called
                               signatures.json    what the MetaGraphDef declares, so that no protobuf is needed to serve
                               report.json        the proof: a ConvertReport with the digests of what it was made from
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.errors import InvalidInput, InvalidModel
from lading.predict.signature import Signature, TensorSpec, numpy_type
from lading.values import VERSION, FileDigest

FOLDER = Path("assets.extra/lading/litert")
MODEL, SIGNATURES, REPORT = "model.tflite", "signatures.json", "report.json"


@dataclass(frozen=True)
class Conversion:
    """A conversion that may serve."""

    model: Path
    """The ``.tflite`` file."""
    signatures: Mapping[str, Signature]
    """Every signature of the SavedModel, initialisers included."""


def is_converted(directory: Path) -> bool:
    """Whether somebody ran ``lading convert`` on a SavedModel, whatever came of it."""
    return (directory / FOLDER / REPORT).is_file()


def read_conversion(directory: Path) -> Conversion:
    """The conversion inside a SavedModel.

    Of the SavedModel the graph is hashed; files of variables are compared by name and size, since they can be large.

    Args:
        directory: Holds ``saved_model.pb``.

    Raises:
        InvalidModel: there is none, its verdict is negative, it is damaged, or it was made from another SavedModel.
    """
    folder = directory / FOLDER
    again = f"run `lading convert {directory} --out DIR`, or serve with the engine tensorflow"
    if not is_converted(directory):
        raise InvalidModel(f"the SavedModel {directory} is not converted for LiteRT: {again}")
    try:
        # Not from_json: a server need not know the classes of all reports to start.
        report = json.loads((folder / REPORT).read_bytes())
        if (report["kind"], report["version"] <= VERSION) != ("ConvertReport", True):
            raise InvalidInput("its report is of another kind, or of a newer lading")
        if not report["passed"]:
            failed = "; ".join(
                f"{check['name']}: {check['received']}" for check in report["checks"] if not check["passed"]
            )
            raise InvalidModel(f"the SavedModel {directory} cannot be served by LiteRT: {failed}")
        source = {name: FileDigest(**known) for name, known in report["source"].items()}
        if changed := _changed(directory, source):
            raise InvalidModel(
                f"{folder} was made from another SavedModel than the one in {directory} ({changed} differs): {again}"
            )
        for name in (MODEL, SIGNATURES):
            known = report["converted"].get(name)
            if not _same_size(folder / name, FileDigest(**known) if known else None):
                raise InvalidModel(f"{folder / name} is missing or damaged: {again}")
        signatures = signatures_from_json((folder / SIGNATURES).read_bytes())
    except (InvalidInput, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InvalidModel):
            raise
        raise InvalidModel(f"the conversion in {folder} cannot be read ({error}): {again}") from error
    return Conversion(folder / MODEL, signatures)


def source_files(directory: Path) -> dict[str, Path]:
    """What a conversion is made from, by its path in the SavedModel: the graph and the files of variables."""
    variables = sorted(path for path in (directory / "variables").glob("variables.*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path for path in (directory / "saved_model.pb", *variables)}


def digest(path: Path) -> FileDigest:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return FileDigest(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def signatures_to_json(signatures: Mapping[str, Signature]) -> str:
    """The content of ``signatures.json``."""
    body = {
        name: {
            "method_name": signature.method_name,
            "inputs": {spec.name: _spec_to_json(spec) for spec in signature.inputs.values()},
            "outputs": {spec.name: _spec_to_json(spec) for spec in signature.outputs.values()},
        }
        for name, signature in signatures.items()
    }
    return json.dumps(body, indent=1)


def signatures_from_json(text: str | bytes) -> dict[str, Signature]:
    """What ``signatures_to_json`` was given."""
    return {
        name: Signature(
            name,
            body["method_name"],
            {input_: _spec_from_json(input_, spec) for input_, spec in body["inputs"].items()},
            {output: _spec_from_json(output, spec) for output, spec in body["outputs"].items()},
        )
        for name, body in json.loads(text).items()
    }


def _changed(directory: Path, source: Mapping[str, FileDigest]) -> str:
    """The first file that is not what the conversion was made from; empty when all are."""
    found = source_files(directory)
    for name in sorted(found.keys() | source.keys()):
        if name not in found or not _same_size(found[name], source.get(name)):
            return name
    graph = found["saved_model.pb"]
    return "" if digest(graph) == source["saved_model.pb"] else "saved_model.pb"


def _same_size(path: Path, known: FileDigest | None) -> bool:
    return known is not None and path.is_file() and path.stat().st_size == known.size


def _spec_to_json(spec: TensorSpec) -> dict[str, Any]:
    return {"data_type": spec.data_type, "shape": spec.shape, "tensor_name": spec.tensor_name}


def _spec_from_json(name: str, body: Mapping[str, Any]) -> TensorSpec:
    shape = None if body["shape"] is None else tuple(body["shape"])
    return TensorSpec(name, numpy_type(body["data_type"]), shape, body["tensor_name"], body["data_type"])
