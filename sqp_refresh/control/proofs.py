"""Keep a certificate of each published period in `sqp.refresh_proofs`, chained by SHA-256.

Each certificate of a table holds the hash of the one before it. Writers of a refresh add to a chain
in turns, each until its transaction is committed, so that no two follow the same one. The ledger
has the hash of each period's certificate, so that the last of a chain cannot be removed unseen.

A certificate keeps the name of the schema under which it was written, which its hash covers. It is
looked for by its table alone, so that a chain goes on where the schema was renamed.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from sqp_refresh.errors import RefreshError, Transient, Unavailable
from sqp_refresh.model import column_sums
from sqp_refresh.model.column_sums import ColumnSums, columns_that_differ
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.period_sql import period_params, requested_params
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

# The text of JSON depends on no setting once moments are without a time zone.
_HASH = """
encode(sha256(convert_to(jsonb_build_array(
    previous_sha256, table_schema, table_name, period_start, period_end, audit_log_id,
    source_instant AT TIME ZONE 'UTC', source, target, is_equal, created_at AT TIME ZONE 'UTC'
)::text, 'UTF8')), 'hex')
"""
_COLUMNS = """
table_schema, table_name, period_start, period_end, audit_log_id, source_instant, source, target,
    is_equal, previous_sha256
"""
_ADD = in_schema(f"""
WITH entry AS (
    SELECT %(schema)s::text AS table_schema, %(table)s::text AS table_name,
        %(period_start)s::date AS period_start, %(period_end)s::date AS period_end,
        %(audit_log_id)s::bigint AS audit_log_id, %(instant)s::timestamptz AS source_instant,
        %(source)s::jsonb AS source, %(target)s::jsonb AS target, %(is_equal)s AS is_equal,
        now() AS created_at, %(previous)s::text AS previous_sha256
)
INSERT INTO sqp.refresh_proofs ({_COLUMNS}, created_at, sha256)
SELECT {_COLUMNS}, created_at, {_HASH} FROM entry
RETURNING sha256
""")  # noqa: S608, nothing is put in that is not written here
_LAST_HASH = in_schema("""
SELECT (SELECT sha256 FROM sqp.refresh_proofs WHERE table_name = %(table)s ORDER BY id DESC LIMIT 1)
""")
_READ = in_schema("""
SELECT entry.period_start, entry.period_end, source, target, sha256
FROM sqp.refresh_periods AS entry
JOIN sqp.refresh_proofs AS proof ON proof.sha256 = entry.proof_sha256
    AND proof.table_name = entry.table_name
WHERE entry.table_schema = %(schema)s AND entry.table_name = %(table)s
    AND (entry.period_start, entry.period_end) IN (
        SELECT * FROM unnest(%(first_days)s::date[], %(last_days)s::date[])
    )
""")
_READ_AS_OF = in_schema("""
SELECT DISTINCT ON (period_start) period_start, period_end, source FROM sqp.refresh_proofs
WHERE table_name = %(table)s AND created_at <= %(at)s
    AND (period_start, period_end) IN (
        SELECT * FROM unnest(%(first_days)s::date[], %(last_days)s::date[])
    )
ORDER BY period_start, id DESC
""")
_CHAIN = in_schema(f"""
SELECT id, period_start, period_end, sha256, sha256 = {_HASH} AS is_intact,
    previous_sha256 IS NOT DISTINCT FROM lag(sha256) OVER (ORDER BY id) AS is_linked
FROM sqp.refresh_proofs
WHERE table_name = %(table)s
ORDER BY id
""")  # noqa: S608, nothing is put in that is not written here
# Of a period that is no longer in the ledger, nothing is claimed.
_WITHOUT_ENTRY = in_schema("""
SELECT entry.period_start, entry.period_end FROM sqp.refresh_periods AS entry
LEFT JOIN (
    SELECT DISTINCT ON (period_start, period_end) period_start, period_end, sha256
    FROM sqp.refresh_proofs WHERE table_name = %(table)s
    ORDER BY period_start, period_end, id DESC
) AS last ON (last.period_start, last.period_end) = (entry.period_start, entry.period_end)
WHERE table_schema = %(schema)s AND table_name = %(table)s
    AND proof_sha256 IS DISTINCT FROM last.sha256
