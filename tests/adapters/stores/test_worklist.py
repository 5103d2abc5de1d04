"""Worklists in SQLite: what was decided is there, once, and a query finds it by its indexes."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.adapters.dicom.encode import encode
from engine.adapters.stores.sealing import TOKEN_KEY, TOKEN_KEY_BYTES, Sealing
from engine.adapters.stores.worklist import Stale, WorklistReading, WorklistRows
from engine.model.store_key import KEY_BYTES
from engine.worklist.changes import Decision, Policy, Put
from engine.worklist.event import OrderEvent, PatientEvent
from engine.worklist.item import EntityId, Item, Status
from engine.worklist.matching import Query, compile_query, find
from engine.worklist.orders import decide_order
from engine.worklist.patients import decide_patient
from tests.wire.worklist_rules import ITEMS, REFUSED, RULES, STEP, Rule, item
from tests.worklist.shelf import MRN, merge, order, patient, step

LATER = "20260101130000.000000"
OTHER = EntityId("900002", "HIS")


class Book:
    """A worklist on a file's own tables, and decisions carried out on it."""

    def __init__(self, is_sealed: bool = False) -> None:
        self.sealing = opened_sealing() if is_sealed else Sealing()
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        for name in ("0007_worklist.sql", "0009_hand_offs.sql"):
            self.db.executescript(files("engine.adapters.stores").joinpath("sql", "migrations", name).read_text())
        self.rows = WorklistRows(self.db.execute, lambda item: encode(item).dump(), self.sealing)
        self.seq = 0

    @property
    def known(self) -> WorklistReading:
        return WorklistReading(self.db.execute, "main", self.sealing)

    def take(self, event: OrderEvent | PatientEvent) -> Decision:
        if isinstance(event, OrderEvent):
            decision = decide_order(event, self.known, Policy())
        else:
            decision = decide_patient(event, self.known, Policy())
        self.seq += 1
        self.rows.apply("main", decision.changes, at_us=self.seq, seq=self.seq)
        return decision

    def items(self) -> list[Item]:
        return [one.item for one in self.known.candidates(compile_query({}), 1000)]

    def put(self, *items: Item) -> None:
        self.rows.apply("main", [Put(item, None, "created") for item in items], at_us=1, seq=1)


def opened_sealing() -> Sealing:
    """The keys of a store."""
    made = Sealing()
    made.unlock({TOKEN_KEY: bytes(range(TOKEN_KEY_BYTES)), 1: bytes(range(KEY_BYTES))}, left=1 << 30)
    return made


plain = pytest.mark.parametrize("book", ["plain"], indirect=True)


@pytest.fixture(params=["plain", "sealed"])
def book(request: pytest.FixtureRequest) -> Iterator[Book]:
    made = Book(request.param == "sealed")
    yield made
    made.db.close()


def test_an_item_comes_back_as_it_was_decided(book: Book) -> None:
    decision = book.take(order("NW", "SC", step()))
    (put,) = [change for change in decision.changes if isinstance(change, Put)]
    assert book.items() == [replace(put.item, revision=0)]


def test_decisions_go_on_from_what_is_stored(book: Book) -> None:
    book.take(order("NW", "SC", step("S1"), step("S2")))
    book.take(order("SC", "IP", step("S2")))
    book.take(order("XO", "SC", step("S1", description="CT neck"), at=LATER))
    book.take(order("CA", "CA", keys=step().keys, names_steps=False, at=LATER))
    found = {key.step_id: book.known.item(key) for key in (step("S1").key, step("S2").key)}
    assert {name: item.status if item else None for name, item in found.items()} == {
        "S1": "CANCELED",
        "S2": "DISCONTINUED",
    }
    assert [what for _, _, _, what, _ in book.known.history(step("S1").key)] == ["created", "updated", "canceled"]
    assert [seq for _, seq, _, _, _ in book.known.history(step("S2").key)] == [1, 2, 4]


def test_a_resend_writes_nothing(book: Book) -> None:
    book.take(order("NW", "SC", step()))
    assert book.take(order("NW", "SC", step())).changes == []


def test_a_decision_on_what_was_changed_meanwhile_is_not_written(book: Book) -> None:
    book.take(order("NW", "SC", step()))
    first = decide_order(order("SC", "IP", step()), book.known, Policy())
    second = decide_order(order("CA", "CA", step()), book.known, Policy())
    book.rows.apply("main", first.changes, at_us=2, seq=2)
    with pytest.raises(Stale):
        book.rows.apply("main", second.changes, at_us=3, seq=3)


def test_two_decisions_to_make_the_same_step(book: Book) -> None:
    twice = [decide_order(order("NW", "SC", step()), book.known, Policy()) for _ in range(2)]
    book.rows.apply("main", twice[0].changes, at_us=1, seq=1)
    with pytest.raises(Stale):
        book.rows.apply("main", twice[1].changes, at_us=2, seq=2)


