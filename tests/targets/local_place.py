"""A local target in a directory of its own: itself a place, and what the fakes of other platforms run images on."""

from pathlib import Path

from tiny_server import make_image

from lading.local import lifecycle
from lading.oci.layout import ImageStore
from lading.targets.base import Target
from lading.targets.connect import connect
from lading.wait import Deadline


class LocalPlace:
    """See ``places.Place``; images are made once for the same arguments."""

    target_name = "local:"

    def __init__(self, root: Path) -> None:
        self.environ = {"XDG_STATE_HOME": str(root)}
        self.state = root / "lading" / "local"
        self.endpoint = lifecycle.start(self.state, deadline=Deadline.after(60))
        self.target: Target = connect("local:", environ=self.environ)
        self._scratch = root / "images"
        self._images: dict[tuple[str, str], tuple[str, str]] = {}

    def make_image(self, answer: object, label: str = "") -> tuple[str, str]:
        key = (repr(answer), label)
        if key not in self._images:
            scratch = self._scratch / str(len(self._images))
            store = ImageStore(self.state / "images")
            self._images[key] = make_image(store, scratch, answer=answer, label=label)
        return self._images[key]

    def stop(self) -> None:
        lifecycle.stop(self.state, deadline=Deadline.after(60), purge=True)
