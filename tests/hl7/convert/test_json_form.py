"""A message as JSON says all that its bytes say, and gives them back."""

import base64
import json
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hl7.batch import split_batch
from engine.hl7.convert import ConversionError
from engine.hl7.convert.json_form import SCHEMA, from_json, to_json
from engine.hl7.errors import UnencodableText, UnreadableMessage
from engine.hl7.message import Message

from .messages import raw_messages

HEAD = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5.1\r"
SAMPLES = sorted((Path(__file__).parents[3] / "samples").rglob("*.hl7"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def as_data(raw: bytes):
    return json.loads(to_json(Message.parse(raw)))


def segment(text: bytes) -> dict[str, object]:
    """A segment of a message in ASCII, as JSON has it."""
    return as_data(HEAD + text + b"\r")["segments"][1]


def document(*segments, **members):
    header = {"segment": "MSH", "1": "|", "2": "^~\\&", "9": {"1": "ADT", "2": "A01"}}
    return json.dumps({"segments": [header, *segments], **members})


def test_a_message_reads_like_this():
    assert to_json(Message.parse(HEAD + b"PID|1||77^^^HIS&1.2&ISO^MR~4711||Doe^J\\T\\J\r")).decode() == (
        '{"format":"hl7v2-json","version":1,"charset":"ascii","segments":[\n'
        '{"segment":"MSH","1":"|","2":"^~\\\\&","3":"A","4":"B","5":"C","6":"D","7":"2026",'
        '"9":{"1":"ADT","2":"A01"},"10":"1","11":"P","12":"2.5.1"},\n'
        '{"segment":"PID","1":"1","3":[{"1":"77","4":{"1":"HIS","2":"1.2","3":"ISO"},"5":"MR"},"4711"],'
        '"5":{"1":"Doe","2":"J&J"}}\n'
        "]}\n"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"PID", {"segment": "PID"}),
        (b"PID|", {"segment": "PID", "1": ""}),
        (b"PID||", {"segment": "PID", "2": ""}),
        (b"PID|1", {"segment": "PID", "1": "1"}),
        (b"PID|1||", {"segment": "PID", "1": "1", "3": ""}),
        (b'PID|""', {"segment": "PID", "1": '""'}),
        (b"PID|~", {"segment": "PID", "1": ["", ""]}),
        (b"PID|^", {"segment": "PID", "1": {"2": ""}}),
        (b"PID|&", {"segment": "PID", "1": {"1": {"2": ""}}}),
        (b"PID|a&b", {"segment": "PID", "1": {"1": {"1": "a", "2": "b"}}}),
        (b"PID|^a&^~^b", {"segment": "PID", "1": [{"2": {"1": "a", "2": ""}, "3": ""}, {"2": "b"}]}),
        (b"PID|\\F\\\\S\\\\T\\\\R\\\\E\\", {"segment": "PID", "1": "|^&~\\"}),
        (b"NTE|a\\.br\\b", {"segment": "NTE", "1": "a\\.br\\b"}),
        (b"NTE|5\\mg", {"segment": "NTE", "1": {"value": "5\\mg", "raw": "5\\mg"}}),
        (b"NTE|\\X41\\", {"segment": "NTE", "1": {"value": "A", "raw": "\\X41\\"}}),
        (b"NTE|a\nb", {"segment": "NTE", "1": {"value": "a\nb", "raw": "a\nb"}}),
        (b"", {"segment": ""}),
        (b"nothing\\F\\^in particular", {"segment": "nothing\\F\\^in particular"}),
        (b"MSH", {"segment": "MSH", "1": "|"}),
        (b"BHS|^~\\&|x^y", {"segment": "BHS", "1": "|", "2": "^~\\&", "3": {"1": "x", "2": "y"}}),
    ],
)
def test_absent_empty_and_null_differ_and_every_text_has_one_form(text, wanted):
    assert segment(text) == wanted
    raw = HEAD + text + b"\r"
    assert from_json(to_json(Message.parse(raw))) == raw


def test_delimiters_that_msh_2_leaves_out_cut_nothing():
    raw = b"MSH|^|A\rPID|a~b&c\\d^e\r"
    assert as_data(raw)["segments"][1] == {"segment": "PID", "1": {"1": "a~b&c\\d", "2": "e"}}
    assert from_json(to_json(Message.parse(raw))) == raw


def test_bytes_that_are_no_characters_stay_what_they_are():
    raw = HEAD.replace(b"2.5.1", b"2.5.1||||||UNICODE UTF-8") + "PID|é".encode() + b"\xff|x\r"
    data = as_data(raw)
    assert data["segments"][1] == {
        "segment": "PID",
        "1": "é\N{REPLACEMENT CHARACTER}",
        "2": "x",
        "base64": base64.b64encode("PID|é".encode() + b"\xff|x").decode(),
    }
    assert to_json(Message.parse(raw)).decode("utf-8")
    assert from_json(to_json(Message.parse(raw))) == raw


