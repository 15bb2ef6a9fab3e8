"""Train a recipe's model, export it, and prove that the export answers as the model did."""

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading import __version__, golden
from lading.errors import InvalidInput
from lading.export import GRADIENTS, SERVING, Servable, check_probabilities, write_saved_model
from lading.files import whole_directory, write_atomic
from lading.framework import import_tensorflow
from lading.heldout import HeldOut
from lading.recipes.contract import CLASS_INDEX, Trained, resolve_hyperparameters
from lading.recipes.loading import Recipe, find_recipe
from lading.results import ModelFacts, TrainingReport
from lading.values import GoldenRequest, to_json

if TYPE_CHECKING:
    import numpy as np

GRADIENT_ROWS = 4
"""Golden requests for ``input_gradients``, besides those for ``serving_default``."""

logger = logging.getLogger("lading.train")


def train_model(
    recipe: str,
    data: str,
    *,
    hyperparameters: str = "{}",
    recipe_sha256: str = "",
    model_dir: Path,
    golden_path: Path,
    heldout_path: Path,
) -> TrainingReport:
    """Train a model and export it with what later steps need.

    The SavedModel gets the signatures ``serving_default`` and, where the model can be differentiated,
    ``input_gradients`` (the model's inputs and ``class_index`` in; for each float input, under its name, the gradient
    of that class's probability out), and in ``assets.extra/lading`` its facts and golden requests. It is then loaded
    through ``lading.predict`` in a process of its own and must reproduce them. Each output appears whole or not at all,
    the model last.

    Args:
        recipe: A built-in name, a path, ``file://`` or ``gs://`` URI.
        data: Handed to the recipe: a directory or ``gs://`` prefix, or empty.
        hyperparameters: A JSON object that overrides the recipe's defaults.
        recipe_sha256: What the recipe's source must have; required for ``gs://``.
        model_dir: The SavedModel's directory; one that is there is replaced.
        golden_path: ``golden.jsonl``; see ``lading.golden``.
        heldout_path: The held-out rows, ``.npz``; see ``lading.heldout``.

    Raises:
        InvalidInput: a hyperparameter is unknown or of another type, or TensorFlow is not installed.
        InvalidRecipe: the recipe is unknown, is not the one meant, fails, or breaks its contract.
        InvalidData: the data is missing, corrupt, or too small.
        InvalidModel: the exported model does not answer as the trained one did.
        StorageError: the outputs could not be written.
    """
    start = time.monotonic()
    source = find_recipe(recipe, recipe_sha256)
    given = _parse(hyperparameters)
    import_tensorflow()
    loaded = source.load()
    used = resolve_hyperparameters(loaded.defaults, given)
    logger.info("training %s with %s", recipe, json.dumps(used))
    trained = loaded.train(data, given)
    facts = _facts(loaded, used, trained)
    with whole_directory(model_dir) as directory:
        signatures = _export(trained, facts, directory)
        golden.verify(directory)
        write_atomic(golden_path, (directory / golden.FILE).read_bytes())
        HeldOut(trained.heldout_inputs, trained.heldout_labels, trained.class_names).save(heldout_path)
    seconds = round(time.monotonic() - start, 3)
    logger.info("the exported model reproduces its golden requests; %.1f s in all", seconds)
    last = {name: values[-1] for name, values in trained.history.items() if values}
    return TrainingReport(
        recipe=recipe,
        recipe_sha256=loaded.sha256,
        hyperparameters=dict(used),
        class_names=trained.class_names,
        metrics={**last, **trained.metrics},
        history={name: tuple(values) for name, values in trained.history.items()},
        heldout_rows=len(trained.heldout_labels),
        seconds=seconds,
        signatures=signatures,
    )


def _parse(hyperparameters: str) -> dict[str, Any]:
    try:
        given = json.loads(hyperparameters or "{}")
    except ValueError as error:
        raise InvalidInput(
            f'expected hyperparameters as a JSON object such as {{"epochs": 3}}, received {hyperparameters!r}: {error}'
        ) from error
    if not isinstance(given, dict):
        raise InvalidInput(f"expected hyperparameters as a JSON object, received {hyperparameters!r}")
    return given


def _facts(recipe: Recipe, used: dict[str, Any], trained: Trained) -> ModelFacts:
    import keras
    import tensorflow

    versions = {"lading": __version__, "tensorflow": tensorflow.__version__, "keras": keras.__version__}
    return ModelFacts(recipe.name, recipe.sha256, used, trained.class_names, versions)


def _export(trained: Trained, facts: ModelFacts, directory: Path) -> dict[str, Any]:
    """Write the SavedModel with its facts and golden requests; return its signatures."""
    servable = Servable(trained, facts.recipe)
    requests = _golden_requests(servable, trained, facts.recipe)
    gradients = any(request.signature == GRADIENTS for request in requests)
    signatures = write_saved_model(servable, directory, gradients=gradients)
    write_atomic(directory / golden.FILE, golden.write_text(requests))
    write_atomic(directory / ModelFacts.FILE, to_json(facts))
    return signatures


def _golden_requests(servable: Servable, trained: Trained, recipe: str) -> tuple[GoldenRequest, ...]:
    """Requests with the answers of the Keras model itself."""
    import numpy as np

    rows = golden.choose_rows(trained.heldout_labels)
    inputs = {name: array[rows] for name, array in trained.heldout_inputs.items()}
    answers = _arrays(servable.predict(inputs))
    golden.require_variation(answers, servable.output, recipe=recipe)
    check_probabilities(answers[servable.output], recipe)
    half = servable.half_precision()
    requests = [*golden.make_requests(SERVING, inputs, answers, half_precision=half)]
    asked = {**inputs, CLASS_INDEX: answers[servable.output].argmax(axis=1)}
    if servable.differentiable(asked):
        gradients = _arrays(servable.gradients(asked))
        # Where the model is sure of itself gradients vanish within the tolerance: ask where they are large.
        sizes = [abs(array).reshape(len(rows), -1).max(axis=1) for array in gradients.values()]
        largest = (-np.sum(sizes, axis=0)).argsort(kind="stable")[:GRADIENT_ROWS]
        few, found = ({name: array[largest] for name, array in part.items()} for part in (asked, gradients))
        requests += golden.make_requests(GRADIENTS, few, found, half_precision=half)
    return tuple(requests)


def _arrays(tensors: dict[str, Any]) -> "dict[str, np.ndarray[Any, Any]]":
    return {name: tensor.numpy() for name, tensor in tensors.items()}
