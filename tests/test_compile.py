"""What is committed is what the sources compile to, and a stranger can use it: YAML, pages, and metadata."""

import datetime
import functools
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
COMPILED = ROOT / "components" / "compiled"
CATALOG = ROOT / "components" / "catalog"
NAMES = sorted(path.stem for path in COMPILED.glob("*.yaml"))
GENERATED = ("components/compiled", "components/catalog", "pipelines/compiled")


def python_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.fixture
def web() -> Iterator[str]:
    """The checkout on a web server; its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(ROOT)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_is_committed_is_current_and_yaml_is_one_document(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "pipelines.compile", tmp_path], check=True, cwd=ROOT, timeout=120)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    committed = [path for folder in GENERATED for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert made == sorted(path.relative_to(ROOT) for path in committed)
    for path in made:
        assert (tmp_path / path).read_bytes() == (ROOT / path).read_bytes(), f"{path} is stale: run `make compile`"
        if path.suffix == ".yaml":
            assert len(list(yaml.safe_load_all((ROOT / path).read_text()))) == 1


def test_every_verb_has_a_component_and_every_component_is_compiled() -> None:
    components = {p.stem for p in (ROOT / "components").glob("*.py")} - {"__init__", "images"}
    assert components == set(NAMES) == {path.name for path in CATALOG.iterdir()}
    renamed = {
        "package_with_cloud_build": "cloud_build",
        "vertex_batch_predict": "vertex_batch",
        "batch_predict": "batch/run",
    }
    verbs = {name: renamed.get(name, name) for name in components}
    assert components == {name for name in components if (ROOT / "lading" / f"{verbs[name]}.py").exists()}
    pipelines = {path.stem for path in (ROOT / "pipelines" / "compiled").glob("*.yaml")}
    assert not components & pipelines, "`lading compile NAME` could mean either"


def test_steps_with_side_effects_are_never_cached() -> None:
    """A cached deploy would deploy nothing."""

    def tasks(spec: dict) -> dict[str, bool]:
        found = {}
        for body in [spec["root"], *spec["components"].values()]:
            for name, task in body.get("dag", {}).get("tasks", {}).items():
                if "dag" not in spec["components"].get(task["componentRef"]["name"], {}):
                    found[name] = bool(task.get("cachingOptions", {}).get("enableCache"))
        return found

    cached = tasks(yaml.safe_load((ROOT / "pipelines" / "compiled" / "release.yaml").read_text()))
    assert {name for name, on in cached.items() if on} == {"train"}
    steps = {"train", "evaluate", "scan", "package", "deploy", "smoke", "promote", "settle"}
    assert set(cached) == steps | {"reject", "reject-2", "reject-3", "reject-4", "vertex-resources"}


@pytest.mark.parametrize("name", NAMES)
def test_a_component_loads_from_a_file_and_from_the_address_on_its_page(name: str, web: str) -> None:
    from kfp import components

    (address,) = re.findall(r"https://raw\S+\.yaml", (CATALOG / name / "README.md").read_text())
    assert f"/{name}.yaml" in address
    local = re.sub(r"https://.*/v[\d.]+(?=/components/)", web, address)
    by_file = components.load_component_from_file(str(COMPILED / f"{name}.yaml"))
    by_url = components.load_component_from_url(local)
    assert by_file.component_spec == by_url.component_spec
    assert by_file.name == name.replace("_", "-")


@pytest.mark.parametrize("page", [*(CATALOG / name / "README.md" for name in NAMES), ROOT / "docs" / "components.md"])
def test_the_example_of_a_page_compiles(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "components").symlink_to(ROOT / "components")
    monkeypatch.chdir(tmp_path)
    exec(python_of(page)[0], {})
    (made,) = tmp_path.glob("*.yaml")
    spec = yaml.safe_load(made.read_text())
    images = {one["container"]["image"] for one in spec["deploymentSpec"]["executors"].values() if "container" in one}
    assert images <= {f"lading/{image}:0.1.0-python3.12" for image in ("steps", "steps-train", "batch")}
    name = page.parent.name
    assert name == "docs" or f"comp-{name.replace('_', '-')}" in spec["components"]


def test_a_pipeline_of_two_components_by_someone_who_has_only_their_addresses(web: str, tmp_path: Path) -> None:
    code = f"""