def test_a_step_that_is_dropped_has_its_history_still(book: Book) -> None:
    book.take(order("NW", "SC", step("S1"), step("S2")))
    book.take(order("XO", "SC", step("S1"), at=LATER))
    assert [item.key.step_id for item in book.items()] == ["S1"]
    assert [what for _, _, _, what, _ in book.known.history(step("S2").key)] == [
        "created",
        "no longer named by its order",
    ]


def test_merges_cancels_and_patients_are_remembered(book: Book) -> None:
    book.take(order("CA", "CA", keys=step("S9", "1.9", accession="A9", placer="P9").keys, names_steps=False))
    book.take(merge(MRN, OTHER))
    book.take(order("NW", "SC", step(), who=patient(OTHER, "Old^Name")))
    (item,) = book.items()
    assert (item.patient, item.attributes["PatientName"]) == (MRN, ("Muster^Anna",))
    decision = book.take(order("NW", "SC", step("S9", "1.9", accession="A9", placer="P9"), at="20251231000000.000000"))
    assert [problem.code for problem in decision.warnings] == ["W422"]


def test_another_worklist_has_items_of_its_own(book: Book) -> None:
    book.put(ITEMS[0])
    assert WorklistReading(book.db.execute, "cardiology").candidates(compile_query({}), 10) == []


@plain
def test_a_damaged_item_is_left_out(book: Book) -> None:
    book.put(ITEMS[0], ITEMS[1])
    book.db.execute("UPDATE worklist_item SET encoded = X'00' WHERE study_uid = '1.2.1'")
    view = book.known
    assert [one.item.key.study_uid for one in view.candidates(compile_query({}), 9)] == ["1.2.2"]
    assert view.damaged == 1


def test_counting_goes_by_indexes(book: Book) -> None:
    from engine.adapters.stores.worklist import _SQL

    def plan(statement: str) -> str:
        return " ".join(row[3] for row in book.db.execute(f"EXPLAIN QUERY PLAN {_SQL[statement]}"))

    assert "worklist_item USING COVERING INDEX worklist_item_by_status" in plan("counts_of_all")
    assert "worklist_item USING INDEX worklist_item_shown" in plan("without_station")
    assert "worklist_station USING COVERING INDEX worklist_station_of_item" in plan("without_station")


def query_of(keys: Sequence[str]) -> Query:
    outer: dict[str, tuple[str, ...]] = {}
    inner: dict[str, tuple[str, ...]] = {}
    for key in keys:
        name, _, value = key.removeprefix(f"{STEP}.").partition("=")
        (inner if key.startswith(f"{STEP}.") else outer)[name] = tuple(value.split("\\")) if value else ()
    return compile_query({**outer, "ScheduledProcedureStepSequence": (inner,)})


ANSWERED = [
    rule
    for rule in RULES
    if rule.found != REFUSED and rule.number != 21 and not any("Sequence" in k and "." not in k for k in rule.keys)
]


@pytest.mark.parametrize("rule", ANSWERED, ids=str)
def test_candidates_leave_out_nothing_that_matches(book: Book, rule: Rule) -> None:
    book.put(*ITEMS)
    query = query_of(rule.keys)
    found = find(query, [one.item for one in book.known.candidates(query, 100)])
    assert tuple(int(item.key.step_id[1:]) for item in found.items) == rule.found


def find_in(book: Book, query: Query) -> list[Item]:
    return list(find(query, [one.item for one in book.known.candidates(query, 100)]).items)


NAMES = [
    "Muster^Anna",
    "MÜLLER^Eva",
    "Müller^Eva=山田^太郎",
    "YAMADA^TARO=山田^太郎=やまだ^たろう",
    "山田^太郎",
    "mu^x",
    "^Eva",
    "İz^Ş",
]


