"""The project's images without Docker: a base from Debian's packages, and the bases for serving."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from containers.assembly.debian import debian_layer
from containers.assembly.dockerfile import last_stage
from containers.assembly.libraries import LIBRARIES, ROOT, install_lading, install_libraries, prepare
from containers.assembly.python import interpreter, read_standard_library
from lading.errors import InvalidInput
from lading.oci.assemble import Assembled, Base, Changes, assemble, publish, read_base
from lading.oci.connect import Place, open_place
from lading.oci.image import Image
from lading.oci.layer import Layer, plan_layer
from lading.oci.platform import Platform
from lading.wait import Deadline

ENGINES = ("litert", "tensorflow")
_SERVING = ROOT / "containers" / "serving"
_MADE_BY = "python -m containers.assembly"


def write_debian_base(to: str, *, suite: str, platform: str, environ: Mapping[str, str], deadline: Deadline) -> str:
    """Make a base of Debian's Python and nothing else.

    Args:
        to: The place that it is written to.
        suite: Of Debian, for instance ``bookworm``, whose Python is 3.11.
        platform: ``linux/amd64`` or ``linux/arm64``; empty for this machine's.
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
    with debian_layer(suite, wanted.architecture) as layer:
        nothing = Base(place.store, "", Image({**empty, "config": run}))
        return _write(replace(assemble(nothing, [layer], Changes(), made_by=_MADE_BY), base=None), place, deadline)


def write_serving_base(
    engine: str,
    to: str,
    *,
    base: str,
    platform: str = "",
    revision: str = "",
    environ: Mapping[str, str],
    deadline: Deadline,
) -> str:
    """Assemble the image that ``containers/serving/Dockerfile`` describes, with the same files and configuration.

    Args:
        engine: ``litert`` or ``tensorflow``.
        to: The place that it is written to.
        base: The place of an image with Python 3.11 to 3.13 and nothing else that is needed.
        platform: Which image of an index is meant; empty for this machine's.
        revision: Of this checkout, for a label.
        environ: Where credentials of registries are looked up.
        deadline: For reading the base and writing the image.

    Returns:
        ``repository@sha256:…``.

    Raises:
        InvalidInput: there is no such engine, or none for the platform.
        InvalidReference: the base has no Python.
        NotFound: there is no such base; or no Python of its version is here, which bytecode needs.
        LadingError: pip fails; or as the places say.
    """
    if engine not in ENGINES:
        raise InvalidInput(f"expected the engine {' or '.join(ENGINES)}, received {engine!r}")
    place, origin = open_place(to, environ=environ, writable=True), open_place(base, environ=environ)
    wanted = Platform.parse(platform) if platform else None
    below = read_base(origin.store, origin.wanted, platform=wanted, deadline=deadline)
    architecture = Platform.of(below.image.config).architecture
    if (engine, architecture) == ("tensorflow", "arm64"):
        raise InvalidInput("expected the engine litert on linux/arm64: TensorFlow's C library for it is in no wheel")
    text = (_SERVING / "Dockerfile").read_text()
    said = last_stage(text, {"ENGINE": engine, "REVISION": revision})
    with TemporaryDirectory(prefix="lading-serving-") as scratch:
        layers = _layers(engine, below, architecture, Path(scratch), deadline)
        return _write(assemble(_saying(below, said), layers, Changes(), made_by=_MADE_BY), place, deadline)


def _layers(engine: str, base: Base, architecture: str, scratch: Path, deadline: Deadline) -> list[Layer]:
    """What changes seldom below what changes often: libraries and Python's bytecode, then lading."""
    for name in ("base", "libraries", "lading", "wheel"):
        (scratch / name).mkdir()
    libraries, lading = scratch / "libraries", scratch / "lading"
    version = read_standard_library(base, scratch / "base", deadline=deadline)
    python = interpreter(version)
    lock = _SERVING / f"requirements-{engine}.lock"
    install_libraries(lock, libraries, version=version, architecture=architecture)
    prepare(python, "libraries", libraries / LIBRARIES)
    prepare(python, "standard-library", scratch / "base", libraries)
    install_lading(lading, scratch / "wheel")
    prepare(python, "code", lading / LIBRARIES)
    return [
        plan_layer(libraries, "", codec="gzip", comment=f"Libraries of the engine {engine}"),
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
