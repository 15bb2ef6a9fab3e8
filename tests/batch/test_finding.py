"""Which files inputs name: files, directories, patterns and lists, on this machine and in buckets alike."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_places import KINDS, Emulator, Place, open_place

from lading.batch.files import find_inputs
from lading.batch.globs import Glob
from lading.errors import AccessDenied, InvalidInput, InvalidReference, NotFound

TREE = (
    "in/10.jsonl",
    "in/2.jsonl",
    "in/a-b/x.csv",
    "in/a/.hidden/x.csv",
    "in/a/_lading/progress.jsonl",
    "in/a/x.csv",
    "in/a/deep/x.csv",
    "in/.hidden",
    "in-old/x.csv",
)


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    with open_place(request.param, tmp_path, monkeypatch, emulator=emulator) as opened:
        for name in TREE:
            opened.outputs().write(name, name.encode())
        yield opened


def names(place: Place, *inputs: str, without: str = "") -> list[str]:
    return [file.name for file in find_inputs([f"{place.uri}/{one}" for one in inputs], without=without)]


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_directory_is_everything_below_but_hidden_names(place: Place, ending: str) -> None:
    found = find_inputs([f"{place.uri}/in{ending}"])
    assert [file.name for file in found] == ["10.jsonl", "2.jsonl", "a-b/x.csv", "a/deep/x.csv", "a/x.csv"]
    assert [file.uri for file in found] == [f"{place.uri}/in/{file.name}" for file in found]
    assert [file.size for file in found] == [len(f"in/{file.name}") for file in found]


def test_a_file_is_itself_and_has_an_identity_that_changes(place: Place) -> None:
    assert names(place, "in/a/x.csv") == ["x.csv"]
    assert names(place, "in/.hidden") == [".hidden"]
    before = find_inputs([f"{place.uri}/in/2.jsonl"])[0]
    assert find_inputs([f"{place.uri}/in/"])[1].identity == before.identity
    assert before.identity.startswith("generation:" if before.uri.startswith("gs://") else "mtime:")
    place.outputs().write("in/2.jsonl", b"other")
    assert find_inputs([f"{place.uri}/in/2.jsonl"])[0].identity != before.identity


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.jsonl", ["10.jsonl", "2.jsonl"]),
        ("in/?.jsonl", ["2.jsonl"]),
        ("in/[13]0.jsonl", ["10.jsonl"]),
        ("in/[!1]*.jsonl", ["2.jsonl"]),
        ("in/*/x.csv", ["a-b/x.csv", "a/x.csv"]),
        ("in/a*/*.csv", ["a-b/x.csv", "a/x.csv"]),
        ("in/**/x.csv", ["a-b/x.csv", "a/deep/x.csv", "a/x.csv"]),
        ("in/**/*.jsonl", ["10.jsonl", "2.jsonl"]),
        ("in/a/**", ["deep/x.csv", "x.csv"]),
        ("in/*/", ["a-b/x.csv", "a/deep/x.csv", "a/x.csv"]),
        ("in/**/.hidden/*", ["a/.hidden/x.csv"]),
        ("in*/a/x.csv", ["in/a/x.csv"]),
        ("in/.h*", [".hidden"]),
        ("in/a/_lading/*", ["progress.jsonl"]),
    ],
)
def test_a_pattern_finds_files_and_names_are_from_its_fixed_directory_on(
    place: Place, pattern: str, expected: list[str]
) -> None:
    assert names(place, pattern) == expected


def test_a_name_that_looks_like_a_pattern_is_the_file(place: Place) -> None:
    place.outputs().write("in/x[1].csv", b"")
    assert names(place, "in/x[1].csv") == ["x[1].csv"]


def test_a_list_names_inputs_of_any_kind(place: Place, tmp_path: Path) -> None:
    text = f"# two\n\n  {place.uri}/in/2.jsonl  \r\n{place.uri}/in/a/**\n"
    place.outputs().write("list.txt", text.encode())
    (tmp_path / "list").write_text(text)
    for uri in (f"{place.uri}/list.txt", tmp_path / "list"):
        assert [file.name for file in find_inputs([f"@{uri}"])] == ["2.jsonl", "deep/x.csv", "x.csv"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("# nothing\n", NotFound, "names no input"),
        ("@other\n", InvalidInput, "cannot name another list"),
        ("\udcff", InvalidInput, "UTF-8"),
        (None, NotFound, "no file at"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str | None, error: type[Exception], message: str) -> None:
    if text is not None:
        (tmp_path / "list").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(error, match=message):
        find_inputs([f"@{tmp_path}/list"])


def test_what_is_named_twice_is_there_once(place: Place) -> None:
    found = find_inputs([f"{place.uri}/in/2.jsonl", f"{place.uri}/in", f"{place.uri}/in/*"])
    assert len({file.uri for file in found}) == len(found) == 5


def test_inputs_whose_outputs_would_be_one_are_refused(place: Place) -> None:
    with pytest.raises(InvalidInput, match=r"two inputs have the name x\.csv.*in-old/x\.csv.*in/a/x\.csv"):
        names(place, "in/a/x.csv", "in-old")


@pytest.mark.parametrize("missing", ["nope", "nope/", "nope/*", "in/*.parquet", "in/2.jsonl/", "in/2.jsonl/*", "i"])
def test_an_input_with_nothing_is_named(place: Place, missing: str) -> None:
    with pytest.raises((NotFound, InvalidInput), match="in/2.jsonl/" if missing == "in/2.jsonl/" else "no input at"):
        names(place, missing)


@pytest.mark.parametrize("ending", ["", "/"])
def test_an_output_below_the_input_is_no_input(place: Place, ending: str) -> None:
    without = f"{place.uri}/in/a{ending}"
    assert names(place, "in", without=without) == ["10.jsonl", "2.jsonl", "a-b/x.csv"]
    assert names(place, "in/**/x.csv", without=without) == ["a-b/x.csv"]
    assert names(place, "in/a/x.csv", without=without) == ["x.csv"]
    for whole in ("in/a", "in/a/deep/", "in/a/*"):
        with pytest.raises(InvalidInput, match="lies in the output directory"):
            names(place, whole, without=without)


def test_an_output_elsewhere_takes_nothing_away(place: Place, tmp_path: Path) -> None:
    for without in ("gs://other/out/in", str(tmp_path / "elsewhere"), f"{place.uri}/in/a-"):
        assert len(names(place, "in", without=without)) == 5


def test_an_output_is_known_through_links(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    place.outputs().write("in/out/old.csv", b"")
    place.outputs().write("in/new.csv", b"")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert names(place, "in", without=str(tmp_path / "link" / "out")) == ["new.csv"]
    assert names(place, "link", without=str(tmp_path / "in" / "out")) == ["new.csv"]


def test_links_to_files_count_and_links_to_directories_do_not(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    place.outputs().write("in/a/x.csv", b"1")
    (tmp_path / "in" / "link.csv").symlink_to("a/x.csv")
    (tmp_path / "in" / "a" / "circle").symlink_to(tmp_path / "in")
    assert names(place, "in") == ["a/x.csv", "link.csv"]


def test_what_is_neither_file_nor_directory_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="which is neither"):
        find_inputs([str(tmp_path / "pipe")])
    for nothing in ("", "@"):
        with pytest.raises(InvalidInput, match="expected an input"):
            find_inputs([nothing])


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.csv")).write_bytes(b"")
    with pytest.raises(InvalidInput, match="is not UTF-8"):
        find_inputs([str(tmp_path)])


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for uri in ("x.csv", "./x.csv", "*.csv", ".", f"file://{tmp_path}/x.csv"):
        assert [file.uri for file in find_inputs([uri])] == [str(tmp_path / "x.csv")]


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with open_place("bucket", tmp_path, monkeypatch) as opened:
        yield opened


def test_names_that_lead_out_of_a_directory_are_refused(bucket: Place) -> None:
    assert bucket.server is not None
    bucket.server.put("b", "in/../../etc/x", b"")
    with pytest.raises(NotFound):  # hidden
        find_inputs(["gs://b/in"])
    with pytest.raises(InvalidInput, match="leads out"):
        find_inputs(["gs://b/in/../.*/*/*"])


def test_a_whole_bucket_and_the_folders_that_consoles_make(bucket: Place) -> None:
    assert bucket.server is not None
    for name in ("in/", "in/x.csv", "y.csv"):
        bucket.server.put("b", name, b"1")
    assert [file.name for file in find_inputs(["gs://b"])] == ["in/x.csv", "y.csv"]
    assert [file.name for file in find_inputs(["gs://b/*"])] == ["y.csv"]


def test_a_bucket_that_is_missing_or_denied_says_so(bucket: Place) -> None:
    assert bucket.server is not None
    bucket.server.buckets["secret"] = {}
    bucket.server.denied.add("secret")
    for uri in ("a/x", "a/", "a/*"):
        with pytest.raises(NotFound, match="no bucket nowhere"):
            find_inputs([f"gs://nowhere/{uri}"])
        with pytest.raises(AccessDenied, match=r"roles/storage\.object"):
            find_inputs([f"gs://secret/{uri}"])
    with pytest.raises(InvalidReference, match="expected a path"):
        find_inputs(["s3://b/x"])


def test_many_objects_come_in_pages_and_in_order(bucket: Place) -> None:
    assert bucket.server is not None
    for number in range(2500):
        bucket.server.put("b", f"in/{number}", b"")
    found = find_inputs(["gs://b/in"])
    assert [file.name for file in found] == sorted(str(number) for number in range(2500))


def test_directories_that_cannot_hold_a_file_are_not_entered() -> None:
    glob = Glob("data/*/a*/**/x.csv")
    for name, entered in (("1", True), ("1/b", False), ("1/ab", True), ("1/ab/any/where", True), ("1/ab/.git", False)):
        assert glob.may_hold(name) is entered
    assert not Glob("data/*/x.csv").may_hold("1/deep")
