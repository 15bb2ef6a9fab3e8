"""The documents tell the truth: tables equal the code, and the package says what it exports."""

import argparse
import ast
import re
from pathlib import Path

import pytest

from lading import __version__
from lading.cli import build_parser

ROOT = Path(__file__).parent.parent


def commands() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Every command by its words, with its line of help: ``{"local start": ("…", parser)}``."""

    def walk(parser: argparse.ArgumentParser, words: str) -> dict[str, tuple[str, argparse.ArgumentParser]]:
        found = {}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                lines = {choice.dest: choice.help for choice in action._choices_actions}
                for name, sub in action.choices.items():
                    below = walk(sub, f"{words} {name}".strip())
                    found.update(below or {f"{words} {name}".strip(): (lines[name] or "", sub)})
        return found

    return walk(build_parser(), "")


def test_the_table_of_commands_equals_help() -> None:
    table = dict(re.findall(r"^\| `lading ([a-z -]+)` \| (.+) \|$", (ROOT / "docs" / "cli.md").read_text(), re.M))
    assert table == {words: line for words, (line, _) in commands().items()}


@pytest.mark.parametrize("words", commands())
def test_every_option_is_explained_and_json_is_everywhere(words: str) -> None:
    _, parser = commands()[words]
    for action in parser._actions:
        assert action.help, f"lading {words} {action.dest} has no help"
    if words not in ("serve", "local logs"):
        assert any("--json" in action.option_strings for action in parser._actions)


def test_one_version_everywhere() -> None:
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f":{__version__}-" in (ROOT / "components" / "images.py").read_text()


def public(path: Path) -> list[ast.AST]:
    tree = ast.parse(path.read_text())
    kinds = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
    return [tree, *(node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_"))]


@pytest.mark.parametrize("path", sorted((ROOT / "lading").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_public_is_documented(path: Path) -> None:
    if "compiled" in path.parts:
        return
    for node in public(path):
        assert ast.get_docstring(node), f"{path}: {getattr(node, 'name', 'the module')} has no docstring"


def test_the_lock_file_names_no_host() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--" not in lock
    assert re.search(r"^kfp==", lock, re.M)
