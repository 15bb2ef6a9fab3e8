"""State how an image came to be: from which model, on which base, by whom."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from lading import __version__
from lading.bom.inventory import Inventory
from lading.oci.image import BASE_DIGEST_LABEL

_DOCS = "https://github.com/lading-dev/lading/blob/main/docs/signing.md"
BUILD_TYPE = f"{_DOCS}#build-type-package-v1"
"""Names what the parameters mean; the document says it."""
BUILDER = f"{_DOCS}#builder-command-line"
"""Who built, where nobody says more: someone who ran lading."""
PIPELINE_BUILDER = f"{_DOCS}#builder-pipeline"
"""A step of a pipeline."""


@dataclass(frozen=True)
class Build:
    """How an image was made, as whoever made it says."""

    model: str
    """The model as it was given: a path or URI."""
    base: str = "host"
    """The base as it was written, tag and all."""
    resolved_base: str = ""
    """The base by digest; empty for the base ``host``."""
    runtime: str = ""
    platform: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What the model was made of, as far as it is known: training data, reports; URI to SHA-256 in hex."""
    source: str = ""
    """Where the recipe's source lies: the URL of a git repository."""
    revision: str = ""
    """The commit of the source: hex digits."""
    builder: str = BUILDER
    """URI of what ran the build; whoever trusts a statement trusts this."""
    invocation: str = ""
    """Identifies the run: the id of a pipeline job."""
    finished: str = ""
    """When it was done: ISO 8601, UTC."""


def make_provenance(build: Build, inventory: Inventory) -> dict[str, Any]:
    """The predicate of SLSA provenance v1.

    Source: https://slsa.dev/spec/v1.0/provenance.

    Args:
        build: How the image was made.
        inventory: What is in it: the model's layer will do.
    """
    metadata = {"invocationId": build.invocation, "finishedOn": build.finished}
    given = {"model": build.model, "base": build.base, "runtime": build.runtime, "platform": build.platform}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {key: value for key, value in given.items() if value},
            "resolvedDependencies": _dependencies(build, inventory),
        },
        "runDetails": {
            "builder": {"id": build.builder, "version": {"lading": __version__}},
            "metadata": {key: value for key, value in metadata.items() if value},
        },
    }


def _dependencies(build: Build, inventory: Inventory) -> list[dict[str, Any]]:
    found = []
    repository, _, digest = build.resolved_base.partition("@")
    digest = digest or inventory.image.labels.get(BASE_DIGEST_LABEL, "")
    if digest:
        found.append({"name": "base", **_image_uri(repository), "digest": _sha256(digest)})
    if inventory.image.model_diff_id:
        # Of the layer's tar: the identity of the model, whatever its compression.
        found.append({"name": "model", "uri": build.model, "digest": _sha256(inventory.image.model_diff_id)})
    for path, file in inventory.model.items():
        found.append({"name": f"model/{path}", "digest": {"sha256": file.sha256}})
    if facts := inventory.facts:
        found.append({"name": "recipe", "uri": facts.recipe, "digest": {"sha256": facts.recipe_sha256}})
    for uri, sha256 in sorted(build.inputs.items()):
        found.append({"name": "input", "uri": uri, "digest": {"sha256": sha256}})
    if build.source:
        body: dict[str, Any] = {"name": "source", "uri": f"git+{build.source}"}
        found.append({**body, "digest": {"gitCommit": build.revision}} if build.revision else body)
    return found


def _image_uri(repository: str) -> dict[str, str]:
    """The base as a package URL, which has no place for layouts on a disk."""
    if not repository or repository.startswith(("oci:", "archive:")):
        return {}
    name = quote(repository.rpartition("/")[2].lower(), safe="")
    return {"uri": f"pkg:oci/{name}?repository_url={quote(repository, safe=':')}"}


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
