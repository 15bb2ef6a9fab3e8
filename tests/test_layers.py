"""Who may import whom: the table of docs/design.md, enforced."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASE = {
    "lading.values",
    "lading.results",
    "lading.releases",
    "lading.batches",
    "lading.errors",
    "lading.wait",
    "lading.files",
    "lading.options",
}
VERB = BASE | {
    "lading.http", "lading.storage", "lading.oci", "lading.targets", "lading.predict", "lading.report", "requests",
    "lading.heldout", "lading.asking", "lading.packaged", "numpy",
}  # fmt: skip

# The longest matching row counts.
ALLOWED: dict[str, set[str]] = {
    "lading.values": BASE - {"lading.results", "lading.releases", "lading.batches"},
    "lading.results": BASE,
    "lading.run_report": BASE,
    "lading.releases": BASE - {"lading.results"},
    "lading.batches": BASE - {"lading.results", "lading.releases"},
    "lading.errors": set(),
    "lading.wait": BASE,
    "lading.files": BASE,
    "lading.options": {"lading.errors"},
    "lading.http": BASE | {"requests"},
    "lading.buckets": BASE | {"requests", "google", "urllib3"},
    "lading.storage": BASE | {"lading.buckets"},
    "lading.oci": BASE | {"lading.oci"},
    "lading.oci.contents": BASE | {"lading.oci", "backports"},
    "lading.oci.registry": BASE | {"lading.oci", "lading.http", "requests"},
    "lading.oci.channel": BASE | {"lading.oci", "lading.http", "requests"},
    "lading.oci.upload": BASE | {"lading.oci", "lading.http"},
    "lading.oci.download": BASE | {"lading.oci", "requests"},
    "lading.oci.auth": BASE | {"lading.oci", "lading.http", "requests"},
    "lading.oci.credentials": BASE | {"lading.oci", "google"},
    "lading.vertex_api": BASE | {"lading.http", "google", "requests"},
    "lading.targets": BASE | {"lading.http", "lading.targets"},
    "lading.targets.connect": BASE | {"lading.http", "lading.targets", "lading.vertex_api"},
    "lading.targets.vertex.target": BASE | {"lading.targets", "lading.vertex_api"},
    "lading.targets.vertex.candidate": BASE | {"lading.targets", "lading.vertex_api"},
    "lading.targets.vertex.door": BASE | {"lading.targets", "lading.vertex_api", "requests"},
    "lading.targets.vertex.endpoints": BASE | {"lading.targets", "lading.vertex_api", "google"},
    "lading.targets.vertex.models": BASE | {"lading.targets", "lading.vertex_api", "google"},
    "lading.targets.vertex.operations": BASE | {"lading.vertex_api"},
    "lading.targets.google_login": BASE | {"lading.http", "google", "requests"},
    "lading.targets.identity": BASE | {"lading.http", "lading.targets", "google", "requests"},
    "lading.targets.kubeconfig": BASE | {"lading.http", "lading.targets", "kubernetes", "requests", "yaml"},
    "lading.targets.door": BASE | {"lading.http", "lading.targets", "requests"},
    "lading.local": BASE | {"lading.oci", "lading.storage", "lading.http", "lading.local"},
    "lading.predict": BASE | {"lading.predict", "numpy", "google.protobuf", "orjson", "simdjson"},
    "lading.predict.tf_record": BASE | {"google_crc32c"},  # inside a function; it works without
    "lading.predict.engines.litert": BASE | {"lading.predict", "numpy", "ai_edge_litert"},
    "lading.serving": BASE
    | {"lading.predict", "lading.serving", "lading.storage", "lading", "httptools", "orjson", "numpy"}
    | {"google.protobuf"},
    "lading.serving.grpc": BASE | {"lading.predict", "lading.serving", "grpc"},  # nothing else imports gRPC
    "lading.report": BASE | {"lading.report", "lading.run_report", "jinja2"},
    "lading.recipes": BASE
    | {"lading.storage", "lading.recipes", "lading.http", "numpy", "tensorflow", "keras", "requests"},
    "lading.train": VERB
    | {"lading", "lading.recipes", "lading.export", "lading.framework", "lading.golden", "tensorflow", "keras"},
    "lading.convert": VERB | {"lading", "lading.golden", "lading.parity", "lading.tflite"},
    "lading.scan": VERB | {"lading", "lading.scanning"},
    "lading.scanning": BASE | {"lading.scanning"},
    "lading.scanning.list_ops": BASE | {"lading.scanning", "lading.predict"},
    "lading.parity": BASE | {"lading", "lading.golden", "lading.predict", "numpy"},
    "lading.tflite": BASE | {"lading.framework", "lading.gradients", "tensorflow"},
    "lading.gradients": BASE | {"tensorflow"},
    "lading.framework": BASE | {"tensorflow", "keras"},
    "lading.export": VERB | {"lading.recipes", "tensorflow", "keras"},
    "lading.observe": VERB | {"lading.judging"},
    "lading.judging": BASE,
    "lading.package": VERB | {"lading.model_files", "lading.runtimes", "lading.scanning.compare"},
    "lading.runtimes": BASE | {"lading.oci", "lading.model_files"},
    "lading.model_files": BASE | {"lading.storage"},
    "lading.signing": BASE
    | {"lading.signing", "lading.oci", "lading.storage", "lading.http"}
    | {"cryptography", "google", "google_crc32c"},
    "lading.building": BASE | {"lading.storage", "google", "requests"},
    "lading.cloud_build": VERB | {"lading.building", "google"},
    "lading.bom": BASE | {"lading", "lading.bom", "lading.oci"},
    "lading.sbom": VERB | {"lading.bom"},
    "lading.provenance": VERB | {"lading", "lading.bom"},
    "lading.sign": VERB | {"lading.signing"},
    "lading.verify": VERB | {"lading.signing"},
    "lading.artifact_types": {"kfp"},
    "lading.vertex_batch": VERB | {"lading.batch.limit", "lading.vertex_api", "lading.vertex_jobs", "google"},
    "lading.vertex_jobs": BASE
    | {"lading.batch.limit", "lading.buckets", "lading.vertex_api", "lading.vertex_jobs", "google"},
    "lading.vertex_resources": BASE | {"lading.targets"},
    "lading.batch": BASE | {"lading.batch", "lading.predict", "numpy", "orjson", "simdjson"},
    "lading.batch.run": BASE | {"lading.batch", "lading.predict", "lading.buckets", "lading.storage"},
    "lading.batch.step": BASE | {"lading.batch", "lading.report"},
    "lading.batch.model": BASE | {"lading.batch", "lading.predict", "lading.model_files", "lading.packaged"},
    "lading.batch.formats.tf_examples": BASE | {"lading.batch", "lading.predict", "numpy", "google.protobuf"},
    "lading.batch.formats.parquet_rows": BASE | {"lading.batch", "lading.predict", "numpy", "pyarrow"},
    "lading.batch.formats.parquet_columns": BASE | {"lading.batch", "lading.predict", "numpy", "pyarrow"},
    "lading.batch.formats.arrow_columns": BASE | {"lading.batch", "lading.predict", "numpy", "pyarrow"},
    "lading.batch.formats.parquet_output": BASE | {"lading.batch", "lading.predict", "numpy", "pyarrow"},
    "lading.batch.beam": BASE | {"lading.batch", "lading.predict", "apache_beam"},
    "lading.batch.beam_runner": {"lading.errors", "apache_beam"},
    "lading.batch.service": BASE
    | {"lading", "lading.batch", "lading.serving", "lading.predict", "lading.packaged", "lading.model_files"}
    | {"lading.buckets", "lading.storage", "orjson"},
    "lading.batch.files": BASE | {"lading.batch", "lading.storage"},
    "lading.batch.finding": BASE | {"lading.batch", "lading.buckets", "lading.storage"},
    "lading.batch.sources": BASE | {"lading.batch", "lading.buckets", "lading.storage"},
    "lading.batch.objects": BASE | {"lading.batch", "lading.buckets"},
    "lading.batch.bucket_outputs": BASE | {"lading.batch", "lading.buckets"},
    "lading.spec": BASE | {"lading.spec", "lading.storage", "lading.oci", "lading.http", "yaml"},
    "lading.backends": BASE
    | {"lading.backends", "lading.http", "lading.spec", "lading.storage", "lading.vertex_api"}
    | {"kfp", "kfp_server_api", "urllib3", "google", "requests", "yaml"},
    "lading.flows": VERB
    | {"lading.flows", "lading.settle", "lading.champion", "lading.spec", "lading.backends", "lading.recipes"}
    | {"lading.bom", "lading.sbom", "lading.provenance", "lading.sign", "lading.signing", "lading.run_report"}
    | {"lading.deploy", "lading.smoke", "lading.observe", "lading.judging", "lading.promote", "lading.package"}
    | {"kfp", "yaml"},
    "lading.cli": BASE | {"lading", "lading.commands"},
    "lading.commands": {"lading"},
    "lading.__main__": {"lading.cli"},
    "lading": VERB,  # every other module of lading is a verb
    "components": {"lading", "kfp", "components.images"},
    "pipelines": {"components", "pipelines", "kfp"},
    "pipelines.catalog": {"components", "pipelines", "kfp", "yaml", "docstring_parser"},
    "containers": {"lading", "containers", "packaging"},
}  # fmt: skip

COSTLY = {"tensorflow", "keras", "kfp", "google.cloud", "yaml", "jinja2"}
"""What costs a fraction of a second or more to import, so that it must stand inside functions."""


def modules() -> list[Path]:
    folders = ("lading", "components", "pipelines", "containers")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> list[tuple[int, str, bool]]:
    """Line, module, and whether it stands at the top of the file."""
    found = []
    tree = ast.parse(path.read_text())
    inside = {
        node for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(f)
    }
    typing_only = {
        node
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test)
        for node in ast.walk(i)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, node not in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # `from lading.commands import run` names a module; `from lading.values import Check` does not.
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = (ROOT / (full.replace(".", "/") + ".py")).exists() or (
                    ROOT / full.replace(".", "/")
                ).is_dir()
                found.append((node.lineno, full if is_module else str(node.module), node not in inside))
    return found


def longest(name: str, names: "set[str] | dict[str, set[str]]") -> str | None:
    return max((n for n in names if name == n or name.startswith(n + ".")), key=len, default=None)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_only_what_its_place_allows(path: Path) -> None:
    row = longest(name_of(path), ALLOWED)
    assert row, f"{path} has no row in the table"
    for line, module, _ in imports(path):
        if module.split(".")[0] in sys.stdlib_module_names or module == name_of(path):
            continue
        allowed = longest(module, ALLOWED[row])
        # "lading" in a row means the package itself (its version) unless the row is for an edge.
        if allowed == "lading" and row not in ("lading.commands", "components", "containers") and module != "lading":
            allowed = None
        assert allowed, f"{path.relative_to(ROOT)}:{line} imports {module}, which {row} may not"


@pytest.mark.parametrize("path", [p for p in modules() if p.parts[len(ROOT.parts)] == "lading"], ids=name_of)
def test_costly_libraries_are_imported_inside_functions(path: Path) -> None:
    if name_of(path).startswith(("lading.report.", "lading.artifact_types")):
        return  # imported as a whole: inside functions, and by components
    for line, module, at_top in imports(path):
        costly = longest(module, COSTLY)
        assert not (at_top and costly), f"{path.relative_to(ROOT)}:{line} imports {module} at the top"


def test_the_environment_is_read_at_the_edges_only() -> None:
    for path in modules():
        name = name_of(path)
        edges = ("lading.cli", "lading.commands", "components", "containers", "lading.batch.beam")
        if name.startswith(edges) or name.endswith("__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            of_os = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            assert not (of_os and node.attr in ("environ", "getenv")), f"{where} reads the environment"
