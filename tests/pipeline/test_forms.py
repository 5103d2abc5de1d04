"""Destinations that get JSON or XML: by their own word, or by a step's; and what their cases say."""

import json

import pytest

from engine.hl7.convert import hl7_of
from engine.hl7.message import Message
from engine.pipeline.cases import check_case
from engine.testing.messages import adt

ROUTES = "routes: [{to: a}, {to: b}]\n"


def two(a: str = "", b: str = "") -> str:
    return f"{ROUTES}destinations:\n  a: {{anywhere: {{}}{a}}}\n  b: {{anywhere: {{}}{b}}}\n"


def of(result) -> dict[str, bytes | None]:
    return {delivery.destination: delivery.body for delivery in result.deliveries}


def test_a_destination_gets_the_form_that_it_names(channel):
    raw = adt(control_id="A1")
    bodies = of(channel("", rest=two(a=", format: json", b=", format: xml")).run(raw))
    assert bodies["a"] is not None and json.loads(bodies["a"])["segments"][0]["10"] == "A1"
    assert bodies["b"] is not None and b'<ADT_A01 xmlns="urn:hl7-org:v2xml">' in bodies["b"]
    assert hl7_of(bodies["a"]) == hl7_of(bodies["b"]) == raw


def test_the_others_get_the_message_as_it_came(channel):
    bodies = of(channel("", rest=two(a=", format: json")).run(adt()))
    assert bodies["b"] is None
    bodies = of(channel("", rest=two(a=", format: hl7")).run(adt()))
    assert bodies == {"a": None, "b": None}


def test_destinations_of_one_form_share_their_bytes(channel):
    bodies = of(channel("", rest=two(a=", format: json", b=", format: json")).run(adt()))
    assert bodies["a"] is bodies["b"]


def test_a_step_says_the_form_for_all_that_say_nothing(channel):
    made = channel("- convert: json\n- set: {MSH-5: LATER}", rest=two(b=", format: hl7"))
    bodies = of(made.run(adt()))
    assert b'"5":"LATER"' in bodies["a"]
    assert b"|LATER|" in bodies["b"]


def test_a_destination_with_a_charset_keeps_to_hl7(channel):
    bodies = of(
        channel("- convert: json", rest=two(b=", charset: 8859/1")).run(adt(charset="UNICODE UTF-8", family="Müller"))
    )
    assert bodies["a"].startswith(b"{") and bodies["b"].startswith(b"MSH|")


def test_the_step_can_be_for_some_messages_only_and_be_undone(channel):
    steps = '- convert: xml\n  when: PID-8 == "F"\n- convert: hl7\n  when: PV1-2 == "O"'
    made = channel(steps, rest=two())
    assert of(made.run(adt(sex="M")))["a"] is None
    assert of(made.run(adt(sex="F")))["a"].startswith(b"<?xml")
    assert of(made.run(adt(sex="F", patient_class="O")))["a"] is None


def test_a_message_that_the_form_cannot_say_is_held_with_all_its_deliveries(channel):
    raw = adt() + b"SECRET^line\r"
    result = channel("", rest=two(b=", format: xml")).run(raw)
    assert (result.state, result.deliveries) == ("held", [])
    (finding,) = result.findings
    assert finding.code == "E275"
    assert "to b: the message cannot be written as XML" in finding.text and "SECRET" not in str(finding)
    assert channel("", rest=two(b=", format: json")).run(raw).state == "processed"


def test_a_text_beyond_the_messages_set_is_held_as_ever(channel):
    made = channel("- set: {PID-5.1: Łuka}", rest=two(a=", format: json"))
    result = made.run(adt(charset="8859/1", family="Müller"))
    assert (result.state, [f.code for f in result.findings]) == ("held", ["E202"])


def test_the_trace_names_the_step(channel):
    made = channel("- convert: json", rest=two())
    trace = made.trace(adt())
    assert trace.steps[0].label.startswith("1 convert json")
    assert Message.parse(adt()).to_bytes() == trace.final.to_bytes()


# -- what cannot be meant ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (two(a=", format: yaml"), "E105"),
        (two(a=", charset: 8859/1, format: json"), "E107"),
    ],
)
def test_a_form_that_cannot_be_is_a_finding(mistakes, rest, told):
    ((code, line, column, _),) = mistakes("", rest=rest)
    assert (code, line) == (told, 6)
    assert rest.splitlines()[2][column - 1 :].startswith(("yaml}", "json}"))


def test_an_unknown_form_of_a_step_is_a_finding(mistakes):
    ((code, *_),) = mistakes("- convert: yaml", rest=two())
    assert code == "E105"


# -- cases ------------------------------------------------------------------------------------------


def test_a_case_has_the_output_under_its_form(channel):
    made = channel('- convert: json\n  when: PID-8 == "F"', rest=two(b=", format: xml")).compiled
    raw = adt(control_id="A1", sex="F") + adt(control_id="A2", sex="M")
    outcome = check_case(made, {"in.hl7": raw.replace(b"\r", b"\n")})
    assert sorted(outcome.files) == ["ack.hl7", "out.a.hl7", "out.a.json", "out.b.xml"]
    assert check_case(made, {"in.hl7": raw.replace(b"\r", b"\n"), **outcome.files}).is_good
    assert outcome.files["out.b.xml"].count(b"<?xml") == 2


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_case_names_the_fields_that_differ_in_any_form(channel, form):
    made = channel("", rest=two(a=f", format: {form}")).compiled
    raw = adt(control_id="A1", family="Alpha") + adt(control_id="A2", family="Beta")
    files = check_case(made, {"in.hl7": raw}).files
    wrong = {**files, "in.hl7": raw, f"out.a.{form}": files[f"out.a.{form}"].replace(b"Beta", b"Gamma")}
    (difference,) = check_case(made, wrong).differences
    assert (difference.number, difference.path) == (2, "PID-5.1")
    assert (difference.expected, difference.actual) == ('"Gamma"', '"Beta"')


def test_a_case_without_an_output_that_comes_says_how_many(channel):
    made = channel("", rest=two(a=", format: json")).compiled
    raw = adt(control_id="A1") + adt(control_id="A2")
    files = {name: content for name, content in check_case(made, {"in.hl7": raw}).files.items() if "json" not in name}
    (difference,) = check_case(made, {**files, "in.hl7": raw}).differences
    assert (difference.file, difference.actual) == ("out.a.json", "2 messages")
