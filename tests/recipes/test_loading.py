"""Finding and loading recipes, and their hyperparameters; no model is trained here."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from lading.errors import InvalidInput, InvalidRecipe
from lading.recipes import find_recipe, load_recipe
from lading.recipes.contract import resolve_hyperparameters

GOOD = "HYPERPARAMETERS = {'epochs': 3}\n\ndef train(data, hyperparameters):\n    return None\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    return path


def test_a_built_in_recipe_is_found_by_name() -> None:
    found = load_recipe("fashion_mnist")
    assert found.defaults["epochs"] == 3
    assert len(found.sha256) == 64


def test_a_file_is_found_by_path_and_by_uri(recipe: Path) -> None:
    digest = hashlib.sha256(GOOD.encode()).hexdigest()
    for uri in (str(recipe), f"file://{recipe}"):
        for given in ("", digest, digest.upper(), f"sha256:{digest}"):
            found = load_recipe(uri, given)
            assert (found.name, found.sha256, found.defaults) == (uri, digest, {"epochs": 3})


def test_a_recipe_may_define_dataclasses(tmp_path: Path) -> None:
    """They look their module up by name."""
    path = tmp_path / "typed.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Row:\n    size: int = 1\n\ndef train(data, hyperparameters):\n    return Row()\n"
    )
    assert load_recipe(str(path)).function("", {}).size == 1


@pytest.mark.parametrize(
    ("uri", "digest", "message"),
    [
        ("fashion_mist", "", "unknown recipe 'fashion_mist'; built-in recipes: fashion_mnist"),
        ("", "", "unknown recipe ''"),
        ("./missing.py", "", "no file at ./missing.py"),
        ("https://example.com/r.py", "", "expected a path, file:// or gs://"),
        ("gs://bucket/r.py", "", "a remote recipe needs its sha256"),
        ("fashion_mnist", "abc", "expected the recipe's sha256 as 64 hex digits"),
        ("fashion_mnist", "0" * 64, "expected sha256 0000"),
    ],
)
def test_recipes_that_cannot_be_found_are_refused(uri: str, digest: str, message: str) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        find_recipe(uri, digest)
    assert message in str(caught.value)


def test_an_altered_file_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "altered.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(InvalidRecipe, match="the file was changed"):
        load_recipe(str(path), "0" * 64)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\n", "expected a function train(data, hyperparameters), found none"),
        ("train = 3\n", "expected a function train"),
        ("x = 1\ndef train(:\n", "bad.py, line 2: not valid Python"),
        ("x = 1\n\nimport no_such_module\n", "bad.py, line 3: the import failed: ModuleNotFoundError"),
        ("def f():\n    return 1 / 0\n\nf()\n", "bad.py, line 2: the import failed: ZeroDivisionError"),
        ("raise SystemExit(0)\n", "bad.py, line 1: the import failed: SystemExit"),
        ("HYPERPARAMETERS = ['epochs']\ndef train(d, h): ...\n", "expected HYPERPARAMETERS as a dict"),
        ("HYPERPARAMETERS = {'a': None}\ndef train(d, h): ...\n", "expected HYPERPARAMETERS as a dict"),
    ],
)
def test_recipes_that_break_the_contract_are_refused(tmp_path: Path, code: str, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(code)
    with pytest.raises(InvalidRecipe) as caught:
        load_recipe(str(path))
    assert message in str(caught.value)


def test_hyperparameters_override_the_defaults() -> None:
    defaults = {"epochs": 3, "rate": 0.1, "name": "adam", "fast": True}
    given = {"epochs": 5.0, "rate": 1, "fast": False}
    resolved = resolve_hyperparameters(defaults, given)
    assert resolved == {"epochs": 5, "rate": 1.0, "name": "adam", "fast": False}
    assert (type(resolved["epochs"]), type(resolved["rate"])) == (int, float)


def test_every_wrong_hyperparameter_is_named() -> None:
    defaults = {"epochs": 3, "rate": 0.1, "name": "adam", "fast": True}
    given = {"epoch": 3, "epochs": 2.5, "rate": "0.1", "name": 3, "fast": 1}
    with pytest.raises(InvalidInput) as caught:
        resolve_hyperparameters(defaults, given)
    for text in (
        "epoch: unknown, this recipe has epochs, rate, name, fast",
        "epochs: expected int such as 3, received 2.5",
        "rate: expected float such as 0.1, received '0.1'",
        "name: expected str such as 'adam', received 3",
        "fast: expected bool such as True, received 1",
    ):
        assert text in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, [3]])
def test_what_is_no_number_is_no_number(value: object) -> None:
    for defaults in ({"x": 3}, {"x": 0.5}):
        with pytest.raises(InvalidInput, match="x: expected"):
            resolve_hyperparameters(defaults, {"x": value})


def test_recipes_are_imported_without_tensorflow_and_numpy() -> None:
    code = (
        "import sys; from lading.recipes import find_recipe; find_recipe('fashion_mnist');"
        "sys.exit(bool({'numpy', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
