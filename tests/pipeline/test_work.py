"""What a message may cost the loop that all channels share: in proportion to its size, or it is held (E204).

Counted in calls, see `tests.work`: ten times the segments may cost little more than ten times the calls.
"""

import pytest

from engine.testing import messages
from tests.pipeline.conftest import TO_ONE
from tests.work import calls_of

HEAD = messages.adt(control_id="BIG")


def observations(count: int, between: bytes = b"") -> bytes:
    rows = b"".join(b"OBX|%d|NM|%d^X^L||7|mg\r%s" % (n, n % 7, between) for n in range(1, count + 1))
    return HEAD + rows


def repetitions(count: int) -> bytes:
    return HEAD + b"ZPI|" + b"~".join(b"%d^^^A^MR" % n for n in range(count)) + b"\r"


EACH = "- each: OBX\n  do:\n    - set: {OBX-8: =upper(OBX-6)}\n    - map: {OBX-3: t.csv, otherwise: keep}"
LINEAR = {
    "each with set and map": EACH,
    "each with a condition": '- each: OBX\n  when: OBX-2 == "NM" and OBX-3.1 != "3"\n  do:\n    - set: {OBX-8: X}',
    "each that removes its segments": "- each: OBX\n  do:\n    - delete: [OBX-6]",
    "set of all": "- set: {'OBX[*]-8': '=concat(PID-5.1, upper(trim(PID-8)))'}",
    "map of all": "- map: {'OBX[*]-3': t.csv, otherwise: keep}",
    "any": '- filter: any OBX (OBX-2 == "NM" and OBX-3 == "none")',
    "any value": '- filter: any OBX[*]-3 == "none"',
    "delete all": "- delete: [OBX]",
    "copy": "- copy: {'OBX[*]-8': PID-8}",
    "validate all": "- validate: {required: ['OBX[*]-3', 'OBX[*]-17'], length: {'OBX[*]-3': 3}, mode: warn}",
    "validate by the standard": "- validate: {profile: standard, mode: warn}",
}


@pytest.mark.parametrize("steps", LINEAR.values(), ids=LINEAR.keys())
def test_a_step_over_many_segments_takes_time_in_proportion_to_them(channel, steps):
    made = channel(steps, files={"t.csv": "from,to\n1,one\n"})
    small, big = made.parse(observations(1_000)), made.parse(observations(10_000))
    made.compiled.run(big, made.now)  # what is made once is made now
    costs = [calls_of(lambda message=message: made.compiled.run(message, made.now)) for message in (small, big)]
    assert costs[1] < 12 * costs[0]
    assert made.compiled.run(big, made.now).state in ("processed", "filtered", "held")


SQUARE = {
    "each within each": "- each: OBX\n  do:\n    - each: NTE\n      do:\n        - set: {NTE-3: X}",
    "each that reads all others": '- each: OBX\n  when: any NTE[*]-3 == "x"\n  do:\n    - set: {OBX-8: X}',
    "each that looks one up": "- each: OBX\n  do:\n    - set: {OBX-8: '=NTE[3 == \"none\"]-1'}",
    "each that deletes others": "- each: OBX\n  do:\n    - delete: ['NTE[1]']",
    "each that adds": "- each: OBX\n  do:\n    - set: {'NTE[9000]-1': X}\n    - delete: ['NTE[9000]']",
}


@pytest.mark.parametrize("steps", SQUARE.values(), ids=SQUARE.keys())
def test_what_would_take_the_square_of_the_segments_is_held_before_it_has(channel, steps):
    made = channel(steps)
    message = made.parse(observations(20_000, between=b"NTE|1||y\r"))  # of 400 million rounds 200,000 are gone
    result = made.compiled.run(message, made.now)
    assert [(result.state, f.code) for f in result.findings] == [("held", "E204")]
    assert result.findings[0].step


