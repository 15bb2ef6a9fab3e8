"""ID tokens from every source, by google-auth and by hand, from servers that check what they are given."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes.iam_server import RUNNER, IamServer
from fakes.metadata_server import MetadataServer
from fakes.service import JsonService, Refused

from lading.errors import AccessDenied, InvalidInput
from lading.http import Client
from lading.targets.advice import ExplainedClient
from lading.targets.identity import IdTokens, IdTokenSession, id_token_advice
from lading.wait import Deadline

AUDIENCE = "https://tiny-abc-ew.a.run.app"
SMOKER = "smoker@demo-project.iam.gserviceaccount.com"
NOBODY = {"GCE_METADATA_HOST": "127.0.0.1:1"}
"""Loopback's port 1: nothing listens there."""


@pytest.fixture
def iam() -> Iterator[IamServer]:
    server = IamServer()
    yield server
    server.stop()


@pytest.fixture
def tokens(iam: IamServer, tmp_path: Path) -> Callable[..., IdTokens]:
    def make(**environ: str) -> IdTokens:
        here = {"HOME": str(tmp_path), "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": iam.url}
        return IdTokens({**here, **NOBODY, **environ})

    return make


def make(tokens: IdTokens, audience: str = AUDIENCE, **options: str) -> str:
    return tokens.token(audience, deadline=Deadline.after(20), **options)


def test_a_token_of_the_environment_comes_first(tokens: Callable[..., IdTokens], iam: IamServer) -> None:
    found = tokens(LADING_ID_TOKEN="given\n", LADING_IMPERSONATE_SERVICE_ACCOUNT=SMOKER)
    assert make(found) == "given"
    assert iam.minted == []


def test_the_key_of_a_service_account(tokens: Callable[..., IdTokens], iam: IamServer, tmp_path: Path) -> None:
    claims = iam.claims(make(tokens(GOOGLE_APPLICATION_CREDENTIALS=str(iam.key_file(tmp_path / "key.json")))))
    assert claims is not None
    assert (claims["aud"], claims["email"]) == (AUDIENCE, RUNNER)


def test_a_key_that_is_not_taken(tokens: Callable[..., IdTokens], iam: IamServer, tmp_path: Path) -> None:
    other = IamServer(key=1)
    key = json.loads(other.key_file(tmp_path / "key.json").read_text())
    other.stop()
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**key, "token_uri": f"{iam.url}/token"}))
    with pytest.raises(AccessDenied, match=r"Invalid JWT Signature.*GOOGLE_APPLICATION_CREDENTIALS"):
        make(tokens(GOOGLE_APPLICATION_CREDENTIALS=str(path)))


def test_impersonation(tokens: Callable[..., IdTokens], iam: IamServer) -> None:
    person = iam.access_token("person@example.com")  # as `gcloud auth print-access-token` prints it
    found = tokens(CLOUDSDK_AUTH_ACCESS_TOKEN=person, LADING_IMPERSONATE_SERVICE_ACCOUNT=SMOKER)
    with pytest.raises(AccessDenied, match=r"getOpenIdToken.*roles/iam.serviceAccountOpenIdTokenCreator on it"):
        make(found)
    iam.may_impersonate.add(("person@example.com", SMOKER))
    claims = iam.claims(make(found))
    assert claims is not None
    assert (claims["aud"], claims["email"]) == (AUDIENCE, SMOKER)


def test_default_credentials_that_impersonate(tokens: Callable[..., IdTokens], iam: IamServer, tmp_path: Path) -> None:
    # What `gcloud auth application-default login --impersonate-service-account` leaves.
    folder = tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    source = json.loads(iam.key_file(tmp_path / "key.json").read_text())
    where = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{SMOKER}:generateAccessToken"
    body = {"type": "impersonated_service_account", "service_account_impersonation_url": where}
    path = folder / "application_default_credentials.json"
    path.write_text(json.dumps({**body, "source_credentials": source, "delegates": []}))
    iam.may_impersonate.add((RUNNER, SMOKER))
    claims = iam.claims(make(tokens()))
    assert claims is not None
    assert claims["email"] == SMOKER


def test_the_metadata_server(tokens: Callable[..., IdTokens], iam: IamServer) -> None:
    machine = MetadataServer(iam)
    try:
        found = tokens(GCE_METADATA_HOST=machine.host)
        claims = iam.claims(make(found))
        assert claims is not None
        assert (claims["aud"], claims["email"]) == (AUDIENCE, RUNNER)
        machine.email = ""
        with pytest.raises(AccessDenied, match="does this machine have a service account"):
            make(found, "https://other.example")
    finally:
        machine.stop()


