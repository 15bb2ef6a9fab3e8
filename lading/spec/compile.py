"""Writes a compiled pipeline or component for one place: step images by digest, Kubernetes settings beside it.

It starts from YAML that KFP's compiler wrote and ends in the same form, so that what was not asked for stays as it is,
byte for byte. kfp itself is not needed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lading.errors import InvalidInput
from lading.spec.images import OWN_PREFIX, resolve_images, with_images
from lading.spec.ir import Pipeline
from lading.spec.overlay import Overlay
from lading.storage import read_bytes
from lading.wait import Deadline


@dataclass(frozen=True)
class Compiled:
    """A pipeline or component as text."""

    path: Path
    """Where it was read from, and where it is to be written."""
    header: str
    """The comment at the top: name, description, inputs and outputs, as KFP's compiler writes them."""
    pipeline: Pipeline
    text: str

    @classmethod
    def load(cls, path: Path) -> "Compiled":
        """Read a compiled YAML.

        Raises:
            NotFound: there is no such file.
            InvalidInput: it is not a compiled KFP v2 pipeline.
        """
        text = read_bytes(str(path)).decode("utf-8", "replace")
        return cls(path, _header(text), Pipeline.parse(text, source=str(path)), text)

    def with_pipeline(self, pipeline: Pipeline) -> "Compiled":
        """The same with another content, written as KFP's compiler would."""
        if pipeline == self.pipeline:
            return self
        return replace(self, pipeline=pipeline, text=self.header + dump(pipeline))


def compile_for(
    sources: Iterable[Compiled],
    *,
    images: str = "",
    overlay: Overlay | None = None,
    environ: Mapping[str, str],
    deadline: Deadline,
) -> list[Compiled]:
    """The sources with their step images by digest, and with a second document of Kubernetes settings.

    Args:
        sources: As committed.
        images: Repository prefix of lading's own step images; each is looked up there once. Images of others stay.
            Empty: all stay.
        overlay: Kubernetes settings of the steps. None: the sources' own, if any.
        environ: Where credentials of registries are looked up.
        deadline: For all registries together.

    Raises:
        NotFound: an image does not exist; says how to publish it.
        AccessDenied: the registry refuses us.
        ServiceUnreachable: the registry does not answer.
        InvalidInput: the overlay names a step that none of the sources has.
    """
    found = list(sources)
    if overlay:
        laid = overlay.apply_all(source.pipeline for source in found)
        found = [source.with_pipeline(pipeline) for source, pipeline in zip(found, laid, strict=True)]
    if images:
        own = {name for source in found for name in source.pipeline.images() if name.startswith(OWN_PREFIX)}
        names = resolve_images(sorted(own), images, environ=environ, deadline=deadline)
        found = [source.with_pipeline(with_images(source.pipeline, names)) for source in found]
    return found


def place_below(folder: Path, sources: Iterable[Compiled]) -> list[Compiled]:
    """The sources with the paths that they are to be written to: ``folder/NAME.yaml``.

    Raises:
        InvalidInput: two would be written to one file, or one over its own source.
    """
    placed: dict[str, Compiled] = {}
    for source in sources:
        name = f"{source.path.stem}.yaml"
        if name in placed:
            raise InvalidInput(f"{placed[name].path} and {source.path} would both be {folder / name}: use two folders")
        if (folder / name).resolve() == source.path.resolve():
            raise InvalidInput(f"{source.path} would be written over: choose another folder than {folder}")
        placed[name] = source
    return [replace(source, path=folder / name) for name, source in placed.items()]


def dump(pipeline: Pipeline) -> str:
    """YAML in the form of KFP's compiler: keys in order, and PyYAML's own folding of lines (libyaml's differs)."""
    import yaml

    documents = [pipeline.spec, *([pipeline.platform] if pipeline.platform else [])]
    text: str = yaml.dump_all(documents, Dumper=yaml.SafeDumper, sort_keys=True)
    return text


def _header(text: str) -> str:
    lines = text.splitlines(keepends=True)
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:end])
