"""The REST API of Cloud Build, for the real google-cloud-build; sources and logs lie in a fake Cloud Storage.

https://docs.cloud.google.com/build/docs/api/reference/rest/v1/projects.locations.builds
"""

import gzip
import hashlib
import io
import re
import tarfile
import uuid
from typing import Any

from fakes.service import JsonService, Refused
from fakes.storage_server import Storage

PARENT = r"/v1/(projects/[^/]+/locations/[^/]+)"
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
           429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}  # fmt: skip


class CloudBuildServer(JsonService):
    """Builds in memory: each look at one lets it go a step on, QUEUED, WORKING, and its end.

    ``stuck``: builds stay at work. ``breaks``: the build step fails. ``vanishes``: the image is not in the results.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.builds: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        """Of each build: what was in its source."""
        self.stuck = self.breaks = self.vanishes = False
        super().__init__()
        build = rf"{PARENT}/builds/([^/:]+)"
        self.routes = [
            ("POST", f"{PARENT}/builds", self.create),
            ("GET", build, self.look),
            ("POST", f"{build}:cancel", self.cancel),
        ]

    def error(self, code: int, message: str) -> Any:
        return {"error": {"code": code, "message": message, "status": _STATUS.get(code, "UNKNOWN")}}

    def create(self, parent: str, query: dict[str, str], body: Any) -> Any:
        unknown = set(body) - {
            "source", "steps", "images", "timeout", "logsBucket", "options", "serviceAccount", "tags", "substitutions",
        }  # fmt: skip
        if unknown or not body.get("steps"):
            raise Refused(400, f"invalid build: {unknown or 'no steps'}")
        if body.get("serviceAccount") and body["options"].get("logging", "") not in ("GCS_ONLY", 2):
            raise Refused(400, "if 'build.service_account' is specified, the build must name its logging")
        known = {*body.get("substitutions", {}), "PROJECT_ID", "BUILD_ID", "COMMIT_SHA"}
        for word in [word for step in body["steps"] for word in step.get("args", [])]:
            # As the service reads them: `$$` is a dollar, `$NAME` a substitution that has to exist.
            named = {one[0] or one[1] for one in re.findall(r"\$\$|\$\{(\w+)\}|\$(\w+)", word)} - {""}
            if named - known:
                raise Refused(400, f"invalid substitution in {word!r}: {named - known}")
        build_id, project = str(uuid.uuid4()), parent.split("/")[1]
        self.builds[build_id] = {
            **body,
            "id": build_id,
            "name": f"{parent}/builds/{build_id}",
            "projectId": project,
            "status": "QUEUED",
            "logUrl": f"https://console.cloud.google.com/cloud-build/builds/{build_id}?project={project}",
        }
        kind = "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata"
        metadata = {"@type": kind, "build": self.builds[build_id]}
        return {"name": f"operations/build/{project}/{build_id}", "metadata": metadata, "done": False}

    def look(self, parent: str, build_id: str, query: dict[str, str], body: Any) -> Any:
        build = self.known(build_id)
        if build["status"] == "QUEUED":
            build["status"] = "WORKING"
        elif build["status"] == "WORKING" and not self.stuck:
            self.work(build)
        return build

    def cancel(self, parent: str, build_id: str, query: dict[str, str], body: Any) -> Any:
        build = self.known(build_id)
        if build["status"] not in ("QUEUED", "WORKING"):
            raise Refused(400, "build is not running")
        build["status"] = "CANCELLED"
        return build

    def work(self, build: dict[str, Any]) -> None:
        """Fetch the source, look at the Dockerfile, and say what came of it."""
        source, lines = build["source"]["storageSource"], [f'starting build "{build["id"]}"', "FETCHSOURCE"]
        blob = self.storage.buckets.get(source["bucket"], {}).get(source["object"])
        if blob is None:
            return self.end(build, lines, "FETCH_SOURCE_FAILED", "the source is not there")
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob.content))) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
        self.files[build["id"]] = files
        words = build["steps"][0]["args"]
        dockerfile = files.get(words[words.index("--file") + 1])
        lines += ["BUILD", f"{build['steps'][0]['name']} {' '.join(words)}"]
        copied = re.findall(r"^COPY (\S+) ", (dockerfile or b"").decode(), re.M)
        missing = [name for name in copied if not any(f == name or f.startswith(f"{name}/") for f in files)]
        if dockerfile is None or missing or self.breaks:
            lines += [f"COPY failed: no source files {name}" for name in missing] or ["exit status 1"]
            return self.end(build, lines, "USER_BUILD_STEP", 'Build step failure: build step 0 "docker" failed')
        digest = f"sha256:{hashlib.sha256(blob.content + repr(words).encode()).hexdigest()}"
        build["results"] = {"images": [] if self.vanishes else [{"name": build["images"][0], "digest": digest}]}
        build["status"] = "SUCCESS"
        self.log(build, [*lines, "PUSH", "DONE"])

    def end(self, build: dict[str, Any], lines: list[str], kind: str, detail: str) -> None:
        build["status"], build["failureInfo"] = "FAILURE", {"type": kind, "detail": detail}
        self.log(build, [*lines, "ERROR", detail])

    def log(self, build: dict[str, Any], lines: list[str]) -> None:
        bucket, _, prefix = build["logsBucket"].removeprefix("gs://").partition("/")
        self.storage.put(bucket, f"{prefix}/log-{build['id']}.txt", "\n".join(lines).encode())

    def known(self, build_id: str) -> dict[str, Any]:
        if build_id not in self.builds:
            raise Refused(404, f"build {build_id} not found")
        return self.builds[build_id]
