"""From a trained Keras model to a SavedModel that every server can load.

The way is ``keras.export.ExportArchive``: a Keras 3 model saved through ``tf.saved_model.save`` loads in Python and
fails in C++ servers. Two signatures are written: ``serving_default``, and ``input_gradients`` where the model can be
differentiated, so that explanations need no Python TensorFlow in the server.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.errors import InvalidRecipe, StorageError
from lading.recipes.contract import CLASS_INDEX, Trained

if TYPE_CHECKING:
    import numpy as np

SERVING, GRADIENTS = "serving_default", "input_gradients"

Tensors = Mapping[str, Any]


class Servable:
    """The functions that a served model offers, over the Keras model itself.

    Args:
        trained: What the recipe returned, checked.
        recipe: The recipe's name, for messages.

    Raises:
        InvalidRecipe: the model has no single float output of shape ``[N, classes]``.
    """

    def __init__(self, trained: Trained, recipe: str) -> None:
        import keras
        import tensorflow

        self._tensorflow = tensorflow
        self._model: Any = trained.model
        self._inputs = {tensor.name: tensor for tensor in self._model.inputs}
        # Keras warns about a dict for a model that was built from one tensor, and about a tensor for one from a dict.
        self._by_name = len(self._inputs) > 1 or isinstance(getattr(self._model, "input", None), dict)
        # A functional model over the same tensors knows its outputs' names; a Sequential one does not.
        self._output_names = keras.Model(self._model.inputs, self._model.outputs).output_names
        self.model = trained.model
        self.recipe = recipe
        self.output = self._probabilities(trained)

    def predict(self, inputs: Tensors) -> dict[str, Any]:
        """The model's outputs by name, for inputs by name (tensors or arrays ``[N, …]``), in inference mode."""
        given = dict(inputs) if self._by_name else next(iter(inputs.values()))
        outputs = self._model(given, training=False)
        if isinstance(outputs, dict):
            return outputs
        return dict(zip(self._output_names, self._tensorflow.nest.flatten(outputs), strict=True))

    def gradients(self, request: Tensors) -> dict[str, Any]:
        """For each float input the gradient of one class's probability with respect to it.

        Args:
            request: The model's inputs ``[N, …]``, and ``class_index`` ``[N]`` int64: each row's class.

        Returns:
            For each float input a tensor of its shape; empty when the output does not depend on any differentiably.
        """
        tf = self._tensorflow
        inputs = {name: tf.convert_to_tensor(value) for name, value in request.items() if name != CLASS_INDEX}
        floats = {name: value for name, value in inputs.items() if value.dtype.is_floating}
        with tf.GradientTape() as tape:
            tape.watch(floats)
            chosen = tf.gather(self.predict(inputs)[self.output], request[CLASS_INDEX], axis=1, batch_dims=1)
        found = tape.gradient(chosen, floats)
        if all(gradient is None for gradient in found.values()):
            return {}
        return {name: tf.zeros_like(floats[name]) if value is None else value for name, value in found.items()}

    def differentiable(self, request: Tensors) -> bool:
        """Whether ``gradients`` works; tried on a few rows, since an operation may have none."""
        try:
            return bool(self.gradients(request))
        except LookupError:  # TensorFlow's registry knows no gradient for an operation
            return False

    def half_precision(self) -> bool:
        """Whether a layer computes in 16 bits (Keras' ``mixed_float16`` and ``mixed_bfloat16``)."""
        parts = self._tensorflow.train.TrackableView(self._model).descendants()
        return any(getattr(part, "compute_dtype", "") in ("float16", "bfloat16") for part in parts)

    def specs(self, signature: str) -> dict[str, Any]:
        """The ``tf.TensorSpec`` of each input of a signature."""
        tf = self._tensorflow
        specs = {name: tf.TensorSpec(t.shape, t.dtype, name=name) for name, t in self._inputs.items()}
        if signature == GRADIENTS:
            specs[CLASS_INDEX] = tf.TensorSpec((None,), tf.int64, name=CLASS_INDEX)
        return specs

    def _probabilities(self, trained: Trained) -> str:
        """The name of the one output that can be the probabilities."""
        first = {name: array[:1] for name, array in trained.heldout_inputs.items()}
        outputs = self._try(first)
        for name, tensor in outputs.items():
            if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
                raise InvalidRecipe(
                    f"{self.recipe}: expected outputs of numbers, received {name!r} of {tensor.dtype.name}; "
                    "give the names of classes as class_names and keep them out of the model"
                )
        found = {name: tensor for name, tensor in outputs.items() if tensor.dtype.is_floating}
        fitting = [name for name, tensor in found.items() if tuple(tensor.shape) == (1, len(trained.class_names))]
        if len(fitting) != 1:
            shapes = {name: [None, *tensor.shape[1:]] for name, tensor in found.items()}
            raise InvalidRecipe(
                f"{self.recipe}: expected one float output of shape [None, {len(trained.class_names)}], "
                f"a probability for each of the {len(trained.class_names)} class_names, received {shapes}"
            )
        return fitting[0]

    def _try(self, inputs: Tensors) -> dict[str, Any]:
        """The first call: from here on the model is known to take its inputs by name."""
        try:
            return self.predict(inputs)
        except Exception as error:  # whatever a layer raises
            raise InvalidRecipe(
                f"{self.recipe}: the model cannot be called with its inputs by name ({', '.join(inputs)}): "
                f"{type(error).__name__}: {error}"
            ) from error


