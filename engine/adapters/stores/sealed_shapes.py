"""Of which columns the values and the results of statements are, where some of them are sealed (adr/0055).

Statements that are not here have nothing to do with a sealed column, or move values as they are stored.
"""

from collections.abc import Mapping
from typing import Final

from engine.adapters.stores.sealed_statements import Shape, columns

ITEM_COLUMNS: Final = (
    "worklist study_uid step_id status is_held patient patient_issuer placer placer_issuer filler filler_issuer"
    " accession accession_issuer visit visit_issuer starts_at ordered_at uid_origin revision changed_at_us attributes"
    " encoded crc modality shown_accession originals"
)
_ITEM: Final = columns("worklist_item", f"id {ITEM_COLUMNS}")


def _items(given: str) -> Shape:
    """Statements that a decision goes by: what cannot be opened must not be taken for what is not there."""
    return Shape(columns("worklist_item", given), _ITEM)


def _candidates(given: str) -> Shape:
    """Statements that answer a query: a damaged item is left out, and counted."""
    return Shape(columns("worklist_item", given), _ITEM, damage="leave out")


_STEP_OF: Final = {name: columns(name, "study_uid step_id") for name in ("worklist_history", "mpps_reference")}
_HANDED: Final = columns("hand_off_step", "study_uid step_id mark is_shown token")

WORKLIST: Final[Mapping[str, Shape]] = {
    "items_by_study": _items("worklist study_uid"),
    "items_by_placer": _items("worklist placer"),
    "items_by_filler": _items("worklist filler"),
    "items_by_accession": _items("worklist accession worklist shown_accession"),
    "items_by_patient": _items("worklist patient patient_issuer"),
    "item": _items("worklist study_uid step_id"),
    "survivor": Shape(
        columns("worklist_alias", "worklist patient issuer"), columns("worklist_alias", "survivor survivor_issuer")
    ),
    "patient": Shape(
        columns("worklist_patient", "worklist patient issuer"), columns("worklist_patient", "attributes from_adt at")
    ),
    "tombstone": Shape(
        columns("worklist_tombstone", "worklist kind number step_id"), columns("worklist_tombstone", "at issuer")
    ),
    "put_item": Shape(columns("worklist_item", ITEM_COLUMNS)),
    "change_item": Shape(table="worklist_item"),
    "put_name": Shape(columns("worklist_name", "name item")),
    "drop_item": Shape(columns("worklist_item", "worklist study_uid step_id revision")),
    "put_history": Shape(columns("worklist_history", "worklist study_uid step_id at_us seq who what status")),
    "put_patient": Shape(columns("worklist_patient", "worklist patient issuer attributes from_adt at changed_at_us")),
    "put_alias": Shape(columns("worklist_alias", "worklist patient issuer survivor survivor_issuer at_us")),
    "put_tombstone": Shape(columns("worklist_tombstone", "worklist kind number issuer step_id at at_us")),
    "candidates_of_study": _candidates("worklist study_uid -"),
    "candidates_of_accession": _candidates("worklist accession worklist shown_accession -"),
    "candidates_of_patient": _candidates("worklist patient -"),
    "candidates_of_station": _candidates(""),
    "candidates_of_modality": _candidates(""),
    "candidates_shown": _candidates(""),
    "candidates_all": _candidates(""),
    "candidate": _candidates(""),
    "shown_names": Shape((), columns("worklist_name", "name item"), damage="leave out"),
    "all_names": Shape((), columns("worklist_name", "name item"), damage="leave out"),
    # What happened is shown: that somebody did something there stays to be seen.
    "history": Shape(
        columns("worklist_history", "worklist study_uid step_id"),
        columns("worklist_history", "at_us seq who what status"),
        damage="empty",
    ),
    "order_of_step": Shape((None, *_STEP_OF["worklist_history"])),
    "mpps": Shape(columns("mpps", "uid"), columns("mpps", "attributes")),
    "put_mpps": Shape(table="mpps"),
    "drop_mpps_references": Shape(columns("mpps_reference", "uid")),
    "put_mpps_reference": Shape(columns("mpps_reference", "uid study_uid step_id accession")),
    "in_progress": Shape(
        columns("mpps_reference", "study_uid accession accession"),
        columns("mpps_reference", "study_uid step_id accession"),
    ),
    "mpps_naming": Shape(columns("mpps_reference", "study_uid accession accession"), columns("mpps", "uid attributes")),
}

HAND_OFF: Final[Mapping[str, Shape]] = {
    "shown_and_not_handed": Shape(
        (),
        (*_ITEM, None, *columns("hand_off_step", "mark is_shown token study_uid step_id")),
        table="hand_off_step",
        damage="leave out",
    ),
    "handed_and_not_shown": Shape((), _HANDED, table="hand_off_step"),
    "item_by_id": _candidates(""),
    "handed": Shape(columns("hand_off_step", "hand_off"), _HANDED),
    "put_handed": Shape(columns("hand_off_step", "hand_off study_uid step_id mark is_shown token at_us")),
    "drop_handed": Shape(columns("hand_off_step", "hand_off study_uid step_id")),
}

_AUDIT: Final = columns("audit", "id at_us actor action reason scope counts ids run hash")
OPERATIONS: Final[Mapping[str, Shape]] = {
    "append_audit": Shape(_AUDIT),
    # A row that cannot be opened is there, and is no longer what it was: the chain ends at it.
    "audit": Shape((), _AUDIT, damage="empty"),
    "audit_head": Shape((), columns("audit_head", "last hash"), damage="empty"),
    "set_audit_head": Shape(table="audit_head"),
    # What is paused stays so, also where nobody can read why.
    "pauses": Shape((), columns("pause", "channel destination at_us actor reason"), damage="empty"),
    "set_pause": Shape(columns("pause", "channel destination at_us actor reason")),
    "progress": Shape(columns("operation", "run"), columns("operation", "action digest done finished report")),
    "set_progress": Shape(columns("operation", "run at_us action digest done finished report")),
}

_FACTOR: Final = columns("second_factor", "user secret last_step recovery created_us")
ACCESS: Final[Mapping[str, Shape]] = {
    "second_factor": Shape(columns("second_factor", "user"), _FACTOR),
    "set_second_factor": Shape(_FACTOR),
}

_SEARCH: Final = columns("saved_search", "id owner name is_shared text created_us changed_us")
SAVED_SEARCH: Final[Mapping[str, Shape]] = {
    "saved_searches": Shape(columns("saved_search", "owner"), _SEARCH, damage="leave out"),
    "saved_search": Shape(columns("saved_search", "id"), _SEARCH),
    "save_search": Shape(_SEARCH),
    "change_search": Shape(columns("saved_search", "name is_shared changed_us id")),
}
