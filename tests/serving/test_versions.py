"""Which versions a base path has."""

from pathlib import Path

import pytest

from lading.errors import InvalidModel, NotFound
from lading.serving.config import VersionPolicy
from lading.serving.versions import check_links, choose, find_versions, fingerprint


def make(base: Path, *names: str) -> Path:
    for name in names:
        (base / name).mkdir(parents=True)
    return base


def test_every_child_that_reads_as_a_number_is_a_version_highest_first(tmp_path: Path) -> None:
    make(
        tmp_path,
        "9",
        "10",
        "00000123",
        "latest",
        ".11.part",
        "1.5",
        "-3",
        "²",
        "9223372036854775807",
        "9223372036854775808",
    )
    found = find_versions(str(tmp_path)).places
    assert list(found) == [2**63 - 1, 123, 10, 9]
    assert found[123] == str(tmp_path / "00000123")


def test_of_two_names_for_one_number_one_is_left_out(tmp_path: Path) -> None:
    found = find_versions(str(make(tmp_path, "2", "002")))
    assert found.places == {2: str(tmp_path / "002")}
    assert found.doubles == (str(tmp_path / "2"),)


@pytest.mark.parametrize(("name", "number"), [("17", 17), ("fashion", 1)])
def test_a_directory_that_holds_a_model_is_one_version(tmp_path: Path, name: str, number: int) -> None:
    directory = make(tmp_path, f"{name}/5") / name
    (directory / "saved_model.pb").touch()
    assert find_versions(str(directory)).places == {number: str(directory)}
    assert list(find_versions(f"{directory}/").places) == [number]
    assert list(find_versions(f"file://{directory}").places) == [number]


def test_a_base_path_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"{tmp_path}/nope, found nothing"):
        find_versions(f"{tmp_path}/nope")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidModel, match=f"{tmp_path}/file, found a file"):
        find_versions(f"{tmp_path}/file")


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), [10]),
        (VersionPolicy(latest=2), [10, 9]),
        (VersionPolicy(latest=9), [10, 9, 2]),
        (VersionPolicy(latest=None), [10, 9, 2]),
        (VersionPolicy(latest=None, specific=(2, 9, 77)), [9, 2]),
    ],
)
def test_the_policy_chooses(tmp_path: Path, policy: VersionPolicy, chosen: list[int]) -> None:
    assert list(choose(find_versions(str(make(tmp_path, "2", "9", "10"))).places, policy)) == chosen


def test_files_that_change_change_the_fingerprint(tmp_path: Path) -> None:
    place = str(make(tmp_path, "1/variables") / "1")
    seen = [fingerprint(place)]
    (tmp_path / "1" / "variables" / "data").write_bytes(b"1")
    seen.append(fingerprint(place))
    (tmp_path / "1" / "variables" / "data").write_bytes(b"12")
    seen.append(fingerprint(place))
    assert len(set(seen)) == 3
    assert fingerprint(place) == seen[-1]


@pytest.mark.parametrize("target", ["../../secret", "/etc", "nope/../../../secret"])
def test_a_link_that_leads_out_of_the_base_path_is_refused(tmp_path: Path, target: str) -> None:
    base = make(tmp_path, "base/1/assets", "secret") / "base"
    (base / "1" / "assets" / "words").symlink_to(target if target.startswith("/") else f"../{target}")
    with pytest.raises(InvalidModel, match="leads out of it: assets/words -> /"):
        check_links(base / "1", base)


def test_a_link_behind_a_link_is_found(tmp_path: Path) -> None:
    base = make(tmp_path, "base/1", "base/shared", "secret") / "base"
    (base / "1" / "assets").symlink_to("../shared")
    check_links(base / "1", base)
    (base / "shared" / "words").symlink_to("../../secret")
    with pytest.raises(InvalidModel, match="assets/words"):
        check_links(base / "1", base)


def test_links_as_kubernetes_mounts_volumes_are_fine(tmp_path: Path) -> None:
    base = make(tmp_path, "base/..2026_10_01/1", "releases/abc") / "base"
    (base / "..2026_10_01" / "1" / "saved_model.pb").touch()
    (base / "..data").symlink_to("..2026_10_01")
    (base / "1").symlink_to("..data/1")
    (base / "loop").symlink_to(".")
    check_links(base / "1", base)
    # The version itself may be a link to anywhere, and its own links may lead to other places in it.
    (tmp_path / "releases" / "abc" / "weights").touch()
    (tmp_path / "releases" / "abc" / "again").symlink_to("weights")
    (base / "2").symlink_to(tmp_path / "releases" / "abc")
    check_links(base / "2", base)
