"""Which messages are a channel's, where they go, and what a failing step comes to."""

import pytest

from engine.hl7.message import Message
from engine.testing import messages

TWO = """
routes:
  - to: ris
  - to: archive
    when: PV1-2 == "I"
  - to: ris
    when: PID-8 == "F"
destinations: {ris: {anywhere: {}}, archive: {anywhere: {}}}
"""


@pytest.mark.parametrize(
    ("accept", "raw", "is_ours"),
    [
        ("[ADT^A01]", messages.adt(), True),
        ("[ADT^A01]", messages.adt(trigger="A02"), False),
        ("[ADT^*]", messages.adt(trigger="A02"), True),
        ("[ADT^*]", messages.oru(), False),
        ("['*']", messages.oru(), True),
        ("[ADT^A01]", messages.adt().replace(b"^~\\&", b"%~\\&").replace(b"ADT^A01", b"ADT%A01"), True),
    ],
)
def test_a_channel_takes_the_types_it_accepts(channel, accept, raw, is_ours):
    compiled = channel("", rest=f"accept: {accept}\nroutes: []\n").compiled
    for _ in range(2):
        assert compiled.accepts(Message.parse(raw)) is is_ours


def test_a_channel_takes_the_senders_its_condition_is_true_of(channel, adt):
    compiled = channel("", rest='from: MSH-3.1 == "HIS"\nroutes: []\n').compiled
    assert compiled.accepts(Message.parse(adt()))
    stranger = Message.parse(adt(sender=("LAB", "X")))
    assert not compiled.accepts(stranger)
    assert compiled.accepts_type(stranger) and compiled.accepts_event(stranger)


def test_a_header_that_no_condition_can_be_asked_about_is_not_ours(channel, adt):
    rest = 'from: \'replace(MSH-3, "x", "' + "y" * 500 + '") == "HIS"\'\nroutes: []\n'
    compiled = channel("", rest=rest).compiled
    assert compiled.accepts(Message.parse(adt()))
    assert not compiled.accepts(Message.parse(adt(sender=("x" * 200_000, "N"))))


def test_types_that_senders_think_up_do_not_grow_memory(channel):
    compiled = channel("", rest="accept: [ADT^A01]\nroutes: []\n").compiled
    for number in range(2000):
        compiled.accepts(Message.parse(b"MSH|^~\\&|||||||ADT^%d|1|P|2.5\r" % number))
    assert len(compiled._types) <= 256


def test_a_destination_gets_a_message_once_however_many_routes_lead_there(channel, adt):
    result = channel("", rest=TWO).run(adt())
    assert [d.destination for d in result.deliveries] == ["ris", "archive"]
    result = channel("", rest=TWO).run(adt(patient_class="O"))
    assert [d.destination for d in result.deliveries] == ["ris"]


def test_destinations_share_one_object_of_the_same_bytes(channel, adt):
    first, second = channel("- set: {MSH-5: RIS}", rest=TWO).run(adt()).deliveries
    assert first.body is not None and first.body is second.body


def test_a_message_that_no_route_takes_is_filtered_and_said_so(channel, adt):
    rest = "routes: [{to: out, when: PID exists and ZZZ exists}]\ndestinations: {out: {anywhere: {}}}\n"
    result = channel("", rest=rest).run(adt())
    assert (result.state, [f.code for f in result.findings]) == ("filtered", ["W202"])


def test_what_nobody_changed_goes_out_as_it_came(channel, adt):
    assert channel("").run(adt()).deliveries[0].body is None
    without_end = adt()[:-1]
    assert channel("").run(without_end).deliveries[0].body == adt()


def test_the_message_that_was_given_stays_as_it_is(channel, adt):
    made = channel("- set: {MSH-3: OTHER}\n- delete: [PV1]")
    message = Message.parse(adt())
    made.compiled.run(message, made.now)
    assert message.get("MSH-3") == "HIS"
    assert message.to_bytes() == adt()


def test_a_condition_that_fails_holds_the_message(channel, adt):
    """Expressions have a bound on the texts they build; past it is the only way for one to fail."""
    long = "x" * 200_000
    steps = '- set: {ZZZ-1: \'=replace(PID-5.1, "x", "' + "y" * 500 + "\")'}"
    result = channel(steps).run(adt(family=long))
    assert (result.state, [f.code for f in result.findings]) == ("held", ["E201"])
    assert "ValueTooLong" in result.findings[0].text and "xxx" not in repr(result.findings)


def test_a_timer_is_told_of_every_step_that_ran(channel, adt):
    class Timer:
        def __init__(self) -> None:
            self.now = 0.0
            self.steps: list[tuple[str, float]] = []

        def clock(self) -> float:
            self.now += 1.0
            return self.now

        def step(self, label: str, seconds: float) -> None:
            self.steps.append((label, seconds))

    timer = Timer()
    made = channel('- set: {MSH-5: RIS}\n- set: {MSH-6: X}\n  when: PV1-2 == "O"\n- delete: [NTE]')
    made.compiled.run(Message.parse(adt()), made.now, timer=timer)
    assert timer.steps == [("1 set MSH-5, channel.yaml:3", 1.0), ("3 delete NTE, channel.yaml:6", 1.0)]
