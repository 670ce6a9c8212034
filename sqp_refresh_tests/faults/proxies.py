"""Forward requests to BigQuery or Postgres, and break them when a test asks for it.

Each proxy has real sockets, served by threads, and forwards requests until its `trouble` begins.
"""

import http.client
import json
import os
import select
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

FOR_EVER = sys.maxsize
POLL_S = 0.02


class Fault(StrEnum):
    """What happens to a request instead of an answer."""

    QUOTA = "429"
    QUOTA_AS_403 = "403"
    OUTAGE = "503"
    RESET = "reset"
    STALL = "stall"


GRPC_CODES = {
    Fault.QUOTA: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Fault.OUTAGE: grpc.StatusCode.UNAVAILABLE,
    Fault.RESET: grpc.StatusCode.UNAVAILABLE,
    Fault.STALL: grpc.StatusCode.CANCELLED,
}
REST_REASONS = {
    Fault.QUOTA: "rateLimitExceeded",
    Fault.QUOTA_AS_403: "quotaExceeded",
    Fault.OUTAGE: "backendError",
}


class Trouble:
    """A fault, the requests it strikes from now on, and how many more of them.

    Attributes:
        hits: The requests that were struck.
        after_rows: Rows that a stream still delivers before it is struck.
    """

    def __init__(self) -> None:
        self.hits: list[str] = []
        self.after_rows = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._fault: Fault | None = None
        self._on = ""
        self._left = 0

    def begin(
        self, fault: Fault, *, on: str = "", times: int = FOR_EVER, after_rows: int = 0
    ) -> None:
        """Strike the next requests whose name contains `on`."""
        with self._lock:
            self._over = threading.Event()
            self._fault, self._on, self._left = fault, on, times
            self.after_rows = after_rows

    def end(self) -> None:
        """Strike no more, and release requests that stall."""
        with self._lock:
            self._left = 0
            self._over.set()

    def strikes(self, request: str) -> Fault | None:
        """Return the fault that strikes a request; None if the request is to be forwarded."""
        with self._lock:
            if not self._left or self._on not in request:
                return None
            self._left -= 1
            self.hits.append(request)
            return self._fault

    def wait_for_end(self) -> None:
        """Wait until the trouble ends."""
        self._over.wait()


@contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[None]:
    threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _reset(connection: socket.socket) -> None:
    """Close a connection by RST, as after a crash of the peer."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())


# -- any protocol ----------------------------------------------------------------------------------


class TcpProxy(socketserver.ThreadingTCPServer):
    """A proxy that forwards connections byte by byte, and can cut all of them at once.

    Attributes:
        refuses: Whether new connections are reset at once.
        loses_answers: Whether answers are lost, while connections stay open.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.refuses = False
        self.loses_answers = False
        self._connect = connect
        self._cut = threading.Event()
        self._pumps: list[threading.Thread] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def reset(self) -> None:
        """Cut every live connection by RST, in both directions, and wait until that is done."""
        cut, pumps = self._cut, self._pumps
        self._cut, self._pumps = threading.Event(), []
        cut.set()
        for pump in pumps:
            pump.join()

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        if self.refuses:
            _reset(request)
            return
        cut = self._cut
        self._pumps.append(threading.current_thread())
        with self._connect() as upstream, suppress(OSError):
            _pump(request, upstream, cut, self)
            if cut.is_set():
                _reset(request)
                _reset(upstream)


def _pump(
    client: socket.socket, upstream: socket.socket, cut: threading.Event, proxy: TcpProxy
) -> None:
    opposite = {client: upstream, upstream: client}
    while not cut.is_set():
        ready, _, _ = select.select(list(opposite), [], [], POLL_S)
        for side in ready:
            received = side.recv(1 << 16)
            if not received:
                return
            if proxy.loses_answers and side is upstream:
                continue
            opposite[side].sendall(received)


@contextmanager
def tcp_proxy(connect: Callable[[], socket.socket]) -> Iterator[TcpProxy]:
    """Forward to what `connect` connects to."""
    proxy = TcpProxy(connect)
    with _running(proxy):
        try:
            yield proxy
        finally:
            proxy.reset()


def postgres_connector(url: str) -> Callable[[], socket.socket]:
    """Return a function that connects to the Unix socket of an embedded Postgres."""
    directory = urlsplit(url).query.removeprefix("host=")

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"{directory}/.s.PGSQL.5432")
        return connection

    return connect


# -- REST ------------------------------------------------------------------------------------------


