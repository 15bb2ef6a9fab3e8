"""The servers that an image can run: what each wants of its base, and what an image of it holds and says.

::

    /models/NAME/VERSION             the SavedModel: the last layer, so that a new model moves nothing else
    /opt/lading/model/digests.json   a ModelDigests: what every file of it was when it was packaged
    /opt/lading/bin/tf-serving       the entry point of the runtime tf-serving
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lading.errors import InvalidInput, InvalidReference
from lading.model_files import ModelFiles
from lading.oci.assemble import Base, Changes
from lading.oci.image import (
    BASE_DIGEST_LABEL,
    ENGINE_LABEL,
    MODEL_DIFF_ID_LABEL,
    MODEL_PATH_LABEL,
    RUNTIME_LABEL,
)
from lading.oci.layer import Entry, Layer, plan_entries, plan_layer
from lading.values import FileDigest, ModelDigests, to_json

HOST, LADING, TF_SERVING = "host", "lading", "tf-serving"
_DIGESTS = "opt/lading/model/digests.json"
_ENTRY_POINT = "opt/lading/bin/tf-serving"
_SCRIPT = Path(__file__).parent / "entry_points" / "tf_serving.sh"
_USER = "65532:65532"  # without a name in any image, and without rights


@dataclass(frozen=True)
class Contents:
    """What an image has above its base."""

    layers: tuple[Layer, ...]
    """Bottom to top; the model is the last."""
    changes: Changes


def check_base(base: Base, runtime: str, files: ModelFiles) -> None:
    """See that a base can run a server, and that the server can run the model.

    Raises:
        InvalidReference: the base has no such server; the message says what to do.
        InvalidModel: the base needs a conversion that the model does not have.
    """
    labels = base.image.labels
    if MODEL_DIFF_ID_LABEL in labels:
        below = labels.get(BASE_DIGEST_LABEL, "")
        raise InvalidReference(
            f"{base.reference} holds a model already: give the base that it was made on{below and f' ({below})'}"
        )
    found = labels.get(RUNTIME_LABEL, "")
    if runtime == LADING and found != LADING:
        raise InvalidReference(
            f"expected a base with lading's server (the label {RUNTIME_LABEL}={LADING}), {base.reference} has "
            f"{found or 'no such label'}: `make images` builds such bases (containers/serving); for a base that holds "
            f"tensorflow_model_server add --runtime {TF_SERVING}"
        )
    if runtime == TF_SERVING and found:
        raise InvalidReference(
            f"expected a base with tensorflow_model_server, such as tensorflow/serving; {base.reference} has the "
            f"label {RUNTIME_LABEL}={found}: leave out --runtime"
        )
    if labels.get(ENGINE_LABEL) == "litert":
        files.check_converted()


@dataclass(frozen=True)
class PlannedModel:
    """The layer of a model, whatever lies below it."""

    layer: Layer
    name: str
    """By which clients ask for it."""
    path: str
    """Of the SavedModel in the image, relative to its root: ``models/NAME/VERSION``."""

    @property
    def files(self) -> dict[str, FileDigest]:
        """Every file, by its path in the SavedModel."""
        return {name.removeprefix(f"{self.path}/"): digest for name, digest in self.layer.files.items()}


def plan_model(
    files: ModelFiles, name: str, *, compression: str, check: Callable[[], object] | None = None
) -> PlannedModel:
    """Plan the layer of a model, which is read once.

    Args:
        files: The SavedModel.
        name: By which clients ask for it.
        compression: See ``lading.oci.layer.plan_entries``.
        check: See there.

    Raises:
        InvalidModel: there is more than files in it.
        StorageError: the model cannot be read, or is written to meanwhile.
    """
    place, comment = f"models/{name}/{files.version}", f"model {name}, version {files.version}"
    return PlannedModel(
        plan_layer(files.directory, place, codec=compression, comment=comment, check=check), name, place
    )


def contents_of(model: PlannedModel, base: Base | None, *, runtime: str) -> Contents:
    """What an image has above its base.

    Args:
        model: The model.
        base: A base that ``check_base`` let pass; None for the runtime ``host``.
        runtime: A name of ``RUNTIMES``.
    """
    # Where there is no root of its own, paths are relative: they hold in a container and in an unpacked directory.
    root = "/" if base else ""
    text = to_json(ModelDigests(f"{root}{model.path}", model.files))
    digests = plan_entries([Entry(_DIGESTS, text.encode())], comment="digests of the model's files")
    changes = Changes(
        env={"LADING_MODEL_DIFF_ID": model.layer.diff_id, "LADING_MODEL_DIGESTS": f"{root}{_DIGESTS}"},
        labels={
            RUNTIME_LABEL: runtime,
            MODEL_DIFF_ID_LABEL: model.layer.diff_id,
            MODEL_PATH_LABEL: model.path,
            **({BASE_DIGEST_LABEL: base.digest} if base else {}),
        },
    )
    server, changes = RUNTIMES[runtime](model.name, base, changes)
    return Contents((*server, digests, model.layer), changes)


def _host(name: str, base: Base | None, changes: Changes) -> tuple[tuple[Layer, ...], Changes]:
    return (), replace(
        changes,
        entry_point=("python3", "-m", "lading"),
        cmd=("serve", f"{name}=models/{name}"),
        # PYTHONSAFEPATH: a file in the image must never be imported in place of a library.
        env={**changes.env, "PYTHONSAFEPATH": "1"},
        working_dir="/",
        ports=(8080,),
    )


def _lading(name: str, base: Base | None, changes: Changes) -> tuple[tuple[Layer, ...], Changes]:
    engine = base.image.labels.get(ENGINE_LABEL, "") if base else ""
    # TensorFlow is what `lading serve` takes by itself.
    words = () if engine in ("", "tensorflow") else ("--engine", engine)
    return (), replace(changes, cmd=("serve", f"{name}=/models/{name}", *words))


def _tf_serving(name: str, base: Base | None, changes: Changes) -> tuple[tuple[Layer, ...], Changes]:
    script = plan_entries([Entry(_ENTRY_POINT, _SCRIPT.read_bytes(), executable=True)], comment="entry point")
    env = {**changes.env, "MODEL_NAME": name, "MODEL_BASE_PATH": "/models"}
    return (script,), replace(changes, entry_point=(f"/{_ENTRY_POINT}",), env=env, user=_USER)


RUNTIMES: dict[str, Callable[[str, Base | None, Changes], tuple[tuple[Layer, ...], Changes]]] = {
    HOST: _host,
    LADING: _lading,
    TF_SERVING: _tf_serving,
}
"""What each adds: layers of its own, and changes to the configuration."""


def find_runtime(runtime: str, base: str) -> str:
    """The name of the runtime that is meant; empty is the base's own.

    Raises:
        InvalidInput: there is no such runtime, or the base cannot have it.
    """
    if base == HOST:
        if runtime not in ("", HOST, LADING):
            raise InvalidInput(f"expected --base with the runtime {runtime}, for instance tensorflow/serving:2.18.0")
        return HOST
    if runtime not in ("", LADING, TF_SERVING):
        raise InvalidInput(f"expected the runtime {LADING} or {TF_SERVING}, received {runtime!r}")
    return runtime or LADING
