"""Messages held against a channel's profile before its steps, and at a step: what each mode comes to."""

import pytest

from engine.hl7.message import Message
from engine.pipeline.answer import AnswerSettings, answer_result
from engine.pipeline.profiles import MOST_FINDINGS
from engine.testing import messages
from tests.pipeline.conftest import NOW, TO_ONE

PROFILE = """\
owner: radiology
standard: off
fields:
  PID-3: {usage: R, mode: reject, message: The patient has no number}
  PID-8: {values: tables/sex.csv, mode: warn}
  PID-13: {usage: X, mode: observe}
rules:
  - {name: inpatients have a ward, when: PV1-2 == "I", require: PV1-3.1 is not empty}
"""
FILES = {"profiles/p.yaml": PROFILE, "profiles/tables/sex.csv": "code,meaning\nF,female\n"}
VALIDATE = "validate: {profile: profiles/p.yaml}\n" + TO_ONE


@pytest.fixture
def validated(channel):
    """A channel with the profile: `validated(mode="warn", steps="...")`."""

    def make(*, mode: str = "", steps: str = "", profile: str = PROFILE):
        more = f", mode: {mode}" if mode else ""
        rest = f"validate: {{profile: profiles/p.yaml{more}}}\n{TO_ONE}"
        return channel(steps, rest=rest, files={**FILES, "profiles/p.yaml": profile})

    return make


def found(result) -> list[tuple[str, str, str, str]]:
    return [(f.code, f.severity, f.location, f.rule) for f in result.findings]


BROKEN = {"mrn": "", "sex": "M", "ward": ""}


def test_each_rule_comes_to_what_its_mode_says(validated):
    result = validated().run(messages.adt(**BROKEN))
    assert result.state == "rejected"
    assert sorted(found(result)) == [
        ("E280", "error", "PID-3", "PID-3.usage"),
        ("E280", "error", "PV1-3.1", "rule.inpatients-have-a-ward"),
        ("I280", "information", "PID-13", "PID-13.usage"),
        ("W280", "warning", "PID-8", "PID-8.values"),
    ]
    assert {f.step for f in result.findings} == {"validate profiles/p.yaml, channel.yaml:4"}


def test_a_rejection_answers_ae_with_one_err_for_each_finding_that_rejects(validated):
    raw = messages.adt(**BROKEN)
    answer = answer_result(Message.parse(raw), validated().run(raw), AnswerSettings(), NOW, lambda: "ID")
    lines = [line.split("|") for line in answer.payload.decode().split("\r")]
    assert answer.code == "AE"
    assert sorted((line[2], line[3], line[8]) for line in lines if line[0] == "ERR") == [
        ("PID^1^3", "101^Required field missing^HL70357", "The patient has no number (owner: radiology)"),
        ("PV1^1^3^1^1", "199^Other HL7 error^HL70357", next(line[8] for line in lines if "PV1^1^3^1^1" in line)),
    ]


def test_an_enhanced_mode_sender_is_answered_ce(validated):
    raw = messages.adt(mrn="", accept_ack="AL", application_ack="NE")
    assert answer_result(Message.parse(raw), validated().run(raw), AnswerSettings(), NOW, lambda: "I").code == "CE"


def test_what_only_warns_or_is_observed_goes_on_with_its_findings(validated):
    result = validated(steps="- set: {MSH-5: RIS}").run(messages.adt(sex="M"))
    assert result.state == "processed"
    assert b"|RIS|" in result.deliveries[0].body
    assert sorted(code for code, *_ in found(result)) == ["I280", "W280"]


@pytest.mark.parametrize(
    ("mode", "state", "codes"),
    [
        ("", "rejected", ["E280", "E280", "I280", "W280"]),
        ("reject", "rejected", ["E280", "E280", "I280", "W280"]),
        ("warn", "processed", ["I280", "W280", "W280", "W280"]),
        ("observe", "processed", ["I280", "I280", "I280", "I280"]),
    ],
)
def test_a_channel_can_let_nothing_come_to_more_than(validated, mode, state, codes):
    result = validated(mode=mode).run(messages.adt(**BROKEN))
    assert (result.state, sorted(f.code for f in result.findings)) == (state, codes)


def test_validation_runs_before_the_steps(validated):
    fixed = validated(steps="- set: {PID-3.1: 1}")
    assert fixed.run(messages.adt(mrn="")).state == "rejected"
    assert validated(steps='- filter: PV1-2 == "O"').run(messages.adt(mrn="")).state == "rejected"


def test_a_step_validates_the_message_as_it_is_there(channel):
    steps = "- set: {PID-3.1: '1'}\n- validate: {profile: profiles/p.yaml}"
    assert channel(steps, files=FILES).run(messages.adt(mrn="")).state == "processed"