class RestProxy(ThreadingHTTPServer):
    """A proxy of a REST port."""

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _RestHandler)
        self.upstream = urlsplit(upstream).netloc
        self.trouble = Trouble()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Do nothing: a client that closes its connection is expected here."""


class _RestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        proxy = self.server
        assert isinstance(proxy, RestProxy)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.trouble.strikes(f"{self.command} {urlsplit(self.path).path}")
        if fault is None:
            self._forward(proxy.upstream, body)
        elif fault in REST_REASONS:
            self._refuse(int(fault), REST_REASONS[fault])
        else:
            if fault is Fault.STALL:
                proxy.trouble.wait_for_end()
            _reset(self.connection)
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle

    def _forward(self, upstream: str, body: bytes) -> None:
        connection = http.client.HTTPConnection(upstream)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        headers = {name: answer.getheader(name) for name in ("Content-Type", "Content-Encoding")}
        self._answer(
            answer.status, {name: value for name, value in headers.items() if value}, content
        )

    def _refuse(self, status: int, reason: str) -> None:
        message = "broken by the test"
        error = {"code": status, "message": message, "errors": [{"reason": reason}]}
        content = json.dumps({"error": error}).encode()
        self._answer(status, {"Content-Type": "application/json"}, content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def rest_proxy(upstream: str) -> Iterator[RestProxy]:
    """Forward to a REST port, given by its URL."""
    proxy = RestProxy(upstream)
    with _running(proxy):
        try:
            yield proxy
        finally:
            proxy.trouble.end()


# -- Storage Read ----------------------------------------------------------------------------------


class StorageProxy(grpc.GenericRpcHandler):
    """A proxy of a Storage Read port, which sends single rows and honours offsets.

    The emulator does neither; a stream that is one block cannot break in the middle.

    Attributes:
        host: host:port of the proxy.
        offsets: The offset of each ReadRows call.
    """

    def __init__(self, upstream: grpc.Channel) -> None:
        self.host = ""
        self.offsets: list[int] = []
        self.trouble = Trouble()
        self.reset: Callable[[], None] = lambda: None
        self._upstream = upstream

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        if method.endswith("/ReadRows"):
            return grpc.unary_stream_rpc_method_handler(
                lambda request, context: self._read_rows(method, request, context)
            )
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._call(method, request, context)
        )

    def _call(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        fault = self.trouble.strikes(method)
        if fault:
            self._strike(fault, context)
        return self._upstream.unary_unary(method)(request)

    def _read_rows(
        self, method: str, request: bytes, context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        offset = types.ReadRowsRequest.deserialize(request).offset
        self.offsets.append(offset)
        fault = self.trouble.strikes(method)
        # Read to its end: the emulator does not recover from a stream that is cancelled.
        rows = list(_single_rows(self._upstream.unary_stream(method)(request)))[offset:]
        yield from rows[: self.trouble.after_rows] if fault else rows
        if fault:
            self._strike(fault, context)

    def _strike(self, fault: Fault, context: grpc.ServicerContext) -> None:
        if fault is Fault.RESET:
            time.sleep(5 * POLL_S)  # what was sent arrives meanwhile
            self.reset()
        if fault is Fault.STALL:
            self.trouble.wait_for_end()
        context.abort(GRPC_CODES[fault], "broken by the test")


def _single_rows(blocks: Iterator[bytes]) -> Iterator[bytes]:
    schema = None
    for block in map(types.ReadRowsResponse.deserialize, blocks):
        if schema is None:
            schema = pa.ipc.read_schema(pa.py_buffer(block.arrow_schema.serialized_schema))
        message = pa.py_buffer(block.arrow_record_batch.serialized_record_batch)
        batch = pa.ipc.read_record_batch(message, schema)
        for number in range(batch.num_rows):
            yield _as_response(batch.slice(number, 1))


def _as_response(batch: pa.RecordBatch) -> bytes:
    rows = types.ArrowRecordBatch(serialized_record_batch=batch.serialize().to_pybytes())
    response = types.ReadRowsResponse(arrow_record_batch=rows, row_count=batch.num_rows)
    return types.ReadRowsResponse.serialize(response)


@contextmanager
def storage_proxy(upstream: str) -> Iterator[StorageProxy]:
    """Forward to a Storage Read port, given as host:port."""
    with grpc.insecure_channel(upstream) as channel:
        proxy = StorageProxy(channel)
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), handlers=[proxy])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        # gRPC cannot reset a connection; a TCP proxy before it can.
        with tcp_proxy(lambda: socket.create_connection(("127.0.0.1", port))) as line:
            proxy.host, proxy.reset = line.host, line.reset
            try:
                yield proxy
            finally:
                proxy.trouble.end()
                server.stop(grace=None).wait()
