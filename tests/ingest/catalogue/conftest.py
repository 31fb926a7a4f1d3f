"""A server on this machine that answers as the providers do, misbehaves as they do, and remembers what it was asked."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

SECRETS = ("ice-user", "ice-password", "refresh-", "token-")


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    time: float


@dataclass
class Remote:
    """A file that is served: how, and how it goes wrong."""

    content: bytes
    etag: str | None = None
    ranges: bool = True
    cut_at: list[int] = field(default_factory=list)  # each answer in turn ends at this byte of the file
    busy: list[tuple[int, str | None]] = field(default_factory=list)  # each answer in turn is this status, with this Retry-After
    private: bool = False  # only with a token that holds
    lasts_s: float = 0.0  # before each answer
    stall_at: int | None = None  # nothing comes after this byte, and the connection stays
    headers: dict[str, str] = field(default_factory=dict)


Route = Callable[["Handler", Asked], None]


class Provider:
    """One server, whose files and routes a test sets."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.files: dict[str, Remote] = {}
        self.redirects: dict[str, str] = {}
        self.routes: dict[str, Route] = {}
        self.tokens: dict[str, int] = {}  # token → requests that it is good for
        self.grants: list[str] = []
        self.refresh: set[str] = set()
        self.serving = self.most_at_once = 0
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"provider": self}))
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.lock = Lock()
        self.routes["/token"] = self.give_token

    def to(self, path: str) -> list[Asked]:
        """The requests that came for a path."""
        return [one for one in self.asked if one.path == path]

    def accepts(self, asked: Asked) -> bool:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        with self.lock:
            left = self.tokens.get(token, 0)
            self.tokens[token] = left - 1
        return left > 0

    def give_token(self, handler: "Handler", asked: Asked) -> None:
        """Keycloak: a token for a password or a refresh token; each good for `uses` requests."""
        fields = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        grant = fields.get("grant_type", "")
        right = {
            "password": (fields.get("username"), fields.get("password")) == ("ice-user", "ice-password"),
            "refresh_token": fields.get("refresh_token") in self.refresh,
        }
        if fields.get("client_id") != "cdse-public" or not right.get(grant):
            handler.answer_json(400 if grant == "refresh_token" else 401, {"error": "invalid_grant"})
            return
        with self.lock:
            self.grants.append(grant)
            number = len(self.grants)
            self.tokens[f"token-{number}"] = self.uses
            self.refresh = {f"refresh-{number}"}
        handler.answer_json(
            200, {"access_token": f"token-{number}", "refresh_token": f"refresh-{number}", "expires_in": 600, "token_type": "Bearer"}
        )

    uses = 1000


class Handler(BaseHTTPRequestHandler):
    provider: Provider
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.take()

    def do_POST(self) -> None:
        self.take()

    def do_HEAD(self) -> None:
        self.take()

    def take(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, unquote(parts.path), parse_qs(parts.query, keep_blank_values=True), headers, body, time.monotonic())
        self.provider.asked.append(asked)
        if asked.path in self.provider.redirects:
            self.answer(302, b"", Location=self.provider.redirects[asked.path])
        elif asked.path in self.provider.files:
            self.serve(self.provider.files[asked.path], asked)
        elif route := next((route for start, route in self.provider.routes.items() if asked.path.startswith(start)), None):
            route(self, asked)
        else:
            self.answer(404, b"not here")

    def serve(self, remote: Remote, asked: Asked) -> None:
        with self.provider.lock:
            self.provider.serving += 1
            self.provider.most_at_once = max(self.provider.most_at_once, self.provider.serving)
        time.sleep(remote.lasts_s)
        with self.provider.lock:
            self.provider.serving -= 1
        self.send(remote, asked)

    def send(self, remote: Remote, asked: Asked) -> None:
        if remote.busy:
            status, wait = remote.busy.pop(0)
            self.answer(status, b"busy", **({"Retry-After": wait} if wait else {}))
            return
        if remote.private and not self.provider.accepts(asked):
            self.answer(401, b'{"detail": "Expired signature!"}')
            return
        start, status, size = 0, 200, len(remote.content)
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
        stop = size
        if ranged and remote.ranges and asked.headers.get("if-range", remote.etag) == remote.etag:
            start, status = int(ranged[1]), 206
            stop = min(int(ranged[2]) + 1, size) if ranged[2] else size
        if start >= size > 0:
            self.answer(416, b"", **{"Content-Range": f"bytes */{size}"})
            return
        end = min(remote.cut_at.pop(0), stop) if remote.cut_at else stop
        self.send_response(status)
        self.send_header("Content-Length", str(stop - start))
        if remote.etag:
            self.send_header("ETag", remote.etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        for name, value in remote.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if asked.method == "HEAD":
            return
        if remote.stall_at is not None:
            self.wfile.write(remote.content[start : remote.stall_at])
            self.wfile.flush()
            time.sleep(10)
            return
        self.wfile.write(remote.content[start:end])
        if end < stop:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, status: int, fields: Any, **headers: str) -> None:
        self.answer(status, json.dumps(fields).encode(), Content_Type="application/json", **headers)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def new_provider() -> Iterator[Callable[[], Provider]]:
    started: list[Provider] = []

    def start() -> Provider:
        provider = Provider()
        Thread(target=provider.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        started.append(provider)
        return provider

    yield start
    for provider in started:
        provider.http.shutdown()
        provider.http.server_close()


@pytest.fixture
def provider(new_provider: Callable[[], Provider]) -> Provider:
    return new_provider()


@pytest.fixture(autouse=True)
def no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("CDSE_USERNAME", "CDSE_PASSWORD", "EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD", "NETRC", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def payload() -> bytes:
    """Three and a half megabytes that no part of them repeats."""
    return b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(110_000))


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def nothing_of(secrets: tuple[str, ...], folder: Path) -> None:
    """No file below a folder holds any of these."""
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), path
