"""Requests that are patient, follow redirects, and give credentials to nobody but the provider they belong to."""

from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from icegraph import __version__
from icegraph.ingest.catalogue.login import TIMEOUT_S, Login, unreachable
from icegraph.ingest.catalogue.product import CatalogueError

_BUSY = (429, 500, 502, 503, 504)
_REDIRECTS = 10
_MENDS = {
    401: "check the login",
    403: "check that this account may have it, and that its terms are accepted at the provider's site",
    404: "search again: it may have moved",
}


def patience() -> Retry:
    """How often and how long to wait for a server that is busy: as it asks in Retry-After, else 0, 2, 4, … 32 s."""
    return Retry(
        total=6,
        connect=2,
        read=3,
        allowed_methods=None,
        status_forcelist=_BUSY,
        backoff_factor=1,
        retry_after_max=3600,
        raise_on_status=False,
    )


def new_session() -> requests.Session:
    """A session that waits for busy servers, and that takes no credentials from netrc by itself."""
    session = requests.Session()
    adapter = HTTPAdapter(max_retries=patience(), pool_maxsize=16)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.auth = _nobody
    session.headers["User-Agent"] = f"icegraph/{__version__}"
    return session


def get(session: requests.Session, url: str, login: Login | None = None, **options: Any) -> requests.Response:
    """GET, with the login's token for the login's hosts alone, at each step of a redirect.

    A token that is refused is renewed, once.

    Raises:
        CatalogueError: The server cannot be reached or does not give it; told without the address's query.
    """
    refused = ""
    for _ in range(_REDIRECTS):
        token = login.token(session) if login and login.is_for(url) else ""
        headers = dict(options.get("headers", {})) | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            response = session.get(url, **options | {"headers": headers, "timeout": TIMEOUT_S, "allow_redirects": False})
        except requests.RequestException as error:
            raise unreachable(url, error) from None  # its text holds the whole address
        if response.is_redirect:
            response.close()
            url = _next(url, response.headers["Location"])
        elif response.status_code == requests.codes.unauthorized and login and token and not refused:
            response.close()
            refused = token
            login.renew(token)
        else:
            return _given(response, url)
    raise CatalogueError(_host(url), f"leads on more than {_REDIRECTS} times", "try again later")


def get_json(session: requests.Session, url: str, **options: Any) -> tuple[Any, requests.Response]:
    """GET what must be JSON.

    Raises:
        CatalogueError: As `get`; or it is no JSON.
    """
    response = get(session, url, **options)
    try:
        return response.json(), response
    except ValueError:
        raise CatalogueError(_host(url), "answered with what is no JSON", "check the endpoint, or try again later") from None


def _given(response: requests.Response, url: str) -> requests.Response:
    status = response.status_code
    if status < requests.codes.bad_request or status == requests.codes.requested_range_not_satisfiable:
        return response
    response.close()
    raise CatalogueError(_host(url), f"answered {status} {response.reason}", _MENDS.get(status, "try again later"))


def _next(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(target).scheme != "https" and urlsplit(target).scheme != urlsplit(url).scheme:
        raise CatalogueError(_host(url), "leads from https to an address that is not", "try again later, or report it to the provider")
    return target


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the server"


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An authentication that adds none: without one, requests would look into netrc for every host."""
    return request
