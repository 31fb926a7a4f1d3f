"""A relay before an S3 server, that counts what passes and does what bad lines do."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

_CHUNK = 64 << 10
_LACKING = (
    b"HTTP/1.1 501 Not Implemented\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: 43\r\n\r\n"
    b"<Error><Code>NotImplemented</Code></Error>\n"
)
_BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Relay:
    """Relays 127.0.0.1:`port` to a server, until it is closed.

    Attributes:
        sent, received: Bytes that clients have sent and received.
        requests: Requests seen, as `METHOD /path?query`.
        busy: So many of the next connections get an answer of 503.
        gone: Connections are closed at once.
        cuts: So many of the next answers are cut off at `cut_at` bytes.
        stall_at: When `sent` has reached it nothing more is relayed, and `stalled` is set.
        flip: One bit of these bytes is flipped where clients send them.
        lacks: Requests with this text, which the server does not implement, get an answer of 501.
        lose: The answer to the first request line that holds this text is lost.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._server = (parts.hostname, parts.port)
        self.sent = self.received = 0
        self.requests: list[str] = []
        self.busy = self.cuts = 0
        self.gone = False
        self.cut_at = _CHUNK
        self.stall_at: int | None = None
        self.stalled = threading.Event()
        self._freed = threading.Event()
        self.lose = self.flip = self.lacks = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def go_on(self) -> None:
        """End a stall."""
        self.stall_at = None
        self._freed.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.gone:
            client.close()
            return
        if self.busy > 0:
            self.busy -= 1
            with suppress(OSError), client:
                client.recv(_CHUNK)
                client.sendall(_BUSY)
            return
        line = {"lost": False}
        server = socket.create_connection(self._server)
        back = threading.Thread(target=self._back, args=(server, client, line), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(_CHUNK):
                self._note(data, line)
                if self.lacks and self.lacks in data:
                    client.sendall(_LACKING)
                    break
                self.sent += len(data)
                if self.stall_at is not None and self.sent >= self.stall_at:
                    self.stalled.set()
                    self._freed.wait()
                server.sendall(data.replace(self.flip, bytes([self.flip[0] ^ 1]) + self.flip[1:]) if self.flip else data)
        for end in (server, client):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _note(self, data: bytes, line: dict[str, bool]) -> None:
        first = data.split(b"\r\n", 1)[0]
        if first.endswith(b"HTTP/1.1"):
            self.requests.append(first.decode().rpartition(" ")[0])
            if self.lose and self.lose in first:
                self.lose, line["lost"] = b"", True

    def _back(self, server: socket.socket, client: socket.socket, line: dict[str, bool]) -> None:
        passed = 0
        with suppress(OSError):
            while data := server.recv(_CHUNK):
                if line["lost"] and not data.startswith(b"HTTP/1.1 100"):  # that only asks for the body
                    break
                if self.cuts > 0 and passed + len(data) > self.cut_at:
                    self.cuts -= 1
                    break
                passed += len(data)
                self.received += len(data)
                client.sendall(data)
        for end in (server, client):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