from kfp import compiler, components, dsl
train = components.load_component_from_url("{web}/components/compiled/train.yaml")
evaluate = components.load_component_from_url("{web}/components/compiled/evaluate.yaml")
@dsl.pipeline(name="mine")
def mine(data: str) -> bool:
    trained = train(data=data, hyperparameters='{{"epochs": 1}}')
    judged = evaluate(model=trained.outputs["model"], heldout=trained.outputs["heldout"])
    return judged.outputs["passed"]
compiler.Compiler().compile(mine, "mine.yaml")
"""
    # Isolated (-I) and elsewhere: nothing of the checkout is read but through the web.
    subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=tmp_path, timeout=120)
    spec = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    inputs = spec["root"]["dag"]["tasks"]["evaluate"]["inputs"]["artifacts"]
    assert inputs["model"] == {"taskOutputArtifact": {"outputArtifactKey": "model", "producerTask": "train"}}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_the_compiled_component_takes_and_gives(name: str) -> None:
    page = (CATALOG / name / "README.md").read_text()
    spec = yaml.safe_load((COMPILED / f"{name}.yaml").read_text())
    for section, key in (("Inputs", "inputDefinitions"), ("Outputs", "outputDefinitions")):
        text = page.partition(f"## {section}\n")[2].partition("\n## ")[0]
        rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", text, re.M))
        known = {n: d for kind in spec["root"].get(key, {}).values() for n, d in kind.items()}
        assert set(rows) == set(known)
        for port, definition in known.items():
            assert rows[port] == " ".join(definition.get("description", rows[port]).split())
    errors = re.findall(r"^\| `(\w+)` \| .+ \|$", page.partition("## Errors\n")[2].partition("\n## ")[0], re.M)
    import lading.errors

    assert errors
    assert all(issubclass(getattr(lading.errors, error), lading.errors.LadingError) for error in errors)


@pytest.mark.parametrize("name", NAMES)
def test_metadata_has_the_form_that_the_catalogue_of_kubeflow_asks_for(name: str) -> None:
    """The rules of kubeflow/pipelines-components, scripts/validate_metadata, without that of the age."""
    found: dict[str, Any] = yaml.safe_load((CATALOG / name / "metadata.yaml").read_text())
    assert list(found) == ["name", "stability", "dependencies", "tags", "lastVerified", "ci", "links"]
    assert found["name"] == name
    assert found["stability"] in ("experimental", "alpha", "beta", "stable")
    assert isinstance(found["lastVerified"], datetime.datetime)
    assert found["lastVerified"].tzinfo
    assert set(found["dependencies"]) <= {"kubeflow", "external_services"}
    assert [one["name"] for one in found["dependencies"]["kubeflow"]] == ["Pipelines"]
    for one in [one for kind in found["dependencies"].values() for one in kind]:
        assert re.fullmatch(r"(==|>=|<=)?\d+\.\d+\.\d+", one["version"]), one
    assert all(isinstance(tag, str) for tag in found["tags"])
    assert set(found["ci"]) == {"skip_dependency_probe"}
    assert all(link.startswith("https://") for link in found["links"].values())


def test_the_index_lists_every_component_as_its_page_does() -> None:
    text = (ROOT / "docs" / "components.md").read_text()
    table = re.findall(
        r"^\| \[(\w+)\]\(\.\./components/catalog/(\w+)/README.md\) \| (.+) \| `([\w-]+)` \|$", text, re.M
    )
    assert sorted(row[0] for row in table) == NAMES
    for name, folder, summary, image in table:
        page = (CATALOG / folder / "README.md").read_text()
        assert name == folder
        assert f"# {name}\n\n{summary}\n" in page
        assert f"\n`lading/{image}:" in page