def check_probabilities(outputs: "np.ndarray[Any, Any]", recipe: str) -> None:
    """Refuse outputs that are no probabilities: evaluation and clients read them as such.

    Args:
        outputs: ``[N, classes]``.
        recipe: The recipe's name, for the message.

    Raises:
        InvalidRecipe: a value is outside 0 to 1, or a row does not sum to 1.
    """
    import numpy as np

    sums = outputs.sum(axis=1)
    if outputs.min() < 0 or not np.allclose(sums, 1, atol=1e-2):
        raise InvalidRecipe(
            f"{recipe}: expected probabilities that sum to 1 in each row, received values from {outputs.min():.3g} to "
            f"{outputs.max():.3g} and sums from {sums.min():.3g} to {sums.max():.3g}: end the model with a softmax"
        )


def write_saved_model(servable: Servable, path: Path, *, gradients: bool) -> dict[str, Any]:
    """Write the SavedModel.

    Args:
        servable: What to export.
        path: A directory that exists and is empty.
        gradients: Whether to write ``input_gradients``.

    Returns:
        For each signature ``{"inputs": {NAME: {"dtype", "shape"}}, "outputs": …}``.

    Raises:
        InvalidRecipe: the model holds what a SavedModel cannot.
        StorageError: it could not be written.
    """
    import keras
    import tensorflow as tf
    from tensorflow.saved_model.experimental import TrackableResource

    archive = keras.export.ExportArchive()
    # Variables are found through the functions. Tracking the model as well would store each of them a second time
    # (keras 3.15), but lookup tables are found only when they are tracked.
    for part in tf.train.TrackableView(servable.model).descendants():
        if isinstance(part, TrackableResource):
            archive.track(part)
    functions = {SERVING: servable.predict, **({GRADIENTS: servable.gradients} if gradients else {})}
    signatures = {}
    for name, function in functions.items():
        specs = servable.specs(name)
        exported = archive.add_endpoint(name, function, input_signature=[specs])
        outputs = exported.get_concrete_function().structured_outputs
        signatures[name] = {"inputs": _describe(specs), "outputs": _describe(outputs)}
    try:
        archive.write_out(str(path), verbose=False)
    except AssertionError as error:  # "Tried to export a function which references an 'untracked' resource"
        raise InvalidRecipe(f"{servable.recipe}: the model cannot be exported: {error}") from error
    except tf.errors.OpError as error:  # TensorFlow writes files itself and reports a full disk in its own way
        raise StorageError(
            f"could not write the SavedModel to {path}, look at the free space there: {error.message}"
        ) from error
    return signatures


def _describe(specs: Mapping[str, Any]) -> dict[str, Any]:
    """``{NAME: {"dtype", "shape"}}``; null stands for a dimension that varies, and for an unknown rank."""
    return {
        name: {"dtype": spec.dtype.name, "shape": None if spec.shape.rank is None else spec.shape.as_list()}
        for name, spec in sorted(specs.items())
    }
