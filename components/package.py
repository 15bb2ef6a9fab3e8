"""KFP component: turn a SavedModel into a serving image."""

from typing import NamedTuple

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def package(
    model: dsl.Input[dsl.Model],
    packaged: dsl.Output[dsl.Artifact],
    repository: str,
    base: str = "host",
) -> NamedTuple("Outputs", [("image", str), ("model_diff_id", str)]):  # type: ignore[valid-type]
    """Turn a SavedModel into a serving image, without Docker.

    Args:
        model: The SavedModel.
        packaged: What was made, as the JSON of a PackagedImage.
        repository: Where the image goes, without a tag: lading.local/NAME is the image store of this machine.
        base: The image below the model. host: empty, for the local target.

    Returns:
        image: The image as repository@sha256:….
        model_diff_id: Digest of the uncompressed model layer.

    Raises:
        InvalidModel: The directory is not a SavedModel; give the output `model` of `train`, or of `model.export`.
        InvalidReference: The repository or the base cannot be used; the message says what can.
        StorageError: The disk is full; no image was made.
    """
    import os
    from pathlib import Path

    from lading.files import state_dir, write_atomic
    from lading.oci.layout import ImageStore
    from lading.package import package_image
    from lading.values import to_json

    store = ImageStore(state_dir(os.environ) / "local" / "images")
    made = package_image(Path(model.path), repository, base=base, store=store)
    write_atomic(Path(packaged.path), to_json(made))
    return made.image, made.model_diff_id
