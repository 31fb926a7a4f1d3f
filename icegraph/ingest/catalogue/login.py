"""Logins: short-lived tokens, had for a user name and password from the environment or netrc, and given to the provider's hosts alone."""

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.utils import get_netrc_auth

from icegraph.ingest.catalogue.product import CatalogueError

TIMEOUT_S = (10, 60)  # to connect, between two bytes
_EARLY_S = 30.0  # renewed that much before its end, so that it does not run out on the way


class Login(ABC):
    """A token and the hosts it is for; shared by parallel downloads.

    Args:
        domains: Hosts that may see the token over https, with all below them (`asf.alaska.edu`).
        endpoints: Addresses whose own host may see it too, however they are spoken to.
    """

    def __init__(self, domains: tuple[str, ...], endpoints: tuple[str, ...]) -> None:
        self._domains = domains
        self._origins = {_origin(endpoint) for endpoint in endpoints}
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def is_for(self, url: str) -> bool:
        """Whether the token may be sent to this address."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        within = any(host == domain or host.endswith(f".{domain}") for domain in self._domains)
        return (parts.scheme == "https" and within) or _origin(url) in self._origins

    def token(self, session: requests.Session) -> str:
        """A token that holds.

        Raises:
            CatalogueError: There are no credentials, or they are refused.
        """
        with self._lock:
            if not self._token or time.monotonic() > self._until - _EARLY_S:
                self._token, lasts_s = self._obtain(session)
                self._until = time.monotonic() + max(lasts_s, 2 * _EARLY_S)
            return self._token

    def renew(self, refused: str) -> None:
        """Take note that a token was refused: the next is a new one, unless another download has it already."""
        with self._lock:
            if self._token == refused:
                self._token = ""

    @abstractmethod
    def _obtain(self, session: requests.Session) -> tuple[str, float]:
        """A new token and the seconds it lasts."""


class CopernicusLogin(Login):
    """Keycloak of the Copernicus Data Space: a token of 10 minutes, renewed for an hour without the password.

    Each password login opens one of the account's hundred sessions (documentation.dataspace.copernicus.eu, "Quotas and Limitations"), so
    that tokens are refreshed as long as that goes.
    """

    def __init__(self, identity: str, endpoints: tuple[str, ...]) -> None:
        super().__init__(("dataspace.copernicus.eu",), endpoints)
        self._identity = identity
        self._refresh = ""

    def _obtain(self, session: requests.Session) -> tuple[str, float]:
        answer = self._ask(session, {"grant_type": "refresh_token", "refresh_token": self._refresh}) if self._refresh else None
        if answer is None:
            user, password = credentials(self._identity, "CDSE_USERNAME", "CDSE_PASSWORD", "dataspace.copernicus.eu")
            answer = self._ask(session, {"grant_type": "password", "username": user, "password": password})
        if answer is None:
            raise _refused(self._identity, "CDSE_USERNAME and CDSE_PASSWORD")
        self._refresh = str(answer.get("refresh_token") or "")
        return _token(self._identity, answer), float(answer.get("expires_in") or 0)

    def _ask(self, session: requests.Session, grant: Mapping[str, str]) -> dict[str, Any] | None:
        return _post(session, self._identity, data={"client_id": "cdse-public", **grant})


class EarthdataLogin(Login):
    """NASA Earthdata Login: EARTHDATA_TOKEN, or one of the two tokens that a user may have, asked for with the password."""

    def __init__(self, endpoint: str, endpoints: tuple[str, ...]) -> None:
        super().__init__(("earthdata.nasa.gov", "earthdatacloud.nasa.gov", "asf.alaska.edu", "nsidc.org"), endpoints)
        self._endpoint = endpoint.rstrip("/")
        self._given = os.environ.get("EARTHDATA_TOKEN", "")

    def _obtain(self, session: requests.Session) -> tuple[str, float]:
        if self._given:
            token, self._given = self._given, ""  # once it is refused, only the password helps
            return token, float("inf")
        try:
            known = credentials(self._endpoint, "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD", "urs.earthdata.nasa.gov/users/new")
        except CatalogueError:
            if "EARTHDATA_TOKEN" in os.environ:
                raise _refused(self._endpoint, "EARTHDATA_TOKEN: it may have run out") from None
            raise
        answer = _post(session, f"{self._endpoint}/api/users/find_or_create_token", auth=known)
        if answer is None:
            raise _refused(self._endpoint, "EARTHDATA_USERNAME and EARTHDATA_PASSWORD")
        return _token(self._endpoint, answer), float("inf")


def credentials(url: str, user: str, password: str, register: str) -> tuple[str, str]:
    """User name and password from the environment, or those of the address's host in netrc.

    Raises:
        CatalogueError: There are none.
    """
    if os.environ.get(user) and os.environ.get(password):
        return os.environ[user], os.environ[password]
    found = get_netrc_auth(url)
    if not found:
        host = urlsplit(url).hostname
        raise CatalogueError(
            str(host), "asks for a login", f"set {user} and {password}, or name {host} in ~/.netrc (an account is free: {register})"
        )
    return str(found[0]), str(found[1])


def unreachable(url: str, error: Exception) -> CatalogueError:
    """The error for a server that gave no answer at all; the exception's own text may hold what is secret in the address."""
    host = str(urlsplit(url).hostname)
    return CatalogueError(host, f"does not answer ({type(error).__name__})", "check the network and the endpoint, or try again later")


def _post(session: requests.Session, url: str, **options: Any) -> dict[str, Any] | None:
    """The answer to a request for a token, or None where it is refused."""
    host = str(urlsplit(url).hostname)
    try:
        response = session.post(url, timeout=TIMEOUT_S, allow_redirects=False, **options)
    except requests.RequestException as error:
        raise unreachable(url, error) from None
    if response.status_code in (400, 401, 403):
        return None
    try:
        answer = response.json() if response.ok else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CatalogueError(host, f"gives no token (it answered {response.status_code})", "try again later")
    return answer


def _token(url: str, answer: Mapping[str, Any]) -> str:
    token = answer.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise CatalogueError(str(urlsplit(url).hostname), "gives no token", "try again later")
    return token


def _refused(url: str, names: str) -> CatalogueError:
    return CatalogueError(str(urlsplit(url).hostname), "refuses the login", f"check {names}, or the line in ~/.netrc")


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port
