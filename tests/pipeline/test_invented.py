"""Invented messages pass the channel that they are for, whatever it asks."""

import os
from collections import Counter
from datetime import UTC, datetime
from textwrap import dedent

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engine.config.site import load_site
from engine.hl7.generate import Header, Hospital, families_for
from engine.hl7.message import Message
from engine.pipeline.asked import asked_of
from engine.pipeline.compile import compile_channel
from engine.pipeline.invented import Inventor, Receiver
from engine.pipeline.registry import load_kinds, load_steps

SINCE = datetime(2026, 1, 5, tzinfo=UTC)

HARD = """\
accept: [ADT^A01, ADT^A08, ADT^A03, ORM^O01, ORU^R01, BAR^P01]
from: MSH-3.1 == "KIS" and MSH-4.1 in ["WEST", "EAST"] and MSH-12.1 == "2.5.1"
charset: {fallback: cp1250, strict: true}
validate: {profile: profiles/hard.yaml}
routes: [{to: out}]
destinations: {out: {anywhere: {}}}
"""
STEPS = """\
  - filter: MSH-11.1 == "T"
  - filter: not PV1-10 == "X" and PV1-10 is not empty
  - validate:
      required: ['PID-3[5 == "PI"].1', 'PID-3[5 == "PI"].4', PV1-3.1, ZPI-2]
      pattern: {PID-5.1: "[A-Z][a-zA-Z]{2,19}", "PV1-19.1": "V[0-9]{8}"}
      values: {PID-8: tables/sex.csv, PV1-18: [A, B]}
      length: {PID-13: 8..12}
      mode: hold
  - copy: {PID-3: 'PID-3[5 == "PI"]', PV1-4: PV1-2}
  - set: {PID-2: =PID-8, PV1-14: "7"}
  - map: {PID-2: tables/sex.csv, PV1-4: tables/class.csv, PV1-14: tables/seven.csv, PV1-3.1: tables/wards.csv}
  - each: OBX
    do:
      - map: {OBX-3.1: tables/codes.csv, otherwise: reject}
  - each: OBR
    do:
      - validate: {values: {OBR-4.1: tables/codes.csv}}
  - delete: [PID-2]
"""
PROFILE = """\
standard: reject
mode: reject
fields:
  MSH-10: {length: 1..20}
  MSH-15: {constant: AL}
  PID-3: {cardinality: 3..4}
  PID-3.4: {usage: R, values: [KIS, NORTH, NATION]}
  PID-6.1: {usage: R, length: 3..6}
  PID-8: {values: [F, M, X]}
  PID-13: {usage: R}
  PID-10: {usage: X}
  PID-26: {usage: R, table: 0171}
  PV1-2: {usage: R, values: [I, O, E]}
  PV1-7.1: {pattern: "D[0-9]{4}"}
  PV1-10: {usage: C(R/X), when: 'PV1-2 in ["I", "O", "E"]'}
  PV1-50: {usage: R, data_type: CX}
  OBX-14: {usage: R, data_type: DTM, pattern: "[0-9]{8}.*"}
segments:
  PV2: {usage: R}
  NK1: {usage: X}
  ZPI:
    usage: R
    cardinality: 2..3
    fields:
      1: {name: Set ID, data_type: SI, usage: R}
      2: {name: Level, data_type: CE, usage: R}
      2.1: {values: [HIGH, LOW]}
      2.3: {usage: R, constant: SITE}
      3: {usage: R, pattern: "[0-9a-f]{8}-[0-9a-f]{4}"}
messages:
  ADT^A01:
    fields: {PV1-18: {usage: R}}
    segments: {AL1: {cardinality: 2..3}, DG1: {usage: X}}
  ORU^R01:
    rules:
      - {name: numbers have units, each: OBX, when: OBX-2 == "NM", require: 'OBX-6.1 in ["U1", "U2"]'}
rules:
  - {name: inpatients have a bed, when: PV1-2 == "I", require: 'PV1-3.3 matches "B[0-9]{2}"'}
  - {name: all visits have a referrer, require: PV1-8.1 is not empty and PV1-8.2 starts with "Ref"}
  - {name: a priority, each: OBR, require: OBR-5 == "R" or OBR-5 == "S"}
"""
FILES = {
    "profiles/hard.yaml": PROFILE,
    "tables/sex.csv": "from,to\nF,W\nM,M\n",
    "tables/class.csv": "from,to\nI,1\nO,2\n",
    "tables/seven.csv": "from,to\n7,8\n",
    "tables/wards.csv": 'from,to,remark\n"W ""1""",1,\nÄ^2,2,\n',
    "tables/codes.csv": "from,to,remark\nAA,1,Alpha\nBB,2,Beta\n",
}