ORDER BY entry.period_start
""")


@dataclass(frozen=True, slots=True)
class Proof:
    """The certificate of a period.

    Attributes:
        source: What the source said of each column.
        target: What the table held.
        sha256: The hash of the certificate; empty before it is on record.
    """

    source: ColumnSums
    target: ColumnSums
    sha256: str = ""

    @property
    def differing(self) -> list[str]:
        """The columns in which they do not agree."""
        return columns_that_differ(self.source, self.target)


@dataclass(frozen=True, slots=True)
class Chain:
    """What the certificates of a table are, all together.

    Attributes:
        entries: How many there are (count).
        sha256: The hash of the last; None where there is none.
        faults: What is wrong with them, in words.
    """

    entries: int
    sha256: str | None
    faults: tuple[str, ...]


class ProofChain:
    """The end of a table's certificates, which the writers of a refresh add to in turns."""

    def __init__(self, last_sha256: str | None) -> None:
        self._last = last_sha256
        self._turn = threading.Lock()
        self._is_unknown = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let one writer alone add to the chain, until what it has added is committed.

        A transaction of one snapshot does not see what others have added since it began, so that
        the hash to follow on is kept here.

        Raises:
            Transient: it is not known whether another writer's certificate was committed.
        """
        with self._turn:
            if self._is_unknown:
                raise Transient("another writer has lost its connection to Postgres; try again")
            before, self._is_unknown = self._last, True
            try:
                yield
            except RefreshError as error:
                # A lost connection leaves open whether the commit came through.
                self._is_unknown = isinstance(error, Unavailable)
                self._last = before
                raise
            self._is_unknown = False

    def add(
        self,
        session: Session,
        table: Table,
        period: Period,
        proof: Proof,
        *,
        audit_log_id: int,
        instant: datetime | None,
    ) -> str:
        """Enter the certificate of a period, in the transaction that publishes it.

        Args:
            session: A session in that transaction, in its turn.
            table: The table.
            period: The period.
            proof: What both sides say.
            audit_log_id: The run.
            instant: When the source was read as of; None for a view.

        Returns:
            The hash of the certificate, which the ledger keeps.
        """
        params = {
            "previous": self._last,
            "audit_log_id": audit_log_id,
            "instant": instant,
            "source": Jsonb(column_sums.to_json(proof.source)),
            "target": Jsonb(column_sums.to_json(proof.target)),
            "is_equal": not proof.differing,
        }
        (self._last,) = session.fetch_one(_ADD, _name(table) | period_params(period) | params)
        return self._last


def read_last_hash(session: Session, table: Table) -> str | None:
    """Read the hash of a table's last certificate; None where it has none."""
    (last,) = session.fetch_one(_LAST_HASH, _name(table))
    return last


def read(session: Session, table: Table, periods: Iterable[Period]) -> dict[Period, Proof]:
    """Read the certificates of those periods that have one."""
    rows = session.fetch_all(_READ, _name(table) | requested_params(periods), row_factory=dict_row)
    return {Period(row["period_start"], row["period_end"]): _proof(row) for row in rows}


def read_as_of(
    session: Session, table: Table, periods: Iterable[Period], at: datetime
) -> dict[Period, ColumnSums]:
    """Read what the source said of each column, by the certificates that periods had then."""
    params = _name(table) | requested_params(periods) | {"at": at}
    rows = session.fetch_all(_READ_AS_OF, params)
    return {Period(first, last): column_sums.from_json(source) for first, last, source in rows}


def read_chain(session: Session, table: Table) -> Chain:
    """Read all certificates of a table, and find those that were altered or removed."""
    rows = session.fetch_all(_CHAIN, _name(table), row_factory=dict_row)
    faults = [
        f"certificate {row['id']} of {Period(row['period_start'], row['period_end'])} {what}"
        for row in rows
        for holds, what in (
            (row["is_intact"], "was altered"),
            (row["is_linked"], "does not follow the one before it"),
        )
        if not holds
    ]
    faults += [
        f"the last certificate of {Period(*days)} is not the one that the ledger names"
        for days in session.fetch_all(_WITHOUT_ENTRY, _name(table))
    ]
    return Chain(len(rows), rows[-1]["sha256"] if rows else None, tuple(faults))


def _proof(row: Mapping[str, Any]) -> Proof:
    return Proof(
        column_sums.from_json(row["source"]), column_sums.from_json(row["target"]), row["sha256"]
    )


def _name(table: Table) -> dict[str, Any]:
    return {"schema": SCHEMA, "table": table.name}
