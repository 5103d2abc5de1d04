"""Every MSH-18 of spec item 59, read and written; ISO 2022 between any of them (items 57, 58 and 63)."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.hl7 import iso2022
from engine.hl7.ack import build_ack
from engine.hl7.charset import decoded, encoded, is_transparent, switching_codec
from engine.hl7.errors import UnencodableText
from engine.hl7.message import Message
from engine.hl7.recode import NAMES, UnknownTarget, recode, target_of
from tests.hl7.test_charset import colliding, raw_message

LATIN = {
    "8859/1": ("iso8859_1", "Jürgen Größe"),
    "8859/2": ("iso8859_2", "Łukasz Żółć"),
    "8859/3": ("iso8859_3", "Ġużeppi Ħal"),
    "8859/4": ("iso8859_4", "Māra Ķirsis"),
    "8859/5": ("iso8859_5", "Привет мир"),
    "8859/6": ("iso8859_6", "محمد علي"),
    "8859/7": ("iso8859_7", "Αθήνα καλά"),
    "8859/8": ("iso8859_8", "שלום עולם"),
    "8859/9": ("iso8859_9", "Şükrü Ağa"),
    "8859/15": ("iso8859_15", "Žofie 5 €"),
}
OTHERS = {
    "": ("ascii", "Mueller"),
    "ASCII": ("ascii", "Mueller"),
    "ISO IR6": ("ascii", "Mueller"),
    "UNICODE UTF-8": ("utf_8", "é€漢😀"),
    "UNICODE": ("utf_8", "é€漢"),
    "ISO IR14": ("shift_jis", "ソ表予十能ｱｲ"),
    "ISO IR87": ("iso2022_jp", "万円山田"),
    "~ISO IR87": ("iso2022_jp", "万円山田"),
    "ISO IR14~ISO IR87": ("iso2022_jp", "万円山田"),
    "ISO IR159": ("iso2022_jp_1", "万円丂"),
    "~ISO IR87~ISO IR159": ("iso2022_jp_1", "万円丂"),
    "~ISO IR159": ("iso2022_jp_1", "万円丂"),
    "JAS2020": ("iso2022_jp_1", "万円丂"),
    "JIS X 0202": ("iso2022_jp_1", "万円丂"),
    "GB 18030-2000": ("gb18030", "張三鱸㐀𠀀"),
    "BIG-5": ("big5", "許功蓋育"),
    "KS X 1001": ("euc_kr", "홍길동"),
}
SWITCHING = {
    "8859/1~8859/7": "Jürgen Αθήνα",
    "~8859/7~8859/5": "Αθήνα Привет",
    "~KS X 1001": "홍길동",
    "ISO IR13~ISO IR87": "ｱｲｳ 万円",
    "ISO IR14~ISO IR87~ISO IR159": "ｱｲｳ 万円丂",
    "~ISO IR87~KS X 1001~8859/1": "万円 홍길동 é",
    "8859/2~ISO IR87": "Łódź 万円",
}
TABLE = {**LATIN, **OTHERS, **{name: (switching_codec(name, "~"), text) for name, text in SWITCHING.items()}}
COLLIDING = ["shift_jis", "big5", "gb18030", "iso2022_jp", "iso2022_jp_1"]


def message_of(declared: str) -> Message:
    codec, text = TABLE[declared]
    raw = raw_message(declared, "@@", "ascii").replace(b"@@", encoded(text, codec))
    return Message.parse(raw)


@pytest.mark.parametrize("declared", TABLE)
def test_a_declared_set_is_read_and_leaves_as_it_came(declared):
    codec, text = TABLE[declared]
    message = message_of(declared)
    assert message.charset.codec == codec
    assert message.warnings == ()
    assert (message.get("PID-5.1"), message.get("NTE-3")) == (text, f"{text} a|b")
    assert message.to_bytes() == message.raw
    message.set("PID-8", "M")
    assert message.to_bytes() == message.raw.replace(b"|F", b"|M")


def test_every_name_that_can_be_written_is_in_the_table_of_these_tests():
    assert set(NAMES) <= set(TABLE)


@pytest.mark.parametrize("declared", [name for name in TABLE if name])
def test_a_message_in_utf_8_is_written_in_the_set_and_reads_the_same_again(declared):
    codec, text = TABLE[declared]
    source = Message.parse(raw_message("UNICODE UTF-8", text, "utf_8"))
    recoded = recode(source, target_of(declared))
    again = Message.parse(recoded.body)
    assert (again.get("PID-5.1"), again.get("NTE-3"), recoded.foreign) == (text, f"{text} a|b", 0)
    assert again.fields(0)[18] == declared
    assert (again.get("MSH-20") or "") == ("ISO 2022-1994" if codec.startswith("iso") and "8859_" not in codec else "")
    assert again.warnings == ()
    back = recode(again, target_of("UNICODE UTF-8")).body
    assert back.rstrip(b"\r").split(b"\r")[1:] == source.raw.rstrip(b"\r").split(b"\r")[1:]


@pytest.mark.parametrize("name", ["CNS 11643-1992", "UNICODE UTF-16", "UNICODE UTF-32", "KLINGON", "", "~", "cp1252"])
def test_what_cannot_be_written_is_refused(name):
    with pytest.raises(UnknownTarget):
        target_of(name)


@pytest.mark.parametrize("name", ["CNS 11643-1992", "ISO IR 999", "PRELIM"])
def test_a_set_that_is_not_known_is_named_with_103(name):
    message = Message.parse(raw_message(name, "Mueller", "ascii"))
    assert [(n.code, n.location, n.hl7_code) for n in message.warnings] == [("W305", "MSH-18", "103")]


@pytest.mark.parametrize("name", ["unicode_utf8", "UTF-8", "utf8", "Unicode  Utf-8"])
def test_spellings_from_the_field_are_written_as_the_table_has_them(name):
    assert target_of(name).name == "UNICODE UTF-8"


# -- trail bytes that look like delimiters (item 63) --------------------------------------------------


@pytest.mark.parametrize("codec", COLLIDING)
def test_such_characters_survive_reading_editing_recoding_and_the_way_back(codec):
    declared = next(d for d, (c, _) in TABLE.items() if c == codec)
    text = colliding(codec)
    assert len(text) > 50
    source = Message.parse(raw_message(declared, text, codec))
    source.set("PV1-3.2", text)
    edited = Message.parse(source.to_bytes())
    assert (edited.get("PID-5.1"), edited.get("PV1-3.2")) == (text, text)
    utf_8 = recode(edited, target_of("UNICODE UTF-8")).body
    assert f"PV1|1|I|W1^{text}".encode() in utf_8
    back = Message.parse(recode(Message.parse(utf_8), target_of(declared)).body)
    assert (back.get("PID-5.1"), back.get("PV1-3.2"), back.codec) == (text, text, codec)


@pytest.mark.parametrize("declared", TABLE)
def test_the_answer_is_in_the_messages_own_set(declared):
    """Item 30: MSH-5 of the answer is the sender's own text, in its own bytes, declared as the sender declares."""
    from datetime import UTC, datetime

    codec, text = TABLE[declared]
    head = f"MSH|^~\\&|@@|B|C|D|2026||ADT^A01|1|P|2.5.1||||||{declared}||ISO 2022-1994\rPID|1\r"
    message = Message.parse(head.encode().replace(b"@@", encoded(text, codec)))
    ack = Message.parse(build_ack(message, "AA", now=datetime(2026, 1, 2, tzinfo=UTC), control_id="X"))
    assert (ack.get("MSH-5"), ack.codec) == (text, message.codec)
    assert (ack.fields(0)[18] if declared else "") == declared


