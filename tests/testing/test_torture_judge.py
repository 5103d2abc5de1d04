"""The judge of the torture table: each verdict has something that earns it."""

import pytest

from engine.testing.torture.build import adt, block, borne, cid, dropped, no, refused, taken, yes
from engine.testing.torture.judge import GOOD, MEANINGS, Got, judge
from engine.testing.torture.row import TAG, Due, Kept, Outcome, Row, Said, Send, read_answers
from engine.testing.torture.senders import SENDER_MEANINGS, SENDER_ROWS, SenderRow, SenderWatch

TWO = taken("two", [1], "two messages", adt("a"), adt("b"))
JOINING = taken("joining", [5], "two messages that may be merged", adt("a"), adt("b"), joins=True)
VOID = dropped("void", [5], "no message", Send(block(adt("a"))), closes=True)
SILENT = taken("silent", [22], "no answer is due", adt("a"), answers=[])
REFUSED = refused("refused", [33], "a bad one", adt("a"), no("a", "AE", "101", "PID^1^3"), ["E210"])


def said(code: str, short: str, *errors: tuple[str, str]) -> Said:
    return Said(code, cid(short), errors)


CASES = [
    (TWO, Got((said("AA", "a"), said("AA", "b"))), "standard"),
    (TWO, Got((said("AA", "a"), said("AA", "b")), closed=True), "tolerated"),
    (TWO, Got((said("AA", "b"), said("AA", "a"))), "disordered"),
    (TWO, Got((said("AA", "b"),)), "lost"),
    (TWO, Got((said("AA", "a"),)), "silent"),
    (TWO, Got((said("AA", "a"),), closed=True), "closed"),
    (TWO, Got((), closed=True), "closed"),
    (TWO, Got(), "silent"),
    (TWO, Got((said("AA", "a"), said("AE", "b"))), "refused"),
    (TWO, Got((said("AA", "a"), said("AA", "x"))), "misdirected"),
    (TWO, Got((said("AA", "a"), said("AA", "b"), said("AA", "b"))), "unasked"),
    (TWO, Got((said("AA", "a"), said("AA", "b")), stray="text"), "outside"),
    (JOINING, Got((said("AA", "a"),)), "merged"),
    (JOINING, Got((said("AA", "b"),), closed=True), "merged"),
    (JOINING, Got((), closed=True), "closed"),
    (VOID, Got((), closed=True), "standard"),
    (VOID, Got(), "tolerated"),
    (VOID, Got((said("AA", "a"),)), "accepted"),
    (SILENT, Got(), "standard"),
    (SILENT, Got((said("AA", "a"),)), "unasked"),
    (REFUSED, Got((said("AE", "a", ("101", "PID^1^3")),)), "standard"),
    (REFUSED, Got((said("AE", "a", ("101", "PID^1^5")),)), "tolerated"),
    (REFUSED, Got((said("AE", "a"),)), "tolerated"),
    (REFUSED, Got((said("AA", "a"),)), "accepted"),
]


@pytest.mark.parametrize(("row", "got", "verdict"), CASES)
def test_a_verdict(row: Row, got: Got, verdict: str) -> None:
    judged = judge(row, got)
    assert judged.verdict == verdict, judged
    assert judged.is_good == (verdict in GOOD)


def test_every_verdict_is_earned_by_something() -> None:
    assert {verdict for _, _, verdict in CASES} == set(MEANINGS)


def test_another_way_that_is_as_good_or_can_be_borne() -> None:
    row = Row("r", (1,), "", (Send(block(adt("a"))),), (Outcome((yes("a"),)), Outcome((no("a", "AR", "200"),)),
              borne(closes=True)), (Kept("processed", adt("a")),))  # fmt: skip
    assert judge(row, Got((said("AR", "a", ("200", "")),))).verdict == "standard"
    assert judge(row, Got((), closed=True)).verdict == "tolerated"
    assert judge(row, Got()).verdict == "silent"


def test_a_rows_control_ids_are_of_its_run() -> None:
    tagged = TWO.tagged(b"12345")
    assert tagged.outcomes[0].answers[0] == Due("AA", b"12345a")
    for data in (tagged.steps[0].data, tagged.delivered[0], tagged.stored[0].raw):
        assert TAG not in data
        assert b"12345a" in data


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"MSH|^~\\&|A|B\rMSA|AA|X 1\r", [("AA", b"X 1", ())]),
        (b"MSH#@*!%#A\rMSA#AE#X\rERR###101@Missing\rERR##PID@1@3#103@Not in table\r",
         [("AE", b"X", (("101", ""), ("103", "PID@1@3")))]),
        (b"MSH|^~\\&|A|B\rMSA|AE|X\rERR|PID^1^3^101&Missing&HL70357~OBX^2^^103&x\r",
         [("AE", b"X", (("101", "PID^1^3"), ("103", "OBX^2")))]),
        (b"MSH|^~\\&|A|B\rMSA|AR|X\rERR|207\r", [("AR", b"X", (("207", ""),))]),
        (b"FHS|^~\\&\rMSH|^~\\&|A\rMSA|AA|1\rMSH|^~\\&|A\rMSA|AE|2\rFTS|1\r", [("AA", b"1", ()), ("AE", b"2", ())]),
        (b"OK", []),
        (b"MSH|^~\\&|A|B\nMSA|AA\n", [("AA", b"", ())]),
    ],
)  # fmt: skip
def test_an_answer_is_read_by_its_own_delimiters(payload: bytes, expected: list[tuple[str, bytes, tuple]]) -> None:
    assert [(one.code, one.control_id, one.errors) for one in read_answers(payload)] == expected


def test_fields_of_the_answers_header_count_as_the_standard_does() -> None:
    (one,) = read_answers(b"MSH|^~\\&|A|B\rMSA|AA|1\r")
    assert one.msh[1:5] == (b"|", b"^~\\&", b"A", b"B")
    assert one.lacks(yes("1", msh={3: b"A", 4: b"B"})) == ""
    assert one.lacks(yes("1", msh={12: b"2.5"})) != ""


# -- senders ----------------------------------------------------------------------------------------


def test_what_a_sender_did_is_told_from_the_message_after() -> None:
    told: list[tuple[str, str, str]] = []
    rows = [SenderRow("none", "sends again"), SenderRow("AA", "goes on"), SenderRow("AR", "sends again", False)]
    watch = SenderWatch(rows, lambda row, did, verdict: told.append((row.kind, did, verdict)))
    assert [behaviour.kind for behaviour in watch.script] == ["none", "AA", "AA", "AA", "AR", "AA"]
    for number, control_id in enumerate(("1", "2", "3", "3", "4", "5")):
        watch.received(adt(control_id), watch.script[number])
    assert told == [
        ("none", "goes on", "lost"),
        ("AA", "sends again", "repeated"),
        ("AR", "goes on", "tolerated"),
    ]
    assert watch.is_done
    assert {verdict for _, _, verdict in told} | {"standard"} == set(SENDER_MEANINGS)


def test_every_way_to_answer_is_asked_of_senders_once() -> None:
    kinds = [row.kind for row in SENDER_ROWS]
    assert len(set(kinds)) == len(kinds)
