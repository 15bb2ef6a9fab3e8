"""What a recipe is given and what it returns, and the checks of both.

Nothing here imports tensorflow: a model is looked at through its attributes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lading.errors import InvalidData, InvalidInput, InvalidRecipe

if TYPE_CHECKING:
    import keras
    import numpy as np

CLASS_INDEX = "class_index"
"""Input that the signature ``input_gradients`` adds to the model's own."""

Value = bool | int | float | str
"""What a hyperparameter can be: a JSON scalar."""


@dataclass(frozen=True)
class Trained:
    """What ``train`` returns: the model, and the rows that it has never seen."""

    model: "keras.Model"
    """Takes named inputs, gives one float output of shape ``[N, len(class_names)]``: the probability of each class."""
    heldout_inputs: Mapping[str, "np.ndarray[Any, Any]"]
    """For each input of the model an array ``[N, …]`` of rows that were not trained on."""
    heldout_labels: "np.ndarray[Any, Any]"
    """``[N]`` integers: the index of each row's true class in ``class_names``."""
    class_names: tuple[str, ...]
    """In the order of the model's output."""
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """One figure per epoch, as in Keras' ``History.history``."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Further figures worth keeping with the run: the random seed, the number of training rows."""


def resolve_hyperparameters(defaults: Mapping[str, Value], given: Mapping[str, Any]) -> dict[str, Value]:
    """The recipe's defaults, overridden by what the caller gave.

    An integer may come as a float without a fraction: Kubeflow Pipelines writes numbers inside a JSON object as doubles
    (``google.protobuf.Struct``).

    Raises:
        InvalidInput: names every hyperparameter that the recipe does not have or that has another type.
    """
    problems, resolved = [], dict(defaults)
    for name, value in given.items():
        if name not in defaults:
            known = ", ".join(defaults) or "none at all"
            problems.append(f"{name}: unknown, this recipe has {known}")
            continue
        kind = type(defaults[name])
        try:
            resolved[name] = _as_kind(kind, value)
        except ValueError:
            problems.append(f"{name}: expected {kind.__name__} such as {defaults[name]!r}, received {value!r}")
    if problems:
        raise InvalidInput("hyperparameters: " + "; ".join(problems))
    return resolved


def _as_kind(kind: type[Value], value: Any) -> Value:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number and math.isfinite(value):
        return float(value)
    if kind is int and number and math.isfinite(value) and value == int(value):
        return int(value)
    if kind in (bool, str) and isinstance(value, kind):
        return value
    raise ValueError(value)


def check_trained(returned: Any, recipe: str) -> Trained:
    """Hold what a recipe returned against the contract.

    Args:
        returned: The value of ``train``.
        recipe: The recipe's name, for the messages.

    Returns:
        The same, with the inputs as arrays of the model's dtypes and the labels as int64.

    Raises:
        InvalidRecipe: it breaks the contract.
        InvalidData: there are no held-out rows, or they hold what is not finite.
    """
    if not isinstance(returned, Trained):
        raise InvalidRecipe(
            f"{recipe}: expected train() to return a lading.recipes.Trained, received a {type(returned).__name__}"
        )
    names = returned.class_names
    strings = isinstance(names, Sequence) and not isinstance(names, str) and all(isinstance(n, str) for n in names)
    if not strings or len(names) < 2 or len(set(names)) < len(names):
        raise InvalidRecipe(f"{recipe}: expected class_names to be two or more different strings, received {names!r}")
    _require_mapping("heldout_inputs", returned.heldout_inputs, "arrays", recipe)
    labels = _labels(returned.heldout_labels, names, recipe)
    return replace(
        returned,
        heldout_inputs=_inputs(returned, len(labels), recipe),
        heldout_labels=labels,
        class_names=tuple(names),
        history=_numbers("history", returned.history, recipe),
        metrics={name: values[0] for name, values in _numbers("metrics", returned.metrics, recipe).items()},
    )


def _require_mapping(field_name: str, given: Any, to: str, recipe: str) -> None:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidRecipe(
            f"{recipe}: expected {field_name} as a dict from names to {to}, received a {type(given).__name__}"
        )