@pytest.mark.parametrize(
    "steps",
    [
        "- map: {'ZPI-1[*].1': t.csv, otherwise: keep}",
        "- validate: {required: ['ZPI-1[*].5'], mode: warn}",
        "- each: OBX\n  do:\n    - set: {OBX-8: '=ZPI-1[5 == \"none\"].1'}",
    ],
)
def test_a_field_of_a_hundred_thousand_repetitions_is_held(channel, steps):
    made = channel(steps, files={"t.csv": "from,to\n1,one\n"})
    raw = repetitions(100_000) + observations(1_000)[len(HEAD) :]
    result = made.compiled.run(made.parse(raw), made.now)
    assert [(result.state, f.code) for f in result.findings] == [("held", "E204")]


def test_a_quantifier_whose_rounds_all_work_on_one_long_text_is_held(channel):
    raw = observations(20_000) + b"ZTX|" + b"lorem " * 500_000 + b"\r"
    for condition in ("ZTX-1 contains OBX-3.2", 'replace(ZTX-1, OBX-3.2, "y") == "z"'):
        made = channel(f"- filter: any OBX ({condition})")
        result = made.compiled.run(made.parse(raw), made.now)
        assert [(result.state, f.code) for f in result.findings] == [("held", "E204")]


def test_a_route_or_sender_that_asks_too_much_holds_the_message_or_is_nobodys(channel):
    raw = observations(20_000) + b"ZTX|" + b"lorem " * 500_000 + b"\r"
    asks = "any OBX (ZTX-1 contains OBX-3.2)"
    made = channel(
        "- set: {MSH-6: X}",
        rest=f"routes:\n  - {{to: out, when: '{asks}'}}\ndestinations: {{out: {{anywhere: {{}}}}}}\n",
    )
    result = made.compiled.run(made.parse(raw), made.now)
    assert [(result.state, f.code) for f in result.findings] == [("held", "E204")]


@pytest.mark.parametrize(
    "steps",
    [
        EACH,
        "- each: OBX\n  do:\n    - each: NTE\n      do:\n        - set: {NTE-3: X}",
        '- each: OBX\n  when: any NTE[*]-3 == "x"\n  do:\n    - set: {OBX-8: X}',
        "- each: OBX\n  do:\n    - set: {OBX-8: =ZPD-1}",
    ],
)
def test_a_message_as_large_as_real_ones_is_never_held_for_its_work(channel, steps):
    """A panel of 300 results with their notes, and a document of 4 MB."""
    made = channel(steps, files={"t.csv": "from,to\n1,one\n"})
    raw = observations(300, between=b"NTE|1||y\r") + b"ZPD|JVBERi0+" + b"Q" * 4_000 + b"\r"
    raw += b"OBX|9999|ED|P^R^L||^AP^PDF^Base64^" + b"J+VBER" * 700_000 + b"\r"
    result = made.compiled.run(made.parse(raw), made.now)
    assert (result.state, [f.code for f in result.findings if f.severity == "error"]) == ("processed", [])


def test_the_same_message_is_held_at_the_same_place_every_time(channel):
    made = channel(SQUARE["each within each"])
    message = made.parse(observations(1_000, between=b"NTE|1||y\r"))
    left = []
    for _ in range(2):
        work = message.copy()
        made.compiled.run(message, made.now)
        left.append(work.allowance)
    assert left[0] == left[1]
    assert made.compiled.run(message, made.now) == made.compiled.run(message, made.now)


def test_a_message_keeps_no_more_findings_than_somebody_reads_errors_first(channel):
    made = channel(
        "- validate: {length: {'OBX[*]-3': 1}, mode: warn}\n- map: {'OBX[*]-3': t.csv, otherwise: hold}",
        files={"t.csv": "from,to\nnone,none\n"},
    )
    result = made.compiled.run(made.parse(observations(5_000)), made.now)
    assert result.state == "held"
    assert len(result.findings) == 500
    assert {f.severity for f in result.findings[:499]} == {"error"}
    assert result.findings[-1].code == "W281"


def test_a_channel_with_a_process_of_its_own_may_go_over_as_much_as_its_deadline_allows(channel):
    made = channel(SQUARE["each that looks one up"], rest="isolate: process\n" + TO_ONE)
    result = made.compiled.run(made.parse(observations(1_500, between=b"NTE|1||y\r")), made.now)
    assert result.state == "processed"
    bound = channel(SQUARE["each that looks one up"])
    assert bound.compiled.run(made.parse(observations(1_500, between=b"NTE|1||y\r")), made.now).state == "held"
