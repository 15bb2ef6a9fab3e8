"""Predictions as AI Platform's batch jobs wrote them."""

import ast
import json

import numpy as np
import pytest
from output_files import FLOAT, INT64, STRING, signature, strings

from lading.batch.formats.ai_platform import AiPlatformOutput, errors_stats
from lading.batch.formats.base import open_output
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput

ONE = signature(y=(FLOAT, (None, 2)))


def test_a_single_output_has_its_name() -> None:
    found = open_output(ONE, BatchOptions(output_format="ai-platform"))
    assert isinstance(found, AiPlatformOutput)
    content = found.head() + found.encode({"y": np.float32([[0.1, 2], [np.nan, 4]])}, {})
    assert content == b'{"y":[0.1,2.0]}\n{"y":[NaN,4.0]}\n'


def test_carried_columns_stand_beside_the_outputs() -> None:
    found = signature(scores=(FLOAT, (None,)), image_bytes=(STRING, (None,)), key=(INT64, (None,)))
    output = AiPlatformOutput(found, BatchOptions(key_field="id"))
    outputs = {"scores": np.float32([0.5]), "image_bytes": strings([b"\xff"]), "key": np.int64([2**60])}
    line = json.loads(output.encode(outputs, {"id": ["a"]}))
    assert line == {"id": "a", "scores": 0.5, "image_bytes": {"b64": "/w=="}, "key": 2**60}
    with pytest.raises(InvalidInput, match="'key' cannot be carried"):
        AiPlatformOutput(found, BatchOptions(passthrough=("key",)))


def test_errors_are_texts_of_tuples_the_most_frequent_first() -> None:
    reasons = {"b": 1, 'it\'s "no" number\nat é': 3, "a": 1, "\ud800": 2}
    lines = errors_stats(reasons).decode().splitlines()
    assert [ast.literal_eval(line) for line in lines] == [
        ('it\'s "no" number\nat é', 3),
        ("\ud800", 2),
        ("a", 1),
        ("b", 1),
    ]
    assert lines[2] == "('a', 1)"
    assert errors_stats({}) == b""
