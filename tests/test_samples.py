"""Every sample is what its name says, read by our own parser."""

import re
from pathlib import Path

import pytest

from engine.hl7.batch import read_batch, split_batch
from engine.hl7.errors import UnreadableMessage
from engine.hl7.fragments import join_fragments, read_fragment, without_additions
from engine.hl7.message import Message
from engine.hl7.wide import narrowed

SAMPLES = Path(__file__).parent.parent / "samples"
NAME = re.compile(r"(?P<code>[a-z]{3})_(?:(?P<event>[a-z]\d\d)_)?(?P<version>2(?:\.\d)+)(?:_(?P<note>.+))?")


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (SAMPLES / folder).glob("*.hl7"))


def name_of(path: Path) -> str:
    return str(path.relative_to(SAMPLES))


def quirk(name: str) -> Message:
    return Message.parse((SAMPLES / "quirks" / f"{name}.hl7").read_bytes())


PLAIN = files("adt", "orders", "results", "scheduling", "documents", "vaccinations", "acks", "charsets")


@pytest.mark.parametrize("path", PLAIN, ids=name_of)
def test_a_sample_is_of_the_type_and_version_in_its_name(path: Path):
    named = NAME.fullmatch(path.stem)
    assert named, "samples are named <code>_<event>_<version>[_<note>].hl7"
    message = Message.parse(path.read_bytes())
    assert message.get("MSH-9.1") == named["code"].upper()
    assert message.get("MSH-9.2") == named["event"].upper()
    assert message.get("MSH-12.1") == named["version"]
    assert message.get("MSH-10")
    assert message.to_bytes() == message.raw


@pytest.mark.parametrize("path", PLAIN, ids=name_of)
def test_a_sample_needs_no_tolerance_and_ends_its_segments_as_the_standard_says(path: Path):
    raw = path.read_bytes()
    message = Message.parse(raw)
    assert not message.warnings
    assert raw.endswith(b"\r")
    assert b"\n" not in raw


def test_every_trigger_event_is_there_in_every_version():
    versions = ["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.8"]
    events = ["a01", "a03", "a04", "a08", "a11", "a31", "a40"]
    assert {p.stem for p in files("adt")} == {f"adt_{e}_{v}" for e in events for v in versions}


@pytest.mark.parametrize(
    ("note", "family", "given"),
    [
        ("utf8", "Pröbenname", "Zoë 试验"),
        ("8859-1", "Pröbenname", "Zoë"),
        ("8859-2", "Przykładowa", "Żofia"),
        ("8859-3", "Eżempju", "Ġorġa"),
        ("8859-4", "Piemērs", "Ķirils"),
        ("8859-5", "Примерова", "Анна"),
        ("8859-6", "تجربة", "مثال"),
        ("8859-7", "Δοκιμή", "Άννα"),
        ("8859-8", "בדיקה", "דוגמה"),
        ("8859-9", "Örnekoğlu", "Şirin"),
        ("shiftjis", "試験表ソ十", "ｶﾅ予"),
        ("jisx0212", "試験丂", "万次"),
        ("iso2022", "Pröbenname", "Zoë Δοκιμή"),
        ("switches", "Pröbenname", "Zoë"),
        ("8859-15", "Šampleová", "Žœ"),
        ("gb18030", "测试亅乛乗亊", "样本"),
        ("big5", "測試吜乞么吘", "樣本"),
        ("iso2022jp", "Shiken", "Manji"),
        ("euckr", "시험", "견본"),
    ],
)
def test_names_of_every_charset_read_as_they_were_written(note: str, family: str, given: str):
    message = Message.parse((SAMPLES / "charsets" / f"adt_a01_2.5.1_{note}.hl7").read_bytes())
    assert message.get("PID-5.1") == family
    assert message.get("PID-5.2") == given


def test_text_behind_switches_is_read_for_people():
    message = Message.parse((SAMPLES / "charsets/adt_a01_2.5.1_switches.hl7").read_bytes())
    assert message.plain("NTE-3") == "Δοκιμή, Pröbe, 万次."


