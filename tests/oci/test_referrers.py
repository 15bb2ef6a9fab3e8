"""Registries that list referrers, that do not, and that answer with something else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.service import JsonService, Raw

from lading.errors import AccessDenied, RemoteError
from lading.oci.image import INDEX_TYPE
from lading.oci.registry import Registry
from lading.wait import Deadline

DIGEST = f"sha256:{'d' * 64}"


class Pages(JsonService):
    """Answers ``/v2/team/taxi/referrers/…`` with what ``answers`` holds, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Any] = []
        self.routes = [("GET", r"/v2/team/taxi/referrers/(.+)", self.answer)]

    def answer(self, digest: str, query: dict[str, str], body: Any) -> Any:
        assert digest == DIGEST
        return self.answers.pop(0)


@pytest.fixture
def pages() -> Iterator[Pages]:
    made = Pages()
    yield made
    made.stop()


def page(*digests: str, following: str = "") -> Raw:
    entries = ",".join(f'{{"digest": "{digest}"}}' for digest in digests)
    link = {"Link": f'<{following}>; rel="next"'} if following else {}
    return Raw(200, f'{{"manifests": [{entries}]}}'.encode(), {"Content-Type": INDEX_TYPE, **link})


def listed(pages: Pages, tmp_path: Path) -> list[str] | None:
    registry = Registry(pages.url.removeprefix("http://"), "team/taxi", environ={"HOME": str(tmp_path)})
    found = registry.referrers(DIGEST, deadline=Deadline.after(5))
    return None if found is None else [entry["digest"] for entry in found]


def test_every_page_is_read(pages: Pages, tmp_path: Path) -> None:
    pages.answers = [page("a", "b", following=f"/v2/team/taxi/referrers/{DIGEST}?n=2&last=b"), page("c"), page("never")]
    assert listed(pages, tmp_path) == ["a", "b", "c"]


def test_an_empty_list_is_a_list(pages: Pages, tmp_path: Path) -> None:
    pages.answers = [page()]
    assert listed(pages, tmp_path) == []


@pytest.mark.parametrize("code", [404, 400, 405, 501])
def test_a_registry_that_does_not_know_the_path_lists_nothing(pages: Pages, tmp_path: Path, code: int) -> None:
    pages.failures = [(code, "what?")]
    assert listed(pages, tmp_path) is None


def test_a_page_for_people_is_no_list(pages: Pages, tmp_path: Path) -> None:
    pages.answers = [Raw(200, b"<html>welcome</html>", {"Content-Type": "text/html"})]
    assert listed(pages, tmp_path) is None


@pytest.mark.parametrize("content", [b"[]", b'{"manifests": 7}', b"{", b'{"manifests": [1]}'])
def test_a_list_that_cannot_be_read_is_an_error_not_an_empty_one(pages: Pages, tmp_path: Path, content: bytes) -> None:
    pages.answers = [Raw(200, content, {"Content-Type": INDEX_TYPE})]
    with pytest.raises(RemoteError, match="expected a list of referrers"):
        listed(pages, tmp_path)


def test_who_may_not_read_is_told(pages: Pages, tmp_path: Path) -> None:
    pages.failures = [(403, "no")]
    with pytest.raises(AccessDenied):
        listed(pages, tmp_path)


def test_pages_that_lead_elsewhere_or_nowhere_are_refused(pages: Pages, tmp_path: Path) -> None:
    pages.answers = [page("a", following="http://169.254.169.254/latest")]
    with pytest.raises(RemoteError, match="elsewhere"):
        listed(pages, tmp_path)
    pages.answers = [page("a", following=f"/v2/team/taxi/referrers/{DIGEST}?last=a") for _ in range(60)]
    with pytest.raises(RemoteError, match="more than 50 pages"):
        listed(pages, tmp_path)
