"""KFP component: train a model by a recipe and export it as a SavedModel."""

from kfp import dsl

from components.images import STEPS_TRAIN


@dsl.component(base_image=STEPS_TRAIN, install_kfp_package=False)
def train(
    model: dsl.Output[dsl.Model],
    golden: dsl.Output[dsl.Artifact],
    heldout: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    recipe: str = "fashion_mnist",
    data: str = "",
    hyperparameters: str = "{}",
    recipe_sha256: str = "",
):
    """Train a model by a recipe and export it as a SavedModel that is known to answer rightly.

    Args:
        model: The SavedModel, with its class names and golden requests inside.
        golden: Requests with known answers, as JSON Lines.
        heldout: Rows that training did not see, as npz: ``input.NAME`` for each input, ``label``, ``class_names``.
        report: What was trained, as the JSON of a TrainingReport.
        metrics: The metrics of the training.
        recipe: Name of a built-in recipe, or the URI of a Python file (a path, file:// or gs://).
        data: What the recipe reads: a directory or a gs:// prefix. Empty: the recipe's own default.
        hyperparameters: A JSON object, for instance {"epochs": 5}.
        recipe_sha256: SHA-256 of the recipe file, in hex; needed for gs://.

    Raises:
        InvalidRecipe: The recipe is unknown, is not the one that the digest names, fails, or breaks its contract; mend
            it, or give the digest that `sha256sum FILE` prints.
        InvalidData: The data is missing, corrupt or too small; see that the step can read it.
        InvalidInput: A hyperparameter is unknown or of another type; the message lists those of the recipe.
        InvalidModel: The exported model does not answer as the trained one did; see docs/recipes.md.
        StorageError: An output could not be written; give the step more disk.
    """
    from pathlib import Path

    from lading.files import write_atomic
    from lading.train import train_model
    from lading.values import to_json

    trained = train_model(
        recipe,
        data,
        hyperparameters=hyperparameters,
        recipe_sha256=recipe_sha256,
        model_dir=Path(model.path),
        golden_path=Path(golden.path),
        heldout_path=Path(heldout.path),
    )
    metrics.metadata.update(trained.metrics)
    write_atomic(Path(metrics.path), to_json(trained))
    write_atomic(Path(report.path), to_json(trained))
