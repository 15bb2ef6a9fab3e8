"""A registry of the distribution specification on loopback: manifests, blobs, uploads, mounts, logins."""

import json
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

from fakes.registry_http import MANIFEST, RegistryHandler, digest_of


@dataclass
class FakeRegistry:
    """``auth`` is empty, ``basic``, ``bearer``, or ``either``: both are offered; ``login`` is who may come in."""

    auth: str = ""
    login: tuple[str, str] = ("user", "secret")
    denied: set[str] = field(default_factory=set)
    """Repositories that answer 403."""
    ungranted: set[str] = field(default_factory=set)
    """Repositories for which the token service refuses the whole token, as some do."""
    failing: int = 0
    """So many requests are answered with 503 first."""
    says_digest: bool = True
    """Whether HEAD tells the digest; some registries do not."""
    realm: str = ""
    """Where the token service is; empty: here."""
    identity: str = "refresh"
    """The refresh token that the token service takes."""
    storage: str = ""
    """Where blobs are kept: GET is sent on to that address, with a signature. Empty: here."""
    cut_after: int | None = None
    """After so many bytes of a blob the connection is lost."""
    mounts: bool = True
    """Whether a blob of one repository is given to another."""
    refuses_uploads: tuple[int, str] | None = None
    """Status and message of the answer to whoever opens an upload."""
    breaking: list[str] = field(default_factory=list)
    """What happens to the next uploads: ``cut`` in the middle, ``lost`` (stored, without an answer), ``forgotten`` (the
    registry does not know the upload), ``expired`` (the token is not good any more), or a status."""
    uploads_at: str = ""
    """Another host that uploads go to."""
    lists_referrers: bool = False

    def __post_init__(self) -> None:
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.types: dict[str, str] = {}
        """The media type of each manifest that was pushed."""
        self.blobs: dict[str, bytes] = {}
        self.owners: dict[str, set[str]] = {}
        """The repositories that have a blob; what is not in here is in all of them."""
        self.uploaded: list[tuple[str, str]] = []
        """Repository and digest of each blob whose bytes came."""
        self.mounted: list[tuple[str, str]] = []
        self.tokens: dict[str, set[str]] = {}
        """The scopes of each token."""
        self.requests: list[str] = []
        self.authorizations: list[str] = []
        """The header of each request; empty for those without one."""
        self.lock = threading.Lock()
        self._opened = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (RegistryHandler,), {"registry": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def put(self, name: str, tag: str, body: object = None) -> str:
        """Store a manifest; its digest."""
        raw = json.dumps(body or {"schemaVersion": 2, "mediaType": MANIFEST, "of": f"{name}:{tag}"}).encode()
        digest = digest_of(raw)
        self.manifests[name, tag] = self.manifests[name, digest] = raw
        self.types[digest] = body.get("mediaType", MANIFEST) if isinstance(body, dict) else MANIFEST
        return digest

    def put_blob(self, content: bytes, name: str = "") -> str:
        """Store a blob, for one repository or for all; its digest."""
        digest = digest_of(content)
        self.blobs[digest] = content
        if name:
            self.owners.setdefault(digest, set()).add(name)
        return digest

    def has(self, name: str, digest: str) -> bool:
        return digest in self.blobs and (digest not in self.owners or name in self.owners[digest])

    def tags(self, name: str) -> set[str]:
        """The tags of a repository."""
        return {tag for repository, tag in self.manifests if repository == name and not tag.startswith("sha256:")}

    def open_upload(self) -> str:
        with self.lock:
            self._opened += 1
            return f"upload-{self._opened}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
