"""The character set is decided by evidence, and no byte is lost whatever it is (spec items 57 to 63)."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.hl7.charset import codec_named, codecs_of, is_transparent
from engine.hl7.errors import UnencodableText
from engine.hl7.message import Message
from engine.hl7.path import compile_path

DECLARED = {
    "8859/1": "iso8859_1",
    "8859/2": "iso8859_2",
    "8859/5": "iso8859_5",
    "8859/7": "iso8859_7",
    "8859/9": "iso8859_9",
    "8859/15": "iso8859_15",
    "UNICODE UTF-8": "utf_8",
    "UTF-8": "utf_8",
    "UNICODE": "utf_8",
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "~ISO IR87": "iso2022_jp",
    "ISO IR6~ISO IR87": "iso2022_jp",
    "~ISO IR87~ISO IR159": "iso2022_jp_1",
    "GB 18030-2000": "gb18030",
    "BIG-5": "big5",
    "KS X 1001": "euc_kr",
}
TEXTS = {
    "8859/1": "Jürgen Größe",
    "8859/2": "Łukasz Żółć",
    "8859/5": "Привет мир",
    "8859/7": "Αθήνα καλά",
    "8859/9": "Şükrü Ağa",
    "8859/15": "Žofie 5 €",
    "UNICODE UTF-8": "é€漢😀",
    "UTF-8": "é€漢",
    "UNICODE": "é€漢",
    "ISO IR14": "ソ表予十能",  # every one ends in the byte of a backslash
    "ISO IR87": "万円山田",  # 万 is `K|` between the shifts
    "ISO IR159": "万円丂",
    "~ISO IR87": "万円山田",
    "ISO IR6~ISO IR87": "万円山田",
    "~ISO IR87~ISO IR159": "万円",
    "GB 18030-2000": "張三鱸㐀𠀀",
    "BIG-5": "許功蓋育",  # trail bytes \\ and |
    "KS X 1001": "홍길동",
}


def raw_message(declared, text, codec, pid="PID|1||4711^^^X||{}^Z||1970|F"):
    head = f"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5.1||||||{declared}"
    lines = [head, pid.format(text), f"NTE|1||{text} a\\F\\b", "PV1|1|I|W1"]
    return b"\r".join(line.encode(codec) for line in lines) + b"\r"


def colliding(codec):
    """Characters whose second byte is one of the usual delimiters."""
    marks = b"|^~\\&"
    found = []
    for point in range(0x3000, 0xA000):
        try:
            encoded = chr(point).encode(codec)
        except UnicodeEncodeError:
            continue
        if len(encoded) >= 2 and set(encoded) & set(marks) and encoded.decode(codec) == chr(point):
            found.append(chr(point))
    return "".join(found)


@pytest.mark.parametrize("declared", DECLARED)
def test_a_declared_charset_is_believed(declared):
    text, codec = TEXTS[declared], DECLARED[declared]
    raw = raw_message(declared, text, codec)
    message = Message.parse(raw)
    assert message.charset == (codec, declared, "declared")
    assert message.warnings == ()
    assert message.get("PID-5.1") == text
    assert message.get("PID-5.2") == "Z"
    assert message.get("NTE-3") == f"{text} a|b"
    assert message.to_bytes() == raw


@pytest.mark.parametrize("declared", DECLARED)
def test_an_edit_beside_it_leaves_every_other_byte(declared):
    text, codec = TEXTS[declared], DECLARED[declared]
    raw = raw_message(declared, text, codec)
    message = Message.parse(raw)
    message.set("PID-8", "M")
    assert message.to_bytes() == raw.replace(b"|F", b"|M")
    message.set("PV1-3.4", text)
    again = Message.parse(message.to_bytes())
    assert again.get("PV1-3.4") == text == again.get("PID-5.1")


@pytest.mark.parametrize("codec", ["shift_jis", "big5", "gb18030", "iso2022_jp"])
def test_characters_that_hold_the_byte_of_a_delimiter_are_not_cut(codec):
    declared = next(d for d, c in DECLARED.items() if c == codec)
    text = colliding(codec)
    assert len(text) > 50
    message = Message.parse(raw_message(declared, text, codec))
    assert message.get("PID-5.1") == text
    assert len(message.fields(1)) == 9


@pytest.mark.parametrize("codec", ["shift_jis", "big5", "gb18030", "iso2022_jp"])
def test_msh_18_is_found_behind_such_characters(codec):
    declared = next(d for d, c in DECLARED.items() if c == codec and not d.startswith(("~", "ISO IR6")))
    hospital = next(c for c in colliding(codec) if b"|" in c.encode(codec)) * 2
    raw = f"MSH|^~\\&|A|{hospital}|C|D|2026||ADT^A01|1|P|2.5.1||||||{declared}\rPID|1||{hospital}\r".encode(codec)
    message = Message.parse(raw)
    assert (message.charset.codec, message.get("MSH-4"), message.get("PID-3")) == (codec, hospital, hospital)
    assert message.to_bytes() == raw


@pytest.mark.parametrize(
    ("declared", "codec", "text", "read_as", "evidence", "notices"),
    [
        ("", "ascii", "Mueller", "ascii", "ascii", []),
        ("ASCII", "ascii", "Mueller", "ascii", "ascii", []),
        ("8859/1", "ascii", "Mueller", "iso8859_1", "ascii", []),
        ("", "utf_8", "Müller", "utf_8", "utf-8 found", ["W301"]),
        ("ASCII", "utf_8", "Müller", "utf_8", "utf-8 found", ["W301"]),
        ("", "cp1252", "Müller “€”", "cp1252", "fallback", ["W306"]),
        ("8859/1", "utf_8", "Müller", "utf_8", "utf-8 found", ["W302"]),
        ("8859/15", "utf_8", "Müller", "utf_8", "utf-8 found", ["W302"]),
        ("8859/1", "cp1252", "Müller “€”", "cp1252", "windows-1252 found", ["W307"]),
        ("UNICODE UTF-8", "cp1252", "Müller", "cp1252", "fallback", ["W303"]),
        ("GB 18030-2000", "cp1252", "Café 5", "cp1252", "fallback", ["W303"]),
        ("KS X 1001", "utf_8", "あé", "utf_8", "utf-8 found", ["W302"]),
        ("ISO IR 999", "ascii", "Mueller", "cp1252", "ascii", ["W305"]),
        ("ISO IR 999", "utf_8", "Müller", "utf_8", "utf-8 found", ["W305"]),
        ("PRELIM", "cp1252", "Müller", "cp1252", "fallback", ["W305"]),
        ("CNS 11643-1992", "cp1252", "Müller", "cp1252", "fallback", ["W305"]),
        ("unicode  utf8", "utf_8", "Müller", "utf_8", "declared", []),
    ],
)
def test_evidence_beats_a_wrong_or_missing_declaration(declared, codec, text, read_as, evidence, notices):
    raw = raw_message(declared, text, codec)
    message = Message.parse(raw)
    assert message.charset == (read_as, declared, evidence)
    assert [n.code for n in message.warnings] == notices
    assert message.get("PID-5.1") == text
    assert message.to_bytes() == raw


def test_the_fallback_is_the_channels_choice():
    raw = raw_message("", "Привет", "cp1251")
    assert Message.parse(raw, fallback="cp1251").get("PID-5.1") == "Привет"
    assert Message.parse(raw_message("", "Łódź", "iso8859_2"), fallback="8859/2").get("PID-5.1") == "Łódź"
    assert Message.parse(raw, fallback="no such codec").charset.codec == "cp1252"


def test_one_cut_character_does_not_spoil_the_others():
    raw = raw_message("UNICODE UTF-8", "Grüße Jürgen", "utf_8").replace("Jürgen^Z".encode(), b"J\xc3^Z")
    message = Message.parse(raw)
    assert message.charset.codec == "utf_8"
    assert [n.code for n in message.warnings] == ["W304"]
    assert message.get("PID-5.1") == "Grüße J\udcc3"
    message.set("PV1-3.1", message.get("PID-5.1"))
    assert message.to_bytes() == raw.replace(b"|W1", "|Grüße J".encode() + b"\xc3")


def test_a_byte_order_mark_and_blank_lines_before_the_header_are_dropped():
    body = raw_message("UNICODE UTF-8", "é", "utf_8")
    message = Message.parse(b"\xef\xbb\xbf\r\n \r" + body)
    assert message.to_bytes() == body
    assert message.warnings == ()


def test_a_character_outside_the_charset_is_an_error_with_a_place_and_without_the_value():
    message = Message.parse(raw_message("8859/1", "Müller", "iso8859_1"))
    message.set("PV1-3.1", "Łódź")
    with pytest.raises(UnencodableText) as caught:
        message.to_bytes()
    assert caught.value.location == "PV1-3"
    assert "Łódź" not in str(caught.value)
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    message.set("PV1-3.1", "W2")
    assert b"|W2\r" in message.to_bytes()


def test_the_place_of_an_error_counts_segments_of_one_name():
    message = Message.parse(b"MSH|^~\\&|A\rOBX|1\rOBX|2\r")
    message.set("OBX[2]-5", "Ł")
    with pytest.raises(UnencodableText) as caught:
        message.to_bytes()
    assert caught.value.location == "OBX[2]-5"
    message.set("OBX[2]-5", "")
    message.set("MSH-4", "Ł")
    with pytest.raises(UnencodableText) as caught:
        message.to_bytes()
    assert caught.value.location == "MSH-4"


def test_an_undeclared_ascii_message_takes_no_other_character_until_it_declares_one():
    message = Message.parse(raw_message("", "Mueller", "ascii"))
    message.set("PID-5.1", "Müller")
    with pytest.raises(UnencodableText):
        message.to_bytes()
    message.set("MSH-18", "8859/1")
    assert b"|M\xfcller^" in message.to_bytes()
    message.set("MSH-18", "UNICODE UTF-8")
    assert b"|M\xc3\xbcller^" in message.to_bytes()


def test_a_new_msh_18_recodes_the_whole_message():
    text = TEXTS["ISO IR87"]
    message = Message.parse(raw_message("~ISO IR87", text, "iso2022_jp"))
    message.set("MSH-18", "UNICODE UTF-8")
    assert message.to_bytes() == raw_message("UNICODE UTF-8", text, "utf_8")
    message.set("MSH-18", "ISO IR14")
    assert message.to_bytes() == raw_message("ISO IR14", text, "shift_jis")
    message.set("MSH-18", "8859/1")
    with pytest.raises(UnencodableText) as caught:
        message.to_bytes()
    assert caught.value.location == "PID-5"
    compile_path("MSH-18").set_raw(message, "~ISO IR87")
    assert message.to_bytes() == raw_message("~ISO IR87", text, "iso2022_jp")
    message.set("MSH-18", "KLINGON")
    with pytest.raises(UnencodableText) as caught:
        message.to_bytes()
    assert caught.value.location == "MSH-18"


def test_an_edit_beside_an_msh_18_of_undecodable_bytes_is_no_new_msh_18():
    raw = b"MSH|^~\\&|A|B|C|D|20260102||ADT^A01|1|P|2.5||||||T\x90LDA\rPID|1||\xfc\r"
    message = Message.parse(raw)
    message.set("MSH-5", "RIS")
    assert message.to_bytes() == raw.replace(b"|C|", b"|RIS|")


def test_bytes_that_mean_nothing_cannot_be_recoded():
    message = Message.parse(raw_message("", "x\x81y", "latin_1"))
    assert message.charset.codec == "cp1252"
    message.set("PID-8", "M")
    assert b"x\x81y" in message.to_bytes()
    message.set("MSH-18", "UNICODE UTF-8")
    with pytest.raises(UnencodableText):
        message.to_bytes()


def test_a_character_that_python_writes_as_a_delimiter_is_refused():
    message = Message.parse(raw_message("ISO IR14", "ソ", "shift_jis"))
    message.set("PV1-3.1", "¥5")  # shift_jis has it at the byte of the backslash
    with pytest.raises(UnencodableText) as caught:
        message.to_bytes()
    assert caught.value.location == "PV1-3"


def test_redundant_shifts_survive_in_segments_that_nobody_edits():
    head = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5.1||||||~ISO IR87||ISO 2022-1994\r"
    odd = b"PID|1||\x1b$B;3\x1b(B\x1b$BED\x1b(J\x1b(B\r"
    raw = head + odd + b"PV1|1|I\r"
    message = Message.parse(raw)
    assert message.get("PID-3") == "山田"
    message.set("PV1-2", "O")
    assert message.to_bytes() == head + odd + b"PV1|1|O\r"


@pytest.mark.parametrize(
    "raw", [t.encode(c) for t in ("MSH|^~\\&|A\rPID|1\r",) for c in ("utf_16", "utf_16_be", "utf_32")]
)
def test_utf_16_is_named_as_the_reason(raw):
    from engine.hl7.errors import UnreadableMessage

    with pytest.raises(UnreadableMessage, match="UTF-16"):
        Message.parse(raw)


def test_names_and_codecs():
    assert codecs_of("gb 18030_2000") == ("gb18030",)
    assert codecs_of("latin 9") == ()
    assert (
        codec_named("8859/5"),
        codec_named("koi8-r"),
        codec_named("utf-16"),
        codec_named("rot13"),
        codec_named(""),
    ) == (
        "iso8859_5",
        "koi8-r",
        None,
        None,
        None,
    )
    assert is_transparent("cp1252") and is_transparent("iso8859-1") and not is_transparent("gb18030")


field_bytes = st.binary(max_size=60).map(lambda b: b.translate(None, b"\r\n|"))


@settings(max_examples=300)
@given(st.sampled_from(["", *DECLARED]), st.lists(field_bytes, min_size=1, max_size=4), st.data())
def test_bytes_that_nobody_edits_leave_as_they_came(declared, fields, data):
    head = f"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5.1||||||{declared}\r".encode()
    raw = head + b"PID|1|" + b"|".join(fields) + b"\rPV1|1|I\rZZZ|" + b"|".join(fields) + b"\r"
    message = Message.parse(raw)
    assert message.to_bytes() == raw
    assert len(message) == 4
    copy = message.copy()
    copy.set("PV1-2", "O")
    assert copy.to_bytes() == raw.replace(b"PV1|1|I\r", b"PV1|1|O\r")
    assert message.to_bytes() == raw
    if is_transparent(message.codec):
        copy.set("PID-1", "2")
        assert copy.to_bytes() == raw.replace(b"PV1|1|I\r", b"PV1|1|O\r").replace(b"\rPID|1|", b"\rPID|2|", 1)
        source = data.draw(st.sampled_from(range(len(fields))))
        compile_path("PV1-3").set_raw(copy, copy.fields(3)[1 + source])
        copied = b"|" + fields[source] if fields[source] else b""
        assert b"PV1|1|O" + copied + b"\r" in copy.to_bytes()


@settings(max_examples=200)
@given(
    st.sampled_from(list(DECLARED)), st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
)
def test_a_value_is_written_so_that_it_reads_the_same_or_not_at_all(declared, value):
    message = Message.parse(raw_message(declared, TEXTS[declared], DECLARED[declared]))
    message.set("PV1-3.2", value)
    try:
        written = message.to_bytes()
    except UnencodableText as error:
        assert error.location == "PV1-3"
        assume(False)
    again = Message.parse(written)
    assume(again.codec == message.codec)
    assert (again.get("PV1-3.2") or "") == value
    assert again.get("PID-5.1") == TEXTS[declared]