# -- ISO 2022 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "written", "text"),
    [
        ("8859/1~8859/7", b"J\xfcrgen \x1b-F\xe1\xe2", "Jürgen αβ"),
        ("~8859/7", b"\x1b-F\xe1\x1b(Bx\xe1", "αxα"),
        ("~KS X 1001", b"\x1b$)C\xc8\xab x", "홍 x"),
        ("ISO IR13~ISO IR87", b"\xb1\xb2\x1b$BK|1_\x1b(J^\xb1", "ｱｲ万円^ｱ"),
        ("ISO IR13~ISO IR87", b"\x1b(I12\x1b(B1", "ｱｲ1"),
    ],
)
def test_escape_sequences_of_iso_2022_are_followed(declared, written, text):
    head = f"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5.1||||||{declared}||ISO 2022-1994\r".encode()
    message = Message.parse(head + b"PID|1||" + written + b"\rPV1|1\r")
    assert message.segment(1) == f"PID|1||{text}"
    assert message.warnings == ()
    message.set("PV1-2", "O")
    assert message.to_bytes() == head + b"PID|1||" + written + b"\rPV1|1|O\r"


def test_a_sequence_that_is_not_known_stays_as_it_is():
    raw = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5.1||||||~8859/7||ISO 2022-1994\rPID|1||\x1b-z\xe1\r"
    message = Message.parse(raw)
    assert message.charset.evidence == "fallback"
    assert message.to_bytes() == raw


