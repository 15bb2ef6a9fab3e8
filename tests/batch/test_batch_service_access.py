"""Which places a batch service reads and writes, and which tricks it does not fall for."""

from pathlib import Path

import pytest

from lading.batch.service.access import Access, NotAllowed
from lading.errors import InvalidInput, InvalidReference

LISTED = Access.of(["gs://bucket/data", "/srv/rows", "host.example/models"], ["gs://in"], ["gs://out/"])
IMAGE = "host.example/models/taxi@sha256:" + 64 * "0"


def allows(check: object, *uris: str) -> list[bool]:
    def one(uri: str) -> bool:
        try:
            check(uri)  # type: ignore[operator]
        except NotAllowed:
            return False
        return True

    return [one(uri) for uri in uris]


def test_without_a_list_buckets_are_open_and_this_machine_is_not() -> None:
    anything = Access.of([], [], [])
    assert allows(anything.check_input, "gs://any/thing", "gs://any/*/x") == [True, True]
    assert allows(anything.check_write, "gs://any/thing") == [True]
    assert allows(anything.check_model, "gs://any/thing", IMAGE) == [True, True]
    for check in (anything.check_input, anything.check_write, anything.check_model):
        assert allows(check, "/etc", "file:///etc/passwd", "gs://any/../x") == [False, False, False]
    assert allows(anything.check_model, f"oci:/srv/layout@sha256:{64 * '0'}") == [False]


def test_a_list_is_all_that_is_read_and_written() -> None:
    assert allows(LISTED.check_input, "gs://bucket/data", "gs://bucket/data/x", "gs://in/a/b") == [True, True, True]
    assert allows(LISTED.check_write, "gs://bucket/data/o", "gs://out", "gs://out/x") == [True, True, True]
    assert allows(LISTED.check_input, "gs://out/x", "gs://else/x", "gs://bucket/", "gs://bucket") == 4 * [False]
    assert allows(LISTED.check_write, "gs://in/x", "gs://bucket/dat") == [False, False]
    assert allows(LISTED.check_model, IMAGE, IMAGE.replace("models", "models-evil"), "gs://in/m") == [True, False, True]


@pytest.mark.parametrize(
    "uri",
    [
        "gs://bucket-evil/data/x", "gs://bucket/data-evil/x", "gs://bucket/data/../secret", "gs://bucket/data/./x",
        "gs://bucket/data/..", "gs://in-evil/x", "GS://bucket/data", "gs:/bucket/data", "gs://bucket/data\\..\\x",
        "gs://bucket/data/x\0y", "gs://Bucket/data/x",
    ],
)  # fmt: skip
def test_tricks(uri: str) -> None:
    with pytest.raises((NotAllowed, InvalidReference)):
        LISTED.check_input(uri)


def test_a_pattern_or_a_prefix_has_to_be_below_as_a_whole() -> None:
    assert allows(LISTED.check_input, "gs://bucket/data/*", "gs://bucket/data/a?/x") == [True, True]
    assert allows(LISTED.check_input, "gs://bucket/data*", "gs://bucket/*/x", "gs://buck*", "gs://in*/x") == 4 * [False]
    assert allows(LISTED.check_input, "gs://bucket/data/[.][.]/x", "/srv/rows/*/../x") == [True, False]
    # As text "gs://bucket/data" is also the beginning of "gs://bucket/data-evil/x".
    assert allows(LISTED.check_start, "gs://bucket/data/", "gs://bucket/data/a", "gs://bucket/data") == [
        True,
        True,
        False,
    ]


def test_links_on_this_machine_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "open/link").symlink_to(tmp_path / "secret")
    (tmp_path / "door").symlink_to(tmp_path / "open")
    access = Access.of([str(tmp_path / "door")], [], [])
    inside = [f"{tmp_path}/open/x", f"{tmp_path}/door/x", f"file://{tmp_path}/door/new/deep", f"{tmp_path}/door/*.csv"]
    assert allows(access.check_input, *inside) == 4 * [True]
    outside = [f"{tmp_path}/open/link/x", f"{tmp_path}/secret", f"{tmp_path}/door/link/*", f"{tmp_path}/opener", "/"]
    assert allows(access.check_write, *outside) == 5 * [False]
    with pytest.raises(InvalidReference, match="absolute path"):
        access.check_input("open/x")


@pytest.mark.parametrize(
    ("both", "read", "write"),
    [
        ([], ["gs://in"], []),
        ([], [], ["gs://out"]),
        (["data"], [], []),
        (["/"], [], []),
        (["gs:/b"], [], []),
        (["../data"], [], []),
    ],
)
def test_a_list_that_cannot_be_meant(both: list[str], read: list[str], write: list[str]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        Access.of(both, read, write)
