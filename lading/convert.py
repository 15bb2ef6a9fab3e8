"""Convert a SavedModel for the engine ``litert``, and prove that the conversion answers as the SavedModel does."""

import importlib.metadata
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lading import __version__, golden
from lading.errors import EngineError, InvalidInput, InvalidInstance, InvalidModel
from lading.files import whole_directory, write_atomic
from lading.parity import compare_signature
from lading.results import ConvertReport, SignatureParity
from lading.tflite import Converted, convert_signatures
from lading.values import Check, GoldenRequest, to_json

if TYPE_CHECKING:
    from lading.predict import Model, Signature, TensorSpec


def convert_model(
    model_dir: Path, out_dir: Path, *, rtol: float | None = None, atol: float | None = None
) -> ConvertReport:
    """Convert every signature of a SavedModel, and compare the answers of both on at least 100 rows for each.

    The rows are the model's golden requests and others, from zeros to numbers around a million, in batches of 1, 2, 7
    and 32; see ``lading.parity``. A model that does not convert, or answers otherwise, is a negative verdict.

    Args:
        model_dir: A SavedModel, or a version base of which the highest number is taken.
        out_dir: Gets a copy of the SavedModel with the folder ``lading.predict.conversion.FOLDER``; may be
            ``model_dir``. When the verdict is negative the folder has the report only: the copy is served by the engine
            ``tensorflow``, which ``auto`` then chooses.
        rtol: Answers may differ by ``atol + rtol × m``, m being the largest magnitude in the same row of the output.
            Default: the largest of the golden requests, at least 1e-4.
        atol: See ``rtol``. Default: the largest of the golden requests, at least 1e-5.

    Returns:
        The verdict, which is also in the folder.

    Raises:
        InvalidInput: a tolerance is negative, or TensorFlow is not installed.
        InvalidModel: there is no SavedModel that TensorFlow can load, or no signature that can be called, or its golden
            requests are for another model.
        EngineError: LiteRT is not installed, or the converter ended without an answer.
        StorageError: the copy could not be written.
    """
    from lading.predict import load_model
    from lading.predict.conversion import FOLDER, REPORT, digest, source_files
    from lading.predict.saved_model import find_saved_model

    start = time.monotonic()
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not 0 <= value < float("inf"):
            raise InvalidInput(f"expected {name} as a number from 0 on, received {value}")
    litert_version = _litert_version()
    source, _ = find_saved_model(model_dir)
    with load_model(source) as model, whole_directory(out_dir) as copy:
        shutil.copytree(source, copy, dirs_exist_ok=True, ignore=_without_conversion)
        (copy / FOLDER).mkdir(parents=True)
        requests = _golden_requests(model)
        rtol = max([golden.RTOL, *(request.rtol for request in requests)]) if rtol is None else rtol
        atol = max([golden.ATOL, *(request.atol for request in requests)]) if atol is None else atol
        parities, converted = _convert(model, copy / FOLDER, requests, rtol=rtol, atol=atol)
        report = ConvertReport(
            passed=all(parity.passed for parity in parities),
            checks=tuple(_check(parity, rtol, atol) for parity in parities),
            signatures=tuple(parities),
            rtol=rtol,
            atol=atol,
            source={name: digest(path) for name, path in source_files(copy).items()},
            converted={path.name: digest(path) for path in (copy / FOLDER).iterdir()},
            rewritten=converted.rewritten,
            versions={"lading": __version__, "tensorflow": converted.version, "ai-edge-litert": litert_version},
            seconds=round(time.monotonic() - start, 3),
        )
        write_atomic(copy / FOLDER / REPORT, to_json(report))
    return report


