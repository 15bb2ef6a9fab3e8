"""The compiled pipelines that come with lading."""

from importlib import resources
from pathlib import Path

from lading.errors import InvalidInput


def find_pipeline(name: str) -> Path:
    """The compiled YAML of a pipeline by name, or the path itself if it is one.

    Raises:
        InvalidInput: there is no such pipeline.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InvalidInput(f"no compiled pipeline at {name}")
        return Path(name).resolve()
    package = Path(str(resources.files("lading")))
    # In the wheel they are package data; in a checkout they stand beside the package.
    for place in (package / "compiled" / "pipelines", package.parent / "pipelines" / "compiled"):
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    raise InvalidInput(
        f"unknown pipeline {name!r} (known: release); or give the path of a compiled one, ending in .yaml"
    )
