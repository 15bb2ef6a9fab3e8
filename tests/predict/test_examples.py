import pytest

from lading.errors import InvalidInstance
from lading.predict.examples import examples_from_input, examples_from_json
from lading.predict.protos import message


def features(serialized: bytes) -> dict:
    found = message("tensorflow.Example").FromString(serialized).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in found.items()}
    return {name: (kind, list(getattr(found[name], kind).value) if kind else []) for name, kind in kinds.items()}


def test_the_way_a_number_is_written_decides_its_kind() -> None:
    (example,) = examples_from_json(
        {"examples": [{"i": 2, "f": 2.0, "b": True, "s": "ä", "b64": {"b64": "AP8="}, "l": [1, False], "none": []}]}
    )
    assert features(example) == {
        "i": ("int64_list", [2]),
        "f": ("float_list", [2.0]),
        "b": ("int64_list", [1]),
        "s": ("bytes_list", ["ä".encode()]),
        "b64": ("bytes_list", [b"\x00\xff"]),
        "l": ("int64_list", [1, 0]),
        "none": (None, []),
    }


def test_floats_may_be_beyond_float32_and_not_finite() -> None:
    (example,) = examples_from_json({"examples": [{"f": [1e300, float("-inf"), float("nan")]}]})
    kind, (huge, low, nan) = features(example)["f"]
    assert (kind, huge, low) == ("float_list", float("inf"), float("-inf"))
    assert nan != nan


def test_the_context_stands_in_front_and_an_example_wins() -> None:
    first, second = examples_from_json({"context": {"a": 1, "c": "x"}, "examples": [{"a": 5}, {}]})
    assert features(first) == {"a": ("int64_list", [5]), "c": ("bytes_list", [b"x"])}
    assert features(second) == {"a": ("int64_list", [1]), "c": ("bytes_list", [b"x"])}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [[1]]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [True]}, "Example must be JSON object but got JSON True"),
        ({"context": "x", "examples": [{}]}, "Example must be JSON object but got JSON String"),
        ({"examples": [{"f": None}]}, "Feature: f has element with unexpected JSON type: Null"),
        ({"examples": [{"f": [[1]]}]}, "Feature: f has element with unexpected JSON type: Array"),
        ({"examples": [{"f": {"b64": 1}}]}, "Feature: f has element with unexpected JSON type: Object"),
        ({"examples": [{"f": [1, 1.0]}]}, "Unexpected element type in feature: f expecting type: int64"),
        ({"examples": [{"f": [1.0, "a"]}]}, "Unexpected element type in feature: f expecting type: float"),
        ({"examples": [{"f": ["a", True]}]}, "Unexpected element type in feature: f expecting type: bytes"),
        ({"examples": [{"f": 2**63}]}, "Feature: f has uint64_t element. Only int64_t is supported."),
        ({"examples": [{"f": {"b64": "?"}}]}, "Unable to base64 decode"),
        ({"examples": [{"\udcff": 1}]}, "is not UTF-8"),
    ],
)
def test_errors_are_those_of_tensorflow_serving(members: dict, said: str) -> None:
    with pytest.raises(InvalidInstance) as error:
        examples_from_json(members)
    assert said in str(error.value)


def test_examples_of_a_grpc_input() -> None:
    Input = message("tensorflow.serving.Input")
    example = message("tensorflow.Example").FromString(examples_from_json({"examples": [{"a": 5}]})[0])
    context = message("tensorflow.Example").FromString(examples_from_json({"examples": [{"a": 1, "b": 2}]})[0])
    plain = Input(example_list={"examples": [example, example]})
    assert [features(found) for found in examples_from_input(plain)] == [{"a": ("int64_list", [5])}] * 2
    with_context = Input(example_list_with_context={"context": context, "examples": [example]})
    (found,) = examples_from_input(with_context)
    assert features(found) == {"a": ("int64_list", [5]), "b": ("int64_list", [2])}
    for empty in (Input(), Input(example_list={}), Input(example_list_with_context={"context": context})):
        with pytest.raises(InvalidInstance, match=r"^Input is empty.$"):
            examples_from_input(empty)
