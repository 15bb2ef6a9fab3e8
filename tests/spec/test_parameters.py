"""Parameters from words, a file and the environment."""

from pathlib import Path
from typing import Any

import pytest

from lading.errors import InvalidInput, NotFound
from lading.spec.ir import Pipeline
from lading.spec.parameters import gather_parameters


def pipeline(**parameters: Any) -> Pipeline:
    declared = {name: kind if isinstance(kind, dict) else {"parameterType": kind} for name, kind in parameters.items()}
    root = {"inputDefinitions": {"parameters": declared}}
    return Pipeline({"pipelineInfo": {"name": "p"}, "schemaVersion": "2.1.0", "root": root}, {}, "p.yaml")


ALL = pipeline(text="STRING", whole="NUMBER_INTEGER", share="NUMBER_DOUBLE", flag="BOOLEAN", rows="LIST", more="STRUCT")
WORDS = ["text=1", "whole=3", "share=0.5", "flag=TRUE", "rows=[1, 2]", 'more={"a": 1}']
VALUES = {"text": "1", "whole": 3, "share": 0.5, "flag": True, "rows": [1, 2], "more": {"a": 1}}


def test_words_are_read_by_the_declared_type() -> None:
    assert gather_parameters(ALL, words=WORDS) == VALUES


def test_a_file_has_its_own_types(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("text: '1'\nwhole: 3\nshare: 1\nflag: true\nrows: [1, 2]\nmore: {a: 1}\n")
    found = gather_parameters(ALL, file=str(file))
    assert found == VALUES | {"share": 1.0}
    assert type(found["share"]) is float


def test_a_mapping_for_a_text_parameter_becomes_json(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("hyperparameters:\n  epochs: 5\n")
    assert gather_parameters(pipeline(hyperparameters="STRING"), file=str(file)) == {"hyperparameters": '{"epochs": 5}'}


def test_words_win_over_the_file_and_the_file_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("b: file\nc: file\n")
    environ = {"LADING_PARAM_A": "environment", "LADING_PARAM_B": "environment", "LADING_PARAM_C": "environment"}
    three = pipeline(a="STRING", b="STRING", c="STRING")
    found = gather_parameters(three, words=["c=word"], file=str(file), environ=environ)
    assert found == {"a": "environment", "b": "file", "c": "word"}


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("NUMBER_INTEGER", "1.5"),
        ("NUMBER_INTEGER", "true"),
        ("NUMBER_INTEGER", "x"),
        ("NUMBER_DOUBLE", "x"),
        ("NUMBER_DOUBLE", "NaN"),
        ("BOOLEAN", "1"),
        ("LIST", "{}"),
        ("STRUCT", "[]"),
    ],
)
def test_a_word_of_another_type_is_refused_with_both(kind: str, word: str) -> None:
    with pytest.raises(InvalidInput, match=r"--set: a: expected .*, received"):
        gather_parameters(pipeline(a=kind), words=[f"a={word}"])


def test_a_number_for_a_text_in_a_file_asks_for_quotes(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("a: 1\n")
    with pytest.raises(InvalidInput, match="quotes"):
        gather_parameters(pipeline(a="STRING"), file=str(file))


def test_every_problem_is_named_at_once() -> None:
    declared = pipeline(
        a="STRING", b="NUMBER_INTEGER", c={"parameterType": "STRING", "defaultValue": ""},
        d={"parameterType": "STRING", "isOptional": True},
    )  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        gather_parameters(declared, words=["b=x", "nope=1", "word"], environ={"LADING_PARAM_ODD": "1"})
    for words in (
        "a: missing",
        "b: expected a whole number",
        "'nope' is not a parameter",
        "'word'",
        "LADING_PARAM_ODD",
    ):
        assert words in str(caught.value)
    assert "c:" not in str(caught.value)
    assert "d:" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n", "{", "text"])
def test_a_file_that_is_no_mapping_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InvalidInput, match=r"p\.yaml: expected YAML"):
        gather_parameters(ALL, file=str(tmp_path / "p.yaml"))
    with pytest.raises(NotFound):
        gather_parameters(ALL, file=str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "KFP v1"),
        ("name: x\nimplementation: {}\n", "KFP v1"),
        ("a: 1\n", "pipelineInfo, root, schemaVersion"),
        ("[1]\n", "expected a mapping"),
        ("{", "not a compiled"),
        ("", "expected a mapping"),
        ("pipelineInfo: {}\nroot: {}\nschemaVersion: 3.0.0\n", r"3\.0\.0"),
        ("pipelineInfo: {}\nroot: {}\nschemaVersion: 2.1.0\n---\na: 1\n", "platforms"),
    ],
)
def test_what_is_no_compiled_pipeline_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Pipeline.parse(text, source="x.yaml")


def test_the_default_of_a_whole_number_is_one() -> None:
    """KFP's compiler writes 3.0, which its local runner then refuses."""
    declared = pipeline(epochs={"parameterType": "NUMBER_INTEGER", "defaultValue": 3.0}, free="STRING")
    assert declared.defaults == {"epochs": 3}
    assert type(declared.defaults["epochs"]) is int