def invented(receiver: Receiver, header: Header, codec: str, seed: int, messages: int):
    hospital = Hospital(
        seed, families_for(codec), receiver.takes, since=SINCE, messages=messages, others=receiver.others
    )
    return list(Inventor(receiver, header, codec, seed).messages(hospital))


@pytest.fixture(scope="module")
def shipped(repository):
    loaded = load_site(repository, load_kinds(), os.environ)
    return [(one, compile_channel(one, load_steps())) for one in loaded.channels]


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.integers(0, 99_999))
def test_every_shipped_channel_processes_what_is_invented_for_it(shipped, seed):
    for loaded, compiled in shipped:
        receiver = Receiver.of_channel(loaded, compiled, compiled.run)
        made = invented(receiver, Header(charset="8859/1"), "iso8859_1", seed, 40)
        assert len(made) >= 40
        for one in made:
            message = Message.parse(one.raw)
            assert one.state == "processed", (loaded.name, one.type, one.findings)
            assert compiled.accepts(message)
            result = compiled.run(message, one.happening.at)
            assert result.state == "processed" and result.deliveries
            assert not [finding for finding in result.findings if finding.severity == "error"]
        assert len({Message.parse(one.raw).get("MSH-10") for one in made}) == len(made)


@pytest.mark.parametrize("seed", [0, 1, 99_999])
def test_a_channel_that_asks_for_much_gets_it(channel, seed):
    hard = channel(dedent(STEPS), rest=HARD, files=FILES)
    receiver = Receiver.of_channel(hard.loaded, hard.compiled, hard.compiled.run)
    made = invented(receiver, Header(), "ascii", seed, 40)
    for one in made:
        assert one.state == "processed", (one.type, one.findings, one.raw)
        message = Message.parse(one.raw)
        assert message.get("MSH-11.1") == "T" and message.get("MSH-3.1") == "KIS"
        assert message.names().count("ZPI") in (2, 3) and message.get("ZPI-2.3") == "SITE"
        assert not hard.compiled.run(message, one.happening.at).findings


def test_a_patient_stays_the_same_through_all_that_is_put_right(channel):
    hard = channel(dedent(STEPS), rest=HARD, files=FILES)
    receiver = Receiver.of_channel(hard.loaded, hard.compiled, hard.compiled.run)
    by_patient = {}
    for one in invented(receiver, Header(), "ascii", 4, 100):
        message = Message.parse(one.raw)
        about = tuple(
            message.get(path) for path in ("PID-3[1].1", "PID-3[3].1", "PID-5.1", "PID-6.1", "PID-8", "PID-26")
        )
        by_patient.setdefault(one.happening.patient.mrn, set()).add(about)
    assert len(by_patient) > 10
    assert [seen for seen in by_patient.values() if len(seen) > 1] == []
    assert len({seen.copy().pop() for seen in by_patient.values()}) == len(by_patient)


def test_the_same_seed_gives_the_same_bytes(shipped):
    loaded, compiled = shipped[0]
    receiver = Receiver.of_channel(loaded, compiled, compiled.run)
    one, two, other = ([made.raw for made in invented(receiver, Header(), "ascii", seed, 50)] for seed in (1, 1, 2))
    assert one == two != other


