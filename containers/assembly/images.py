"""The project's images without Docker: bases from Debian's packages, those for serving, steps, batch prediction."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from containers.assembly.debian import debian_layer
from containers.assembly.dockerfile import last_stage, shared_directories
from containers.assembly.libraries import (
    LIBRARIES,
    ROOT,
    install_lading,
    install_libraries,
    install_source,
    prepare,
)
from containers.assembly.python import interpreter, read_standard_library
from lading.errors import InvalidInput
from lading.oci.assemble import Assembled, Base, Changes, assemble, publish, read_base
from lading.oci.connect import Place, open_place
from lading.oci.image import Image
from lading.oci.layer import Entry, Layer, plan_entries, plan_layer
from lading.oci.platform import Platform
from lading.wait import Deadline

_CONTAINERS = ROOT / "containers"
_MADE_BY = "python -m containers.assembly"


@dataclass(frozen=True)
class _Recipe:
    """What an image is made of."""

    dockerfile: Path
    lock: Path
    trim: str
    """Which libraries stay: a command of ``containers/serving/prepare.py``."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """For the Dockerfile."""
    sources: Path | None = None
    """A lock of libraries that have no wheels."""
    architectures: tuple[str, ...] = ("amd64", "arm64")
    compiles_base: bool = False
    """Whether Python's own library gets bytecode too."""


def _serving(engine: str, *architectures: str) -> _Recipe:
    folder = _CONTAINERS / "serving"
    return _Recipe(
        folder / "Dockerfile",
        folder / f"requirements-{engine}.lock",
        "libraries",
        {"ENGINE": engine},
        architectures=architectures,
        compiles_base=True,
    )


def _steps(name: str, trim: str = "step-libraries", **others: Any) -> _Recipe:
    folder = _CONTAINERS / name
    lock = folder / "requirements.lock"
    return _Recipe(folder / "Dockerfile", lock, trim, sources=_CONTAINERS / "kfp.lock", **others)


_HAVE_TENSORFLOWS_C_LIBRARY = ("amd64",)
"""It is in no wheel for another architecture."""

IMAGES = {
    "serving-litert": _serving("litert", "amd64", "arm64"),
    "serving-tensorflow": _serving("tensorflow", *_HAVE_TENSORFLOWS_C_LIBRARY),
    "steps": _steps("steps"),
    "steps-train": _steps("steps-train"),
    "batch": _steps("batch", "libraries", architectures=_HAVE_TENSORFLOWS_C_LIBRARY, compiles_base=True),
}
"""What can be assembled, by name."""


def write_debian_base(
    to: str, *, suite: str, platform: str, shell: bool = False, environ: Mapping[str, str], deadline: Deadline
) -> str:
    """Make a base of Debian's Python.

    Args:
        to: The place that it is written to.
        suite: Of Debian, for instance ``bookworm``, whose Python is 3.11.
        platform: ``linux/amd64`` or ``linux/arm64``; empty for this machine's.
        shell: With a shell, as step images need it; else with nothing else.
        environ: Where credentials of registries are looked up.
        deadline: For writing it.

    Returns:
        ``repository@sha256:…``.

    Raises:
        LadingError: mmdebstrap is missing or fails; or as the place says.
    """
    wanted = Platform.parse(platform) if platform else Platform.of_this_machine()
    place = open_place(to, environ=environ, writable=True)
    empty: dict[str, Any] = {"architecture": wanted.architecture, "os": "linux"}
    run = {"Cmd": ["python3"], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]}
    with debian_layer(suite, wanted.architecture, shell=shell) as layer:
        nothing = Base(place.store, "", Image({**empty, "config": run}))
        return _write(replace(assemble(nothing, [layer], Changes(), made_by=_MADE_BY), base=None), place, deadline)