@pytest.mark.parametrize("who", ["person", "nobody"])
def test_where_no_token_can_be_made_it_says_how(
    tokens: Callable[..., IdTokens], iam: IamServer, tmp_path: Path, who: str
) -> None:
    user = {"GOOGLE_APPLICATION_CREDENTIALS": str(iam.user_file(tmp_path / "user.json"))}
    words = r"the login of a person .* cannot make" if who == "person" else "there are no credentials here to make"
    with pytest.raises(AccessDenied, match=words) as caught:
        tokens(**(user if who == "person" else {})).token(AUDIENCE, deadline=Deadline.after(0.5))
    for way in ("gcloud auth print-identity-token", "LADING_IMPERSONATE_SERVICE_ACCOUNT", "run.invoker"):
        assert way in str(caught.value)


def test_a_key_file_that_is_not_there(tokens: Callable[..., IdTokens], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="GOOGLE_APPLICATION_CREDENTIALS: there is no file"):
        make(tokens(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json")))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"broken.json: expected credentials of Google Cloud as JSON"):
        make(tokens(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "broken.json")))


def test_a_token_is_kept_until_it_is_nearly_old(
    tokens: Callable[..., IdTokens], iam: IamServer, tmp_path: Path
) -> None:
    found = tokens(GOOGLE_APPLICATION_CREDENTIALS=str(iam.key_file(tmp_path / "key.json")))
    first = make(found)
    assert make(found) == first
    assert make(found, "https://other.example") != first
    assert make(found, refused=first) != first
    iam.lifetime = 60  # less than is left to be sure of
    short = make(found, "https://short.example")
    iam.lifetime = 3600
    assert make(found, "https://short.example") != short


class Guarded(JsonService):
    """Takes the tokens that ``good`` holds; ``open``: takes everybody.

    ``together``: so many who have none get their answers at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.good: set[str] = set()
        self.open = False
        self.sent: list[str] = []
        self.together: threading.Barrier | None = None

    def handle(self, method: str, path: str, query: dict[str, str], body: object) -> object:
        token = self.request_headers.get("Authorization", "").removeprefix("Bearer ")
        self.sent.append(token)
        if self.together and not token:
            self.together.wait(20)
        if not self.open and token not in self.good:
            raise Refused(401 if token else 403, "no")
        return {}


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    server = Guarded()
    yield server
    server.stop()


def client(server: Guarded, tokens: IdTokens) -> Client:
    return ExplainedClient(server.url, session=IdTokenSession(tokens, AUDIENCE), advice=id_token_advice)


def test_an_open_service_is_asked_without_a_token(guarded: Guarded, tokens: Callable[..., IdTokens]) -> None:
    guarded.open = True
    client(guarded, tokens()).request("GET", "/", deadline=Deadline.after(10))
    assert guarded.sent == [""]


def test_a_refused_token_is_renewed_once(
    guarded: Guarded, tokens: Callable[..., IdTokens], iam: IamServer, tmp_path: Path
) -> None:
    found = tokens(GOOGLE_APPLICATION_CREDENTIALS=str(iam.key_file(tmp_path / "key.json")))
    asks = client(guarded, found)
    first = make(found)
    guarded.good = {first}
    asks.request("GET", "/", deadline=Deadline.after(10))
    asks.request("POST", "/", json={}, deadline=Deadline.after(10))
    assert guarded.sent == ["", first, first]
    guarded.good, guarded.sent = set(), []
    with pytest.raises(AccessDenied, match="the ID token was not taken"):
        asks.request("POST", "/", json={}, deadline=Deadline.after(10))
    assert len(guarded.sent) <= 3
    guarded.good = {make(found)}
    asks.request("POST", "/", json={}, deadline=Deadline.after(10))


def test_several_who_begin_to_ask_at_once_are_all_let_in(
    guarded: Guarded, tokens: Callable[..., IdTokens], iam: IamServer, tmp_path: Path
) -> None:
    found = tokens(GOOGLE_APPLICATION_CREDENTIALS=str(iam.key_file(tmp_path / "key.json")))
    guarded.good, guarded.together = {make(found)}, threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            asks = client(guarded, found)
            begun = [pool.submit(asks.request, "GET", "/", deadline=Deadline.after(30)) for _ in range(4)]
            assert all(one.result().ok for one in begun)


def test_an_expired_token_of_the_environment_is_named(guarded: Guarded, tokens: Callable[..., IdTokens]) -> None:
    asks = client(guarded, tokens(LADING_ID_TOKEN="old"))
    with pytest.raises(AccessDenied, match="has the one in LADING_ID_TOKEN expired"):
        asks.request("GET", "/", deadline=Deadline.after(10))
    assert guarded.sent == ["", "old"]
