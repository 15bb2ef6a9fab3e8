"""Cloud Run in a directory of its own: servers that refuse what Google's refuse, and a local target behind them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.cloud_run_server import CloudRunServer
from fakes.iam_server import IamServer
from local_place import LocalPlace
from places import Releases

from lading.targets.base import Target
from lading.targets.connect import connect

NAME = "cloudrun:demo-project/europe-west4"


class CloudRunPlace:
    """See ``places.Place``; who deploys has the key of a service account."""

    target_name = NAME

    def __init__(self, root: Path) -> None:
        self.iam, self.local = IamServer(), LocalPlace(root / "local")
        self.run = CloudRunServer(self.local.endpoint, self.iam)
        self.environ = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.iam.key_file(root / "key.json")),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"{self.run.url}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": f"{self.iam.url}/",
            "HOME": str(root),
        }
        self.target: Target = connect(NAME, environ=self.environ)

    def make_image(self, answer: object, label: str = "") -> tuple[str, str]:
        return self.local.make_image(answer, label)

    def forgive(self) -> None:
        """Answer again as one that works."""
        self.run.failures.clear()
        self.run.refuse_puts.clear()
        self.run.enabled = True

    def stop(self) -> None:
        self.run.stop()
        self.iam.stop()
        self.local.stop()


@contextmanager
def releases(place: CloudRunPlace) -> Iterator[Releases]:
    """A service of a test's own, on a platform that works again afterwards."""
    made = Releases(place)
    yield made
    place.forgive()
    made.target = place.target
    made.target.delete(made.service, deadline=made.deadline)