@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=6),
    st.text("MUmuüÜle^r*?=山田やYaEvİ", max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_the_beginning_of_a_name_leaves_out_nothing_that_matches(
    names: list[str], key: str, folds: bool, is_sealed: bool
) -> None:
    made = Book(is_sealed)
    try:
        items = [item(number, name) for number, name in enumerate(names, start=1)]
        made.put(*items)
        query = compile_query({"PatientName": (key,)}, folds_accents=folds)
        candidates = [one.item for one in made.known.candidates(query, 100)]
        assert [one.key for one in find(query, candidates).items] == [one.key for one in find(query, items).items]
    finally:
        made.db.close()


@pytest.mark.parametrize(
    ("keys", "most"),
    [
        ([f"{STEP}.Modality=MR"], 10),
        ([f"{STEP}.Modality=MR\\US"], 20),
        ([f"{STEP}.Modality=MR", f"{STEP}.ScheduledProcedureStepStartDate=20261015"], 3),
        ([f"{STEP}.ScheduledStationAETitle=MR1"], 10),
        ([f"{STEP}.ScheduledStationAETitle=MR1\\US1", f"{STEP}.ScheduledProcedureStepStartDate=20261015-"], 20),
        (["PatientName=rare*"], 1),
        (["PatientName=Rare^Rita"], 1),
        (["PatientName=山*"], 1),
        (["PatientName=rare*", f"{STEP}.Modality=CT"], 1),
        (["PatientName=rare*", f"{STEP}.ScheduledStationAETitle=CT1"], 1),
        ([f"{STEP}.ScheduledProcedureStepStartDate=20261017"], 101),
    ],
    ids=str,
)
def test_a_query_reads_little_more_than_it_finds(book: Book, keys: list[str], most: int) -> None:
    """Rows, not time: 500 items of CT, 10 each of MR and US, half of them ended, over five days."""
    made = [item(1, "Rare^Rita=山田^太郎", date="20261017")]
    for number in range(2, 1042):
        modality = "MR" if number % 50 == 0 else "US" if number % 50 == 1 else "CT"
        status: Status = "COMPLETED" if number % 100 > 50 or number % 100 == 0 else "SCHEDULED"
        made.append(
            item(number, aes=(f"{modality}1",), modality=modality, date=f"202610{15 + number // 7 % 5}", status=status)
        )
    book.put(*made)
    query = query_of(keys)
    read = [one.item for one in book.known.candidates(query, 5000)]
    found = find(query, read)
    assert 0 < len(found.items) <= len(read) <= most + len(found.items) // 10, len(read)


@pytest.mark.parametrize(
    ("statement", "values", "index"),
    [
        ("candidates_of_station", ('["CT1"]', "", "~", 1, False, 10), "worklist_station"),
        ("candidates_of_name", ("mu", "mu~", 1, False, 10), "worklist_name"),
        ("shown_names", (1, "", "~"), "worklist_item_shown"),
        ("all_names", (1, "", "~"), "worklist_item_by_start"),
        ("candidates_of_modality", (1, '["CT"]', "", "~", 10), "worklist_item_of_modality"),
        ("candidates_shown", (1, "", "~", 10), "worklist_item_shown"),
        ("candidates_all", (1, "", "~", 10), "worklist_item_by_start"),
        ("candidates_of_patient", (1, "1", 10), "worklist_item_by_patient"),
        ("items_by_placer", (1, "P1"), "worklist_item_by_placer"),
        ("items_by_filler", (1, "F1"), "worklist_item_by_filler"),
        ("items_by_study", (1, "1.2"), "sqlite_autoindex_worklist_item"),
    ],
)
def test_lookups_use_their_index(book: Book, statement: str, values: tuple[object, ...], index: str) -> None:
    from engine.adapters.stores.worklist import _SQL

    plan = " ".join(row[3] for row in book.db.execute(f"EXPLAIN QUERY PLAN {_SQL[statement]}", values))
    assert index in plan, plan
    first = plan.partition("USING")[0].split()[1]
    assert index.removeprefix("sqlite_autoindex_").startswith(first), f"it begins with another table: {plan}"
    assert "SCAN" not in plan.replace("SCAN json_each", ""), plan  # the few values of a key


@pytest.mark.parametrize(
    ("statement", "values"),
    [("candidates_of_accession", (1, "A1", 1, "A1", 10)), ("items_by_accession", (1, "A1", 1, "A1"))],
)
def test_accession_numbers_are_looked_up_as_ordered_and_as_shown_by_an_index_each(
    book: Book, statement: str, values: tuple[object, ...]
) -> None:
    from engine.adapters.stores.worklist import _SQL

    steps = [row[3] for row in book.db.execute(f"EXPLAIN QUERY PLAN {_SQL[statement]}", values)]
    assert [step for step in steps if "worklist_item" in step] == [
        "SEARCH worklist_item USING INDEX worklist_item_by_accession (worklist=? AND accession=?)",
        "SEARCH worklist_item USING INDEX worklist_item_by_shown_accession (worklist=? AND shown_accession=?)",
    ]


@pytest.mark.parametrize(("ordered", "shown"), [("RIS-A1", "A1"), ("A\\1", "A/1"), ("A1", "A1")])
def test_an_accession_number_is_found_as_scanners_see_it(book: Book, ordered: str, shown: str) -> None:
    """dicom.md 1.5, 1.6: DICOM has a backslash as `/`, and may have what is too long in another way."""
    plain = item(1)
    keys = replace(plain.keys, accession=EntityId(ordered))
    originals = {"AccessionNumber": ordered} if ordered != shown else {}
    made = replace(plain, keys=keys, attributes={**plain.attributes, "AccessionNumber": (shown,)}, originals=originals)
    book.put(made)
    for key in (shown, f"{shown}*"):
        query = compile_query({"AccessionNumber": (key,)})
        assert find_in(book, query) == [made]
    assert book.known.by_accession(ordered) == book.known.by_accession(shown) == [made]
    assert book.known.by_accession("") == []
    if ordered != shown:
        assert find_in(book, compile_query({"AccessionNumber": (ordered,)})) == []


@plain
def test_a_damaged_original_leaves_its_item_out(book: Book) -> None:
    book.put(replace(item(1), originals={"AccessionNumber": "RIS-A1"}))
    assert len(book.known.candidates(compile_query({}), 10)) == 1
    book.db.execute("UPDATE worklist_item SET originals = replace(originals, 'RIS', 'SIR')")
    assert book.known.candidates(compile_query({}), 10) == []