def test_an_earlier_step_answers_for_a_later_one(channel):
    """What a step has written is nothing to ask of the sender, and what it copied is asked of its source."""
    hard = channel(dedent(STEPS), rest=HARD, files=FILES)
    asks = {str(ask.path): ask for ask in asked_of(hard.loaded).asks}
    assert asks["PID-8"].values == ("F", "M"), "also for the map of PID-2, which was set from it"
    assert asks["PV1-2"].values == ("I", "O")
    assert "PID-2" not in asks and "PV1-4" not in asks and "PV1-14" not in asks
    assert asks["OBX-3.1"].values == ("AA", "BB") and asks["OBX-3.1"].labels == {"AA": "Alpha", "BB": "Beta"}


def test_what_cannot_be_had_is_told_and_not_given_out(channel):
    made_for = channel(
        "- validate: {values: {PID-8: [F]}}\n- validate: {values: {PID-8: [M]}}",
        rest="accept: [ADT^A03]\nroutes: [{to: out}]\ndestinations: {out: {anywhere: {}}}\n",
    )
    receiver = Receiver.of_channel(made_for.loaded, made_for.compiled, made_for.compiled.run)
    made = invented(receiver, Header(), "ascii", 1, 10)
    assert made and not any(one.is_good for one in made)
    assert {(one.state, one.findings[0].location) for one in made} == {("rejected", "PID-8")}


def test_what_the_channel_filters_by_type_is_traffic_too(channel):
    made_for = channel(
        '- filter: MSH-9.2 in ["A01"]',
        rest="accept: [ADT^A01, ADT^A03]\nroutes: [{to: out}]\ndestinations: {out: {anywhere: {}}}\n",
    )
    receiver = Receiver.of_channel(made_for.loaded, made_for.compiled, made_for.compiled.run)
    states = Counter((one.type, one.state) for one in invented(receiver, Header(), "ascii", 1, 300))
    assert set(states) == {("ADT^A01", "processed"), ("ADT^A03", "filtered")}


@pytest.mark.parametrize(
    ("codec", "declared"), [("utf_8", "UNICODE UTF-8"), ("cp1250", ""), ("gb18030", "GB 18030-2000")]
)
def test_the_bytes_are_in_the_character_set(channel, codec, declared):
    made_for = channel(
        "", rest=f"charset: {{fallback: {codec}}}\nroutes: [{{to: out}}]\ndestinations: {{out: {{anywhere: {{}}}}}}\n"
    )
    receiver = Receiver.of_channel(made_for.loaded, made_for.compiled, made_for.compiled.run)
    made = invented(receiver, Header(charset=declared), codec, 1, 200)
    names = set()
    for one in made:
        message = Message.parse(one.raw, fallback=codec)
        assert message.get("PID-5.1") == one.happening.patient.family
        names.add(message.get("PID-5.1"))
    assert any(not name.isascii() for name in names)


def test_the_senders_of_a_profile_are_all_there(channel):
    from engine.config.profile_load import load_profile

    class Files:
        def read(self, path):
            return b"""\
profiles:
  - {for: {sender: HIS, facility: NORTH}, fields: {PID-8: {values: [F, M]}}}
  - {for: {sender: LAB}, fields: {PID-8: {values: ["1", "2"]}}}
"""

        def paths(self):
            return []

    loaded, _ = load_profile("p.yaml", Files())
    receiver = Receiver.of_profile(loaded.profiles)
    seen = set()
    for one in invented(receiver, Header(), "ascii", 1, 300):
        assert one.state == "processed"
        message = Message.parse(one.raw)
        if message.get("PID-8"):
            seen.add((message.get("MSH-3.1"), message.get("PID-8")))
    assert {sender for sender, _ in seen} == {"HIS", "LAB"}
    assert seen <= {("HIS", "F"), ("HIS", "M"), ("LAB", "1"), ("LAB", "2")}