def test_a_file_in_utf_16_is_a_message_once_it_is_narrowed():
    raw = narrowed((SAMPLES / "quirks/utf16_file.hl7").read_bytes())
    message = Message.parse(raw)
    assert (message.get("PID-5.1"), message.get("MSH-18")) == ("Pröbenname", "UNICODE UTF-8")


def test_every_charset_that_can_be_read_has_a_sample():
    declared = {Message.parse(path.read_bytes()).fields(0)[18] for path in files("charsets")}
    assert declared >= {f"8859/{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)}
    assert declared >= {"UNICODE UTF-8", "GB 18030-2000", "BIG-5", "KS X 1001", "ISO IR14", "~ISO IR87"}


def test_kanji_stand_beside_the_roman_name():
    message = Message.parse((SAMPLES / "charsets/adt_a01_2.5.1_iso2022jp.hl7").read_bytes())
    assert message.get("PID-5[2].1") == "試験"
    assert message.get("PID-5[2].2") == "万次"
    assert message.get("PID-5[3].1") == "しけん"


def test_the_large_result_has_two_hundred_observations():
    message = Message.parse((SAMPLES / "results/oru_r01_2.5.1_200obx.hl7").read_bytes())
    assert len(message.indexes("OBX")) == 200


def test_the_document_in_a_result_is_a_pdf():
    import base64

    message = Message.parse((SAMPLES / "results/oru_r01_2.5.1_pdf.hl7").read_bytes())
    document = base64.b64decode(message.get("OBX[2]-5.5") or "")
    assert document.startswith(b"%PDF-1.4")
    assert document.rstrip().endswith(b"%%EOF")


@pytest.mark.parametrize(
    "name",
    ["lf_only", "crlf", "bom", "no_final_cr", "msh2_without_escape", "msh2_doubled_backslash"],
)
def test_what_senders_get_wrong_at_the_edges_reads_as_if_they_had_not(name: str):
    message = quirk(name)
    assert message.names() == ["MSH", "EVN", "PID", "PV1"]
    assert message.get("PID-5.1") == "Testperson"
    assert message.get("PID-3.4") == "NORTH"


def test_blank_lines_before_the_header_are_dropped():
    assert quirk("blank_lines").names()[:4] == ["MSH", "EVN", "PID", "PV1"]


def test_a_fifth_encoding_character_is_kept():
    message = quirk("five_character_msh2")
    assert message.get("MSH-2") == r"^~\&#"
    assert message.to_bytes() == message.raw


def test_other_delimiters_mean_the_same():
    message = quirk("custom_delimiters")
    assert message.get("PID-5.1") == "Test%person"
    assert message.get("PID-3[2].5") == "NI"
    assert message.get("PID-3.4.2") == "1.2.3"


def test_absent_empty_and_delete_are_three_things():
    message = quirk("delete_marks")
    assert message.get("PID-5.2") == '""'
    assert message.get("PID-6") == ""
    assert message.get("PID-40") is None


def test_a_line_feed_within_a_segment_is_data():
    message = quirk("embedded_lf")
    assert message.names() == ["MSH", "EVN", "PID", "PV1", "NTE", "NTE"]
    assert message.get("NTE-3") == "first line\nsecond line\nPID"
    assert message.to_bytes() == message.raw


@pytest.mark.parametrize("name", ["undeclared_utf8", "utf8_declared_8859_1"])
def test_the_bytes_are_believed_before_the_header(name: str):
    message = quirk(name)
    assert message.get("PID-5.1") == "Pröbenname"
    assert message.to_bytes() == message.raw


@pytest.mark.parametrize("name", ["z_segments", "unknown_version", "trailing_delimiters", "lone_backslash", "msh_only"])
def test_what_we_do_not_know_leaves_as_it_came(name: str):
    message = quirk(name)
    assert message.to_bytes() == message.raw


@pytest.mark.parametrize(
    ("name", "accept", "application"),
    [
        ("ack_never", "NE", "NE"),
        ("ack_accept_only", "AL", "NE"),
        ("ack_application_only", "NE", "AL"),
        ("ack_both", "AL", "AL"),
        ("ack_on_error_only", "ER", "ER"),
    ],
)
def test_acknowledgement_wishes_are_where_the_standard_has_them(name: str, accept: str, application: str):
    message = quirk(name)
    assert message.get("MSH-15") == accept
    assert message.get("MSH-16") == application


@pytest.mark.parametrize("name", ["empty", "garbage", "utf16_file"])
def test_what_is_no_message_is_said_to_be_none(name: str):
    with pytest.raises(UnreadableMessage):
        quirk(name)


@pytest.mark.parametrize(
    ("path", "control_ids"),
    [
        ("batch/batch_2.5.1_three.hl7", ["B0001", "B0002", "B0003"]),
        ("batch/batch_2.5.1_miscounted.hl7", ["B0001", "B0002"]),
        ("batch/batch_2.5.1_empty.hl7", []),
        ("batch/batch_2.5.1_two_batches.hl7", ["B0101", "B0102", "B0103"]),
        ("quirks/two_messages.hl7", ["Q0025A", "Q0025B"]),
    ],
)
def test_a_batch_holds_each_of_its_messages(path: str, control_ids: list[str]):
    parts = split_batch((SAMPLES / path).read_bytes())
    assert [Message.parse(part).get("MSH-10") for part in parts] == control_ids


def test_batches_say_what_they_hold_but_for_the_one_that_does_not():
    wrong = {}
    for path in files("batch"):
        batch = read_batch(path.read_bytes())
        assert batch is not None and batch.has_header
        if found := batch.miscounts():
            wrong[path.stem] = [miscount.place for miscount, _ in found]
    assert wrong == {"batch_2.5.1_miscounted": ["BTS-1"]}


def test_fragments_are_one_message():
    parts = [Message.parse((SAMPLES / f"fragments/oru_r01_2.5.1_{n}of3.hl7").read_bytes()) for n in (1, 2, 3)]
    found = [read_fragment(part) for part in parts]
    assert [fragment and (fragment.pointer, fragment.next) for fragment in found] == [
        ("", "LAB-20260102-1"),
        ("LAB-20260102-1", "LAB-20260102-2"),
        ("LAB-20260102-2", ""),
    ]
    whole = Message.parse(join_fragments(parts))
    assert whole.names() == ["MSH", "PID", "OBR", "OBX", "OBX", "NTE"]
    assert "Microscopy: the sample" in (whole.get("OBX-5") or "")


def test_added_segments_are_one_segment():
    message = Message.parse((SAMPLES / "fragments/oru_r01_2.5.1_add.hl7").read_bytes())
    assert message.names().count("ADD") == 2
    whole = without_additions(message)
    assert "ADD" not in whole.names()
    assert whole.get("OBX-11") == "F"


def test_every_quirk_is_explained():
    table = (SAMPLES / "README.md").read_text(encoding="utf-8")
    for path in files("quirks"):
        assert f"| `{path.stem}` |" in table


def test_every_person_is_plainly_invented():
    """No sample may ever be mistaken for a patient: family names are from a list that says so."""
    invented = {"Testperson", "Sampleton", "Mockman", "Pröbenname", "Šampleová", "Shiken", "Test%person", None, ""}
    # "Example" and "trial" in Polish, Maltese, Latvian, Russian, Arabic, Greek, Hebrew and Turkish.
    invented |= {"Przykładowa", "Eżempju", "Piemērs", "Примерова", "تجربة", "Δοκιμή", "בדיקה", "Örnekoğlu"}
    for path in sorted(SAMPLES.rglob("*.hl7")):
        for part in split_batch(path.read_bytes()) if path.stat().st_size else []:
            try:
                message = Message.parse(part)
            except UnreadableMessage:
                continue
            family = message.get("PID-5.1")
            assert family in invented or family.startswith(("测试", "測試", "시험", "試験")), name_of(path)
