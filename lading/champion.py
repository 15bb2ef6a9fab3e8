"""The champion: the model that a service serves now, pulled by the digest that serves."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lading.errors import NotFound
from lading.files import state_dir
from lading.oci.layer import unpack
from lading.oci.layout import ImageStore
from lading.targets.connect import connect
from lading.values import ImageRef
from lading.wait import Deadline

_SECONDS = 120.0


@contextlib.contextmanager
def champion_of(service: str, target: str, *, environ: Mapping[str, str]) -> Iterator[tuple[str, Path] | None]:
    """The image by digest and the SavedModel of the revision that takes most of a service's traffic.

    The model lies in a scratch directory that is gone after the block.

    Args:
        service: Name of the service; empty for none.
        target: Where it lives.
        environ: Says where this user's state lives.

    Yields:
        None when the service does not exist yet, or when nothing serves.

    Raises:
        NotFound: the image of the serving revision is gone, or holds no model layer of lading's.
    """
    image = _serving_image(service, target, environ) if service else None
    if image is None:
        yield None
        return
    store = ImageStore(state_dir(environ) / "local" / "images")
    found = store.read(ImageRef.parse(image))
    layer = found.layer_of(found.model_diff_id)
    if layer is None:
        raise NotFound(f"{image}, which serves {service}, has no model layer: it was not made by `lading package`")
    with tempfile.TemporaryDirectory(prefix="lading-champion-") as scratch:
        unpack(store.blob(layer.digest), Path(scratch))
        yield image, Path(scratch) / found.model_path


def _serving_image(service: str, target: str, environ: Mapping[str, str]) -> str | None:
    state = connect(target, environ=environ).get(service, deadline=Deadline.after(_SECONDS))
    # A service that an open release has just created serves a candidate, not a champion.
    if state is None or not state.serving() or (state.rollout and state.rollout.open and not state.rollout.before):
        return None
    most = max(state.serving(), key=lambda line: line.percent)
    return state.images.get(most.revision)
