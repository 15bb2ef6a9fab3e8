"""What is looked at before a pipeline is sent away: a mistake costs a second here and an hour there."""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lading import storage
from lading.errors import InvalidInput, LadingError
from lading.flows.names import CHECKS
from lading.recipes.loading import BUILT_IN, find_recipe
from lading.spec.images import pin_images
from lading.spec.ir import Pipeline
from lading.spec.lint import lint
from lading.values import Check
from lading.wait import Deadline

_IMPORT_SECONDS = 120.0
_IMPORTS = "import sys; from lading.recipes.loading import load_recipe; load_recipe(sys.argv[1])"


@dataclass(frozen=True, kw_only=True)
class Cargo:
    """What is to be sent."""

    pipeline: Pipeline
    parameters: dict[str, Any]
    """As gathered: defaults are not in it."""
    images: str = ""
    """Repository prefix of the step images; empty: as the pipeline names them."""
    staging: str = ""
    """URI below which the recipe is put."""

    def value(self, name: str) -> str:
        """A text parameter, given or default; empty when the pipeline has none of that name."""
        return str(self.parameters.get(name, self.pipeline.defaults.get(name, "")) or "")


def check_cargo(
    cargo: Cargo, backend: str, *, skip: frozenset[str], environ: Mapping[str, str], deadline: Deadline
) -> tuple[Cargo, list[Check]]:
    """Look at everything that can be looked at from here; nothing is sent yet.

    Args:
        cargo: What is to be sent.
        backend: ``kfp`` or ``vertex``.
        skip: Of ``CHECKS``.
        environ: Credentials of registries.
        deadline: For the registry.

    Returns:
        The cargo with its step images by digest, and every check, also those that failed.

    Raises:
        InvalidInput: ``skip`` has an unknown name.
    """
    if unknown := skip - set(CHECKS):
        raise InvalidInput(f"unknown check {', '.join(sorted(unknown))} (there are: {', '.join(CHECKS)})")
    checks = [] if "pipeline" in skip else _check_pipeline(cargo.pipeline, backend)
    if "images" not in skip or cargo.images:
        cargo, found = _pin(cargo, environ, deadline)
        checks += [] if "images" in skip else found
    looks: dict[str, Callable[[Cargo], list[Check]]] = {
        "recipe": _check_recipe, "data": _check_data, "target": _check_target
    }  # fmt: skip
    for name, look in looks.items():
        if name not in skip:
            checks += look(cargo)
    return cargo, checks


def ship_recipe(cargo: Cargo) -> Cargo:
    """Put a recipe that is a file of this machine where the steps can read it, under the digest of its source.

    Raises:
        StorageError: it could not be written.
        AccessDenied: the bucket refuses it.
    """
    uri = cargo.value("recipe")
    if not _is_own_file(uri):
        return cargo
    source = find_recipe(uri, cargo.value("recipe_sha256"))
    there = storage.join(cargo.staging, f"recipes/{source.sha256}/{Path(uri).name}")
    if not storage.exists(there):
        storage.write_bytes(there, source.code)
    return replace(cargo, parameters={**cargo.parameters, "recipe": there, "recipe_sha256": source.sha256})


def _is_own_file(recipe: str) -> bool:
    return bool(recipe) and recipe not in BUILT_IN and not storage.is_remote(recipe)


def _check_pipeline(pipeline: Pipeline, backend: str) -> list[Check]:
    errors = [finding for finding in lint(pipeline, {backend}) if finding.severity == "error"]
    what = f"accepted by {backend}"
    if not errors:
        return [Check("pipeline", True, what, pipeline.name)]
    return [Check("pipeline", False, what, f"{found.where}: {found.message}; {found.remedy}") for found in errors]


def _pin(cargo: Cargo, environ: Mapping[str, str], deadline: Deadline) -> tuple[Cargo, list[Check]]:
    what = "every step image in its registry"
    try:
        pinned = pin_images(cargo.pipeline, cargo.images, environ=environ, deadline=deadline)
    except LadingError as error:
        return cargo, [Check("images", False, what, str(error))]
    return replace(cargo, pipeline=pinned), [Check("images", True, what, image) for image in pinned.images()]


def _check_recipe(cargo: Cargo) -> list[Check]:
    uri, what = cargo.value("recipe"), "a recipe that can be imported, and read by the steps"
    if not uri:
        return []
    if uri in BUILT_IN:
        return [Check("recipe", True, what, f"{uri} (built in)")]
    try:
        source = find_recipe(uri, cargo.value("recipe_sha256"))
    except LadingError as error:
        return [Check("recipe", False, what, str(error))]
    if _is_own_file(uri) and not cargo.staging:
        words = f"{uri} is a file of this machine: say where to put it, --staging gs://BUCKET/PREFIX"
        return [Check("recipe", False, what, words)]
    problem = "" if storage.is_remote(uri) else _import_problem(uri)
    return [Check("recipe", not problem, what, problem or f"{uri}, sha256 {source.sha256[:12]}…")]


def _import_problem(path: str) -> str:
    """Why a recipe cannot be imported, tried in a process of its own; empty when it can."""
    command = [sys.executable, "-c", _IMPORTS, str(storage.local_path(path))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"{path}: the import did not end within {_IMPORT_SECONDS:.0f} s"
    if not done.returncode:
        return ""
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    hint = "; what only the step image has can be left unchecked with --skip recipe" if "ModuleNotFound" in last else ""
    return last.removeprefix("lading.errors.InvalidRecipe: ") + hint


def _check_data(cargo: Cargo) -> list[Check]:
    """Of whatever a pipeline reads and writes: each line of these parameters is a place."""
    checks = []
    for name in ("data", "inputs", "output"):
        checks += [_check_place(place, reads=name != "output") for place in cargo.value(name).splitlines() if place]
    return checks


def _check_place(place: str, *, reads: bool) -> Check:
    uri, what = place.removeprefix("@"), "data that the steps can read" if reads else "a place that the steps can write"
    if not storage.is_remote(uri):
        words = f"{uri} is on this machine: copy it to a bucket (gs://…), or --skip data if the steps have it mounted"
        return Check("data", False, what, words if reads else f"{uri} is on this machine: choose a bucket (gs://…)")
    if not reads or (pattern := re.search(r"[*?\[]", uri)):
        fixed = uri[: pattern.start()].rpartition("/")[0] if reads and pattern else uri
        return Check("data", True, what, fixed)
    try:
        found = storage.list_files(uri, limit=1)
    except LadingError as error:
        return Check("data", False, what, str(error))
    return Check("data", bool(found), what, found[0] if found else f"nothing below {uri}")


def _check_target(cargo: Cargo) -> list[Check]:
    """The local target and the image store of this machine are out of the steps' reach."""
    checks = []
    if cargo.value("target").startswith("local:"):
        words = "target=local: is on this machine; --set target=…"
        checks.append(Check("target", False, "a target that the steps can reach", words))
    if cargo.value("repository").startswith("lading.local/"):
        words = f"repository={cargo.value('repository')} is on this machine; --set repository=…"
        checks.append(Check("target", False, "a registry that the steps can reach", words))
    model = cargo.value("model")
    if model and not storage.is_remote(model) and ("@sha256:" not in model or model.startswith("lading.local/")):
        words = f"model={model} is on this machine: give a SavedModel in a bucket, or an image in a registry by digest"
        checks.append(Check("target", False, "a model that the steps can reach", words))
    return checks
