"""What is sealed of the tables beside the messages: worklists, what people did, who may sign in (adr/0055).

Columns that statements compare between tables have one place: the steps of worklists, and performed steps.
"""

from typing import Final

from engine.adapters.stores.sealing import SealedColumn, SealedTable

STEP: Final = ("study_uid", "step_id")
_SHARED: Final = {"study_uid": "worklist.study_uid", "step_id": "worklist.step_id", "uid": "mpps.uid"}


def _tokens(names: str) -> tuple[SealedColumn, ...]:
    return tuple(SealedColumn(name, "token", is_text=True, place=_SHARED.get(name, "")) for name in names.split())


def _texts(names: str, row: tuple[str, ...]) -> tuple[SealedColumn, ...]:
    return tuple(SealedColumn(name, is_text=True, row=row) for name in names.split())


WORKLISTS: Final = (
    SealedTable(
        "worklist_item",
        ("id",),
        (
            *_tokens(
                "study_uid step_id patient patient_issuer placer placer_issuer filler filler_issuer accession"
                " accession_issuer visit visit_issuer shown_accession"
            ),
            *_texts("attributes originals", STEP),
            SealedColumn("encoded", row=STEP),
        ),
    ),
    SealedTable("worklist_name", ("name", "item"), _texts("name", ("item",)), at_once=True),
    SealedTable(
        "worklist_history",
        ("id",),
        (*_tokens("study_uid step_id"), *_texts("who what", (*STEP, "at_us"))),
    ),
    SealedTable(
        "worklist_patient",
        ("worklist", "patient", "issuer"),
        (*_tokens("patient issuer"), *_texts("attributes", ("patient", "issuer"))),
        at_once=True,
    ),
    SealedTable(
        "worklist_alias",
        ("worklist", "patient", "issuer"),
        _tokens("patient issuer survivor survivor_issuer"),
        at_once=True,
    ),
    SealedTable(
        "worklist_tombstone",
        ("worklist", "kind", "number", "issuer", "step_id"),
        _tokens("number issuer step_id"),
        at_once=True,
    ),
    SealedTable(
        "mpps",
        ("uid",),
        (*_tokens("uid"), *_texts("calling station reason reason_scheme attributes", ("uid",))),
        at_once=True,
    ),
    SealedTable("mpps_reference", ("rowid",), _tokens("uid study_uid step_id accession"), at_once=True),
    SealedTable(
        "hand_off_step",
        ("hand_off", "study_uid", "step_id"),
        (*_tokens("study_uid step_id"), *_texts("token", ("hand_off", *STEP))),
        at_once=True,
    ),
)

PEOPLE: Final = (
    SealedTable("audit", ("id",), (*_texts("reason scope counts ids run", ("id",)), SealedColumn("hash", row=("id",)))),
    SealedTable("audit_head", ("id",), (SealedColumn("hash", row=("last",)),)),
    SealedTable("pause", ("channel", "destination"), _texts("reason", ("channel", "destination")), at_once=True),
    SealedTable(
        "operation",
        ("run",),
        (*_tokens("run"), SealedColumn("digest", row=("run",)), *_texts("report", ("run",))),
        at_once=True,
    ),
    SealedTable("saved_search", ("id",), (*_tokens("name"), *_texts("text", ("id",)))),
    SealedTable("second_factor", ("user",), (SealedColumn("secret", row=("user",)),), at_once=True),
)

OTHERS: Final = (*WORKLISTS, *PEOPLE)
