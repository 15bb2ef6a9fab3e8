"""How a cluster is found and who we are to it: real files, real TLS, a real exec plugin."""

import datetime
import ipaddress
import json
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fakes.service import JsonService, Refused
from kubeconfigs import write

from lading.errors import AccessDenied, InvalidInput, ServiceUnreachable
from lading.targets.knative.advice import knative_advice
from lading.targets.kubeconfig import cluster_client
from lading.wait import Deadline


class ApiServer(JsonService):
    """Answers with the token that it was sent; takes those that start with ``good``."""

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        sent = self.request_headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("bearer ")
        if not sent.startswith("good"):
            raise Refused(401, "Unauthorized")
        if path == "/forbidden":
            raise Refused(403, 'services.serving.knative.dev is forbidden: User "me" cannot list resource')
        return {"sent": sent}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    made = ApiServer()
    yield made
    made.stop()


def ask(environ: dict[str, str], path: str = "/", **options: Any) -> Any:
    client = cluster_client(environ, advice=knative_advice("models"), **options)
    return client.request("GET", path, deadline=Deadline.after(5)).json()["sent"]


def test_the_kubeconfig_of_the_home_directory(server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube" / "config", server.url, token="good-home")
    assert ask({"HOME": str(tmp_path)}) == "good-home"


def test_several_files_and_their_contexts(server: ApiServer, tmp_path: Path) -> None:
    one = write(tmp_path / "one", server.url, name="one", token="good-one")
    two = write(tmp_path / "two", server.url, name="two", token="good-two")
    environ = {"KUBECONFIG": f"{one}:{two}"}
    assert ask(environ) == "good-one"
    assert ask({**environ, "LADING_KUBE_CONTEXT": "two"}) == "good-two"
    with pytest.raises(InvalidInput, match=r"lacks context 'three' \(LADING_KUBE_CONTEXT\); it has: one, two"):
        ask({**environ, "LADING_KUBE_CONTEXT": "three"})


def test_a_kubeconfig_without_a_current_context(server: ApiServer, tmp_path: Path) -> None:
    path = write(tmp_path / "config", server.url, token="good")
    path.write_text(json.dumps({**json.loads(path.read_text()), "current-context": ""}))
    with pytest.raises(
        InvalidInput, match=r"lacks its current context ''.*`kubectl config use-context NAME` or LADING"
    ):
        ask({"KUBECONFIG": str(path)})
    path.write_text("contexts: {")
    with pytest.raises(InvalidInput, match="config is no kubeconfig"):
        ask({"KUBECONFIG": str(path)})


def test_without_a_cluster_it_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"no cluster: expected a kubeconfig at {tmp_path}/.kube/config"):
        ask({"HOME": str(tmp_path)})


def plugin(tmp_path: Path, body: str) -> dict[str, Any]:
    """A user that is known through a command."""
    script = tmp_path / "plugin.py"
    script.write_text(body)
    api = "client.authentication.k8s.io/v1"
    run = {"apiVersion": api, "command": sys.executable, "args": [str(script)], "interactiveMode": "Never"}
    return {"exec": run}


COUNTS = """
import json, pathlib
runs = pathlib.Path(__file__).with_name("runs")
number = int(runs.read_text()) + 1 if runs.exists() else 1
runs.write_text(str(number))
expires = "2020-01-01T00:00:00Z" if number == 1 else "2090-01-01T00:00:00Z"
status = {"token": f"good-{number}", "expirationTimestamp": expires}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


def test_an_exec_plugin_is_asked_again_when_its_token_is_old(server: ApiServer, tmp_path: Path) -> None:
    path = write(tmp_path / "config", server.url, **plugin(tmp_path, COUNTS))
    client = cluster_client({"KUBECONFIG": str(path)}, advice=knative_advice("models"))
    sent = [client.request("GET", "/", deadline=Deadline.after(5)).json()["sent"] for _ in range(3)]
    assert sent == ["good-2"] * 3


def test_an_exec_plugin_that_fails_is_named(server: ApiServer, tmp_path: Path) -> None:
    path = write(tmp_path / "config", server.url, **plugin(tmp_path, "raise SystemExit('log in first')"))
    with pytest.raises(AccessDenied, match=r"the exec plugin of context test in .* gave no credentials"):
        ask({"KUBECONFIG": str(path)})


def test_refusals_say_what_to_do(server: ApiServer, tmp_path: Path) -> None:
    stranger = write(tmp_path / "stranger", server.url, token="bad")
    with pytest.raises(AccessDenied, match=r"401 .*log in again with the provider's tool"):
        ask({"KUBECONFIG": str(stranger)})
    known = write(tmp_path / "known", server.url, token="good")
    with pytest.raises(AccessDenied, match=r"is forbidden.*`kubectl auth can-i create services.serving.knative.dev -n"):
        ask({"KUBECONFIG": str(known)}, "/forbidden")
    away = write(tmp_path / "away", "http://127.0.0.1:1", token="good")
    with pytest.raises(ServiceUnreachable, match="is it the right context"):
        cluster_client({"KUBECONFIG": str(away)}, advice=knative_advice("models")).request(
            "GET", "/", deadline=Deadline.after(0.3)
        )


class Authority:
    """A certificate authority, and what it signed, in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        own = self._builder(self._key, "test").add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        own = own.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False)
        self.certificate = self._write("ca", own.sign(self._key, hashes.SHA256()))

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for loopback, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = self._builder(key, name).add_extension(here, False).add_extension(issuer, False)
        path = self._folder / f"{name}.key"
        form = serialization.PrivateFormat.PKCS8
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return self._write(name, made.sign(self._key, hashes.SHA256())), path

    def _builder(self, key: ec.EllipticCurvePrivateKey, name: str) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        day = datetime.timedelta(days=1)
        return builder.not_valid_before(now - day).not_valid_after(now + day)

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self._folder / f"{name}.crt"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


def speak_tls(server: JsonService, authority: Authority, *, insist: bool) -> str:
    """Make a server speak TLS and ask for a certificate; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED if insist else ssl.CERT_OPTIONAL
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    return server.url.replace("http://", "https://")


class Certified(JsonService):
    """Whoever reaches it has a certificate."""

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        return {"sent": "nothing"}


def test_a_client_certificate(tmp_path: Path) -> None:
    authority, server = Authority(tmp_path), Certified()
    url = speak_tls(server, authority, insist=True)
    certificate, key = authority.issue("me")
    trust = {"certificate-authority": str(authority.certificate)}
    try:
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        path = write(tmp_path / "config", url, cluster=trust, **user)
        assert ask({"KUBECONFIG": str(path)}) == "nothing"
        path = write(tmp_path / "strange", url, **user)
        with pytest.raises(ServiceUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            cluster_client({"KUBECONFIG": str(path)}, advice=knative_advice("models")).request(
                "GET", "/", deadline=Deadline.after(20), retry=False
            )
    finally:
        server.stop()


def test_in_a_pod_the_service_account_counts(server: ApiServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    speak_tls(server, authority, insist=False)
    account = tmp_path / "serviceaccount"
    account.mkdir()
    host, _, port = server.url.removeprefix("http://").partition(":")
    environ = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    with pytest.raises(InvalidInput, match=r"the pod's service account in .* cannot be used: .*automountService"):
        ask(environ, service_account=account)
    (account / "token").write_text("good-pod")
    (account / "ca.crt").write_bytes(authority.certificate.read_bytes())
    assert ask(environ, service_account=account) == "good-pod"