def test_a_segment_end_brings_the_first_set_back():
    codec = "iso_2022:8859/1,8859/7"
    assert iso2022.decode(b"\x1b-F\xe1\r\xe1", codec) == "α\rá"
    assert iso2022.decode(b"\xff\x1b-F\xff", codec, "surrogateescape") == "ÿ\udcff"
    with pytest.raises(UnicodeDecodeError) as caught:
        iso2022.decode(b"\x1b-F\xff", codec)
    assert caught.value.object == b"?"


@given(st.sampled_from(sorted(SWITCHING)), st.data())
def test_what_is_written_by_iso_2022_is_read_again(declared, data):
    codec = switching_codec(declared, "~")
    letters = sorted({c for text in SWITCHING.values() for c in text} | set("ab1|^~\\& \r"))
    text = data.draw(st.text(st.sampled_from([c for c in letters if c.isascii() or _has(c, codec)])))
    assert iso2022.decode(iso2022.encode(text, codec), codec) == text
    # A reader that goes back to the first set at each delimiter reads the same.
    cut = iso2022.encode(text.replace("\r", ""), codec).split(b"^")
    assert "^".join(iso2022.decode(part, codec) for part in cut) == text.replace("\r", "") or b"\x1b$B" in b"".join(cut)


def _has(character: str, codec: str) -> bool:
    try:
        iso2022.encode(character, codec)
    except UnicodeEncodeError:
        return False
    return True


# -- properties ---------------------------------------------------------------------------------------

texts = st.text(
    st.one_of(
        st.sampled_from("|^~\\&\r\n\x0b\x1c aF"),
        st.sampled_from("".join(t for _, t in TABLE.values())),
        st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]),
    ),
    max_size=16,
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(TABLE)), texts)
def test_a_value_with_delimiters_in_it_comes_back_in_every_set(declared, value):
    message = message_of(declared)
    message.set("PV1-3.2", value)
    try:
        written = message.to_bytes()
    except UnencodableText as error:
        assert error.location == "PV1-3"
        assume(False)
    again = Message.parse(written)
    assume(again.codec == message.codec)
    assert (again.get("PV1-3.2") or "") == value
    assert again.get("PID-5.1") == TABLE[declared][1]


@settings(max_examples=300)
@given(st.sampled_from(sorted(name for name in TABLE if name)), texts)
def test_recoding_changes_no_value_or_says_where_it_cannot(declared, value):
    source = Message.parse(raw_message("UNICODE UTF-8", "é", "utf_8").replace("é".encode(), b"x"))
    source.set("PV1-3.2", value)
    source.set("MSH-18", "UNICODE UTF-8")
    source = Message.parse(source.to_bytes())
    target = target_of(declared)
    try:
        again = Message.parse(recode(source, target).body)
    except UnencodableText as error:
        assert error.location == "PV1-3"
        assert encode_fails(value, target.codec)
        return
    assume(again.codec == target.codec or again.raw.isascii())
    assert (again.get("PV1-3.2") or "") == value


def encode_fails(value: str, codec: str) -> bool:
    try:
        return decoded(encoded(value, codec), codec) != value
    except UnicodeError:
        return True


def test_which_sets_can_be_cut_by_bytes():
    assert {c for c, _ in TABLE.values() if is_transparent(c)} == {"ascii", "utf_8", *(c for c, _ in LATIN.values())}
