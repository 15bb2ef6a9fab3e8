"""TensorFlow Serving's gRPC services: messages in, messages out. No sockets.

Rules and texts: tensorflow_serving/servables/tensorflow/{predict_util,classifier,regressor,multi_inference,
get_model_metadata_impl}.cc, model_servers/{get_model_status_impl,model_service_impl,server_core}.cc.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lading.errors import EngineError, InvalidInstance, Unsupported
from lading.predict import Signature, TensorSpec, classify, tensor_protos
from lading.predict.examples import examples_from_input
from lading.predict.protos import message
from lading.predict.signature import DEFAULT_SIGNATURE
from lading.serving import tasks
from lading.serving.grpc_calls import Method, names, text_of
from lading.serving.model_config import to_model_configs
from lading.serving.models import Models, Served
from lading.serving.records import Asked

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
_SIGNATURES = "signature_def"
_CLASSIFY, _REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"

T = TypeVar("T")


def methods(models: Models, *, most_bytes: int) -> Mapping[str, Method]:
    """The methods of both services, by path.

    Args:
        models: What serves.
        most_bytes: How large a tensor may become whose values repeat.
    """
    service = _Service(models, most_bytes)
    return {
        f"/{PREDICTION}/Predict": _method("Predict", service.predict, _model),
        f"/{PREDICTION}/Classify": _method("Classification", service.classify, _model),
        f"/{PREDICTION}/Regress": _method("Regression", service.regress, _model),
        f"/{PREDICTION}/MultiInference": _method("MultiInference", service.multi_inference, _first_model),
        f"/{PREDICTION}/GetModelMetadata": _method("GetModelMetadata", service.metadata, None),
        f"/{MODEL}/GetModelStatus": _method("GetModelStatus", service.status, None),
        f"/{MODEL}/HandleReloadConfigRequest": _method("ReloadConfig", service.reload, None),
    }


def _method(name: str, call: Callable[[Any], Any], model_of: Callable[[Any], Asked] | None) -> Method:
    return Method(f"tensorflow.serving.{name}Request", call, model_of)


def _asked(spec: Any) -> Asked:
    choice = spec.WhichOneof("version_choice")
    return Asked(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _model(request: Any) -> Asked:
    return _asked(request.model_spec)


def _first_model(request: Any) -> Asked:
    return _asked(request.tasks[0].model_spec) if request.tasks else Asked("")


class _Service:
    def __init__(self, models: Models, most_bytes: int) -> None:
        self._models = models
        self._most_bytes = most_bytes

    def predict(self, request: Any) -> Any:
        spec = _spec(request)
        return self._use(spec, lambda served: _predict(served, request, self._most_bytes))

    def classify(self, request: Any) -> Any:
        spec = _spec(request)

        def answer(served: Served) -> Any:
            found = classify.find(served.model, spec.signature_name)
            rows = tasks.classify_examples(served, examples_from_input(request.input), signature=found.name)
            response = message("tensorflow.serving.ClassificationResponse")()
            _set_spec(response.model_spec, served, found.name)
            _set_classes(response.result, rows)
            return response

        return self._use(spec, answer)

    def regress(self, request: Any) -> Any:
        spec = _spec(request)

        def answer(served: Served) -> Any:
            found = classify.find(served.model, spec.signature_name)
            values = tasks.regress_examples(served, examples_from_input(request.input), signature=found.name)
            response = message("tensorflow.serving.RegressionResponse")()
            _set_spec(response.model_spec, served, found.name)
            _set_values(response.result, values)
            return response

        return self._use(spec, answer)

    def multi_inference(self, request: Any) -> Any:
        spec = request.tasks[0].model_spec if request.tasks else message("tensorflow.serving.ModelSpec")()
        return self._use(spec, lambda served: _multi_inference(served, request))

    def metadata(self, request: Any) -> Any:
        spec = _spec(request)
        if not request.metadata_field:
            raise InvalidInstance("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise InvalidInstance(f"Metadata field {field} is not supported")
        return self._use(spec, _metadata)

    def status(self, request: Any) -> Any:
        spec = _spec(request)
        version = spec.version.value if spec.HasField("version") else None
        response = message("tensorflow.serving.GetModelStatusResponse")()
        for found in self._models.statuses(spec.name, version):
            response.model_version_status.add(
                version=found.version,
                state=found.state,
                status={"error_code": found.error_code, "error_message": found.error_message},
            )
        return response

    def reload(self, request: Any) -> Any:
        if request.config.WhichOneof("config") != "model_config_list":
            raise InvalidInstance(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        self._models.reload(to_model_configs(request.config))
        response = message("tensorflow.serving.ReloadConfigResponse")()
        response.status.error_code = "OK"
        return response

    def _use(self, spec: Any, call: Callable[[Served], T]) -> T:
        if not spec.name:
            raise InvalidInstance("ModelSpec has no name specified.")
        return self._models.use(call, *_asked(spec))


def _spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise InvalidInstance("Missing ModelSpec")
    return request.model_spec


def _set_spec(spec: Any, served: Served, signature: str) -> None:
    spec.name = served.name
    spec.version.value = served.version
    if signature:
        spec.signature_name = signature


def _predict(served: Served, request: Any, most_bytes: int) -> Any:
    wanted = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = served.model.signatures.get(wanted)
    if signature is None:
        # REST answers INVALID_ARGUMENT; so does TensorFlow Serving.
        raise EngineError(f'Serving signature key "{wanted}" not found.', code="FAILED_PRECONDITION")
    inputs = {}
    for index, (name, tensor) in enumerate(_tensors(request, signature).items()):
        tensor_protos.check_type(tensor, signature.inputs[name], index)
        inputs[name] = tensor_protos.to_array(tensor, name, most_bytes=most_bytes)
    chosen = _outputs(request, signature)
    outputs = served.predict(inputs, signature=wanted)
    response = message("tensorflow.serving.PredictResponse")()
    _set_spec(response.model_spec, served, wanted)
    for name in chosen:
        tensor_protos.fill(response.outputs[name], outputs[name], signature.outputs[name])
    return response


def _tensors(request: Any, signature: Signature) -> dict[str, Any]:
    """The tensor of each input, in the signature's order; the signature's own where the request has none."""
    sent, known = set(request.inputs), set(signature.inputs)
    if len(sent) > len(known) or (len(sent) < len(known) and not signature.defaults):
        raise InvalidInstance(
            f"input size does not match signature: {len(sent)}!={len(known)} len({names([*sent])}) != "
            f"len({names([*known])}). Sent extra: {names([*sent - known])}. "
            f"Missing but required: {names([*known - sent])}."
        )
    for name in sorted(sent - known):
        raise InvalidInstance(
            f"input tensor alias not found in signature: {name}. Inputs expected to be in the set {names([*known])}."
        )
    missing = known - sent - set(signature.defaults)
    if missing:
        raise InvalidInstance(
            f"Signature inputs are missing in the request, and have no defaults: {names([*missing])}."
        )
    read = message("tensorflow.TensorProto").FromString
    return {name: request.inputs[name] if name in sent else read(signature.defaults[name]) for name in signature.inputs}


def _outputs(request: Any, signature: Signature) -> list[str]:
    chosen: list[str] = []
    for name in request.output_filter:
        if name not in signature.outputs:
            raise InvalidInstance(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{names([*signature.outputs])}."
            )
        if name in chosen:
            raise InvalidInstance(f"duplicate output tensor alias: {name}")
        chosen.append(name)
    return chosen or list(signature.outputs)


def _multi_inference(served: Served, request: Any) -> Any:
    first = request.tasks[0].model_spec.name
    asked: list[tuple[Signature, str]] = []
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if not task.model_spec.name:
            raise InvalidInstance("Found ModelSpec with an empty model name.")
        if task.model_spec.name != first:
            raise InvalidInstance("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in [signature.name for signature, _ in asked]:
            raise InvalidInstance(f"Duplicate evaluation of signature: {name}")
        if name not in served.model.signatures:
            raise InvalidInstance(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (_CLASSIFY, _REGRESS):
            raise Unsupported(f"Unsupported signature method_name: {task.method_name}")
        signature = served.model.signatures[name]
        (classify.check_classify if task.method_name == _CLASSIFY else classify.check_regress)(signature)
        asked.append((signature, task.method_name))
    examples = examples_from_input(request.input)
    response = message("tensorflow.serving.MultiInferenceResponse")()
    for signature, method in asked:
        result = response.results.add()
        _set_spec(result.model_spec, served, signature.name)
        if method == _CLASSIFY:
            rows = classify.classify(served.model, examples, signature=signature.name)
            _set_classes(result.classification_result, rows)
        else:
            _set_values(result.regression_result, classify.regress(served.model, examples, signature=signature.name))
    served.metrics.examples(len(examples))
    return response


def _set_classes(result: Any, rows: list[list[tuple[bytes, float]]]) -> None:
    for row in rows:
        classes = result.classifications.add().classes
        for label, score in row:
            classes.add(label=text_of(label, "a class label"), score=score)


def _set_values(result: Any, values: list[float]) -> None:
    for value in values:
        result.regressions.add(value=value)


def _metadata(served: Served) -> Any:
    response = message("tensorflow.serving.GetModelMetadataResponse")()
    _set_spec(response.model_spec, served, "")
    found = message("tensorflow.serving.SignatureDefMap")()
    for name, signature in served.model.signatures.items():
        definition = found.signature_def[name]
        definition.method_name = signature.method_name
        for infos, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
            for alias, spec in specs.items():
                _set_info(infos[alias], spec)
        for alias, tensor in signature.defaults.items():
            definition.defaults[alias].MergeFromString(tensor)
    response.metadata[_SIGNATURES].Pack(found)
    return response


def _set_info(info: Any, spec: TensorSpec) -> None:
    info.name = spec.tensor_name
    info.dtype = spec.data_type
    info.tensor_shape.unknown_rank = spec.shape is None
    for size in spec.shape or ():
        info.tensor_shape.dim.add(size=-1 if size is None else size)
