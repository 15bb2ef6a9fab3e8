"""TensorFlow Serving's REST API. Paths: ``lading.serving.routes``; bodies: ``lading.predict.codec``.

Source: tensorflow_serving/model_servers/http_rest_api_handler.cc and g3doc/api_rest.md. The status answer also says
what KServe's V1 protocol says (``name``, ``ready``).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from lading.errors import InvalidInstance, LadingError, NotFound
from lading.predict import Signature, TensorSpec, codec
from lading.predict.document import Document
from lading.predict.jsonvalues import to_lists
from lading.predict.signature import type_name
from lading.serving.answers import Answer, Request, as_json, failure, refusal
from lading.serving.errors import Code
from lading.serving.loading import Arrays
from lading.serving.models import Models, Served
from lading.serving.prediction import Prediction
from lading.serving.routes import Route

Asked = tuple[tuple[str, int | None, str | None], Callable[[Served], Prediction]]
"""Name, version and label of a model, as ``Models.find`` takes them, and what the request asks of it."""


def predict(models: Models, route: Route, request: Request) -> Asked:
    """What ``:predict`` asks for.

    Raises:
        LadingError: the request is no JSON.
    """
    document = codec.parse(request.body)  # before the model is looked up, as TensorFlow Serving does
    return (route.model, route.version, route.label), partial(_prediction, document=document)


def vertex(models: Models, route: Route, request: Request) -> Asked:
    """What Vertex AI's predict route asks for: of the first model, and an answer that is JSON even where it holds NaN.

    Vertex does not hand on the headers that say who answers: with the parameter ``identity`` they are in the body.

    Raises:
        LadingError: the request is no JSON.
    """
    document = codec.parse(request.body)
    parameters = document.members.get("parameters") if "parameters" in document else None
    parameters = parameters if isinstance(parameters, dict) else {}
    said = models.said if parameters.get("identity") is True else None
    named = parameters.get("signature_name")
    make = partial(_prediction, document=document, named=named, strict=True, said=said)
    return (next(iter(models.names()), ""), None, None), make


def _prediction(
    served: Served,
    *,
    document: Document,
    named: object = None,
    strict: bool = False,
    said: Mapping[str, str] | None = None,
) -> Prediction:
    signature = codec.find_signature(document, served.model.signatures, named=named)
    inputs, rows = codec.decode(document, signature)
    return Prediction(
        served, signature, list(inputs.values()), partial(_predicted, rows=rows, strict=strict, said=said)
    )


def _predicted(outputs: Arrays, *, rows: bool, strict: bool, said: Mapping[str, str] | None) -> Answer:
    body = codec.encode(outputs, rows=rows, strict=strict)
    return Answer(body if said is None else b'{"metadata":' + codec.dumps(said) + b"," + body.removeprefix(b"{"))


def classify(models: Models, route: Route, request: Request) -> Answer:
    """Answer ``:classify`` and ``:regress``; the whole body is read before the model is looked up."""
    # Here, because they need protobuf, which a server of numbers need not load.
    from lading.predict.examples import examples_from_json
    from lading.serving import tasks

    try:
        document = codec.parse(request.body)
        signature = codec.signature_name(document)
        examples = examples_from_json(document.members)

        def run(served: Served) -> Answer:
            if route.verb == "regress":
                values = tasks.regress_examples(served, examples, signature=signature)
                return _results(to_lists(np.array(values, np.float32), "outputs"))
            classes = tasks.classify_examples(served, examples, signature=signature)
            return _results([[_class(label, score) for label, score in row] for row in classes])

        return models.use(run, route.model, route.version, route.label)
    except LadingError as error:
        return failure(error)


def _class(label: bytes, score: float) -> list[Any]:
    array = np.empty((), object)
    array[()] = label
    return [to_lists(array, "classes", raw=True), to_lists(np.array(score, np.float32), "scores")]


def _results(results: Any) -> Answer:
    return Answer(codec.dumps({"results": results}))


def status(models: Models, route: Route) -> Answer:
    """Answer about the versions of a model, in TensorFlow Serving's and in KServe's words."""
    try:
        found = models.statuses(route.model, route.version, route.label)
    except LadingError as error:
        return failure(error)
    versions = [
        {
            "version": str(version.version),
            "state": version.state,
            "status": {"error_code": version.error_code, "error_message": version.error_message},
        }
        for version in found
    ]
    ready = any(version.state == "AVAILABLE" for version in found)
    return as_json({"model_version_status": versions, "name": route.model, "ready": ready})


def metadata(models: Models, route: Route) -> Answer:
    """Answer with every signature of a model."""
    try:
        served = models.find(route.model, route.version, route.label)
    except (NotFound, InvalidInstance) as error:
        return failure(error)
    # The doubled key is right: a SignatureDefMap has one member, which has the name of the member that holds the map.
    signatures = {key: _signature(signature) for key, signature in served.model.signatures.items()}
    return as_json(
        {
            "model_spec": {"name": served.name, "signature_name": "", "version": str(served.version)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }
    )


def malformed(request: Request) -> Answer:
    """What a method or path below ``/v1/`` without meaning gets."""
    return refusal(Code.INVALID_ARGUMENT, f"Malformed request: {request.method} {request.path}")


def _signature(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor(spec) for name, spec in signature.inputs.items()},
        "outputs": {name: _tensor(spec) for name, spec in signature.outputs.items()},
        "method_name": signature.method_name,
        "defaults": {},
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    sizes = [{"size": str(-1 if size is None else size), "name": ""} for size in spec.shape or ()]
    return {
        "dtype": type_name(spec.data_type),
        "tensor_shape": {"dim": sizes, "unknown_rank": spec.shape is None},
        "name": spec.tensor_name,
    }
