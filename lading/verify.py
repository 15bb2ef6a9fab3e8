"""Judge where an image comes from: is it signed, are the statements about it, and is all of it there?"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from lading.errors import LadingError, NotFound
from lading.oci.attach import is_damage
from lading.oci.contents import layer_tar
from lading.oci.image import MODEL_DIFF_ID_LABEL, Descriptor
from lading.oci.platform import is_index
from lading.oci.store import Manifest, Store
from lading.results import VerifyReport
from lading.signing.bundle import PROVENANCE_PREDICATE, SBOM_PREDICATE
from lading.signing.found import Found, find_statements, signature_problem
from lading.signing.keys import PublicKey
from lading.values import Check
from lading.wait import Deadline

KINDS = ("signature", "sbom", "provenance")
"""What can be asked of an image."""


def verify_image(
    store: Store,
    digest: str,
    key: PublicKey,
    *,
    kinds: Iterable[str] = KINDS,
    deep: bool = False,
    deadline: Deadline,
) -> VerifyReport:
    """Verify an image: what is attached to it, and what it is made of.

    A signature counts when the key made it, over the digest of this very image; so does a statement. What others
    attached does no harm.

    Args:
        store: Where the image lies.
        digest: Of the image, or of an index.
        key: Who has to vouch for it.
        kinds: Which of ``KINDS`` must be there.
        deep: Read every blob and compare it with its digest, rather than ask whether it is there.
        deadline: When to give up.

    Returns:
        The verdict; negative as soon as one check is.

    Raises:
        NotFound: there is no such image.
        AccessDenied: we may not read the repository.
        ServiceUnreachable: the registry does not answer.
    """
    manifest = store.manifest(digest, deadline=deadline)
    found = find_statements(store, digest, key, deadline=deadline)
    whose = f"by the key {key.fingerprint[:16]}…"
    checks = []
    if "signature" in kinds:
        problem = signature_problem(store, digest, key, found, deadline=deadline)
        checks.append(Check("signature", not problem, f"of this image, {whose}", problem or "signed"))
    if "sbom" in kinds:
        checks.append(_sbom(found, whose))
    if "provenance" in kinds:
        checks.append(_provenance(found, _model_of(store, manifest, deadline), whose))
    checks.append(_blobs(store, manifest, deep=deep, deadline=deadline))
    passed = all(check.passed for check in checks)
    return VerifyReport(passed, tuple(checks), f"{store.repository}@{digest}", key.fingerprint)


def _sbom(found: Found, whose: str) -> Check:
    expected = f"CycloneDX, of this image, signed {whose}"
    problem = found.problem(SBOM_PREDICATE)
    for statement in found.of_type(SBOM_PREDICATE):
        if statement.predicate.get("bomFormat") == "CycloneDX":
            return Check("sbom", True, expected, f"{len(statement.predicate.get('components') or ())} components")
        problem = "it is not a CycloneDX document"
    return Check("sbom", False, expected, problem)


def _provenance(found: Found, model: str, whose: str) -> Check:
    """Whether a statement says how this image was made, and of the model that it holds."""
    expected = f"SLSA v1, of this image and its model, signed {whose}"
    problem = found.problem(PROVENANCE_PREDICATE)
    for statement in found.of_type(PROVENANCE_PREDICATE):
        try:
            definition = statement.predicate["buildDefinition"]
            named = {one.get("name"): one.get("digest", {}) for one in definition["resolvedDependencies"]}
            builder = str(statement.predicate["runDetails"]["builder"]["id"])
        except (KeyError, TypeError, AttributeError):
            problem = "it is not a provenance of SLSA v1"
            continue
        if not model or named.get("model", {}).get("sha256") == model.removeprefix("sha256:"):
            return Check("provenance", True, expected, f"built by {builder}")
        problem = "it names another model than the image holds"
    return Check("provenance", False, expected, problem)


def _model_of(store: Store, manifest: Manifest, deadline: Deadline) -> str:
    """The diff-id of the model that the image says it holds; empty for what is not an image of lading's."""
    if is_index(manifest):
        return ""
    try:
        config = json.loads(_read(store, json.loads(manifest.content)["config"]["digest"], deadline))
        return str(((config.get("config") or {}).get("Labels") or {}).get(MODEL_DIFF_ID_LABEL, ""))
    except LadingError as error:
        if not is_damage(error):
            raise
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return ""  # the check of the blobs says what is wrong


def _blobs(store: Store, manifest: Manifest, *, deep: bool, deadline: Deadline) -> Check:
    expected = "every blob, with its digest" if deep else "every blob is there"
    problems, count = [], 0
    for blob, diff_id in _parts(store, manifest, deadline):
        count += 1
        problem = _problem_of(store, blob, diff_id, deep=deep, deadline=deadline)
        if problem:
            problems.append(problem)
    if not problems:
        return Check("blobs", True, expected, f"{count} blobs{', read' if deep else ''}")
    return Check("blobs", False, expected, "; ".join(problems[:3]))


def _problem_of(store: Store, blob: Descriptor | str, diff_id: str, *, deep: bool, deadline: Deadline) -> str:
    if isinstance(blob, str):
        return blob
    try:
        if not deep:
            return "" if store.has_blob(blob.digest, deadline=deadline) else f"{blob.digest} is missing"
        if not diff_id:
            _drain(store, blob.digest, deadline)
            return ""
        hashed = hashlib.sha256()
        for piece in layer_tar(store, blob, deadline=deadline):
            hashed.update(piece)
    except LadingError as error:
        if not is_damage(error):
            raise
        return f"{blob.digest} is {'missing' if isinstance(error, NotFound) else 'damaged'}"
    same = f"sha256:{hashed.hexdigest()}" == diff_id
    return "" if same else f"{blob.digest} does not unpack to {diff_id}, which the configuration names"


def _parts(store: Store, manifest: Manifest, deadline: Deadline) -> Iterable[tuple[Descriptor | str, str]]:
    """Every blob of an image, or of all images of an index, with the diff-id of a layer; a text is a problem."""
    try:
        body: dict[str, Any] = json.loads(manifest.content)
        if is_index(manifest):
            for entry in body["manifests"]:
                yield from _parts(store, store.manifest(entry["digest"], deadline=deadline), deadline)
            return
        layers = [Descriptor.from_dict(layer) for layer in body["layers"]]
        config = Descriptor.from_dict(body["config"])
        yield config, ""
        diff_ids = json.loads(_read(store, config.digest, deadline)).get("rootfs", {}).get("diff_ids", [])
    except LadingError as error:
        if not is_damage(error):
            raise
        yield f"a manifest or the configuration is missing or damaged ({error})", ""
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{manifest.digest} is not an image: {error!r}", ""
        return
    if len(diff_ids) != len(layers):
        yield f"{len(layers)} layers, and {len(diff_ids)} diff-ids in the configuration", ""
    yield from zip(layers, (*diff_ids, *[""] * len(layers)), strict=False)


def _read(store: Store, digest: str, deadline: Deadline) -> bytes:
    return b"".join(store.blob(digest, deadline=deadline))


def _drain(store: Store, digest: str, deadline: Deadline) -> None:
    for _ in store.blob(digest, deadline=deadline):
        pass  # at its end the store compares the digest
