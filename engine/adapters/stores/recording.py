"""The record of what people did, in SQLite: a row behind the last, in the transaction of what it tells of.

In a sealed store each row has a salt, which its hash covers: the hash stands in `audit.anchor` and in the log too, and
would else tell whoever guesses a row's words that the guess was right. It stands behind the row's counts.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from engine.adapters.stores.sealed_shapes import OPERATIONS
from engine.adapters.stores.sealed_statements import Statements
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.statements import load_statements
from engine.model.audit import START, AuditRow, chained

SALT_BYTES: Final = 16


def operation_statements(execute: Callable[..., Any], sealing: Sealing | None = None) -> Statements:
    """Those of `sql/operations.sql`, on this connection."""
    return Statements(execute, _SQL, OPERATIONS, sealing or Sealing())


def newest(run: Statements) -> tuple[int, bytes]:
    """The number and the hash of the last row."""
    return run("audit_head").fetchone() or (0, START)


def append(run: Statements, row: AuditRow) -> None:
    """Put `row`, whose number is the next, on record."""
    _, previous = newest(run)
    salted = replace(row, salt=os.urandom(SALT_BYTES).hex()) if run.sealing.is_on else row
    digest = chained(previous, salted)
    counts = f"{row.counts} {salted.salt}" if salted.salt else row.counts
    told = (row.id, row.at_us, row.actor, row.action, row.reason, row.scope, counts, row.ids, row.key, digest)
    run("append_audit", told)
    run("set_audit_head", {"last": row.id, "hash": digest})


def audit_row(found: Sequence[Any]) -> AuditRow:
    """A row of the table."""
    id_, at_us, actor, action, reason, scope, counts, ids, key, hash_ = found
    counts, _, salt = counts.partition(" ")  # JSON without spaces
    return AuditRow(id_, at_us, actor, action, reason, scope, counts, ids, key, hash_, salt)


_SQL: Final = load_statements("operations.sql")
