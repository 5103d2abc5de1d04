"""The cases of a channel: what they show, and how a difference reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pipeline.cases import check_case, from_file, to_file
from engine.testing.fragments import cut_message
from tests.pipeline.conftest import TO_ONE

STEPS = "- map: {PID-8: t.csv}\n- set: {MSH-5: RIS}"
TABLE = {"t.csv": "from,to\nF,2\nM,1\n"}


@pytest.fixture(scope="module")
def sexes(channel):
    return channel(STEPS, files=TABLE).compiled


def case(raw: bytes, **more: bytes) -> dict[str, bytes]:
    return {"in.hl7": to_file([raw]), **{name.replace("_", "."): content for name, content in more.items()}}


def updated(compiled, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files after `--update`."""
    outcome = check_case(compiled, files)
    kept = {name: content for name, content in files.items() if name not in outcome.stale}
    return kept | outcome.files


def test_a_case_that_was_updated_is_good_and_stays_as_it_is(sexes, adt):
    files = updated(sexes, case(adt()))
    outcome = check_case(sexes, files)
    assert outcome.is_good and outcome.states == ["processed"]
    assert updated(sexes, files) == files
    assert sorted(files) == ["ack.hl7", "in.hl7", "out.out.hl7"]


def test_segments_stand_on_lines_of_their_own(sexes, adt):
    files = updated(sexes, case(adt()))
    assert files["out.out.hl7"].split(b"\n")[1].startswith(b"EVN|")
    assert b"\r" not in b"".join(files.values())


def test_the_clock_stands_still_and_ids_are_counted(sexes, adt):
    lines = updated(sexes, case(adt()))["ack.hl7"].decode().split("\n")
    assert lines[0].split("|")[6] == "20260102030405+0000"
    assert lines[0].split("|")[9] == "CASE1"


def test_a_difference_names_the_field_with_both_values(sexes, adt):
    files = updated(sexes, case(adt()))
    files["out.out.hl7"] = files["out.out.hl7"].replace(b"Testperson^Anna", b"Testperson^Bert")
    assert check_case(sexes, files).render() == 'out.out.hl7 message 1 PID-5.2: expected "Bert", got "Anna"'


def test_a_case_without_an_answer_lacks_its_file(sexes, adt):
    files = updated(sexes, case(adt()))
    del files["ack.hl7"]
    assert check_case(sexes, files).render() == "ack.hl7: expected no such file, got 1 message"


def test_a_destination_without_a_file_must_get_nothing(sexes, adt):
    files = updated(sexes, case(adt()))
    del files["out.out.hl7"]
    assert check_case(sexes, files).render() == "out.out.hl7: expected no such file, got 1 message"


def test_a_file_for_a_destination_that_gets_nothing_is_a_difference_and_goes_at_update(sexes, adt):
    files = updated(sexes, case(adt()))
    files["out.other.hl7"] = files["out.out.hl7"]
    outcome = check_case(sexes, files)
    assert outcome.render() == "out.other.hl7: expected 1 message, got nothing"
    assert outcome.stale == ["out.other.hl7"]


def test_findings_are_listed_by_code_and_place(sexes, adt):
    files = updated(sexes, case(adt(sex="X")))
    assert files["findings.txt"] == b"E214 PID-8\n"
    assert "out.out.hl7" not in files
    files["findings.txt"] = b"E214 PID-7\n"
    assert check_case(sexes, files).render() == "findings.txt line 1: expected E214 PID-7, got E214 PID-8"


def test_a_resend_gets_its_answer_again_and_is_not_delivered_again(sexes, adt):
    files = {"in.1.hl7": adt(), "in.2.hl7": adt(control_id="OTHER"), "in.10.hl7": adt()}
    outcome = check_case(sexes, files)
    assert outcome.states == ["processed", "processed", "duplicate"]
    acks = from_file(outcome.files["ack.hl7"])
    assert acks.count(b"CASE1|") == 2 and acks.count(b"CASE2|") == 1
    assert from_file(outcome.files["out.out.hl7"]).count(b"MSH|") == 2


