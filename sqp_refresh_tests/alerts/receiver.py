"""Run a real receiver of alerts on loopback: it answers as the path says, and keeps requests."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any, cast


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"

    @property
    def alert(self) -> dict[str, Any]:
        return json.loads(self.body)


class Receiver(ThreadingHTTPServer):
    """A server: `/500` answers 500, `/302` redirects, `/never` and `/drip` are too slow."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.closing = threading.Event()

    @property
    def port(self) -> int:
        return self.server_address[1]

    def url(self, path: str = "/204") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.requests]

    @property
    def processed(self) -> list[dict[str, Any]]:
        """The alerts of a receiver that ignores an id which it has seen before."""
        by_id = {request.headers["webhook-id"]: request.alert for request in self.requests}
        return list(by_id.values())


class _Handler(BaseHTTPRequestHandler):
    @property
    def receiver(self) -> Receiver:
        return cast(Receiver, self.server)

    def do_GET(self) -> None:
        self._take("GET")

    def do_POST(self) -> None:
        self._take("POST")

    def _take(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.receiver.requests.append(Request(self.path, headers, body, method))
        answer = self.path.partition("?")[0].rpartition("/")[2]
        if answer == "never":
            self.receiver.closing.wait()
        elif answer == "drip":
            self._drip()
        else:
            self._answer(int(answer) if answer.isdigit() else 204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        if status == 302:
            self.send_header("location", self.receiver.url("/elsewhere"))
        self.send_header("content-length", "0")
        self.end_headers()

    def _drip(self) -> None:
        """Send a whole answer, so slowly that each byte by itself is in time."""
        answer = b"HTTP/1.1 204 No Content\r\nx: " + b"." * 60 + b"\r\n\r\n"
        for byte in answer:
            if self.receiver.closing.wait(0.05):
                return
            self.wfile.write(bytes([byte]))

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # The sender has hung up, as it may.

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the test says what it expected."""


@contextmanager
def receiving(tls: SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver()
    if tls:
        receiver.socket = tls.wrap_socket(receiver.socket, server_side=True)
    thread = threading.Thread(target=receiver.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        receiver.shutdown()
        receiver.server_close()
        thread.join()
