"""Keys: what openssl makes is read, what cannot sign is refused, and openssl verifies what was signed."""

import subprocess
from pathlib import Path

import pytest
from soon import soon
from tiny_image import make_key

from lading.errors import InvalidInput, NotFound
from lading.signing.keys import PASSWORD_VARIABLE, PublicKey, load_public_key, load_signer


def openssl_verifies(public: Path, signature: bytes, message: bytes, folder: Path) -> bool:
    (folder / "signature").write_bytes(signature)
    (folder / "message").write_bytes(message)
    words = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", folder / "signature", folder / "message"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("password", ["", "word"])
def test_openssl_verifies_what_is_signed(tmp_path: Path, password: str) -> None:
    private, public = make_key(tmp_path, password=password)
    signer = load_signer(str(private), environ={PASSWORD_VARIABLE: password} if password else {}, deadline=soon())
    signature = signer.sign(b"cargo", deadline=soon())
    assert openssl_verifies(public, signature, b"cargo", tmp_path)
    assert not openssl_verifies(public, signature, b"cargo!", tmp_path)


def test_what_openssl_signs_is_verified(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    (tmp_path / "message").write_bytes(b"cargo")
    words = ["openssl", "dgst", "-sha256", "-sign", private, "-out", tmp_path / "signature", tmp_path / "message"]
    subprocess.run(words, check=True)
    key = load_public_key(str(public), environ={}, deadline=soon())
    assert key.verifies((tmp_path / "signature").read_bytes(), b"cargo")
    assert not key.verifies((tmp_path / "signature").read_bytes(), b"other")
    assert not key.verifies(b"not a signature", b"cargo")


def test_a_key_of_older_openssl_is_read(tmp_path: Path) -> None:
    words = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", tmp_path / "old.pem"]
    subprocess.run(words, check=True)
    assert b"BEGIN EC PRIVATE KEY" in (tmp_path / "old.pem").read_bytes()
    signer = load_signer(str(tmp_path / "old.pem"), environ={}, deadline=soon())
    assert signer.public.verifies(signer.sign(b"x", deadline=soon()), b"x")


def test_the_fingerprint_is_that_of_openssl(tmp_path: Path) -> None:
    _, public = make_key(tmp_path)
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], capture_output=True, check=True
    )
    told = subprocess.run(["openssl", "dgst", "-sha256"], input=der.stdout, capture_output=True, check=True)
    key = load_public_key(public.read_text(), environ={}, deadline=soon())
    assert key.fingerprint in told.stdout.decode()


@pytest.mark.parametrize(
    ("password", "said", "words"),
    [("word", "", f"set {PASSWORD_VARIABLE}"), ("word", "Xk7-", "right"), ("", "Xk7-", f"unset {PASSWORD_VARIABLE}")],
)
def test_a_wrong_password_is_told(tmp_path: Path, password: str, said: str, words: str) -> None:
    private, _ = make_key(tmp_path, password=password)
    with pytest.raises(InvalidInput, match=words) as told:
        load_signer(str(private), environ={PASSWORD_VARIABLE: said} if said else {}, deadline=soon())
    assert "Xk7-" not in str(told.value)


@pytest.mark.parametrize("content", ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_not_a_key_is_refused_with_how_to_make_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(InvalidInput, match="openssl genpkey"):
        load_signer(str(tmp_path / "key"), environ={}, deadline=soon())
    with pytest.raises(InvalidInput, match="expected a public key"):
        load_public_key(str(tmp_path / "key"), environ={}, deadline=soon())


def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    private, public = make_key(tmp_path, curve="P-384")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", tmp_path / "ed"], check=True)
    for path in (private, tmp_path / "ed"):
        with pytest.raises(InvalidInput, match="expected a key of the curve P-256"):
            load_signer(str(path), environ={}, deadline=soon())
    with pytest.raises(InvalidInput, match="expected a key of the curve P-256"):
        load_public_key(str(public), environ={}, deadline=soon())


def test_the_halves_are_not_mixed_up(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    with pytest.raises(InvalidInput, match="received a private one"):
        load_public_key(str(private), environ={}, deadline=soon())
    with pytest.raises(InvalidInput, match="expected a private key"):
        load_signer(str(public), environ={}, deadline=soon())


def test_a_key_of_cosign_is_named(tmp_path: Path) -> None:
    (tmp_path / "cosign.key").write_text(
        "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
    )
    with pytest.raises(InvalidInput, match="cosign's own key files"):
        load_signer(str(tmp_path / "cosign.key"), environ={}, deadline=soon())


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no private key at .*nowhere"):
        load_signer(str(tmp_path / "nowhere"), environ={}, deadline=soon())


def test_a_private_key_is_never_shown(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    signer = load_signer(str(private), environ={}, deadline=soon())
    secret = private.read_text().splitlines()[1]
    assert secret not in repr(signer) + repr(vars(signer))
    assert repr(PublicKey.parse(public.read_bytes(), "x")) == "PublicKey()"