def write_image(
    name: str,
    to: str,
    *,
    base: str,
    platform: str = "",
    revision: str = "",
    environ: Mapping[str, str],
    deadline: Deadline,
) -> str:
    """Assemble the image that a Dockerfile of the project describes, with the same files and configuration.

    Args:
        name: One of ``IMAGES``.
        to: The place that it is written to.
        base: The place of an image with Python 3.11 to 3.13; for steps, with a shell too.
        platform: Which image of an index is meant; empty for this machine's.
        revision: Of this checkout, for a label.
        environ: Where credentials of registries are looked up.
        deadline: For reading the base and writing the image.

    Returns:
        ``repository@sha256:…``.

    Raises:
        InvalidInput: there is no such image, or none for the platform.
        InvalidReference: the base has no Python.
        NotFound: there is no such base; or no Python of its version is here, which bytecode needs.
        LadingError: pip fails; or as the places say.
    """
    if name not in IMAGES:
        raise InvalidInput(f"expected one of {', '.join(IMAGES)}, received {name!r}")
    recipe = IMAGES[name]
    place, origin = open_place(to, environ=environ, writable=True), open_place(base, environ=environ)
    wanted = Platform.parse(platform) if platform else None
    below = read_base(origin.store, origin.wanted, platform=wanted, deadline=deadline)
    architecture = Platform.of(below.image.config).architecture
    if architecture not in recipe.architectures:
        there = " or ".join(f"linux/{one}" for one in recipe.architectures)
        raise InvalidInput(f"expected a base for {there}, found one for {architecture}: {name} is for no other")
    text = recipe.dockerfile.read_text()
    said = last_stage(text, {**recipe.arguments, "REVISION": revision})
    with TemporaryDirectory(prefix="lading-image-") as scratch:
        layers = _layers(recipe, name, below, Path(scratch), deadline)
        if shared := shared_directories(text):
            layers.insert(0, plan_entries([Entry(path, None, shared=True) for path in shared], comment="places"))
        return _write(assemble(_saying(below, said), layers, Changes(), made_by=_MADE_BY), place, deadline)


def _layers(recipe: _Recipe, name: str, base: Base, scratch: Path, deadline: Deadline) -> list[Layer]:
    """What changes seldom below what changes often: libraries and Python's bytecode, then lading."""
    for folder in ("base", "libraries", "lading", "wheel"):
        (scratch / folder).mkdir()
    libraries, lading = scratch / "libraries", scratch / "lading"
    version = read_standard_library(base, scratch / "base", deadline=deadline)
    python = interpreter(version)
    architecture = Platform.of(base.image.config).architecture
    install_libraries(recipe.lock, libraries, version=version, architecture=architecture)
    if recipe.sources:
        install_source(recipe.sources, libraries, scratch / "wheel")
    prepare(python, recipe.trim, libraries / LIBRARIES)
    if recipe.compiles_base:
        prepare(python, "standard-library", scratch / "base", libraries)
    install_lading(lading, scratch / "wheel")
    prepare(python, "code", lading / LIBRARIES)
    return [
        plan_layer(libraries, "", codec="gzip", comment=f"Libraries of {name}"),
        plan_layer(lading, "", codec="gzip", comment="lading"),
    ]


def _saying(base: Base, said: Mapping[str, Any]) -> Base:
    """The base as a Dockerfile's instructions change its configuration."""
    run = dict(base.image.config.get("config") or {})
    changed = {**run, **said}
    for key in ("Labels", "ExposedPorts"):
        changed[key] = {**(run.get(key) or {}), **said.get(key, {})}
    own = dict(pair.split("=", 1) for pair in said.get("Env", ()))
    changed["Env"] = [f"{name}={value}" for name, value in {**base.image.env, **own}.items()]
    return replace(base, image=replace(base.image, config={**base.image.config, "config": changed}))


def _write(image: Assembled, place: Place, deadline: Deadline) -> str:
    publish(image, place.store, tag=place.tag, deadline=deadline)
    return f"{place.store.repository}@{image.manifest.digest}"
