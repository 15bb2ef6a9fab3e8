"""Where the embedded target keeps what it knows: the layout of its state directory, and the endpoint file.

::

    endpoint.json            where the API listens, the token it wants, the pid of the server; 0600
    wanted                   exists while the target is meant to run: what `stop` removes first
    server.lock              held by the server, with its pid
    supervisor.lock          held by the supervisor, with its pid
    server.log               what the server and the supervisor say
    objects/NAMESPACE/…      one JSON file an object
    processes/UID.json       the running process of a revision
    logs/REVISION.log        what a revision's process says
    images/                  OCI image layout, written by the packager
    rootfs/DIGEST/           unpacked images
    engine                   what runs containers, when it was chosen
    bundles/ runc/ docker/   what the engines keep
    access/                  a kubeconfig, and gcloud's token and configuration; 0600
"""

from dataclasses import dataclass
from pathlib import Path

from lading.errors import InvalidInput
from lading.files import storage_errors, write_atomic
from lading.results import LocalEndpoint
from lading.values import from_json, to_json

DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True)
class Layout:
    """The paths below one state directory."""

    root: Path

    @property
    def endpoint(self) -> Path:
        """The endpoint file."""
        return self.root / "endpoint.json"

    @property
    def wanted(self) -> Path:
        """Exists while the target is meant to run."""
        return self.root / "wanted"

    @property
    def server_lock(self) -> Path:
        """Held by the server."""
        return self.root / "server.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor."""
        return self.root / "supervisor.lock"

    @property
    def server_log(self) -> Path:
        """What the server and the supervisor say."""
        return self.root / "server.log"

    @property
    def objects(self) -> Path:
        """Stored objects."""
        return self.root / "objects"

    @property
    def processes(self) -> Path:
        """Records of running processes."""
        return self.root / "processes"

    @property
    def images(self) -> Path:
        """The image store."""
        return self.root / "images"

    @property
    def rootfs(self) -> Path:
        """Unpacked images."""
        return self.root / "rootfs"

    @property
    def engine(self) -> Path:
        """What runs containers, when it was chosen."""
        return self.root / "engine"

    @property
    def docker_images(self) -> Path:
        """An empty file for each image that docker was given."""
        return self.root / "docker"

    @property
    def access(self) -> Path:
        """What kubectl and gcloud need to be let in."""
        return self.root / "access"

    def log(self, namespace: str, revision: str) -> Path:
        """The log of a revision. Names hold no dot, so namespaces cannot clash."""
        name = revision if namespace == DEFAULT_NAMESPACE else f"{namespace}.{revision}"
        return self.root / "logs" / f"{name}.log"

    def create(self) -> None:
        """Make the directory, for its owner only: images run with this user's rights, and the token opens the API.

        Raises:
            StorageError: the place cannot be written.
        """
        with storage_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o700)
            for directory in (self.objects, self.processes, self.rootfs, self.root / "logs"):
                directory.mkdir(exist_ok=True)


def read_endpoint(layout: Layout) -> LocalEndpoint | None:
    """The endpoint file, or None when there is none that can be read (it is written anew by every start)."""
    try:
        return from_json(layout.endpoint.read_text(), LocalEndpoint)
    except (FileNotFoundError, InvalidInput):
        return None


def write_endpoint(layout: Layout, endpoint: LocalEndpoint) -> None:
    """Publish where the API listens; only the owner can read the token.

    Raises:
        StorageError: the file cannot be written.
    """
    write_atomic(layout.endpoint, to_json(endpoint), mode=0o600)