def test_a_set_that_writes_a_character_in_two_ways_keeps_the_senders():
    shifts = b"\x1b$B\x1b(B\x1b$BF|\x1b(B"  # an empty run first: Python would not write it
    raw = HEAD.replace(b"2.5.1", b"2.5.1||||||~ISO IR87") + b"PID|" + shifts + b"\r"
    assert "base64" in as_data(raw)["segments"][1]
    assert from_json(to_json(Message.parse(raw))) == raw


@given(raw_messages())
@settings(max_examples=400)
def test_bytes_in_are_bytes_out(raw):
    try:
        message = Message.parse(raw)
    except UnreadableMessage:
        return
    body = to_json(message)
    assert from_json(body) == message.to_bytes()
    VALIDATOR.validate(json.loads(body))
    assert to_json(message) == body


@given(raw_messages(), st.text(max_size=5), st.text(max_size=5))
def test_an_edited_message_says_what_it_would_be_sent_as(raw, name, value):
    try:
        message = Message.parse(raw)
    except UnreadableMessage:
        return
    try:
        message.set("PID-5.1", name)
        message.set("OBX-5", value)
        sent = message.to_bytes()
    except UnencodableText:
        return
    assert from_json(to_json(message)) == sent


def test_a_charset_that_a_step_set_is_that_of_the_bytes():
    message = Message.parse(HEAD + "PID|é\r".encode("latin-1"))
    message.set("MSH-18", "UNICODE UTF-8")
    assert json.loads(to_json(message))["charset"] == "utf_8"
    assert from_json(to_json(message)) == message.to_bytes()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_comes_back(path):
    for raw in split_batch(path.read_bytes()):
        try:
            message = Message.parse(raw)
        except UnreadableMessage:
            continue
        assert from_json(to_json(message)) == message.to_bytes()


@pytest.mark.skipif(not os.environ.get("SEGMILL_CORPUS"), reason="SEGMILL_CORPUS names no folder of samples")
def test_every_foreign_message_comes_back(corpus):
    count = 0
    for path in sorted(corpus.glob("*.hl7")):
        for raw in split_batch(path.read_bytes()):
            try:
                message = Message.parse(raw)
            except UnreadableMessage:
                continue
            body = to_json(message)
            assert from_json(body) == message.to_bytes(), path.name
            VALIDATOR.validate(json.loads(body))
            count += 1
    assert count > 200


# -- written by hand --------------------------------------------------------------------------------


def test_a_document_of_ones_own_needs_segments_only():
    assert from_json(document({"segment": "PID", "5": {"1": "Müller & Söhne"}})) == (
        "MSH|^~\\&|||||||ADT^A01\rPID|||||Müller \\T\\ Söhne\r".encode()
    )


def test_without_a_charset_msh_18_counts():
    header = {"segment": "MSH", "1": "|", "2": "^~\\&", "18": "8859/1"}
    text = json.dumps({"segments": [header, {"segment": "PID", "5": "Müller"}]})
    assert from_json(text).endswith("PID|||||Müller\r".encode("latin-1"))
    header["18"] = ["8859/1", "8859/5"]
    text = json.dumps({"segments": [header, {"segment": "PID", "5": "Müller Ж"}]})
    assert Message.parse(from_json(text)).get("PID-5") == "Müller Ж"
    header["18"] = ["", "ISO IR87"]
    text = json.dumps({"segments": [header, {"segment": "PID", "5": "日"}]})
    assert from_json(text).endswith("PID|||||日\r".encode("iso2022_jp"))


def test_an_editor_may_keep_or_drop_the_raw_text():
    said = {"segment": "NTE", "1": {"raw": "\\X41\\"}}
    assert from_json(document(said)).endswith(b"NTE|\\X41\\\r")


