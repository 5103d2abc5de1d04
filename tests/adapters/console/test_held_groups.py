"""What is held, by cause: a group has a code and places, never a value."""

from engine.adapters.console import held_groups
from engine.adapters.console.held_groups import cause_of, held
from engine.model.finding import Finding, dump_findings
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.ports.store import StoredDelivery, StoredMessage

STEP = "4 map OBX-3.1, channel.yaml:31"


def message(seq: int, *findings: Finding, channel: str = "lab", state: str = "held") -> StoredMessage:
    told = dump_findings(findings)
    return StoredMessage(MessageSeq(seq), ChannelName(channel), 1, seq * 10, "", "", "", "", state, "AA", told, None)


def missed(place: str, table: str = "tables/loinc.csv", step: str = STEP) -> Finding:
    return Finding("E214", "error", f"no row in {table} matches {place}; held; add the row", place, "103", step)


class Store:
    def __init__(self, messages, deliveries=()) -> None:
        self.all, self.sent = messages, deliveries

    def messages(self, *, channel, states=(), delivery_states=(), newest_first):
        assert newest_first is False
        with_held = {one.seq for one in self.sent if one.state in delivery_states}
        for one in self.all:
            if channel in (None, one.channel) and (one.state in states or one.seq in with_held):
                yield one

    def deliveries(self, seq):
        return [one for one in self.sent if one.seq == seq]


def delivery(id_: int, seq: int, code: str, note: str, state: str = "held") -> StoredDelivery:
    return StoredDelivery(
        DeliveryId(id_),
        MessageSeq(seq),
        ChannelName("lab"),
        DestinationName("epr"),
        state,
        1,
        0,
        0,
        code,
        note,
        False,
        None,
    )


def test_messages_are_grouped_by_code_table_and_step_whichever_repetition_it_was():
    store = Store(
        [
            message(1, missed("OBX[1]-3.1")),
            message(2, missed("OBX[7]-3.1")),
            message(3, missed("PV1-3.1", "tables/wards.csv", "2 map PV1-3.1, channel.yaml:9")),
            message(4, missed("OBX[2]-3.1"), channel="other"),
        ]
    )
    found = held(store, None)
    assert [(g.size, g.cause.channel, g.cause.title) for g in found.groups] == [
        (2, "lab", "E214: no row in tables/loinc.csv for OBX-3.1"),
        (1, "lab", "E214: no row in tables/wards.csv for PV1-3.1"),
        (1, "other", "E214: no row in tables/loinc.csv for OBX-3.1"),
    ]
    first = found.groups[0]
    assert (first.first_us, first.last_us, first.members) == (10, 20, [(1, 1), (2, 2)])
    assert first.cause.explanation and "Add the row" in first.cause.what_to_do
    assert "analyst of lab adds the row" in first.cause.who_can


def test_a_message_that_misses_two_rows_in_one_step_is_one_member_by_the_first():
    cause = cause_of(message(1, missed("OBX[1]-3.1"), missed("OBX[2]-5.1")))
    assert cause.place == "OBX-3.1"


def test_the_cause_is_the_last_error_and_not_a_warning_before_or_after_it():
    warning = Finding("W204", "information", "something", "PID-3")
    error = Finding("E210", "error", "PID-3[1] is required", "PID-3[1]", step="1 validate")
    cause = cause_of(message(1, warning, error, warning))
    assert (cause.code, cause.place, cause.text) == ("E210", "PID-3", "PID-3 is required")
    assert cause_of(message(1)).title == "no cause is recorded"


def test_held_deliveries_are_grouped_by_destination_and_what_the_receiver_said():
    store = Store(
        [message(n, state="processed") for n in (1, 2, 3)],
        [
            delivery(11, 1, "AE 207", "the receiver answered AE 207"),
            delivery(12, 2, "AE 207", "the receiver answered AE 207"),
            delivery(13, 3, "AR", "the receiver answered AR"),
            delivery(14, 3, "AA", "", "delivered"),
        ],
    )
    found = held(store, ["lab"])
    assert [(g.cause.kind, g.size, g.cause.title) for g in found.groups] == [
        ("delivery", 2, "the receiver answered AE 207"),
        ("delivery", 1, "the receiver answered AR"),
    ]
    assert found.groups[0].members == [(11, 1), (12, 2)]
    assert "something in the message is wrong" in found.groups[0].cause.explanation


def test_an_id_stays_the_same_and_is_another_for_each_cause():
    store = Store([message(1, missed("OBX[1]-3.1")), message(2, missed("PV1-3.1", "tables/wards.csv"))])
    first, again = held(store, None), held(Store([message(9, missed("OBX[4]-3.1"))]), None)
    ids = {g.cause.id for g in first.groups}
    assert len(ids) == 2 and again.groups[0].cause.id in ids
    assert first.find(again.groups[0].cause.id) is not None
    assert first.find("0" * 16) is None


def test_more_than_is_looked_at_is_said(monkeypatch):
    monkeypatch.setattr(held_groups, "MOST_HELD", 3)
    found = held(Store([message(n, missed("OBX[1]-3.1")) for n in range(1, 6)]), None)
    assert (found.total, found.is_cut) == (3, True)
