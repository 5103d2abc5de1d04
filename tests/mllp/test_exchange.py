"""What counts as an answer, and what never does (hl7.md items 15, 19, 23, 32; reliability.md S5 to S9)."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.mllp.exchange import Accepted, Answered, Broken, Committed, Exchange, Foreign, Late
from engine.mllp.framing import encode


class Ack(NamedTuple):
    code: str
    control_id: bytes


def read(raw: bytes) -> Ack | None:
    code, separator, control_id = raw.partition(b"|")
    return Ack(code.decode("latin-1"), control_id) if separator else None


def ack(code: str, control_id: bytes) -> bytes:
    return encode(code.encode() + b"|" + control_id)


def outstanding(control_id: bytes = b"X1", **options) -> Exchange[Ack]:
    exchange = Exchange(read, **options)
    exchange.start(control_id)
    return exchange


def kinds(events):
    return [type(event) for event in events]


@pytest.mark.parametrize("code", ["AA", "AE", "AR", "CA", "CE", "CR"])
def test_the_messages_own_answer_is_taken_whatever_it_says(code):
    exchange = outstanding()
    assert exchange.on_bytes(ack(code, b"X1")) == [Answered(Ack(code, b"X1"), code.encode() + b"|X1")]
    assert exchange.is_trusted and not exchange.is_outstanding
    assert exchange.fits(b"X2")


def test_an_answer_in_single_bytes_is_taken_with_its_last():
    exchange = outstanding()
    events = [event for byte in ack("AA", b"X1") for event in exchange.on_bytes(bytes([byte]))]
    assert kinds(events) == [Answered]


@pytest.mark.parametrize("ending", [b"\x1c", b"\x1c\n"])
def test_an_answer_without_its_cr_is_taken_at_once_and_a_late_cr_does_no_harm(ending):
    exchange = outstanding()
    assert kinds(exchange.on_bytes(b"\x0bAA|X1" + ending)) == [Answered]
    assert exchange.on_bytes(b"\r") == []
    assert exchange.fits(b"X2")


@pytest.mark.parametrize("other", [b"X2", b"", b"X1 ", b" X1", b"x1", b"X", b"X11"])
def test_an_answer_to_anything_but_this_very_id_is_foreign_and_ends_the_trust(other):
    exchange = outstanding()
    assert exchange.on_bytes(ack("AA", other)) == [Foreign(Ack("AA", other), b"AA|" + other)]
    assert not exchange.is_trusted and not exchange.fits(b"X9")
    assert exchange.on_bytes(ack("AA", b"X1")) == []


def test_a_late_answer_to_the_message_before_is_never_credited_to_this_one():
    exchange = outstanding(b"X1")
    exchange.on_bytes(ack("AE", b"X1"))
    exchange.start(b"X2")
    assert kinds(exchange.on_bytes(ack("AA", b"X1") + ack("AA", b"X2"))) == [Foreign]


def test_of_two_answers_in_one_go_the_own_one_counts_and_the_connection_does_not():
    exchange = outstanding()
    events = exchange.on_bytes(ack("AA", b"X1") + ack("AA", b"X1"))
    assert kinds(events) == [Answered, Broken] and events[1].code == "unasked"
    assert not exchange.is_trusted


def test_an_answer_nobody_asked_for_ends_the_trust():
    exchange = Exchange(read)
    events = exchange.on_bytes(ack("AA", b"X1"))
    assert [event.code for event in events] == ["unasked"]
    assert not exchange.fits(b"X1")


def test_half_an_unasked_answer_is_enough_not_to_start():
    exchange = Exchange(read)
    assert exchange.on_bytes(b"\x0bAA") == []
    assert not exchange.fits(b"X1")


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (encode(b"what?"), "unreadable"),
        (encode(b"XX|X1"), "unknown-code"),
        (encode(b"aa|X1"), "unknown-code"),
        (b"garbage", "bytes-outside"),
        (b"garbage" + ack("AA", b"X1"), "bytes-outside"),
        (b"\x0bAA|X" + ack("AA", b"X1"), "truncated"),
        (b"\x0bAA\x1c|X1\x1c\r", "framing"),
        (b"\x0b" + b"A" * 70_000, "too-long"),
        (b"\n" * 70_000, "bytes-outside"),
    ],
)
def test_what_is_no_answer_breaks_the_exchange(stream, code):
    exchange = outstanding()
    events = exchange.on_bytes(stream)
    assert [event.code for event in events] == [code]
    assert events[0].reason
    assert not exchange.is_trusted
    assert exchange.on_close() == [] and exchange.on_timeout() == []


def test_text_behind_the_answer_does_not_undo_it_but_ends_the_connection():
    exchange = outstanding()
    assert kinds(exchange.on_bytes(ack("AA", b"X1") + b"bye")) == [Answered, Broken]
    assert not exchange.is_trusted


@pytest.mark.parametrize("noise", [b"\n", b"\r\n", b"\x00", encode(b""), encode(b"\x06"), encode(b"\x15")])
def test_keep_alives_and_commit_bytes_around_an_answer_do_no_harm(noise):
    exchange = outstanding()
    assert exchange.on_bytes(noise) == []
    assert kinds(exchange.on_bytes(ack("AA", b"X1") + noise)) == [Answered]
    assert exchange.fits(b"X2")


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_a_yes_before_the_message_was_sent_completely_does_not_count(code):
    exchange = outstanding()
    assert [event.code for event in exchange.on_bytes(ack(code, b"X1"), unsent_bytes=1)] == ["too-early"]


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
def test_a_no_before_the_end_counts_but_the_connection_is_done(code):
    exchange = outstanding()
    assert kinds(exchange.on_bytes(ack(code, b"X1"), unsent_bytes=1)) == [Answered]
    assert not exchange.is_trusted


def test_silence_and_closing_break_the_exchange_once():
    silent = outstanding()
    assert [event.code for event in silent.on_timeout()] == ["timeout"]
    assert silent.on_timeout() == [] and silent.on_close() == []
    closed = outstanding()
    assert [event.code for event in closed.on_close()] == ["closed"]
    half = outstanding()
    half.on_bytes(b"\x0bAA|X")
    assert [event.code for event in half.on_close()] == ["closed-mid-answer"]
    assert not Exchange(read).on_close()


def test_after_a_time_out_the_late_answer_is_not_credited_to_anything():
    exchange = outstanding()
    exchange.on_timeout()
    assert exchange.on_bytes(ack("AA", b"X1")) == []
    with pytest.raises(RuntimeError):
        exchange.start(b"X2")


def test_a_message_without_a_control_id_takes_only_an_answer_without_one():
    assert kinds(outstanding(b"").on_bytes(ack("AA", b""))) == [Answered]
    assert kinds(outstanding(b"").on_bytes(ack("AA", b"1"))) == [Foreign]


@pytest.mark.parametrize("control_id", [b"X1", b""])
def test_the_same_id_twice_in_a_row_does_not_fit_on_one_connection(control_id):
    exchange = outstanding(control_id)
    exchange.on_bytes(ack("AA", control_id))
    assert not exchange.fits(control_id)
    assert exchange.fits(b"other")


def test_the_applications_answer_after_ca_is_told_apart_while_the_next_message_is_outstanding():
    exchange = outstanding(b"X1")
    assert kinds(exchange.on_bytes(ack("CA", b"X1"))) == [Answered]
    assert not exchange.fits(b"X1")
    exchange.start(b"X2")
    assert kinds(exchange.on_bytes(ack("AE", b"X1"))) == [Late]
    assert exchange.is_outstanding and exchange.is_trusted
    assert kinds(exchange.on_bytes(ack("CA", b"X2"))) == [Answered]


def test_accept_and_application_answers_in_one_go_keep_the_connection():
    exchange = outstanding()
    assert kinds(exchange.on_bytes(ack("CA", b"X1") + ack("AA", b"X1"))) == [Answered, Late]
    assert exchange.fits(b"X2")


def test_a_second_application_answer_is_one_too_many():
    exchange = outstanding()
    exchange.on_bytes(ack("CA", b"X1") + ack("AA", b"X1"))
    exchange.start(b"X2")
    assert kinds(exchange.on_bytes(ack("AA", b"X1"))) == [Foreign]


def test_two_messages_at_once_are_not_possible():
    with pytest.raises(RuntimeError):
        outstanding().start(b"X2")


STREAM = st.lists(
    st.one_of(
        st.builds(ack, st.sampled_from(["AA", "AE", "CA", "ZZ"]), st.sampled_from([b"1", b"2", b"3", b""])),
        st.sampled_from([b"\n", b"x", b"\x0b", b"\x1c", b"\r", encode(b"no"), b"\x0bAA|1", encode(b"\x06")]),
    ),
    max_size=8,
)


@settings(max_examples=800)
@given(st.lists(st.tuples(st.sampled_from([b"1", b"2", b"3", b""]), STREAM), max_size=6))
def test_every_start_has_one_end_and_a_yes_only_by_its_own_id_that_came_while_it_waited(turns):
    exchange = Exchange(read)
    for control_id, chunks in turns:
        if not exchange.fits(control_id):
            exchange = Exchange(read)
        exchange.start(control_id)
        ends = []
        for chunk in chunks:
            waiting = exchange.is_outstanding
            for event in exchange.on_bytes(chunk):
                if isinstance(event, Answered):
                    assert waiting and event.answer.control_id == control_id
                if waiting and not isinstance(event, Late):
                    ends.append(event)
                    waiting = False
        ends += exchange.on_timeout()
        assert len(ends) == 1
        if not isinstance(ends[0], Answered):
            assert not exchange.is_trusted


def awaiting(**options) -> Exchange[Ack]:
    exchange = Exchange(read, **options)
    exchange.awaits_application = True
    exchange.start(b"X1")
    return exchange


@pytest.mark.parametrize("code", ["AA", "AE", "AR"])
def test_where_the_application_is_waited_for_ca_is_not_the_end(code):
    exchange = awaiting()
    assert kinds(exchange.on_bytes(ack("CA", b"X1"))) == [Accepted]
    assert exchange.is_outstanding and exchange.is_trusted
    assert exchange.on_bytes(ack(code, b"X1")) == [Answered(Ack(code, b"X1"), code.encode() + b"|X1")]
    assert exchange.fits(b"X2")


@pytest.mark.parametrize(
    ("end", "is_trusted"),
    [
        (lambda e: e.on_timeout(), True),
        (lambda e: e.on_close(), False),
        (lambda e: e.on_bytes(ack("AA", b"X0")), False),
        (lambda e: e.on_bytes(b"text"), False),
        (lambda e: e.on_bytes(encode(b"text")), False),
    ],
)
def test_where_no_application_answers_the_ca_is_what_the_message_got(end, is_trusted):
    exchange = awaiting()
    exchange.on_bytes(ack("CA", b"X1"))
    (answered,) = end(exchange)
    assert isinstance(answered, Answered) and answered.answer.code == "CA"
    assert not exchange.is_outstanding and exchange.is_trusted is is_trusted


def test_an_application_that_answers_after_the_wait_is_late():
    exchange = awaiting()
    exchange.on_bytes(ack("CA", b"X1"))
    exchange.on_timeout()
    assert not exchange.fits(b"X1")
    exchange.start(b"X2")
    assert kinds(exchange.on_bytes(ack("AA", b"X1") + ack("CA", b"X2"))) == [Late, Accepted]


def test_commit_blocks_are_events_only_where_they_are_asked_for():
    assert outstanding().on_bytes(b"\x0b\x06\x1c\r\x0b\x15\x1c\r") == []
    exchange = outstanding(commits=True)
    assert exchange.on_bytes(b"\x0b\x06\x1c\r\x0b\x15\x1c\r") == [Committed(True), Committed(False)]
    assert exchange.is_outstanding and exchange.is_trusted
    assert kinds(exchange.on_uncommitted()) == [Broken] and exchange.on_uncommitted() == []
