"""Runs a model before it serves, so that its first caller does not wait and a broken one never serves.

Two files are replayed: the first of lading's golden requests, and TensorFlow Serving's recorded requests.
Source of the latter: tensorflow_serving/servables/tensorflow/saved_model_warmup{,_util}.cc.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lading.errors import InvalidData, InvalidInput, InvalidModel, LadingError
from lading.predict import Model
from lading.predict.jsonvalues import to_inputs
from lading.predict.signature import DEFAULT_SIGNATURE
from lading.predict.tf_record import read_records
from lading.values import GoldenRequest

GOLDEN = Path("assets.extra/lading/golden.jsonl")
RECORDED = Path("assets.extra/tf_serving_warmup_requests")
MOST_RECORDS = 1000  # WarmupConsts::kMaxNumRecords
_MOST_BYTES = 1 << 31
"""What a tensor of a record may take; the file is the model's owner's own, so gRPC's largest message."""


def warm_up(model: Model) -> int:
    """Run the warm-up requests that a model carries.

    Returns:
        How many ran.

    Raises:
        InvalidModel: one fails or cannot be read; names the file, the record and the reason.
    """
    return _golden(model) + _recorded(model)


def _golden(model: Model) -> int:
    file = model.path / GOLDEN
    if not file.is_file():
        return 0
    try:
        with file.open(encoding="utf-8") as lines:
            first = next((line for line in lines if line.strip()), "")
        golden = GoldenRequest.read_all(first)
        for request in golden:
            signature = model.signatures.get(request.signature)
            if signature is None:
                raise InvalidInput(f'it names the signature "{request.signature}", which the model does not have')
            model.predict(to_inputs(request.request, signature), signature=request.signature)
    except (LadingError, UnicodeDecodeError) as error:
        raise InvalidModel(f"the warm-up failed: {file}: {error}") from error
    return len(golden)


def _recorded(model: Model) -> int:
    file = model.path / RECORDED
    if not file.is_file():
        return 0
    count = 0
    try:
        for record in read_records(file):
            count += 1
            if count > MOST_RECORDS:
                raise InvalidData(f"{file}: expected at most {MOST_RECORDS} records")
            try:
                _replay(model, record)
            except LadingError as error:
                raise InvalidData(f"{file}, record {count}: {error}") from error
    except InvalidData as error:
        raise InvalidModel(f"the warm-up failed: {error}") from error
    return count


def _replay(model: Model, record: bytes) -> None:
    # Here, because most models have no such file, and protobuf's messages of TensorFlow Serving cost time and memory.
    from google.protobuf.message import DecodeError

    from lading.predict.protos import message

    try:
        log = message("tensorflow.serving.PredictionLog").FromString(record)
    except DecodeError as error:
        raise InvalidData("expected a PredictionLog") from error
    kind = log.WhichOneof("log_type")
    run = _RUNS.get(kind)
    if run is None:
        raise InvalidData(f"expected a log of {', '.join(_RUNS)}, received {kind or 'an empty one'}")
    run(model, getattr(log, kind).request)


def _predict(model: Model, request: Any) -> None:
    from lading.predict.tensor_protos import to_array

    inputs = {name: to_array(proto, name, most_bytes=_MOST_BYTES) for name, proto in request.inputs.items()}
    model.predict(inputs, signature=request.model_spec.signature_name or DEFAULT_SIGNATURE)


def _classify(model: Model, request: Any) -> None:
    from lading.predict import classify, examples

    classify.classify(model, examples.examples_from_input(request.input), signature=request.model_spec.signature_name)


def _regress(model: Model, request: Any) -> None:
    from lading.predict import classify, examples

    classify.regress(model, examples.examples_from_input(request.input), signature=request.model_spec.signature_name)


def _multi_inference(model: Model, request: Any) -> None:
    from lading.predict import classify, examples

    found = examples.examples_from_input(request.input)
    for task in request.tasks:
        run = _METHODS.get(task.method_name)
        if run is None:
            raise InvalidData(f"expected a method of {', '.join(_METHODS)}, received {task.method_name!r}")
        getattr(classify, run)(model, found, signature=task.model_spec.signature_name)


_METHODS = {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}
_RUNS: Mapping[str, Callable[[Model, Any], None]] = {
    "predict_log": _predict,
    "classify_log": _classify,
    "regress_log": _regress,
    "multi_inference_log": _multi_inference,
}