def _numbers(field_name: str, given: Any, recipe: str) -> dict[str, tuple[float, ...]]:
    """Each figure, or list of figures, as a tuple of floats."""
    import numpy as np

    _require_mapping(field_name, given, "numbers", recipe)
    found = {}
    for name, value in given.items():
        array = _array(value, f"{field_name}[{name!r}]", recipe)
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise InvalidRecipe(
                f"{recipe}: expected finite numbers in {field_name}[{name!r}], received {value!r}; "
                "if the training diverged, lower the learning rate or look at the data"
            )
        found[name] = tuple(map(float, array.reshape(-1)))
    return found


def _array(given: Any, what: str, recipe: str) -> "np.ndarray[Any, Any]":
    import numpy as np

    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:  # rows of different lengths, tensors that cannot be copied
        raise InvalidRecipe(f"{recipe}: expected an array for {what}: {error}") from error


def _labels(given: Any, names: Sequence[str], recipe: str) -> "np.ndarray[Any, Any]":
    import numpy as np

    labels = _array(given, "heldout_labels", recipe)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise InvalidRecipe(
            f"{recipe}: expected heldout_labels as integers of shape [N], "
            f"received {labels.dtype} of shape {list(labels.shape)}"
        )
    if not labels.size:
        raise InvalidData(f"{recipe}: the held-out data has no rows: a model that was not tested is not released")
    if labels.min() < 0 or labels.max() >= len(names):
        raise InvalidRecipe(
            f"{recipe}: expected labels from 0 to {len(names) - 1} for {len(names)} classes, "
            f"received {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int64)


def _inputs(trained: Trained, rows: int, recipe: str) -> dict[str, "np.ndarray[Any, Any]"]:
    specs = {tensor.name: tensor for tensor in getattr(trained.model, "inputs", None) or ()}
    if not specs:
        raise InvalidRecipe(
            f"{recipe}: expected a Keras model with named inputs, received {type(trained.model).__name__} without any; "
            "build it from keras.Input(…, name=…)"
        )
    if set(specs) != set(trained.heldout_inputs) or CLASS_INDEX in specs:
        raise InvalidRecipe(
            f"{recipe}: the model's inputs are {sorted(specs)}, heldout_inputs has {sorted(trained.heldout_inputs)}; "
            f"they must be the same, and none may be called {CLASS_INDEX!r}: give each keras.Input a name"
        )
    return {name: _input(name, trained.heldout_inputs[name], spec, rows, recipe) for name, spec in specs.items()}


def _input(name: str, given: Any, spec: Any, rows: int, recipe: str) -> "np.ndarray[Any, Any]":
    """One held-out input as the model wants it: ``[rows, …]`` in the dtype of ``spec``."""
    import numpy as np

    array, shape = _array(given, f"held-out input {name!r}", recipe), tuple(spec.shape)
    if shape and shape[0] is not None:
        raise InvalidRecipe(
            f"{recipe}: input {name!r} has a fixed batch of {shape[0]}: a server gets any number of rows, "
            "so leave batch_size out of keras.Input"
        )
    fits = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits or len(array) != rows:
        want = [rows, *("any" if size is None else size for size in shape[1:])]
        raise InvalidRecipe(
            f"{recipe}: held-out input {name!r}: expected shape {want} ({rows} labels), received {list(array.shape)}"
        )
    try:
        wanted = np.dtype(spec.dtype)
    except TypeError:  # string, bfloat16: no numpy dtype of that name
        wanted = np.dtype(object)
    if wanted.kind not in "fiub" or not np.can_cast(array.dtype, wanted, "same_kind"):
        raise InvalidRecipe(
            f"{recipe}: held-out input {name!r}: expected numbers that fit the model's {spec.dtype}, "
            f"received {array.dtype}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidData(f"{recipe}: held-out input {name!r} holds NaN or infinity; clean the data first")
    with np.errstate(over="ignore"):
        cast = array.astype(wanted, copy=False)
    if not (np.isfinite(cast).all() if wanted.kind == "f" else np.array_equal(cast, array)):
        raise InvalidData(f"{recipe}: held-out input {name!r} holds values that do not fit the model's {spec.dtype}")
    return cast