def test_an_id_with_other_content_is_processed_and_said(sexes, adt):
    outcome = check_case(sexes, {"in.1.hl7": adt(), "in.2.hl7": adt(family="Other")})
    assert outcome.states == ["processed", "processed"]
    assert outcome.files["findings.txt"] == b"E232 MSH-10\n"


def test_a_channel_without_duplicate_recognition_takes_everything_again(channel, adt):
    rest = "duplicates: off\nroutes: [{to: out}]\ndestinations: {out: {anywhere: {}}}\n"
    outcome = check_case(channel("", rest=rest).compiled, {"in.1.hl7": adt(), "in.2.hl7": adt()})
    assert outcome.states == ["processed", "processed"]


def test_several_messages_in_one_file_are_taken_one_by_one(sexes, adt):
    outcome = check_case(sexes, case(adt() + adt(control_id="B2")))
    assert outcome.states == ["processed", "processed"]


@pytest.mark.parametrize(
    ("raw", "finding"),
    [
        (b"MSH|^~\\&|A|B|C|D|20260102||ORU^R01|1|P|2.5\r", b"E234 MSH-9.1\n"),
        (b"MSH|^~\\&|A|B|C|D|20260102||ADT^A02|1|P|2.5\r", b"E235 MSH-9.2\n"),
        (b"MSH|^~\\&|X|B|C|D|20260102||ADT^A01|1|P|2.5\r", b"E236 MSH-3\n"),
        (b"MSH|^~\\&|A|B|C|D|20260102||ADT^A01||P|2.5\r", b"E231 MSH-10\n"),
        (b"no message\r", b"E233\n"),
    ],
)
def test_what_no_step_gets_to_see_is_refused_as_intake_does_it(channel, raw, finding):
    rest = 'accept: [ADT^A01]\nfrom: MSH-3 == "A"\nroutes: [{to: out}]\ndestinations: {out: {anywhere: {}}}\n'
    outcome = check_case(channel("", rest=rest).compiled, case(raw))
    assert outcome.states == ["rejected"]
    assert outcome.files["findings.txt"] == finding
    assert b"MSA|AR|" in outcome.files["ack.hl7"]


def test_a_sender_that_wants_no_answer_has_an_empty_file(sexes, adt):
    files = updated(sexes, case(adt(accept_ack="NE", application_ack="NE")))
    assert files["ack.hl7"] == b""
    assert check_case(sexes, files).is_good


def test_a_message_that_is_acknowledged_when_stored_has_a_positive_answer_whatever_follows(channel, adt):
    rest = "ack: {when: stored}\nroutes: [{to: out}]\ndestinations: {out: {anywhere: {}}}\n"
    made = channel("- validate: {required: [PID-19]}", rest=rest).compiled
    outcome = check_case(made, case(adt()))
    assert outcome.states == ["rejected"] and b"MSA|AA|" in outcome.files["ack.hl7"]


def test_a_case_needs_a_message(sexes):
    assert check_case(sexes, {"ack.hl7": b""}).render() == "in.hl7: expected a message, got no such file"


messages = st.lists(
    st.text(alphabet="ab|^\n", max_size=12).map(lambda body: f"MSH|^~\\&|{body}\rPID|{body}\r".encode()), max_size=4
)


@given(messages)
def test_what_is_written_is_read_back_byte_for_byte(sent):
    assert from_file(to_file(sent)) == b"".join(sent)


# -- batches and fragments ----------------------------------------------------------------------------


def listening(channel, batch: str = "", more: str = ""):
    rest = f"listen: {{mllp: {{port: 0, batch: {{{batch}}}}}}}\n{more}routes: [{{to: out}}]\n"
    rest += "destinations: {out: {anywhere: {}}}\n"
    return channel("- set: {MSH-5: RIS}", rest=rest).compiled


BHS = b"BHS|^~\\&|HIS|NORTH|X|Y|2026||||B1\r"


