"""List what is in an image: its packages, its model, and their licences and digests."""

from typing import Any

from lading.bom.cyclonedx import cyclonedx
from lading.bom.inventory import Inventory, take_inventory
from lading.oci.store import Store
from lading.wait import Deadline


def make_sbom(store: Store, digest: str, *, deadline: Deadline) -> dict[str, Any]:
    """A bill of materials of what is really in the image, base included, in CycloneDX 1.6.

    The same image gives the same document. Packages are those of Python and of Debian and its kin; what was copied
    into the image without a package's own files cannot be told.

    Args:
        store: Where the image lies; every layer is read once, as a stream.
        digest: Of the image.
        deadline: When to give up.

    Raises:
        NotFound: there is no such image, or a layer is missing.
        InvalidReference: it is an index, which is many images.
        RemoteError, StorageError: a layer is damaged.
    """
    return sbom_of(take_inventory(store, digest, deadline=deadline), store.repository)


def sbom_of(inventory: Inventory, repository: str) -> dict[str, Any]:
    """The bill of materials of an image that was read already.

    Args:
        inventory: Of the whole image.
        repository: Where it lies; names an image that has no model.
    """
    path = inventory.image.model_path
    name = path.split("/")[-2] if path.count("/") else repository.rpartition("/")[2].rpartition(":")[2]
    return cyclonedx(inventory, name)
