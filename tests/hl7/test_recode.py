r"""A message in its receiver's character set: values mean the same, MSH-18 says so, nothing is lost without a word."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7.delimiters import STANDARD, Delimiters
from engine.hl7.errors import UnencodableText
from engine.hl7.escape import hexadecimal, plain_text, retold, unescape, with_others
from engine.hl7.message import Message
from engine.hl7.recode import UnknownTarget, recode, target_of
from engine.hl7.wide import narrowed

HEAD = "MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5.1||||||{}{}\r"
PDF = base64.b64encode(bytes(range(256)) * 8).decode()


def message(body: str, declared: str = "UNICODE UTF-8", codec: str = "utf_8", *, msh_20: str = "") -> Message:
    head = HEAD.format(declared, f"||{msh_20}" if msh_20 else "")
    return Message.parse((head + body).encode(codec, "surrogateescape"))


def lines(raw: bytes, codec: str) -> list[str]:
    return raw.decode(codec).split("\r")[:-1]


def test_a_message_is_written_in_the_set_and_says_so():
    source = message("PID|1||4711||Müller^Jürgen\r")
    recoded = recode(source, target_of("8859/1"))
    assert lines(recoded.body, "latin_1") == [HEAD.format("8859/1", "")[:-1], "PID|1||4711||Müller^Jürgen"]
    assert source.to_bytes() == source.raw


def test_a_plain_ascii_message_says_so_too():
    assert b"||||||8859/1\r" in recode(message("PID|1\r", ""), target_of("8859/1")).body
    assert b"|~ISO IR87||ISO 2022-1994\r" in recode(message("PID|1\r", ""), target_of("~ISO IR87")).body


def test_a_false_declaration_is_put_right():
    """MSH-18 says 8859/1 and the text is UTF-8: for a receiver that wants 8859/1 it becomes that."""
    source = message("PID|1||4711||Müller\r", "8859/1", "utf_8")
    assert b"M\xfcller" in recode(source, target_of("8859/1")).body
    windows = message("PID|1||4711||“Müller”\r", "8859/1", "cp1252")
    with pytest.raises(UnencodableText):
        recode(windows, target_of("8859/1"))
    assert "“Müller”".encode() in recode(windows, target_of("UNICODE UTF-8")).body


def test_the_switching_of_msh_20_is_said_or_taken_back():
    source = message("PID|1||4711||山田\r", "~ISO IR87", "iso2022_jp", msh_20="ISO 2022-1994")
    assert recode(source, target_of("UNICODE UTF-8")).body.split(b"\r")[0].endswith(b"|UNICODE UTF-8||")
    assert recode(source, target_of("~ISO IR87")).body == source.raw


def test_base64_is_left_alone():
    source = message(f"OBX|1|ED|||^application^pdf^Base64^{PDF}\rNTE|1||ü\r")
    for name in ("8859/1", "GB 18030-2000", "KS X 1001", "~ISO IR87"):
        target = target_of(name, "replace", "?")
        assert f"Base64^{PDF}\r".encode() in recode(source, target).body


def test_other_delimiters_are_kept():
    raw = "MSH#@*!%#A#B#C#D#2026##ADT@A01#1#P#2.5.1######UNICODE UTF-8\rPID#1###Mü!F!ller@ł\r".encode()
    body = recode(Message.parse(raw), target_of("8859/1", "escape")).body
    assert body.endswith(b"PID#1###M\xfc!F!ller@!XC582!\r")
    assert (
        b"#~ISO IR87" not in body
        and b"#*ISO IR87##ISO 2022-1994\r"
        in recode(
            Message.parse(raw.replace("ł".encode(), b"l").replace("ü".encode(), b"u")), target_of("~ISO IR87")
        ).body
    )


# -- what the target does not have ----------------------------------------------------------------------


def test_hold_names_the_place_and_not_the_value():
    with pytest.raises(UnencodableText) as caught:
        recode(message("PID|1\rOBX|1||||ü\rOBX|2||||Łódź\r"), target_of("8859/1"))
    assert caught.value.location == "OBX[2]-5"
    assert "dź" not in str(caught.value) and caught.value.__context__ is None


def test_a_broken_line_is_no_place():
    """What stands where a segment's name should be may be a patient's name."""
    source = message("NTE|1||a\rŁukasz Nowak|x\r")
    with pytest.raises(UnencodableText) as caught:
        recode(source, target_of("8859/1"))
    assert (caught.value.location, "segment 3" in str(caught.value)) == ("", True)
    assert "Nowak" not in str(caught.value)
    recoded = recode(message("NTE|1||a\rNowak Anna|Ł\r"), target_of("8859/1", "replace", "?"))
    assert (recoded.foreign, recoded.location) == (1, "")


def test_escape_writes_the_bytes_of_utf_8_and_counts():
    recoded = recode(message("PID|1||4711||Łódź^ü\rNTE|1||漢字\r"), target_of("8859/1", "escape"))
    assert recoded.body.split(b"\r")[1:3] == [b"PID|1||4711||\\XC581\\\xf3d\\XC5BA\\^\xfc", b"NTE|1||\\XE6BCA2E5AD97\\"]
    assert (recoded.foreign, recoded.location) == (4, "PID-5")
    again = Message.parse(recoded.body)
    assert (again.get("PID-5.1"), again.get("NTE-3")) == ("Łódź", "漢字")


def test_replace_writes_what_the_site_said():
    recoded = recode(message("PID|1||4711||Łódź^ü\r"), target_of("8859/1", "replace", "(?)"))
    assert recoded.body.split(b"\r")[1] == b"PID|1||4711||(?)\xf3d(?)^\xfc"
    assert recoded.foreign == 2


def test_a_lone_escape_character_next_to_an_escaped_one_stays_text():
    for policy in ("escape", "replace"):
        source = message("PID|1||5\\Hł\\ and \\F\\\r")
        target = target_of("8859/1", policy, "?" if policy == "replace" else "")
        again = Message.parse(recode(source, target).body)
        assert again.get("PID-3") == source.get("PID-3").replace("ł", "ł" if policy == "escape" else "?")


def test_bytes_that_are_no_characters_count_as_such():
    source = Message.parse(HEAD.format("UNICODE UTF-8", "").encode() + "PID|1||ü".encode() + b"\xc3x\r")
    for name in ("UNICODE UTF-8", "8859/1"):
        with pytest.raises(UnencodableText) as caught:
            recode(source, target_of(name))
        assert caught.value.location == "PID-3"
        assert b"\\XC3\\x" in recode(source, target_of(name, "escape")).body
        assert b"?x" in recode(source, target_of(name, "replace", "?")).body


def test_bytes_that_are_no_characters_of_their_own_set_count_as_such():
    source = Message.parse(HEAD.format("GB 18030-2000", "").encode() + "PID|1||張三".encode("gb18030") + b"\xff\r")
    assert source.codec == "gb18030"
    with pytest.raises(UnencodableText):
        recode(source, target_of("GB 18030-2000"))
    assert recode(source, target_of("GB 18030-2000", "replace", "?")).body.endswith("張三?\r".encode("gb18030"))


def test_a_message_that_cannot_carry_what_is_asked_for_is_an_error():
    no_escape = Message.parse("MSH|^~|A||||2026||ADT^A01|1|P|2.5.1||||||UNICODE UTF-8\rPID|1||ł\r".encode())
    with pytest.raises(UnencodableText, match="PID-3"):
        recode(no_escape, target_of("8859/1", "escape"))
    no_repetition = Message.parse(b"MSH|^|A||||2026||ADT^A01|1|P|2.5.1\rPID|1\r")
    with pytest.raises(UnencodableText, match="MSH-18"):
        recode(no_repetition, target_of("~ISO IR87"))
    wide_mark = Message.parse("MSH|^˜\\&|A||||2026||ADT^A01|1|P|2.5.1||||||UNICODE UTF-8\rPID|1\r".encode())
    for policy in ("hold", "escape"):
        with pytest.raises(UnencodableText, match="MSH-2"):
            recode(wide_mark, target_of("8859/1", policy))


@pytest.mark.parametrize(
    ("name", "policy", "replacement"),
    [
        ("BIG-5", "escape", ""),
        ("~ISO IR87", "escape", ""),
        ("8859/1", "replace", "|"),
        ("8859/1", "replace", "\x1c"),
        ("8859/1", "replace", "ł"),
        ("8859/1", "replace", "x" * 11),
        ("8859/1~UNICODE UTF-8", "hold", ""),
    ],
)
def test_what_cannot_be_meant_is_refused(name, policy, replacement):
    with pytest.raises(UnknownTarget):
        target_of(name, policy, replacement)


# -- escapes whose meaning hangs on the set -------------------------------------------------------------


def test_hexadecimal_bytes_keep_their_meaning():
    source = message("PID|1||\\XE9\\t\\XE9\\^\\X0D\\^\\XC3A9\\\r", "8859/1", "latin_1")
    again = Message.parse(recode(source, target_of("UNICODE UTF-8")).body)
    assert again.segment(1) == "PID|1||été^\\X0D\\^\\XC3A9\\"
    for part in (1, 2, 3):
        assert again.get(f"PID-3.{part}") == source.get(f"PID-3.{part}")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\\M2442\\K|1_\\C2842\\ yen".replace("|", "\\F\\"), "万円 yen"),
        ("\\C2D46\\\xe1\xe2\\C2842\\ = ab", "αβ = ab"),
        ("\\C2949\\\xb1\xb2", "ｱｲ"),
        ("\\M242844\\0!\\C2842\\", "丂"),
        ("\\C2D42\\\xa3\\C2D41\\\xe9", "Łé"),
        ("\\C2D4C\\\xbf\\C2D47\\\xe5\\C2D48\\\xf9\\C2D4D\\\xde", "Пمש" + "Ş"),
        ("\\C284A\\a\\C2842\\", "a"),
        ("\\M2442\\K", "K"),
        ("\\C7A7A\\x", "x"),
    ],
)
def test_the_switches_of_hl7_are_read_in_a_text_view(text, plain):
    """Item 58; HL7 v2.5.1 section 2.7.3."""
    source = message(f"NTE|1||{text}\r", "8859/1~8859/7~ISO IR87", "latin_1", msh_20="2.3")
    assert source.plain("NTE-3") == plain
    assert source.get("NTE-3") == unescape(text, STANDARD, "iso8859_1")
    assert source.to_bytes() == source.raw


def test_switched_text_is_written_as_characters_for_another_set():
    source = message(
        "NTE|1||\\M2442\\K\\F\\1_\\C2842\\ \\C2D46\\\xe1\\.br\\\xe2\r", "8859/1~8859/7", "latin_1", msh_20="2.3"
    )
    body = recode(source, target_of("UNICODE UTF-8")).body
    assert "NTE|1||万円 α\\.br\\β\r".encode() in body
    assert b"2.3" not in body.split(b"\r")[0].split(b"2.5.1")[1]


@pytest.mark.parametrize("text", ["\\C7A7A\\x", "\\M2442\\K"])
def test_a_switch_that_cannot_be_read_is_not_sent_on_as_another_set(text):
    with pytest.raises(UnencodableText, match="switches") as caught:
        recode(message(f"NTE|1||{text}\r"), target_of("8859/1", "replace", "?"))
    assert caught.value.location == "NTE-3"


def test_alternates_behind_switches_need_no_fallback():
    raw = HEAD.format("~8859/7", "||2.3").encode() + b"NTE|1||\\C2D46\\\xe1\xe2\r"
    source = Message.parse(raw)
    assert (source.charset.evidence, source.warnings, source.plain("NTE-3")) == ("declared", (), "αβ")


leaves = st.text(st.sampled_from("ab|^\\éłα漢FEHXC2M4 \udcc3"), max_size=20).map(
    lambda t: t.replace("|", "\\F\\").replace("^", "\\S\\")
)


@given(leaves, st.sampled_from(["ascii", "iso8859_1", "iso8859_2"]))
def test_what_is_written_in_another_way_reads_the_same(leaf, codec):
    def is_foreign(c):
        return c.encode(codec, "ignore") == b""

    written = with_others(leaf, STANDARD, is_foreign, lambda run: hexadecimal(run, STANDARD))
    written.encode(codec)
    meant = unescape(leaf, STANDARD, codec)
    if "\udcc3" not in leaf and "\\X" not in leaf:
        assert unescape(written, STANDARD, codec) == meant


@given(leaves.filter(lambda t: "\udcc3" not in t), st.sampled_from(["iso8859_1", "utf_8", "gb18030"]))
def test_a_leaf_told_anew_means_the_same(leaf, target):
    told = retold(leaf, STANDARD, "iso8859_1", target)
    if told is not None:
        assert plain_text(told, STANDARD, target) == plain_text(leaf, STANDARD, "iso8859_1")
        assert retold(told, STANDARD, target, target) == told


def test_without_an_escape_character_nothing_is_an_escape():
    no_escape = Delimiters("|", ("^", "~", "", "&", ""), "^~")
    assert retold("\\M2442\\K", no_escape, "ascii", "utf_8") == "\\M2442\\K"


# -- files in UTF-16 and UTF-32 -------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"])
@pytest.mark.parametrize("declared", ["UNICODE UTF-16", "UNICODE UTF-32", "UNICODE", "utf-16"])
def test_a_file_in_utf_16_or_utf_32_becomes_utf_8_and_says_so(codec, declared):
    text = HEAD.format(declared, "") + "PID|1||Łódź 漢\r"
    content = narrowed((text + text).encode(codec))
    wanted = HEAD.format("UNICODE UTF-8", "") + "PID|1||Łódź 漢\r"
    assert content.lstrip(b"\xef\xbb\xbf") == (wanted + wanted).encode()


def test_other_content_stays_the_same_object():
    for content in (b"", b"MSH|^~\\&|A\r", "MSH|^~\\&|é\r".encode(), b"\xff\xfeM", b"M\0S\0H\0x"):
        assert narrowed(content) is content


def test_another_declaration_of_a_wide_file_stays():
    text = HEAD.format("8859/1", "") + "PID|1\r"
    assert narrowed(text.encode("utf_16_le")) == text.encode()