@pytest.mark.parametrize(
    ("mode", "state"), [("reject", "rejected"), ("hold", "held"), ("warn", "processed"), ("observe", "processed")]
)
def test_a_step_says_what_a_breach_comes_to(channel, mode, state):
    steps = f"- validate: {{profile: profiles/p.yaml, required: [PID-30], mode: {mode}}}"
    result = channel(steps, files=FILES).run(messages.adt(mrn=""))
    assert result.state == state
    assert {"PID-30", "PID-3"} <= {f.location for f in result.findings}


def test_only_the_profile_of_the_sender_counts(validated):
    profile = "for: {sender: LAB}\nfields: {PID-3: {usage: R}}\n"
    assert validated(profile=profile).run(messages.adt(mrn="")).findings == ()
    assert validated(profile=profile).run(messages.adt(mrn="", sender=("LAB", "X"))).state == "rejected"


@pytest.mark.parametrize(("mode", "state"), [("", "processed"), ("reject", "rejected"), ("observe", "processed")])
def test_the_standard_alone_needs_no_file(channel, mode, state):
    more = f", mode: {mode}" if mode else ""
    made = channel("", rest=f"validate: {{profile: standard{more}}}\n{TO_ONE}")
    result = made.run(messages.adt(family="", given=""))
    assert result.state == state
    assert any(f.rule == "required" and f.location.startswith("PID-5") for f in result.findings)


def test_a_message_without_a_fault_has_no_finding(channel):
    profile = "standard: off\nfields: {PID-3: {usage: R}}\n"
    made = channel("", rest=VALIDATE, files={"profiles/p.yaml": profile})
    assert made.run(messages.adt()).findings == ()


def test_many_findings_of_one_message_are_cut_and_those_that_reject_come_first(validated):
    profile = "standard: off\nfields: {NTE-1: {usage: X, mode: warn}, NTE-3: {usage: X, mode: reject}}\n"
    notes = [f"NTE|{number}||text" for number in range(1, 90)]
    result = validated(profile=profile).run(messages.adt(more=notes))
    assert [f.code for f in result.findings].count("E280") == 89
    assert len(result.findings) == MOST_FINDINGS + 1
    assert [f.text for f in result.findings if f.code == "W281"] == [
        "78 more findings of the same message are not kept"
    ]


def test_a_rule_that_rejects_does_so_behind_thousands_that_warn(validated):
    profile = "standard: off\nfields: {NTE-3: {usage: X, mode: warn}, PV2-1: {usage: X, mode: reject}}\n"
    notes = [f"NTE|{number}||text" for number in range(1, 2500)]
    result = validated(profile=profile).run(messages.adt(more=[*notes, "PV2|x"]))
    assert result.state == "rejected"
    assert [f.rule for f in result.findings if f.severity == "error"] == ["PV2-1.usage"]


def test_a_rule_about_a_value_does_not_show_it(validated):
    profile = "standard: off\nfields: {PID-5.1: {values: [A], pattern: A, length: 1, constant: A}}\n"
    result = validated(profile=profile).run(messages.adt(family="Marker"))
    assert len(result.findings) == 4
    assert not any("Marker" in f.text + f.location for f in result.findings)


def test_the_trace_names_the_validation(validated):
    trace = validated(steps="- set: {MSH-5: RIS}").trace(messages.adt(mrn=""))
    assert [step.label for step in trace.steps] == ["validate profiles/p.yaml, channel.yaml:4"]
    assert trace.not_reached == ("1 set MSH-5, channel.yaml:3",)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("validate: {profile: profiles/none.yaml}", "E132"),
        ("validate: {profile: p.csv}", "E132"),
        ("validate: {mode: warn}", "E103"),
        ("validate: {profile: standard, mode: hold}", "E105"),
    ],
)
def test_mistakes(mistakes, text, code):
    assert [found[0] for found in mistakes("", rest=f"{text}\n{TO_ONE}", files=FILES)] == [code]


def test_a_mistake_in_the_profile_is_told_with_its_own_place(mistakes):
    files = {**FILES, "profiles/p.yaml": "fields: {PID-3: {usage: Q}}\n"}
    steps = "- validate: {profile: profiles/p.yaml}"
    assert [(c, line, col) for c, line, col, _ in mistakes(steps, rest=VALIDATE, files=files)] == [("E105", 1, 25)]


def test_the_profile_and_what_it_names_are_part_of_the_channels_version(channel):
    files = {**FILES, "profiles/p.yaml": "extends: base.yaml\n" + PROFILE, "profiles/base.yaml": "mode: warn\n"}
    made = channel("", rest=VALIDATE, files=files)
    assert {"profiles/p.yaml", "profiles/base.yaml", "profiles/tables/sex.csv"} <= set(made.loaded.files)