def _convert(
    model: "Model", folder: Path, requests: tuple[GoldenRequest, ...], *, rtol: float, atol: float
) -> tuple[list[SignatureParity], Converted]:
    """Fill the folder, which stays empty when the verdict is negative."""
    from lading.predict.conversion import MODEL, SIGNATURES, signatures_to_json

    wanted = {name: signature for name, signature in model.signatures.items() if signature.is_callable}
    if not wanted:
        raise InvalidModel(f"{model.path} has no signature that can be called (has: {', '.join(model.signatures)})")
    problems = {name: problem for name, signature in wanted.items() if (problem := _obstacle(signature))}
    rest = [name for name in wanted if name not in problems]
    converted = convert_signatures(model.path, folder / MODEL, rest) if rest else Converted()
    problems |= converted.problems
    if problems:
        parities = [_unconverted(name, problems.get(name, "")) for name in wanted]
    else:
        write_atomic(folder / SIGNATURES, signatures_to_json(model.signatures))
        parities = _compare(model, folder / MODEL, list(wanted), requests, rtol=rtol, atol=atol)
    if not all(parity.passed for parity in parities):
        for path in folder.iterdir():
            path.unlink()
    return parities, converted


def _compare(
    model: "Model",
    file: Path,
    signatures: Sequence[str],
    requests: tuple[GoldenRequest, ...],
    *,
    rtol: float,
    atol: float,
) -> list[SignatureParity]:
    from lading.predict import Model
    from lading.predict.engines import litert

    try:
        loaded = litert.load(file, model.signatures, threads=1)
    except InvalidModel as error:  # for instance an operation for which the interpreter has no kernel
        return [_unconverted(name, str(error).replace(str(file), file.name)) for name in signatures]
    parities = []
    with Model(loaded, path=model.path, version=model.version, engine="litert") as converted:
        for name in signatures:
            asked = [request for request in requests if request.signature == name]
            parities.append(compare_signature(model, converted, name, requests=asked, rtol=rtol, atol=atol))
    return parities


def _obstacle(signature: "Signature") -> str:
    """What LiteRT cannot do with a signature, as it is declared; empty when nothing is in the way."""
    for what, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs.values():
            if problem := _tensor_obstacle(spec, is_input=what == "input"):
                return f'{what} "{spec.name}" {problem}'
    return ""


def _tensor_obstacle(spec: "TensorSpec", *, is_input: bool) -> str:
    from lading.predict.signature import DT_BFLOAT16, DT_STRING

    if spec.data_type == DT_STRING:
        return "is a string, which LiteRT does not take"
    if spec.data_type == DT_BFLOAT16:
        return "is a bfloat16, which LiteRT does not take"
    return "has no declared rank, which LiteRT needs" if is_input and spec.shape is None else ""


def _golden_requests(model: "Model") -> tuple[GoldenRequest, ...]:
    from lading.predict.jsonvalues import to_inputs

    file = model.path / golden.FILE
    if not file.is_file():
        return ()
    try:
        requests = GoldenRequest.read_all(file.read_text())
        for request in requests:
            if request.signature not in model.signatures:
                raise InvalidInstance(f'there is no signature "{request.signature}"')
            to_inputs(request.request, model.signatures[request.signature])
    except (InvalidInput, UnicodeDecodeError) as error:
        raise InvalidModel(f"{file}: expected golden requests for the model beside it: {error}") from error
    return requests


def _litert_version() -> str:
    try:
        return importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError as error:
        raise EngineError("converting needs ai-edge-litert: pip install 'lading[litert]'") from error


def _without_conversion(directory: str, names: list[str]) -> set[str]:
    from lading.predict.conversion import FOLDER

    return {FOLDER.name} & set(names) if Path(directory).parts[-2:] == FOLDER.parts[:-1] else set()


def _unconverted(name: str, problem: str) -> SignatureParity:
    """A signature that was not compared: it does not convert, or another one does not."""
    return SignatureParity(name, not problem, 0, 0, 0, 0.0, 0.0, 0.0, "", problem)


def _check(parity: SignatureParity, rtol: float, atol: float) -> Check:
    if parity.problem:
        received = parity.problem
    elif not parity.rows:
        received = "it converts"
    else:
        received = f"{parity.rows} rows agree, at most {parity.max_abs_error:.2g} apart"
        if parity.spread <= atol:
            received += "; the answers hardly vary, so this shows little: give the model golden requests"
    return Check(
        parity.signature, parity.passed, f"converts, and answers within rtol {rtol:g}, atol {atol:g}", received
    )
