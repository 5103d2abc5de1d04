"""What a sender is told."""

from datetime import UTC, datetime
from itertools import count

import pytest

from engine.config.channel import Ack, Identity
from engine.hl7.ack import read_ack
from engine.hl7.message import Message
from engine.model.finding import Finding
from engine.pipeline.answer import BETWEEN, Answer, AnswerSettings, answer_result, refuse
from engine.pipeline.run import Result

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MISSING = Finding("E210", "error", "PID-3 is required and has no value", "PID-3", "101")
DOUBT = Finding("E213", "warning", "PID-5.1 has 60 characters and may have 48", "PID-5.1", "104")


def answered(raw: bytes, result: Result, settings: AnswerSettings | None = None) -> Answer:
    numbers = count(1)
    return answer_result(Message.parse(raw), result, settings or AnswerSettings(), NOW, lambda: f"ID{next(numbers)}")


@pytest.mark.parametrize("state", ["processed", "filtered", "held", "received"])
def test_what_we_hold_or_did_not_want_is_acknowledged(adt, state):
    answer = answered(adt(control_id="C7"), Result(state, findings=(DOUBT,)))
    assert answer.code == "AA"
    assert answer.payload.endswith(b"\rMSA|AA|C7\r")


def test_a_rejection_has_one_err_for_each_error(adt):
    second = Finding("E212", "error", "PID-8 is none of the values that are allowed", "PID-8", "103")
    answer = answered(adt(), Result("rejected", findings=(DOUBT, MISSING, second)))
    lines = answer.payload.decode().split("\r")
    assert answer.code == "AE"
    assert [line.split("|")[2:5] for line in lines if line.startswith("ERR")] == [
        ["PID^1^3", "101^Required field missing^HL70357", "E"],
        ["PID^1^8", "103^Table value not found^HL70357", "E"],
    ]


def test_a_rejection_that_is_not_about_the_content_is_ar(adt):
    finding = Finding("E217", "error", "test systems may not send here", "MSH-11", "202")
    assert answered(adt(), Result("rejected", findings=(finding,))).code == "AR"


def test_a_thousand_findings_do_not_make_a_thousand_err_segments(adt):
    answer = answered(adt(), Result("rejected", findings=(MISSING,) * 1000))
    assert answer.payload.count(b"\rERR|") == 100


def test_a_site_can_have_its_senders_stop_at_a_held_message(adt):
    held = Result("held", findings=(Finding("E214", "error", "no row", "PV1-3.1", "103"),))
    answer = answered(adt(), held, AnswerSettings(when_held="AE"))
    assert answer.code == "AE" and b"ERR||PV1^1^3^1^1|103" in answer.payload


def test_two_answers_that_are_due_come_as_two_blocks(adt):
    answer = answered(adt(accept_ack="AL", application_ack="AL"), Result("processed"))
    first, second = answer.payload.split(BETWEEN)
    told = [read_ack(first), read_ack(second)]
    assert [ack.code for ack in told if ack] == ["CA", "AA"]
    assert answer.code == "AA"
    assert Message.parse(first).get("MSH-10") != Message.parse(second).get("MSH-10")


def test_a_sender_that_wants_no_answer_gets_none(adt):
    assert answered(adt(accept_ack="NE", application_ack="NE"), Result("processed")) == Answer("", b"")


def test_a_channels_file_says_how_it_answers(adt):
    ack = Ack(mode="enhanced", when_held="AE", identity=Identity(application="ME", facility="HERE"))
    settings = AnswerSettings.of(ack)
    assert settings == AnswerSettings("enhanced", "AE", "AR", ("ME", "HERE"))
    assert answered(adt(), Result("processed"), settings).code == "CA"


def test_bytes_without_a_message_are_answered_too():
    finding = Finding("E233", "error", "there is no MSH segment", hl7_code="100")
    answer = refuse(None, [finding], "reject", AnswerSettings(), NOW, lambda: "ID1")
    assert answer.code == "AR"
    assert b"\rMSA|AR|" in answer.payload and b"ERR|||100^Segment sequence error" in answer.payload


def test_a_type_that_is_not_for_us_is_cr_in_enhanced_mode_and_other_reasons_are_ce(adt):
    def code(finding: Finding) -> str:
        message = Message.parse(adt(accept_ack="AL", application_ack="NE"))
        return refuse(message, [finding], "reject", AnswerSettings(), NOW, lambda: "ID1").code

    assert code(Finding("E234", "error", "not this type", "MSH-9.1", "200")) == "CR"
    assert code(Finding("E236", "error", "not this sender", "MSH-3", "207")) == "CE"
