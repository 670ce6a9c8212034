"""The Storage Read service over gRPC, as BigQuery serves it: offsets count, and streams break.

The emulator ignores both, so what happens on a bad line is tested against this.
"""

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"


@dataclass
class FakeStorage:
    """One table, and what goes wrong while it is read.

    Attributes:
        table: The rows, sent in blocks of `block` rows.
        breaks: For each ReadRows call in turn: after how many rows it breaks, and how; None or the
            end of the list means that it goes well.
        sessions: The read sessions that were asked for.
        offsets: The offset of each ReadRows call.
    """

    table: pa.Table
    block: int = 10
    breaks: list[tuple[int, grpc.StatusCode] | None] = field(default_factory=list)
    refuse_session: grpc.StatusCode | None = None
    sessions: list[types.CreateReadSessionRequest] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def create_read_session(
        self, request: types.CreateReadSessionRequest, context: grpc.ServicerContext
    ) -> types.ReadSession:
        self.sessions.append(request)
        if self.refuse_session:
            context.abort(self.refuse_session, "refused by the test")
        return types.ReadSession(
            name="projects/p/locations/us/sessions/s",
            table=request.read_session.table,
            arrow_schema=types.ArrowSchema(
                serialized_schema=self.table.schema.serialize().to_pybytes()
            ),
            streams=[types.ReadStream(name="projects/p/locations/us/sessions/s/streams/0")],
        )

    def read_rows(
        self, request: types.ReadRowsRequest, context: grpc.ServicerContext
    ) -> Iterator[types.ReadRowsResponse]:
        fault = self.breaks[len(self.offsets)] if len(self.offsets) < len(self.breaks) else None
        self.offsets.append(request.offset)
        rows = self.table.slice(request.offset)
        if fault:
            rows = rows.slice(0, fault[0])
        for batch in rows.combine_chunks().to_batches(max_chunksize=self.block):
            yield types.ReadRowsResponse(
                arrow_record_batch=types.ArrowRecordBatch(
                    serialized_record_batch=batch.serialize().to_pybytes()
                ),
                row_count=batch.num_rows,
            )
        if fault:
            context.abort(fault[1], "broken by the test")


@contextmanager
def serving(fake: FakeStorage) -> Iterator[str]:
    """Serve the fake on loopback; yields host:port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    handlers = {
        "CreateReadSession": _unary(fake.create_read_session, types.CreateReadSessionRequest),
        "ReadRows": _stream(fake.read_rows, types.ReadRowsRequest),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None)


def _unary(answer: Callable, request: type) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(answer, request.deserialize, _serialize)


def _stream(answer: Callable, request: type) -> grpc.RpcMethodHandler:
    return grpc.unary_stream_rpc_method_handler(answer, request.deserialize, _serialize)


def _serialize(message: types.ReadSession | types.ReadRowsResponse) -> bytes:
    return type(message).serialize(message)
