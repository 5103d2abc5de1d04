"""A message as text and back: what nobody touched comes back as it was, in its own character set."""

import pytest

from engine.hl7.message import Message
from engine.hl7.retyped import NotTyped, from_text, to_text, with_id

HEAD = "MSH|^~\\&|HIS|MAIN|LAB|MAIN|20260102||ADT^A01|C1|P|2.5.1||||||"


def parsed(raw: bytes) -> Message:
    return Message.parse(raw)


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("UNICODE UTF-8", "utf-8"), ("8859/1", "iso8859-1"), ("8859/15", "iso8859-15"), ("", "cp1252"), ("", "utf-8")],
)
def test_what_nobody_touched_comes_back_byte_for_byte(charset, codec):
    raw = f"{HEAD}{charset}\rPID|1||4711||Müller^Jörg\\T\\x\r".encode(codec)
    message = parsed(raw)
    text = to_text(message)
    assert text.count("\n") == 1
    assert from_text(message, text) == raw
    assert from_text(message, text.replace("\n", "\r\n") + "\r\n\r\n") == raw, "as browsers send it"


def test_japanese_keeps_its_switches():
    raw = f"{HEAD}~ISO IR87\rPID|1||4711||".encode("ascii") + "山田".encode("iso2022_jp") + b"\r"
    message = parsed(raw)
    assert from_text(message, to_text(message)) == raw


def test_what_was_typed_is_written_in_the_messages_own_set():
    message = parsed(f"{HEAD}8859/1\rPID|1||4711||Muller\r".encode("ascii"))
    changed = from_text(message, to_text(message).replace("Muller", "Müller"))
    assert "Müller".encode("iso8859-1") in changed


def test_a_set_that_was_typed_anew_is_the_one_that_it_is_written_in():
    message = parsed(f"{HEAD}8859/1\rPID|1||4711||Müller\r".encode("iso8859-1"))
    changed = from_text(message, to_text(message).replace("8859/1", "UNICODE UTF-8"))
    assert "Müller".encode() in changed
    with pytest.raises(NotTyped) as refused:
        from_text(message, to_text(message).replace("8859/1", "KLINGON"))
    assert refused.value.location == "MSH-18"


def test_a_character_that_the_set_has_not_is_refused_with_its_place_and_without_the_text():
    message = parsed(f"{HEAD}8859/1\rPID|1||4711||Muller\r".encode("ascii"))
    with pytest.raises(NotTyped) as refused:
        from_text(message, to_text(message).replace("Muller", "Мюллер"))
    assert refused.value.location == "PID-5"
    assert "Мюллер" not in str(refused.value)


@pytest.mark.parametrize("text", ["", " \r\n ", "PID|1", "MSH", "MSH|", "MSH|^~\\&|A\nPID|\x00", "MSH|^~\\&|A\x1c|B"])
def test_what_is_no_message_is_refused(text):
    with pytest.raises(NotTyped):
        from_text(parsed(f"{HEAD}\r".encode()), text)


@pytest.mark.parametrize("stray", [b"\x00", b"\x0b", b"\x1b", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xff"])
def test_what_a_text_box_would_change_is_not_given_out(stray):
    raw = f"{HEAD}UNICODE UTF-8\rPID|1||4711||".encode() + "ÄÖÜäöü".encode() + stray + b"\r"
    with pytest.raises(NotTyped):
        to_text(parsed(raw))


def test_a_new_control_id_is_all_that_changes():
    raw = f"{HEAD}8859/1\rPID|1||4711||Müller\r".encode("iso8859-1")
    assert with_id(raw, "E1") == raw.replace(b"|C1|", b"|E1|")
