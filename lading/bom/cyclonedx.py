"""A bill of materials as CycloneDX 1.6 has it (ECMA-424): the same image gives the same bytes."""

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from lading import __version__
from lading.bom.inventory import Inventory
from lading.bom.packages import Package
from lading.values import FileDigest

SBOM_TYPE = "application/vnd.cyclonedx+json"
_OURS = "dev.lading"
"""Prefix of the properties that only lading gives a meaning to."""


def cyclonedx(inventory: Inventory, name: str) -> dict[str, Any]:
    """The bill of materials of an image.

    Args:
        inventory: What is in it.
        name: Of the image, for people.
    """
    root = inventory.digest
    components = [
        *_system(inventory),
        *map(_package, inventory.packages),
        *_model(inventory),
    ]
    created = str(inventory.image.config.get("created", ""))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # From the image alone: whoever makes it anew gets the same document.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'oci:{root}')}",
        "version": 1,
        "metadata": {
            **({"timestamp": created} if created else {}),
            "tools": {"components": [{"type": "application", "name": "lading", "version": __version__}]},
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": name,
                "version": root,
                "purl": f"pkg:oci/{quote(name.lower(), safe='')}@{quote(root, safe=':')}",
            },
        },
        "components": components,
        "dependencies": [
            {"ref": root, "dependsOn": [one["bom-ref"] for one in components]},
            *({"ref": one["bom-ref"]} for one in components),
        ],
    }


def _system(inventory: Inventory) -> list[dict[str, Any]]:
    """The distribution, and the Python that official images build themselves, which no package names."""
    found, distribution = [], inventory.distribution
    if distribution.id:
        ref = f"os:{distribution.id}-{distribution.version}"
        body = {"type": "operating-system", "bom-ref": ref, "name": distribution.id}
        described = {"version": distribution.version, "description": distribution.name}
        found.append({**body, **{key: value for key, value in described.items() if value}})
    if python := inventory.image.env.get("PYTHON_VERSION"):
        purl = f"pkg:generic/python@{quote(python, safe=':')}"
        found.append({"type": "platform", "bom-ref": purl, "name": "python", "version": python, "purl": purl})
    return found


def _package(package: Package) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "properties": [_property("path", package.path)],
    }
    if package.expression:
        body["licenses"] = [{"expression": package.expression}]
    elif package.licences:
        body["licenses"] = [{"license": {"name": name}} for name in package.licences]
    return body


def _model(inventory: Inventory) -> list[dict[str, Any]]:
    if not inventory.model:
        return []
    _, name, version = ("", *inventory.image.model_path.rsplit("/", 2)[-2:])
    properties = [_property("model.diff-id", inventory.image.model_diff_id)]
    if facts := inventory.facts:
        properties += [_property("model.recipe", facts.recipe), _property("model.recipe-sha256", facts.recipe_sha256)]
        properties += [_property(f"model.made-with.{key}", facts.versions[key]) for key in sorted(facts.versions)]
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": f"model:{name}",
            "name": name,
            "version": version,
            "properties": properties,
            "components": _files(name, inventory.model),
        }
    ]


def _files(model: str, files: Mapping[str, FileDigest]) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "bom-ref": f"model:{model}/{path}",
            "name": path,
            "hashes": [{"alg": "SHA-256", "content": digest.sha256}],
            "properties": [_property("size", str(digest.size))],
        }
        for path, digest in files.items()
    ]


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"{_OURS}:{name}", "value": value}
