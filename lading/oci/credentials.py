"""Logins for registries: what ``docker login`` left, a credential helper, Google's own credentials, or none."""

import base64
import binascii
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lading.errors import AccessDenied, InvalidInput
from lading.oci.refusals import GOOGLE_HOSTS

_HELPER_SECONDS = 30
_MOST_SAID = 300
_UNKNOWN = "credentials not found"  # docker/docker-credential-helpers, ``credentials/error.go``
IDENTITY = "<token>"
"""The user name that stands for "the secret is a refresh token". Source: docker/docker-credential-helpers, README."""
_DOCKER_HUB = "https://index.docker.io/v1/"


def credentials(host: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """What ``look_up`` finds, without its problem."""
    return look_up(host, environ)[0]


def look_up(host: str, environ: Mapping[str, str]) -> tuple[tuple[str, str] | None, str]:
    """User and secret for a registry, looked up in docker's order, then Google's; None: anonymous.

    The user ``<token>`` means that the secret is a refresh token (``docker login`` to some clouds leaves one).

    Returns:
        The login, and in words why a credential helper that should know one does not.

    Raises:
        InvalidInput: docker's configuration cannot be read, or names a helper that is not installed.
        AccessDenied: Google's credentials are there and have expired.
    """
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or Path.home()) / ".docker")
    path = folder / "config.json"
    config = _configuration(path)
    names = (host, f"https://{host}", *((_DOCKER_HUB,) if host.endswith("docker.io") else ()))
    helpers: dict[str, str] = config.get("credHelpers") or {}
    helper = next((helpers[name] for name in names if name in helpers), "")
    problem = ""
    if helper or config.get("credsStore"):
        found, problem = _ask_helper(helper or config["credsStore"], names, environ, path)
        if found:
            return found, ""
    kept: dict[str, Any] = config.get("auths") or {}
    # Some tools write an address with a path, which means the host all the same.
    for name in (*names, *(one for one in kept if urlsplit(one).netloc == host)):
        if found := _kept(kept.get(name) or {}, path, name):
            return found, ""
    # A helper for all registries need not know this one.
    return (_google_login() if GOOGLE_HOSTS.fullmatch(host) else None), problem if helper else ""


def _configuration(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: expected JSON, as `docker login` writes it: {error}") from error
    if not isinstance(config, dict):
        raise InvalidInput(f"{path}: expected a JSON object, as `docker login` writes it")
    return config


def _kept(entry: Mapping[str, str], path: Path, name: str) -> tuple[str, str] | None:
    """What ``docker login`` wrote into its configuration for one registry."""
    if entry.get("identitytoken"):
        return IDENTITY, entry["identitytoken"]
    if not entry.get("auth"):
        return None
    try:
        user, _, secret = base64.b64decode(entry["auth"]).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: the login for {name} cannot be read: `docker login {name}` again") from error
    return user, secret


def _ask_helper(
    helper: str, names: tuple[str, ...], environ: Mapping[str, str], config: Path
) -> tuple[tuple[str, str] | None, str]:
    """Ask ``docker-credential-HELPER get``. Source: docker/docker-credential-helpers, README."""
    said = ""
    for name in names:
        try:
            done = subprocess.run(
                [f"docker-credential-{helper}", "get"],
                input=name,
                capture_output=True,
                text=True,
                env=dict(environ),
                timeout=_HELPER_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise InvalidInput(
                f"{config} names the credential helper {helper!r}, but docker-credential-{helper} is not on the PATH"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise InvalidInput(f"docker-credential-{helper} did not answer within {_HELPER_SECONDS} s") from error
        if not done.returncode:
            try:
                body = json.loads(done.stdout)
                return (body["Username"], body["Secret"]), ""
            except (ValueError, KeyError, TypeError):
                # Without the cause: it holds what the helper said, which may be a secret.
                words = f"docker-credential-{helper} did not answer with Username and Secret as JSON"
                raise InvalidInput(words) from None
        # A helper that fails says why on its standard output; that it knows no login is no failure.
        words = " ".join((done.stderr.strip() or done.stdout).split())
        said = said or ("" if _UNKNOWN in words else words[:_MOST_SAID])
    return None, f"docker-credential-{helper}: {said}" if said else ""


def _google_login() -> tuple[str, str] | None:
    """A token of the application default credentials; anonymous where there are none or no google-auth."""
    try:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.auth.transport.requests import Request
    except ImportError:
        return None
    try:
        found, _ = google.auth.default(["https://www.googleapis.com/auth/cloud-platform"])
        found.refresh(Request())
    except DefaultCredentialsError:
        return None
    except GoogleAuthError as error:
        raise AccessDenied(
            f"the Google credentials of this machine cannot be refreshed ({error}): "
            "`gcloud auth application-default login`",
            status=401,
        ) from error
    return "oauth2accesstoken", found.token
