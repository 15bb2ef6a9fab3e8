"""Options of batch prediction jobs."""

import json

import pytest

from lading.errors import (
    InvalidInput,
)
from lading.vertex_jobs.options import JobOptions


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "a JSON object"),
        ("{", "a JSON object"),
        ('{"speed": 1}', "no such option: speed"),
        ('{"batch_size": "4"}', "expected int as the option batch_size"),
        ('{"batch_size": -1}', "expected batch_size of 1 or more"),
        ('{"included_fields": "x"}', "a list of strings"),
        ('{"labels": {"a": 1}}', "an object of strings"),
        ('{"labels": {"Team": "x"}}', "at most 63 of a-z"),
        ('{"labels": {"lading-request": "x"}}', "lading's own"),
        ('{"included_fields": ["x"], "excluded_fields": ["y"]}', "received both"),
        ('{"input_format": "csv", "included_fields": ["x"]}', "Vertex does not take it with csv"),
        ('{"input_format": "file-list", "key_field": "x"}', "Vertex does not take it with file-list"),
        ('{"input_format": "parquet"}', "expected as input format one of jsonl, csv"),
        ('{"starting_replicas": 4, "max_replicas": 2}', "starting_replicas ≤ max_replicas"),
        ('{"accelerator_type": "NVIDIA_L4"}', "accelerator_count, or neither"),
        ('{"encryption_key": "k"}', "expected as encryption key projects/"),
        ('{"service_account": "me"}', "an e-mail address"),
        ('{"instance_type": "list"}', "object or array"),
    ],
)
def test_options_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        JobOptions.from_json(text)


def test_options_from_a_pipeline() -> None:
    found = JobOptions.from_json('{"batch_size": 8.0, "excluded_fields": ["id"], "labels": {"team": "x"}}')
    assert found == JobOptions(batch_size=8, excluded_fields=("id",), labels={"team": "x"})
    assert json.loads(json.dumps({"size": found.batch_size})) == {"size": 8}
