"""Escape sequences: one pass from left to right, nothing lost (spec items 51 to 56)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7.delimiters import STANDARD, Delimiters
from engine.hl7.escape import escape, plain_text, reencode, unescape

FIVE = Delimiters("|", ("^", "~", "\\", "&", "#"), "^~\\&#")
OTHER = Delimiters("#", ("@", "!", "%", "*", ""), "@!%*")
NO_ESCAPE = Delimiters("|", ("^", "", "", "", ""), "^")

texts = st.text(
    st.one_of(st.sampled_from("|^~\\&#@!%*FSTREPXHNZC.0123dDbr \r\n\x0b\x1c"), st.characters(codec="utf-8")),
    max_size=40,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\F\\S\\T\\R\\E\ ".strip(), "|^&~\\"),
        (r"\E\F\ ".strip(), "\\F\\"),
        (r"a\P\ ".strip(), "a#"),
        (r"\X0D\ ".strip(), "\r"),
        (r"\X000d\ ".strip(), "\r"),
        (r"\X0D0A\ ".strip(), "\r\n"),
        (r"\XC3A9\ ".strip(), "é"),
        (r"\XC3\\XA9\ ".strip(), "é"),
        (r"\x41\ ".strip(), "A"),
        (r"\XE9\ ".strip(), "é"),
        (r"\XC3A\ ".strip(), r"\XC3A\ ".strip()),
        (r"\X\ ".strip(), r"\X\ ".strip()),
        (r"A \ B", r"A \ B"),
        (r"50\5", r"50\5"),
        (r"4\5 of \F\ ".strip(), r"4\5 of |"),
        ("\\", "\\"),
        ("\\\\", "\\\\"),
        (r"\f\ ".strip(), r"\f\ ".strip()),
        (r"\Unknown\ ".strip(), r"\Unknown\ ".strip()),
        (r"\H\bold\N\ ".strip(), r"\H\bold\N\ ".strip()),
        (r"a\.br\b\.sp3\ ".strip(), r"a\.br\b\.sp3\ ".strip()),
        (r"\C2842\ ".strip(), r"\C2842\ ".strip()),
        (r"\M242844\ ".strip(), r"\M242844\ ".strip()),
        (r"\Z12\ ".strip(), r"\Z12\ ".strip()),
    ],
)
def test_unescaping(text, value):
    assert unescape(text, STANDARD) == value


def test_hex_bytes_mean_what_the_charset_of_the_message_says():
    assert unescape("\\X8ABF\\", STANDARD, "shift_jis") == "漢"
    assert unescape("\\XE9\\", STANDARD, "cp1252") == "é"
    assert unescape("\\X80\\", STANDARD, "cp1252") == "€"


@given(texts)
def test_what_is_escaped_comes_back(value):
    for delimiters in (STANDARD, FIVE, OTHER):
        assert unescape(escape(value, delimiters), delimiters) == value


@given(texts)
def test_an_escaped_value_can_break_nothing(value):
    text = escape(value, STANDARD)
    assert not set(text) & set("|^~&\r\n\x0b\x1c")


@given(texts.map(lambda t: t.translate(dict.fromkeys(map(ord, "|^~&\r\n\x0b\x1c#")))))
def test_escaping_an_unescaped_text_says_the_same(text):
    value = unescape(text, STANDARD)
    assert unescape(escape(value, STANDARD), STANDARD) == value


def test_a_formatted_text_that_is_read_and_set_keeps_its_form():
    text = r"\H\Result\N\\.br\see \S\ \.in+4\below\Z0F\ ".strip()
    assert escape(unescape(text, STANDARD), STANDARD) == text


def test_letters_beyond_ascii_are_not_hex_escaped():
    assert escape("é€漢\t", STANDARD) == "é€漢\t"


def test_a_final_truncation_character_is_data():
    assert escape("room #", FIVE) == "room \\P\\"
    assert escape("#1", FIVE) == "#1"
    assert escape("room #", STANDARD) == "room #"


def test_without_an_escape_character_only_harmless_values_can_be_written():
    assert escape("a~b&c\\", NO_ESCAPE) == "a~b&c\\"
    with pytest.raises(ValueError, match="no escape character") as caught:
        escape("secret^value", NO_ESCAPE)
    assert "secret" not in str(caught.value)


def test_a_field_moves_between_messages_with_other_delimiters():
    assert reencode("A|B@C*D!E%F%G%E%", OTHER, STANDARD) == r"A\F\B^C&D~E#G%"
    assert reencode(r"A\F\B^C&D~\.br\ ".strip(), STANDARD, OTHER) == "A|B@C*D!%.br%"
    with pytest.raises(ValueError, match="delimiter"):
        reencode("A~B", STANDARD, NO_ESCAPE)


@given(texts)
def test_reencoding_keeps_the_value(value):
    assert unescape(reencode(escape(value, FIVE), FIVE, STANDARD), STANDARD).replace("\\", "") == value.replace(
        "\\", ""
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"a\.br\b", "a\nb"),
        (r"a\.sp\b\.sp3\c", "a\nb\n\n\nc"),
        (r"\.in+2\x\.in-2\y\.ti 3\z", "\n  x\ny\n   z"),
        (r"a\.sk 2\b\.ce\c\.fi\d\.nf\ ".strip(), "a  b\ncd"),
        (r"\H\loud\N\ \M2442\\C2842\\Z0A\F\F\ ".strip(), "loud F|"),
        (r"a\.sp9999\b", "a" + "\n" * 999 + "b"),
        (r"\XC3\\XA9\ ".strip(), "é"),
        (r"4\5", r"4\5"),
        (r"\.sk x\ ".strip(), r"\.sk x\ ".strip()),
    ],
)
def test_text_for_people(text, shown):
    assert plain_text(text, STANDARD) == shown


def test_a_long_text_of_escape_characters_takes_linear_time():
    many = "\\" * 500_000
    assert unescape(many, STANDARD) == many
    assert len(escape("\\" * 100_000, STANDARD)) == 300_000
