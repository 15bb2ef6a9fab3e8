"""Classification and regression: signatures that take serialized examples and give labels and scores, or a value.

Rules and texts: tensorflow_serving/servables/tensorflow/{classifier,regressor}.cc. The ``method_name`` of a signature
is not looked at, as in TensorFlow Serving's default (``--enable_signature_method_name_check=false``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.errors import InvalidInstance
from lading.predict.model import Model
from lading.predict.signature import DEFAULT_SIGNATURE, Signature, type_name

Array = npt.NDArray[Any]

INPUTS = "inputs"
CLASSES, SCORES, OUTPUTS = "classes", "scores", "outputs"


def classify(model: Model, examples: Sequence[bytes], *, signature: str = "") -> list[list[tuple[bytes, float]]]:
    """Classify examples.

    Args:
        model: What computes.
        examples: Serialized ``tf.Example`` messages, at least one.
        signature: Its name; empty for ``serving_default``.

    Returns:
        For each example its classes, each a label and a score; the label is empty, or the score 0, if the signature
        gives none.

    Raises:
        InvalidInstance: no such signature, one that does not classify, or examples that it cannot parse.
    """
    found = find(model, signature)
    check_classify(found)
    return classes_of(found, model.predict(inputs_of(examples), signature=found.name), len(examples))


def regress(model: Model, examples: Sequence[bytes], *, signature: str = "") -> list[float]:
    """One value for each example; arguments and errors as in ``classify``."""
    found = find(model, signature)
    check_regress(found)
    return values_of(found, model.predict(inputs_of(examples), signature=found.name), len(examples))


def find(model: Model, signature: str) -> Signature:
    """The signature of a name, or ``serving_default`` for an empty one.

    Raises:
        InvalidInstance: there is none.
    """
    found = model.signatures.get(signature or DEFAULT_SIGNATURE)
    if found is None:
        raise InvalidInstance(f"No signature was found with the name: {signature or DEFAULT_SIGNATURE}")
    return found


def check_classify(signature: Signature) -> None:
    """Refuse a signature that does not have the form of a classification.

    Raises:
        InvalidInstance: it has not.
    """
    _check_input(signature, "classification")
    if len(signature.outputs) not in (1, 2):
        raise InvalidInstance(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if CLASSES not in signature.outputs and SCORES not in signature.outputs:
        raise InvalidInstance(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {_describe(signature)}"
        )


def check_regress(signature: Signature) -> None:
    """Refuse a signature that does not have the form of a regression.

    Raises:
        InvalidInstance: it has not.
    """
    _check_input(signature, "regression")
    if len(signature.outputs) != 1:
        raise InvalidInstance("Expected one output Tensor.")
    if OUTPUTS not in signature.outputs:
        raise InvalidInstance(f"No regression outputs found in SignatureDef: {_describe(signature)}")


def inputs_of(examples: Sequence[bytes]) -> dict[str, Array]:
    """The input of a signature that classifies or regresses.

    Raises:
        InvalidInstance: there are no examples.
    """
    if not examples:
        raise InvalidInstance("Input is empty.")
    array = np.empty(len(examples), object)
    array[:] = examples
    return {INPUTS: array}


def classes_of(signature: Signature, outputs: Mapping[str, Array], count: int) -> list[list[tuple[bytes, float]]]:
    """The rows of labels and scores in a signature's outputs, for ``count`` examples.

    Raises:
        InvalidInstance: outputs of another type or shape.
    """
    held = {name: outputs[name] for name in (CLASSES, SCORES) if name in outputs}
    for (name, array), wanted in zip(held.items(), (_WANTED[name] for name in held), strict=True):
        if array.ndim != 2:
            raise InvalidInstance(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if array.dtype != wanted[1]:
            raise InvalidInstance(f"Expected {name} Tensor of {wanted[0]}. Got: {_type(signature, name)}")
        if array.shape[0] != count:
            raise InvalidInstance(f"Expected {name} output batch size of {count}. Got: {array.shape[0]}")
    widths = [array.shape[1] for array in held.values()]
    if widths[0] != widths[-1]:
        raise InvalidInstance(f"Tensors class and score should match in dim_size(1). Got {widths[0]} vs. {widths[-1]}")
    labels = held[CLASSES].tolist() if CLASSES in held else [[b""] * widths[0]] * count
    scores = held[SCORES].tolist() if SCORES in held else [[0.0] * widths[0]] * count
    return [list(zip(*row, strict=True)) for row in zip(labels, scores, strict=True)]


def values_of(signature: Signature, outputs: Mapping[str, Array], count: int) -> list[float]:
    """The values in a signature's output, for ``count`` examples.

    Raises:
        InvalidInstance: an output of another type or shape.
    """
    array = outputs[OUTPUTS]
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
        raise InvalidInstance(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if array.shape[0] != count:
        raise InvalidInstance(f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}")
    if array.dtype != np.float32:
        raise InvalidInstance(f"Expected output Tensor of DT_FLOAT.  Got: {_type(signature, OUTPUTS)}")
    found: list[float] = array.ravel().tolist()
    return found


_WANTED = {CLASSES: ("DT_STRING", np.dtype(object)), SCORES: ("DT_FLOAT", np.dtype(np.float32))}


def _check_input(signature: Signature, what: str) -> None:
    if len(signature.inputs) != 1:
        raise InvalidInstance("Expected one input Tensor.")
    if INPUTS not in signature.inputs:
        raise InvalidInstance(f"No {what} inputs found in SignatureDef: {_describe(signature)}")


def _describe(signature: Signature) -> str:
    return f"inputs {', '.join(signature.inputs)}; outputs {', '.join(signature.outputs)}"


def _type(signature: Signature, name: str) -> str:
    return type_name(signature.outputs[name].data_type)


def _shape(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"