@pytest.mark.parametrize(
    ("text", "location", "reason"),
    [
        ("", "line 1, column 1", "this is not JSON"),
        ("{", "line 1, column 2", "this is not JSON"),
        ("[" * 100_000, "", "nested too deeply"),
        ("1" * 5000, "", "too long"),
        ("[]", "", "an object with segments"),
        ("{}", "segments", "no segments"),
        ('{"segments": []}', "segments", "no segments"),
        ('{"segments": [{"segment": "PID"}]}', "segments[0].segment", "MSH, FHS or BHS"),
        ('{"segments": [{"segment": "MSH"}]}', "segments[0]", "separator is one character"),
        ('{"segments": [{"segment": "MSH", "1": "A"}]}', "segments[0].1", "cannot be a field separator"),
        ('{"segments": [{"segment": "MSH", "1": "|", "1": "|"}]}', "", "twice"),
        ('{"segments": [[]]}', "segments[0]", "with its name"),
        (document(format="x"), "format", "can be read"),
        (document(version=2), "format", "can be read"),
        (document(other=2), "", "a key is not known"),
        (document(charset="utf-16"), "charset", "no such character set"),
        (document(charset=8), "charset", "no such character set"),
        (document(charset="ascii") + "x", "line 1, column 110", "not JSON"),
        (document({"segment": "PID", "5": 5}), "segments[1].5", "text in quotes"),
        (document({"segment": "PID", "5": None}), "segments[1].5", "text in quotes"),
        (document({"segment": "PID", "5": {"1": {"1": {"1": "x"}}}}), "segments[1].5.1.1", "text in quotes"),
        (document({"segment": "PID", "5": {}}), "segments[1].5", "without parts"),
        (document({"segment": "PID", "5": ["x"]}), "segments[1].5", "two repetitions"),
        (document({"segment": "PID", "5": [["x", "y"], "z"]}), "segments[1].5[1]", "text in quotes"),
        (document({"segment": "PID", "0": "x"}), "segments[1]", "neither a number"),
        (document({"segment": "PID", "name": "x"}), "segments[1]", "neither a number"),
        (document({"segment": "PID", "٣": "x"}), "segments[1]", "neither a number"),
        (document({"segment": "PID|1"}), "segments[1].segment", "no separator"),
        (document({"segment": "PID\r"}), "segments[1].segment", "no separator"),
        (document({"segment": "MSH", "1": "#"}), "segments[1].1", "separator of the message"),
        (document({"segment": "MSH", "1": "|", "2": "^|"}), "segments[1].2", "no separator"),
        (document({"segment": "NTE", "1": {"raw": "a^b"}}), "segments[1].1", "would cut it"),
        (document({"segment": "NTE", "1": {"raw": "a", "value": "b"}}), "segments[1].1", "different things"),
        (document({"segment": "NTE", "1": {"value": "b"}}), "segments[1].1", "text in quotes"),
        (document({"segment": "NTE", "1": "\ud800"}), "segments[1].1", "surrogate"),
        (document({"segment": "NTE", "base64": "TlRF"}), "charset", "needs the charset"),
        (document({"segment": "NTE", "base64": "TlR"}, charset="ascii"), "segments[1].base64", "not base64"),
        (document({"segment": "NTE", "base64": 7}, charset="ascii"), "segments[1].base64", "not base64"),
        (
            document({"segment": "NTE", "1": "x", "base64": "TlRFfHk="}, charset="ascii"),
            "segments[1]",
            "something else",
        ),
        (
            document({"segment": "NTE", "1": "x", "base64": "TlRFDXk="}, charset="ascii"),
            "segments[1].base64",
            "more than one",
        ),
        (document({"segment": "NTE", "1": "é"}, charset="ascii"), "NTE-1", "does not have"),
        (document(*[{"segment": "NTE", "9999999": "x"}]), "segments[1]", "more than"),
    ],
)
def test_a_document_that_cannot_be_meant_is_refused_with_its_place(text, location, reason):
    with pytest.raises(ConversionError) as caught:
        from_json(text)
    assert caught.value.location == location
    assert reason in caught.value.reason


def test_a_value_that_needs_an_escape_character_needs_one_in_the_message():
    text = json.dumps({"segments": [{"segment": "MSH", "1": "|", "2": "^"}, {"segment": "NTE", "1": "a|b"}]})
    with pytest.raises(ConversionError, match="no escape character"):
        from_json(text)
    text = json.dumps({"segments": [{"segment": "MSH", "1": "|", "2": "^"}, {"segment": "NTE", "1": ["a", "b"]}]})
    with pytest.raises(ConversionError, match="no repetition separator"):
        from_json(text)


def test_a_document_longer_than_allowed_is_not_read():
    with pytest.raises(ConversionError, match="longer than 10 bytes"):
        from_json(document(), max_bytes=10)


def test_text_that_is_not_utf_8_is_refused():
    with pytest.raises(ConversionError, match="not UTF-8"):
        from_json(b'{"segments": "\xff"}')


def test_no_value_stands_in_a_refusal():
    for text in (document({"segment": "NTE", "1": {"raw": "SECRET^"}}), document({"segment": "NTE", "SECRET": "x"})):
        with pytest.raises(ConversionError) as caught:
            from_json(text)
        assert "SECRET" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["1", "2", "5", "segment", "raw", "value", "base64", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=3), json_values)
@settings(max_examples=300)
def test_any_json_at_all_is_a_message_or_a_refusal(segments, charset):
    try:
        raw = from_json(document(*segments, charset=charset) if charset != 0 else document(*segments))
    except ConversionError:
        return
    assert raw.startswith(b"MSH|^~\\&|") and raw.endswith(b"\r")
