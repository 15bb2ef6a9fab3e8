"""The metadata server of a machine of Google Cloud: tokens of its service account. ``host`` goes to GCE_METADATA_HOST.

Source: https://cloud.google.com/compute/docs/metadata/overview; what google-auth asks for.
"""

from typing import Any, ClassVar

from fakes.iam_server import RUNNER, IamServer
from fakes.service import JsonService, Refused

_ROOT = "/computeMetadata/v1/"
_ACCOUNTS = "instance/service-accounts/"


class MetadataServer(JsonService):
    """``email``: the machine's service account; empty: it has none."""

    response_headers: ClassVar[dict[str, str]] = {"Metadata-Flavor": "Google"}

    def __init__(self, iam: IamServer, email: str = RUNNER) -> None:
        super().__init__()
        self._iam, self.email = iam, email

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if self.request_headers.get("Metadata-Flavor") != "Google":
            raise Refused(403, "Missing Metadata-Flavor:Google header.")
        if path == "/":
            return "computeMetadata/\n"
        name = path.removeprefix(_ROOT)
        if name == "universe/universe-domain":
            return "googleapis.com"
        if name == "project/project-id":
            return "demo-project"
        account, _, what = name.removeprefix(_ACCOUNTS).partition("/")
        if not name.startswith(_ACCOUNTS) or not self.email or account not in ("default", self.email):
            raise Refused(404, f"Not Found: {path}")
        if what == "identity":
            return self._iam.id_token(self.email, query["audience"])
        if what == "token":
            return {"access_token": self._iam.access_token(self.email), "expires_in": 3600, "token_type": "Bearer"}
        return {"email": self.email, "scopes": ["https://www.googleapis.com/auth/cloud-platform"], "aliases": []}
