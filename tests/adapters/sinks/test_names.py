"""File names out of messages: what they say, and that no message leads one astray (reliability.md 4.3)."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.adapters.sinks.names import MAX_NAME, compile_name, safe_name, safe_value
from engine.config.finding import BadValue
from engine.hl7.message import Message
from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq

RAW = (
    b"MSH|^~\\&|HIS|NORTH|B|C|20260102030405+0100||ADT^A01|A1B2|P|2.5.1\rPID|1||77^^^HIS~88^^^EXT\rPV1|1||||||||||||\r"
)


def named(template: str, raw: bytes = RAW, seq: int = 184467) -> str:
    delivery = Delivery(DeliveryId(1), MessageSeq(seq), ChannelName("adt"), DestinationName("archive"), raw, 0)
    compiled = compile_name(template)
    return "/".join(compiled.name(Message.parse(raw) if compiled.needs_message else None, delivery))


def with_control_id(control_id: str) -> bytes:
    return RAW.replace(b"A1B2", control_id.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{date(MSH-7)}/{MSH-10}.hl7", "2026-01-02/A1B2.hl7"),
        ('{date(MSH-7, "%Y/%m/%d")}/{MSH-10}', "2026/01/02/A1B2"),
        ('{date( MSH-7 ,"%Y%m%dT%H%M%S")}.hl7', "20260102T030405.hl7"),
        ("{channel}/{destination}/{seq}.hl7", "adt/archive/0000184467.hl7"),
        ("{PID-3.1}_{PID-3[2].1}.hl7", "77_88.hl7"),
        ('{PID-3[4 == "EXT"].1}.hl7', "88.hl7"),
        ("fixed name (1).hl7", "fixed name (1).hl7"),
        ("{MSH-9.1}^".replace("^", "-{MSH-9.2}.hl7"), "ADT-A01.hl7"),
    ],
)
def test_a_template_says_what_the_message_says(template, name):
    assert named(template) == name


@pytest.mark.parametrize("value", [b"", b"2026", b"next week", b"2026-01-02", b'""'])
def test_a_date_that_is_not_exact_enough_is_not_made_up(value):
    assert named("{date(MSH-7)}/x", RAW.replace(b"20260102030405+0100", value)) == "undated/x"


def test_a_template_without_the_message_needs_no_message():
    assert not compile_name("{channel}-{seq}.hl7").needs_message


@pytest.mark.parametrize(
    ("template", "is_enough"),
    [
        ("{date(MSH-7)}/{MSH-10}.hl7", True),
        ("{MSH-9.1}-{seq}", True),
        ("{MSH-10}-{PID-3.1}", False),
        ("{MSH[2]-10}", False),
        ("{seq}", False),
    ],
)
def test_a_template_says_whether_the_header_is_enough(template, is_enough):
    assert compile_name(template).needs_header == is_enough


@pytest.mark.parametrize("plain", ["A1B2", "a.b-c_d", "0", "_x", "x" * 64])
def test_plain_values_stay_as_they_are(plain):
    assert safe_value(plain) == plain


@pytest.mark.parametrize(
    "hostile",
    [
        "../../etc/passwd",
        "..",
        ".",
        "",
        "/etc/shadow",
        "..\\..\\windows",
        "a/b",
        "nul\x00byte",
        "-rf",
        ".hidden",
        "x" * 300,
        "\u2024\u2024/\u2024\u2024",
        "\uff0e\uff0e\uff0fetc",
        "line\nbreak",
        "a b",
        "caf\u00e9",
        "\udcff",
        "$(reboot)",
        "{MSH-10}",
    ],
)
def test_other_values_are_reduced_to_harmless_ones(hostile):
    made = safe_value(hostile)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", made)
    assert made != hostile


@pytest.mark.parametrize("device", ["CON", "nul", "Com1", "LPT9.hl7", "aux.tar.gz", "NUL."])
def test_a_name_that_windows_takes_for_a_device_gets_an_underscore(device):
    assert safe_name(device).startswith("_")


def test_a_long_name_is_cut_and_keeps_its_extension():
    name = safe_name("x" * 400 + ".hl7")
    assert len(name) == MAX_NAME and name.endswith(".hl7")
    assert name != safe_name("x" * 401 + ".hl7")


@pytest.mark.parametrize(
    ("template", "column", "says"),
    [
        ("/abs/{seq}", 0, "relative"),
        ("../{seq}", 0, "without a name"),
        ("a/../{seq}", 0, "without a name"),
        ("a//{seq}", 0, "without a name"),
        ("{seq}/", 0, "names no file"),
        ("", 0, "names no file"),
        (".hidden/{seq}", 0, "begins with a dot"),
        ("-x{seq}", 0, "begins with a dot"),
        ("a\\{seq}", 1, "cannot stand"),
        ("a{seq", 1, "cannot stand"),
        ("a}b", 1, "cannot stand"),
        ("x_{PID3}.hl7", 3, "."),
        ("x_{PID-}.hl7", 3, "."),
        ("x_{PID}.hl7", 3, "whole segment"),
        ("x_{extension}.hl7", 3, "."),
        ("{date(MSH-7}.hl7", 1, "not understood"),
        ('{date(MSH-7, "%y")}.hl7', 1, "not a form of date"),
        ('{date(MSH-7, "../%Y")}.hl7', 0, "without a name"),
        ("{seq}{date(MSH)}x", 11, "whole segment"),
    ],
)
def test_a_template_that_cannot_work_is_refused_where_it_is_wrong(template, column, says):
    with pytest.raises(BadValue, match=says) as caught:
        compile_name(template)
    assert caught.value.offset >= column


HOSTILE = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="./\\-_ aCONnul\x00\u2024\uff0e\uff0f~^&", max_size=20),
    st.sampled_from(
        ["../", "..", "/", "CON", "aux.", "\x00", "-", ".ssh/", "%2e%2e/", "..;/", "~root", "a" * 100]
    ).flatmap(lambda piece: st.text(max_size=6).map(lambda text: piece * 3 + text)),
)


@settings(max_examples=2000)
@given(HOSTILE, HOSTILE)
def test_no_value_makes_a_name_that_leaves_the_folder(first, second):
    root = "/srv/out"
    for template in ("{MSH-10}", "{MSH-10}/{MSH-3}", "a{MSH-10}.hl7", "{MSH-10}{MSH-3}"):
        parts = ["".join(safe_value(value)) for value in (first, second)]
        text = template.replace("{MSH-10}", parts[0]).replace("{MSH-3}", parts[1])
        pieces = [safe_name(piece) for piece in text.split("/")]
        assert len(pieces) == template.count("/") + 1
        for piece in pieces:
            assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", piece) and len(piece) <= MAX_NAME
            assert piece[-1] != "."
        path = os.path.normpath(os.path.join(root, *pieces))
        assert Path(path).parents[len(pieces) - 1] == Path(root)


@settings(max_examples=400)
@given(st.text(alphabet=st.characters(exclude_characters="\r\n\x00|^~\\&", exclude_categories=["Cs"]), max_size=40))
def test_a_whole_message_with_a_hostile_control_id_gets_one_harmless_name(control_id):
    name = named("{date(MSH-7)}/{MSH-10}.hl7", with_control_id(control_id))
    folder, file = name.split("/")
    assert folder == "2026-01-02"
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.hl7", file)


@settings(max_examples=1000)
@given(HOSTILE, HOSTILE)
def test_two_values_do_not_become_one_name(first, second):
    assume(first != second)
    assert safe_value(first) != safe_value(second)
