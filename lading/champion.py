"""The champion: the model that a service serves now, pulled by the digest that serves."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lading.packaged import find_model
from lading.targets.connect import connect
from lading.wait import Deadline

_SECONDS = 120.0


@contextlib.contextmanager
def champion_of(service: str, target: str, *, environ: Mapping[str, str]) -> Iterator[tuple[str, Path] | None]:
    """The image by digest and the SavedModel of the revision that takes most of a service's traffic.

    The model lies in a scratch directory that is gone after the block.

    Args:
        service: Name of the service; empty for none.
        target: Where it lives.
        environ: Says where this user's state and credentials lie.

    Yields:
        None when the service does not exist yet, or when nothing serves.

    Raises:
        NotFound: the image of the serving revision is gone, or holds no model layer of lading's.
    """
    image = _serving_image(service, target, environ) if service else None
    if image is None:
        yield None
        return
    deadline = Deadline.after(_SECONDS)
    found = find_model(image, environ=environ, deadline=deadline)
    with tempfile.TemporaryDirectory(prefix="lading-champion-") as scratch:
        yield image, found.unpack(Path(scratch), deadline=deadline)


def _serving_image(service: str, target: str, environ: Mapping[str, str]) -> str | None:
    state = connect(target, environ=environ).get(service, deadline=Deadline.after(_SECONDS))
    # A service that an open release has just created serves a candidate, not a champion.
    if state is None or not state.serving() or (state.rollout and state.rollout.open and not state.rollout.before):
        return None
    most = max(state.serving(), key=lambda line: line.percent)
    return state.images.get(most.revision)
