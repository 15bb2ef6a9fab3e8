"""The compiled pipelines and components that come with lading."""

from importlib import resources
from pathlib import Path

from lading.errors import InvalidInput


def shipped(kind: str) -> dict[str, Path]:
    """What comes with lading, by name.

    Args:
        kind: ``pipelines`` or ``components``.
    """
    package = Path(str(resources.files("lading")))
    # In the wheel they are package data; in a checkout they stand beside the package.
    for place in (package / "compiled" / kind, package.parent / kind / "compiled"):
        if place.is_dir():
            return {path.stem: path for path in sorted(place.glob("*.yaml"))}
    return {}


def find_pipeline(name: str) -> Path:
    """The compiled YAML of a pipeline by name, or the path itself if it is one.

    Raises:
        InvalidInput: there is no such pipeline.
    """
    return _find(name, shipped("pipelines"), "pipeline")


def find_compiled(name: str) -> Path:
    """The compiled YAML of a pipeline or component by name, or the path itself if it is one.

    Raises:
        InvalidInput: there is neither.
    """
    return _find(name, shipped("pipelines") | shipped("components"), "pipeline or component")


def _find(name: str, known: dict[str, Path], what: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InvalidInput(f"no compiled {what} at {name}")
        return Path(name).resolve()
    if name.endswith(".py"):
        raise InvalidInput(f"{name} is source: compile it with `kfp dsl compile --py {name} --output NAME.yaml` first")
    if name not in known:
        raise InvalidInput(
            f"unknown {what} {name!r} (known: {', '.join(known)}); or give the path of a compiled one, ending in .yaml"
        )
    return known[name]
