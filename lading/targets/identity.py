"""ID tokens: what a private service of Cloud Run asks of whoever asks it.

Source: https://cloud.google.com/run/docs/authenticating/service-to-service. The audience is the URL of the service, for
the URLs of its tags too.
"""

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests

from lading.errors import AccessDenied, LadingError, ServiceUnreachable
from lading.http import Client, Session
from lading.targets.google_login import (
    KEY_VARIABLE,
    GoogleSession,
    authorized,
    default_credentials_file,
    is_loopback,
    load_credentials,
    login_errors,
)
from lading.wait import Deadline

TOKEN_VARIABLE = "LADING_ID_TOKEN"
IMPERSONATE_VARIABLE = "LADING_IMPERSONATE_SERVICE_ACCOUNT"
IAM_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"
METADATA_VARIABLE = "GCE_METADATA_HOST"

_IAM = "https://iamcredentials.googleapis.com"
_METADATA_HOST = "metadata.google.internal"
_IMPERSONATED = re.compile(r"/serviceAccounts/([^/:]+):generateAccessToken")
_OLD_SECONDS = 120.0
"""A token is renewed so long before it expires."""
_MACHINE_SECONDS = 3.0
"""So long the metadata server may take; where there is none, nobody answers at all."""


class IdTokens:
    """Makes ID tokens, and keeps them until they are old.

    Sources, in this order: the token in ``LADING_ID_TOKEN``; the service account in
    ``LADING_IMPERSONATE_SERVICE_ACCOUNT``, impersonated by whoever we are; the application default credentials when
    they are a service account's, or impersonate one; the metadata server of the machine.

    Args:
        environ: What the variables above are in, and those that say who we are.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._kept: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def token(self, audience: str, *, deadline: Deadline, refused: str = "") -> str:
        """A token for an audience.

        Args:
            audience: URL of the service.
            deadline: When to give up.
            refused: A token that was not taken: another is made.

        Raises:
            AccessDenied: none can be made; says what to do.
        """
        with self._lock:
            kept, expires = self._kept.get(audience, ("", 0.0))
            if not kept or kept == refused or time.time() > expires - _OLD_SECONDS:
                kept = self._make(audience, deadline)
                self._kept[audience] = kept, _expiry(kept)
            return kept

    def _make(self, audience: str, deadline: Deadline) -> str:
        if given := self._environ.get(TOKEN_VARIABLE, "").strip():
            return given
        if account := self._environ.get(IMPERSONATE_VARIABLE, "").strip():
            return self._impersonate(account, GoogleSession(self._environ), audience, deadline)
        info = default_credentials_file(self._environ)
        if info is None:
            return self._of_machine(audience, deadline)
        if info.get("type") == "service_account":
            return _of_key(info, audience)
        account_of = _IMPERSONATED.search(str(info.get("service_account_impersonation_url", "")))
        if account_of:
            with login_errors():
                session = authorized(load_credentials(_who_impersonates(info)))
            return self._impersonate(account_of.group(1), session, audience, deadline)
        raise AccessDenied(f"{_kind(info)} cannot make an ID token for {audience}: {_WAYS}", status=401)

    def _impersonate(self, account: str, session: Session, audience: str, deadline: Deadline) -> str:
        """Source: IAM Service Account Credentials API, ``projects.serviceAccounts.generateIdToken``."""
        where = (self._environ.get(IAM_VARIABLE) or _IAM).rstrip("/")
        path = f"/v1/projects/-/serviceAccounts/{account}:generateIdToken"
        body = {"audience": audience, "includeEmail": True}
        try:
            with login_errors():
                answer = Client(where, session=session).request(
                    "POST", path, json=body, deadline=deadline, repeatable=True
                )
        except AccessDenied as error:
            if error.status == 401:  # we are not known at all, which the error says
                raise
            raise AccessDenied(
                f"{error}: to impersonate {account} you need roles/iam.serviceAccountOpenIdTokenCreator on it (or "
                "roles/iam.serviceAccountTokenCreator), and the IAM Service Account Credentials API must be enabled: "
                "`gcloud services enable iamcredentials.googleapis.com`",
                status=error.status,
            ) from error
        return str(answer.json()["token"])

    def _of_machine(self, audience: str, deadline: Deadline) -> str:
        """Source: Compute Engine, "Verify the identity of instances"; Cloud Run, Cloud Build and GKE have it too."""
        host = self._environ.get(METADATA_VARIABLE) or _METADATA_HOST
        try:
            answer = Client(f"http://{host}", headers={"Metadata-Flavor": "Google"}).request(
                "GET",
                "/computeMetadata/v1/instance/service-accounts/default/identity",
                params={"audience": audience, "format": "full"},
                deadline=Deadline.after(min(_MACHINE_SECONDS, deadline.remaining())),
                # Where there is no such server, its name leads nowhere: asking again would only take time.
                retry=host != _METADATA_HOST,
            )
        except ServiceUnreachable as error:
            raise AccessDenied(
                f"there are no credentials here to make an ID token for {audience}: {_WAYS}", status=401
            ) from error
        except LadingError as error:
            raise AccessDenied(
                f"the metadata server gives no ID token for {audience} ({error}): does this machine have a service "
                f"account? Or else {_WAYS}",
                status=401,
            ) from error
        return answer.text.strip()


class IdTokenSession(Session):
    """Sends requests as they are until one is refused, from then on with an ID token.

    A service that is open to everyone needs no identity, and where a person's laptop has none it is asked all the
    same. A token that is refused is renewed once.

    Args:
        tokens: Makes tokens.
        audience: URL of the service.
    """

    def __init__(self, tokens: IdTokens, audience: str) -> None:
        self._tokens, self._audience = tokens, audience
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(audience)
        self._session.auth = _as_it_is  # else requests looks for a password in ~/.netrc
        self._token = ""

    @property
    def request(self) -> Callable[..., requests.Response]:
        """See ``Session.request``."""
        return self._request

    def _request(self, method: str, url: str, *, headers: Mapping[str, str], **options: Any) -> requests.Response:
        deadline = Deadline.after(options["timeout"])
        for last in (False, False, True):
            sent = self._token  # another thread may have another one by the time that the answer is here
            known = {"Authorization": f"Bearer {sent}"} if sent else {}
            answer = self._session.request(method, url, headers={**known, **headers}, **options)
            if answer.status_code not in (401, 403) or last:
                return answer
            if sent and answer.status_code == 403:
                return answer  # Cloud Run knows who asks, and that it may not
            answer.close()
            self._token = token = self._tokens.token(self._audience, deadline=deadline, refused=sent)
            if token == sent:
                return answer
        return answer


def id_token_advice(method: str, error: LadingError) -> str:
    """What to do about a private service that refuses."""
    if not isinstance(error, AccessDenied):
        return ""
    if error.status == 403:
        return (
            "whoever asks needs roles/run.invoker on the service: `gcloud run services add-iam-policy-binding SERVICE "
            "--member=serviceAccount:EMAIL --role=roles/run.invoker`; is its ingress closed to this network?"
        )
    return f"the ID token was not taken: has the one in {TOKEN_VARIABLE} expired, or was it made for another service?"


def _of_key(info: Mapping[str, Any], audience: str) -> str:
    """Source: google-auth, "Identity Tokens"."""
    from google.auth.transport.requests import Request
    from google.oauth2.service_account import IDTokenCredentials

    session = requests.Session()
    session.trust_env = not is_loopback(str(info.get("token_uri", "")))
    with login_errors():
        try:
            credentials = IDTokenCredentials.from_service_account_info(dict(info), target_audience=audience)
        except ValueError as error:
            raise AccessDenied(f"the key in {KEY_VARIABLE} cannot be used: {error}", status=401) from error
        credentials.refresh(Request(session))
    return str(credentials.token)


def _who_impersonates(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """The credentials inside credentials that impersonate a service account."""
    if info.get("type") == "impersonated_service_account":
        source: Mapping[str, Any] = info["source_credentials"]
        return source
    return {name: value for name, value in info.items() if name != "service_account_impersonation_url"}


def _kind(info: Mapping[str, Any]) -> str:
    if info.get("type") == "authorized_user":
        return "the login of a person (`gcloud auth application-default login`)"
    return f"credentials of type {info.get('type')!r}"


_WAYS = (
    f"set {TOKEN_VARIABLE}=$(gcloud auth print-identity-token), or {IMPERSONATE_VARIABLE} to a service account with "
    f"roles/run.invoker, or {KEY_VARIABLE} to the key of one"
)


def _expiry(token: str) -> float:
    """When a token expires, in seconds since the epoch, read from its claims; they are its receiver's to verify."""
    try:
        claims = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, KeyError, ValueError, TypeError, binascii.Error):
        return time.time() + 2 * _OLD_SECONDS


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
