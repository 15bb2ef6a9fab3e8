"""Cloud KMS signs: over HTTP, against a server that speaks its API."""

import hashlib
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fakes.kms_server import KmsServer
from soon import soon

from lading.errors import AccessDenied, InvalidInput, NotFound, QuotaExceeded, RemoteError, ServiceUnreachable
from lading.signing.keys import Signer, load_public_key, load_signer


@pytest.fixture
def server() -> Iterator[KmsServer]:
    made = KmsServer()
    yield made
    made.stop()


def environ(server: KmsServer) -> dict[str, str]:
    return {"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": f"{server.url}/"}


def connected(server: KmsServer, name: str = "") -> Signer:
    return load_signer(f"gcpkms://{name or server.make_key()}", environ=environ(server), deadline=soon())


def test_it_signs_the_digest_and_its_public_half_verifies(server: KmsServer) -> None:
    name = server.make_key()
    signer = connected(server, name)
    signature = signer.sign(b"cargo", deadline=soon())
    assert server.signed == [hashlib.sha256(b"cargo").digest()]
    assert signer.public.verifies(signature, b"cargo")
    assert load_public_key(f"gcpkms://{name}", environ=environ(server), deadline=soon()) == signer.public
    assert load_public_key(server.public_pem(name), environ={}, deadline=soon()) == signer.public


def test_cosigns_way_to_write_a_version_is_read(server: KmsServer) -> None:
    name = server.make_key().replace("/cryptoKeyVersions/", "/versions/")
    assert connected(server, name).sign(b"x", deadline=soon())


def test_a_token_is_sent(server: KmsServer) -> None:
    name = server.make_key()
    server.token = "secret"
    with pytest.raises(AccessDenied, match="gcloud auth"):
        connected(server, name)
    given = {**environ(server), "CLOUDSDK_AUTH_ACCESS_TOKEN": "secret"}
    assert load_signer(f"gcpkms://{name}", environ=given, deadline=soon()).sign(b"x", deadline=soon())


@pytest.mark.parametrize("damage", ["signature", "digest"])
def test_what_is_damaged_on_the_way_is_not_used(server: KmsServer, damage: str) -> None:
    signer = connected(server)
    server.damage = damage
    with pytest.raises(RemoteError, match="damaged on the way"):
        signer.sign(b"cargo", deadline=soon())


def test_a_public_key_that_is_damaged_on_the_way_is_not_used(server: KmsServer) -> None:
    server.damage = "pem"
    with pytest.raises(RemoteError, match="damaged on the way"):
        connected(server)


def test_a_key_for_another_algorithm_is_refused(server: KmsServer) -> None:
    name = server.make_key("other", curve=ec.SECP384R1())
    with pytest.raises(InvalidInput, match="EC_SIGN_P256_SHA256, received one for EC_SIGN_P384_SHA384"):
        connected(server, name)


@pytest.mark.parametrize("name", ["", "projects/p", "projects/p/locations/l/keyRings/r/cryptoKeys/k", "images"])
def test_a_name_without_a_version_is_refused(server: KmsServer, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"expected gcpkms://projects/PROJECT/.*/cryptoKeyVersions/N, received"):
        load_signer(f"gcpkms://{name}", environ=environ(server), deadline=soon())


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (403, AccessDenied, "roles/cloudkms.signer"),
        (401, AccessDenied, "log in"),
        (429, QuotaExceeded, "slow down"),
        (404, NotFound, "with its version"),
        (500, RemoteError, "slow down"),
    ],
)
def test_refusals_say_what_to_do(server: KmsServer, code: int, kind: type[Exception], words: str) -> None:
    signer = connected(server)
    server.failures = [(code, "slow down")]
    with pytest.raises(kind, match=words):
        signer.sign(b"x", deadline=soon())


def test_a_server_that_is_away(server: KmsServer) -> None:
    name = server.make_key()
    server.stop()
    with pytest.raises(ServiceUnreachable):
        load_signer(f"gcpkms://{name}", environ=environ(server), deadline=soon(0.5))
