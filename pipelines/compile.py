"""``python -m pipelines.compile [DIR]``: write the YAML of every component and pipeline, and its page, as committed."""

import importlib
import sys
from pathlib import Path

from kfp import compiler

from pipelines.catalog import write_catalog

COMPONENTS = (
    "train", "evaluate", "scan", "convert", "package", "package_with_cloud_build", "deploy", "smoke", "promote",
    "settle", "rollback", "reject", "batch_predict", "vertex_resources",
    "vertex_batch_predict",
)  # fmt: skip
PIPELINES = ("release", "batch")


def compile_all(root: Path) -> list[Path]:
    """Compile everything below ``root``; the same sources give the same bytes.

    Returns:
        The files written: ``components/compiled/NAME.yaml``, ``pipelines/compiled/NAME.yaml``, and for each component
        ``components/catalog/NAME/README.md`` and ``metadata.yaml``.
    """
    written = []
    for package, names in (("components", COMPONENTS), ("pipelines", PIPELINES)):
        for name in names:
            path = root / package / "compiled" / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            function = getattr(importlib.import_module(f"{package}.{name}"), name)
            compiler.Compiler().compile(function, package_path=str(path))
            written.append(path)
    return [*written, *write_catalog(root, COMPONENTS)]


if __name__ == "__main__":
    compile_all(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
