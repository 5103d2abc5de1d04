"""Forgetting steps of worklists that are old enough, in SQLite."""

from typing import Final

from engine.adapters.stores.connection import WriteConnection
from engine.adapters.stores.statements import load_statements
from engine.adapters.stores.worklist import CODES
from engine.ports.worklist import Aged
from engine.worklist.item import TERMINAL


def age_worklists(db: WriteConnection, aged: Aged) -> int:
    """As Store.age_worklists."""
    run = db.execute
    (secure,) = run("PRAGMA secure_delete").fetchone()
    run("PRAGMA secure_delete = ON")
    try:
        with db.transaction():
            found: list[tuple[int, int, str, str]] = []
            if aged.ended_before_us:
                for status in sorted(CODES[status] for status in TERMINAL):
                    found += run(_SQL["ended"], (status, aged.ended_before_us, aged.most - len(found)))
                for name in ("forget_tombstones", "forget_mpps_references", "forget_mpps"):
                    run(_SQL[name], (aged.ended_before_us,))
            if aged.open_before:
                found += run(_SQL["overdue"], (aged.open_before, aged.most - len(found)))
            for id_, worklist, study_uid, step_id in found:
                run(_SQL["drop_stations"], (id_,))
                run(_SQL["drop_names"], (id_,))
                run(_SQL["forget_item"], (id_,))
                run(_SQL["forget_history"], (worklist, study_uid, step_id))
            for worklist in {row[1] for row in found}:
                run(_SQL["next_epoch"], (worklist,))
    finally:
        if not db.is_broken:
            run(f"PRAGMA secure_delete = {secure}")
    return len(found)


_SQL: Final = load_statements("worklist.sql")
