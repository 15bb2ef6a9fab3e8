"""What a registry itself knows to be attached to an image.

Source: OCI distribution specification 1.1, "Listing Referrers".
"""

from typing import Any
from urllib.parse import urljoin, urlsplit

from lading.errors import NotFound, RemoteError
from lading.oci.channel import Channel
from lading.oci.image import INDEX_TYPE
from lading.wait import Deadline

_MAX_PAGES = 50
# Besides 404, what registries and the proxies before them answer to a path that they do not know.
_UNKNOWN_PATH = frozenset({400, 405, 406, 501})


def list_referrers(channel: Channel, digest: str, *, deadline: Deadline) -> list[dict[str, Any]] | None:
    """Descriptors of the manifests whose subject is ``digest``; None when the registry does not list them.

    Raises:
        AccessDenied: we may not read the repository.
        ServiceUnreachable: the registry does not answer.
        RemoteError: it answers with something else than a list.
    """
    path, found = f"/referrers/{digest}", list[dict[str, Any]]()
    for _ in range(_MAX_PAGES):
        try:
            answer = channel.get(path, deadline=deadline, headers={"Accept": INDEX_TYPE})
        except NotFound:
            return None
        except RemoteError as error:
            if error.status in _UNKNOWN_PATH:
                return None
            raise
        if answer.headers.get("Content-Type", "").partition(";")[0].strip() != INDEX_TYPE:
            return None  # a page for people: the path is not the API's
        try:
            found += [dict(entry) for entry in answer.json()["manifests"]]
        except (ValueError, KeyError, TypeError) as error:
            raise RemoteError(f"{path}: expected a list of referrers: {error}", status=502) from error
        following = answer.links.get("next", {}).get("url", "")
        if not following:
            return found
        path = urljoin(str(answer.url), following)
        if urlsplit(path).netloc.lower() != channel.host:
            raise RemoteError(f"the registry's next page of referrers is elsewhere: {path}", status=502)
    raise RemoteError(f"more than {_MAX_PAGES} pages of referrers of {digest}", status=502)
