"""Run the BigQuery emulator as a child process that never outlives its parent.

    python -m sqp_refresh.demo.bigquery_server PROJECT [DIRECTORY]

Once it answers, it writes its REST and Storage Read ports to standard output, on one line; all
other output goes to standard error. It ends on SIGTERM, and when its standard input closes, which
happens however the parent ends. SIGINT is ignored: a Ctrl-C in the terminal reaches the parent too,
which stops its servers in order.
"""

import asyncio
import functools
import gc
import os
import signal
import sys
import threading
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqp_refresh.demo.remembered_queries import translate_each_query_once

if TYPE_CHECKING:
    from bqemulator.server import EmulatorServer

# More than the service allows: a wide batch of the largest size is one request here.
LARGEST_REQUEST_BYTES = 1 << 30
REMEMBERED_STATEMENTS = 64


def main() -> None:
    """Serve until the parent has ended or stops it; with a directory, the data stay in it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ports = os.dup(sys.stdout.fileno())
    # The emulator's libraries print while they are imported, and the parent reads one line only.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    project, *directory = sys.argv[1:]
    server = _server(project, Path(directory[0]) if directory else None)
    _parse_each_statement_once()
    _read_as_of_the_snapshot_time()
    translate_each_query_once()
    _date_each_answer()
    asyncio.run(_serve(server, ports))


def _server(project: str, directory: Path | None) -> "EmulatorServer":
    # The emulator installs this extension from the network unless it is there already.
    import duckdb_extensions

    duckdb_extensions.import_extension("spatial")

    from bqemulator.config import LogLevel, PersistenceMode, Settings
    from bqemulator.server import EmulatorServer

    return EmulatorServer(
        Settings(
            rest_port=0,
            grpc_port=0,
            default_project_id=project,
            persistence_mode=PersistenceMode.PERSISTENT if directory else PersistenceMode.EPHEMERAL,
            data_dir=directory,
            log_level=LogLevel.ERROR,
            enable_format_extensions=False,
            write_api_max_request_bytes=LARGEST_REQUEST_BYTES,
        )
    )


def _parse_each_statement_once() -> None:
    """Have the emulator remember how it parsed its last statements.

    It parses a statement seven times on average, once for each of its rewritings, which is most of
    what a long one costs. The rewritings change the tree, so each gets a copy, in a quarter of the
    time.
    """
    from sqlglot.dialects.dialect import Dialect

    parsed = functools.lru_cache(REMEMBERED_STATEMENTS)(Dialect.parse)

    def parse(self: Dialect, sql: str, **options: object) -> list[Any]:
        trees = parsed(self, sql, **options)
        return [None if tree is None else tree.copy() for tree in trees]

    Dialect.parse = parse


def _read_as_of_the_snapshot_time() -> None:
    """Have the emulator's Storage Read heed the instant that it is asked for, as its queries do.

    It keeps a copy of each state of a table, which only FOR SYSTEM_TIME AS OF reads.
    """
    from bqemulator.grpc_api.read_servicer import BigQueryReadHandler
    from bqemulator.storage.sql_identifiers import quoted_table_ref

    # The last step before it runs the statement by which it reads a table.
    rewrite = BigQueryReadHandler._apply_row_access_rewrite  # noqa: SLF001

    def rewrite_as_of(self: Any, *, read_session: Any, **request: Any) -> str | None:  # noqa: ANN401
        statement = rewrite(self, read_session=read_session, **request)
        instant = read_session.table_modifiers.snapshot_time
        if statement is None or not instant:
            return statement
        name = request["project_id"], request["dataset_id"], request["table_id"]
        copy = self._ctx.snapshots.resolve_time_travel(*name, instant)
        if copy is None:
            return statement
        of_copy = f'"{copy.duckdb_schema}"."{copy.duckdb_table}"'
        return statement.replace(quoted_table_ref(*name), of_copy, 1)

    BigQueryReadHandler._apply_row_access_rewrite = rewrite_as_of  # noqa: SLF001


def _date_each_answer() -> None:
    """Have the web server date each answer by the moment of its question.

    It looks at the clock once in ten of its rounds, and one may last for seconds: the newest state
    of a table would be later than BigQuery's time, by the answers.
    """
    from uvicorn.server import ServerState

    def headers(_: ServerState) -> list[tuple[bytes, bytes]]:
        return [(b"date", formatdate(usegmt=True).encode())]

    ServerState.default_headers = property(headers, lambda *_: None)  # type: ignore[assignment]


async def _serve(server: "EmulatorServer", ports: int) -> None:
    await server.start()
    # All that is loaded by now stays. The garbage collector would search it again and again while a
    # long query is parsed, which takes as long as the parsing.
    gc.collect()
    gc.freeze()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its web server has just claimed it
    threading.Thread(target=_await_end_of_input, args=(loop, stopped), daemon=True).start()
    os.write(ports, f"{server.rest_port} {server.grpc_port}\n".encode())
    os.close(ports)
    await stopped.wait()
    await server.stop()


def _await_end_of_input(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    loop.call_soon_threadsafe(stopped.set)


if __name__ == "__main__":
    main()
