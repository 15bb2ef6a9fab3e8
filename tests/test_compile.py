"""What is committed as YAML is what the sources compile to, and it is one document."""

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def test_committed_yaml_is_current_and_single(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "pipelines.compile", tmp_path], check=True, cwd=ROOT, timeout=120)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.yaml"))
    committed = sorted(
        p.relative_to(ROOT) for folder in ("components", "pipelines") for p in (ROOT / folder).rglob("*.yaml")
    )
    assert made == committed
    for path in made:
        assert (tmp_path / path).read_text() == (ROOT / path).read_text(), f"{path} is stale: run `make compile`"
        assert len(list(yaml.safe_load_all((ROOT / path).read_text()))) == 1


def test_every_verb_has_a_component_and_every_component_is_compiled() -> None:
    components = {p.stem for p in (ROOT / "components").glob("*.py")} - {"__init__", "images"}
    assert components == {p.stem for p in (ROOT / "components" / "compiled").glob("*.yaml")}
    assert components == {name for name in components if (ROOT / "lading" / f"{name}.py").exists()}


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
    assert set(cached) == {"train", "evaluate", "package", "deploy", "smoke", "promote", "reject", "reject-2", "settle"}
