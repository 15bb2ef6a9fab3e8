"""The Open Inference Protocol's gRPC service: messages in, messages out. No sockets.

Source: open_inference_grpc.proto; answers and codes that it leaves open are KServe's (python/kserve/protocol/grpc).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lading import __version__
from lading.errors import InvalidInstance
from lading.predict import oip
from lading.predict.packed import read_packed, write_packed
from lading.predict.protos import message
from lading.serving.grpc_calls import Method
from lading.serving.models import Models, Served
from lading.serving.records import Asked

Array = npt.NDArray[Any]

SERVICE = "inference.GRPCInferenceService"

_CONTENTS: Mapping[str, tuple[str, Any]] = {
    "BOOL": ("bool_contents", np.bool_),
    "INT8": ("int_contents", np.int32),
    "INT16": ("int_contents", np.int32),
    "INT32": ("int_contents", np.int32),
    "INT64": ("int64_contents", np.int64),
    "UINT8": ("uint_contents", np.uint32),
    "UINT16": ("uint_contents", np.uint32),
    "UINT32": ("uint_contents", np.uint32),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
    "BYTES": ("bytes_contents", object),
}
"""The field for each datatype's values, and its type; FP16 has none, and goes raw only."""


def methods(models: Models) -> Mapping[str, Method]:
    """The methods of the service, by path."""
    service = _Service(models)
    return {
        f"/{SERVICE}/ServerLive": Method("inference.ServerLiveRequest", service.live),
        f"/{SERVICE}/ServerReady": Method("inference.ServerReadyRequest", service.ready),
        f"/{SERVICE}/ModelReady": Method("inference.ModelReadyRequest", service.model_ready),
        f"/{SERVICE}/ServerMetadata": Method("inference.ServerMetadataRequest", service.server),
        f"/{SERVICE}/ModelMetadata": Method("inference.ModelMetadataRequest", service.model),
        f"/{SERVICE}/ModelInfer": Method("inference.ModelInferRequest", service.infer, _asked),
    }


class _Service:
    def __init__(self, models: Models) -> None:
        self._models = models

    def live(self, request: Any) -> Any:
        return message("inference.ServerLiveResponse")(live=True)

    def ready(self, request: Any) -> Any:
        return message("inference.ServerReadyResponse")(ready=self._models.is_ready())

    def model_ready(self, request: Any) -> Any:
        version = _version(request.version)
        self._models.statuses(request.name, version)  # an unknown model is an error, not "not ready"
        return message("inference.ModelReadyResponse")(ready=self._models.is_ready(request.name, version))

    def server(self, request: Any) -> Any:
        return message("inference.ServerMetadataResponse")(
            name=oip.SERVER_NAME, version=__version__, extensions=oip.EXTENSIONS
        )

    def model(self, request: Any) -> Any:
        served = self._models.find(request.name, _version(request.version))
        versions = [found.version for found in self._models.statuses(request.name) if found.state == "AVAILABLE"]
        about = oip.model_metadata(served.name, versions, served.model.signatures)
        return message("inference.ModelMetadataResponse")(**about)

    def infer(self, request: Any) -> Any:
        return self._models.use(lambda served: _infer(served, request), *_asked(request))


def _asked(request: Any) -> Asked:
    return Asked(request.model_name, _version(request.model_version))


def _version(text: str) -> int | None:
    if not text:
        return None
    # Python makes no number of thousands of digits.
    digits = text.lstrip("0") or "0"
    if not (text.isascii() and text.isdigit()) or len(digits) > 19 or int(digits) >= 2**63:
        raise InvalidInstance(f"expected a model version that is a number, received {text[:40]!r}")
    return int(digits)


def _infer(served: Served, request: Any) -> Any:
    parameter = request.parameters.get(oip.SIGNATURE_PARAMETER, None)
    chosen = parameter and getattr(parameter, parameter.WhichOneof("parameter_choice") or "string_param")
    signature = oip.choose_signature(chosen, served.model.signatures)
    outputs = served.predict(_inputs(request), signature=signature.name)
    outputs = oip.choose_outputs(outputs, [output.name for output in request.outputs])
    response = message("inference.ModelInferResponse")(
        model_name=served.name, model_version=str(served.version), id=request.id
    )
    # Raw is for all outputs or for none.
    raw = bool(request.raw_input_contents) or any(array.dtype == np.float16 for array in outputs.values())
    for name, array in outputs.items():
        datatype = oip.datatype(array.dtype)
        tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            response.raw_output_contents.append(oip.to_raw(array))
        else:
            _set_contents(tensor.contents, array, datatype)
    return response


def _inputs(request: Any) -> dict[str, Array]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInstance(f"expected raw_input_contents for {len(request.inputs)} inputs, received {len(raw)}")
    found: dict[str, Array] = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name in found:
            raise InvalidInstance(f'the input "{tensor.name}" is given twice')
        if raw and tensor.HasField("contents"):
            raise InvalidInstance(f'input "{tensor.name}": contents must be empty beside raw_input_contents')
        about = {"datatype": tensor.datatype, "shape": list(tensor.shape), "name": tensor.name}
        if raw:
            found[tensor.name] = oip.from_raw(raw[index], **about)
        else:
            found[tensor.name] = oip.from_json(_contents(tensor), **about)
    return found


def _contents(tensor: Any) -> Array:
    oip.to_dtype(tensor.datatype, tensor.name)
    if tensor.datatype not in _CONTENTS:
        raise InvalidInstance(f'input "{tensor.name}": {tensor.datatype} is sent in raw_input_contents only')
    field, kind = _CONTENTS[tensor.datatype]
    dtype = np.dtype(kind)
    if dtype.kind in "fb":
        return read_packed(tensor.contents, field, dtype)
    values = getattr(tensor.contents, field)
    if dtype.kind != "O":
        return np.fromiter(values, dtype, len(values))
    strings = np.empty(len(values), object)
    strings[:] = list(values)
    return strings


def _set_contents(contents: Any, array: Array, datatype: str) -> None:
    field, kind = _CONTENTS[datatype]
    if np.dtype(kind).kind in "fb":
        write_packed(contents, field, array)
    else:
        getattr(contents, field).extend(array.ravel().tolist())