def test_a_batch_is_answered_as_the_engine_answers_it(channel, adt):
    raw = BHS + adt(control_id="A1") + adt(control_id="A2") + b"BTS|2\r"
    files = updated(listening(channel), case(raw))
    lines = files["ack.hl7"].decode().splitlines()
    assert [line[:3] for line in lines] == ["BHS", "MSH", "MSA", "MSH", "MSA", "BTS"]
    assert lines[0].endswith("|B1") and lines[-1] == "BTS|2"
    assert files["out.out.hl7"].count(b"MSH|") == 2
    assert check_case(listening(channel), files).is_good
    files["ack.hl7"] = files["ack.hl7"].replace(b"|B1", b"|B2")
    assert "other headers" in check_case(listening(channel), files).render()


def test_a_batch_is_answered_as_its_port_is_set(channel, adt):
    raw = BHS + adt(control_id="A1") + b"BTS|2\r"
    errors = updated(listening(channel, "answer: errors"), case(raw))
    assert [line[:5] for line in errors["ack.hl7"].decode().splitlines()] == ["BHS|^", "BTS|0"]
    assert errors["findings.txt"] == b"W340 BTS-1\n"
    refused = updated(listening(channel, "count: reject"), case(raw))
    assert b"MSA|AE|A1" in refused["ack.hl7"] and refused["findings.txt"] == b"E264 BTS-1\n"
    two = updated(listening(channel, "without_header: one"), case(adt(control_id="A1") + adt(control_id="A2")))
    assert two["ack.hl7"].count(b"MSA|AA|A1") == 1 and b"A2" not in two["ack.hl7"]


def test_fragments_in_files_of_their_own_are_joined(channel, adt):
    compiled = listening(channel, more="fragments: {dsc: join}\n")
    raw = adt(control_id="F1", more=["NTE|1||" + "text " * 20])
    parts = cut_message(raw, [len(raw) - 60, len(raw) - 20])
    files = {f"in.{number}.hl7": to_file([part]) for number, part in enumerate([*parts, parts[2]], 1)}
    files = updated(compiled, files)
    outcome = check_case(compiled, files)
    assert outcome.is_good and outcome.states == ["waiting", "waiting", "processed", "duplicate"]
    assert [line for line in files["ack.hl7"].decode().splitlines() if line.startswith("MSA")] == [
        "MSA|AA|F1", "MSA|AA|F2", "MSA|AA|F1", "MSA|AA|F1",
    ]  # fmt: skip
    assert from_file(files["out.out.hl7"]) == raw.replace(b"|SEGMILL|", b"|RIS|", 1)
    assert files["findings.txt"] == b"I260\n"
    alone = updated(compiled, {"in.hl7": to_file([parts[1]])})
    assert alone["findings.txt"] == b"E261 MSH-14\n"


BACK = "ack: {app_ack: connect-back, connect_back: {host: his, port: 1}}\n"


def test_an_acknowledgement_over_a_connection_of_our_own_is_an_output(channel, adt):
    compiled = channel(STEPS, rest=BACK + TO_ONE, files=TABLE).compiled
    files = updated(compiled, case(adt(control_id="A1", accept_ack="AL", application_ack="AL")))
    assert sorted(files) == ["ack.hl7", "in.hl7", "out.app_ack.hl7", "out.out.hl7"]
    assert b"MSA|CA|A1" in files["ack.hl7"] and b"MSA|AA|A1" in files["out.app_ack.hl7"]
    assert check_case(compiled, files).is_good


def test_what_a_destination_will_answer_is_no_part_of_a_case(channel, adt):
    compiled = channel(STEPS, rest="ack: {when: delivered(out)}\n" + TO_ONE, files=TABLE).compiled
    assert updated(compiled, case(adt(control_id="A1")))["ack.hl7"] == b""
    files = updated(compiled, case(adt(control_id="A1", accept_ack="AL", application_ack="AL")))
    assert files["ack.hl7"].count(b"MSA|") == 1 and b"MSA|CA|A1" in files["ack.hl7"]
