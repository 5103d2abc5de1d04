"""Documents in OBX-5: each way that senders write them, and what is broken comes out as that and never as a file."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7 import encapsulated
from engine.hl7.encapsulated import BrokenDocument, documents
from engine.hl7.message import Message

PDF = b"%PDF-1.4\n" + bytes(range(256)) * 3 + b"\n%%EOF\n"
BASE64 = base64.b64encode(PDF).decode()
HEAD = "MSH|^~\\&|LAB|NORTH|||20260102||ORU^R01^ORU_R01|D1|P|2.5.1"


def message(*segments: str, head: str = HEAD, codec: str = "ascii") -> Message:
    return Message.parse("".join(f"{line}\r" for line in (head, *segments)).encode(codec))


def obx(value: str, data_type: str = "ED") -> str:
    return f"OBX|1|{data_type}|REP^Report^L|1|{value}||||||F"


def broken(value: str, data_type: str = "ED") -> tuple[str, str]:
    with pytest.raises(BrokenDocument) as caught:
        list(documents(message(obx(value, data_type))))
    return caught.value.location, caught.value.reason


@pytest.mark.parametrize(
    ("about", "extension"),
    [
        ("^application^pdf^Base64", "pdf"),
        ("LAB^AP^PDF^Base64", "pdf"),
        ("^^PDF^BASE64", "pdf"),
        ("^PDF^^base64", "pdf"),
        ("^application^application/pdf^Base64", "pdf"),
        ("^IM^JPEG^Base64", "jpg"),
        ("^AP^Octet-stream^Base64", "bin"),
        ("^^../../x^Base64", "bin"),
        ("^^^Base64", "bin"),
    ],
)
def test_a_document_is_decoded_and_its_extension_is_one_that_is_known(about, extension):
    (found,) = documents(message(obx(f"{about}^{BASE64}")))
    assert (found.content, found.extension, found.number) == (PDF, extension, 1)


def test_hex_and_plain_text_are_encodings_too():
    (found,) = documents(message(obx(f"^^PDF^Hex^{PDF.hex()}")))
    assert found.content == PDF
    (found,) = documents(
        message(obx("^TEXT^PLAIN^A^Gr\u00fc\u00dfe \\T\\ Co\\.br\\Ende"), head=HEAD + "||||||8859/1", codec="latin-1")
    )
    assert (found.content, found.extension) == ("Gr\u00fc\u00dfe & Co\nEnde".encode("latin-1"), "txt")


@pytest.mark.parametrize("line_end", ["\\.br\\", "\\X0D0A\\", " ", "\\X0A\\"])
def test_base64_may_be_written_in_lines(line_end):
    lines = line_end.join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76))
    (found,) = documents(message(obx(f"^^PDF^Base64^{lines}")))
    assert found.content == PDF


def test_base64_with_delimiters_that_stand_in_its_alphabet_is_escaped_and_read():
    value = base64.b64encode(b"\xff\xff\xfe" * 5).decode()
    assert "/" in value
    (found,) = documents(
        message("OBX|1|ED|R||^^X^Base64^" + value.replace("/", "\\T\\"), head=HEAD.replace("^~\\&", "^~\\/"))
    )
    assert found.content == b"\xff\xff\xfe" * 5


def test_several_documents_are_counted_through_repetitions_and_segments():
    two = f"^^PDF^Base64^{BASE64}~^^PNG^Base64^{base64.b64encode(b'png').decode()}"
    found = list(documents(message("OBR|1", obx("13.9", "NM"), obx(two), obx("^^RTF^Base64^e30="))))
    assert [(one.number, one.extension, one.content) for one in found] == [
        (1, "pdf", PDF),
        (2, "png", b"png"),
        (3, "rtf", b"{}"),
    ]


def test_a_segment_that_is_continued_is_read_whole():
    first, second = BASE64[:101], BASE64[101:]
    (found,) = documents(message(f"OBX|1|ED|R||^^PDF^Base64^{first}", f"ADD|{second}||||||F"))
    assert found.content == PDF


@pytest.mark.parametrize(
    ("value", "data_type"),
    [("", "ED"), ('""', "ED"), ("13.9", "NM"), (f"^^PDF^Base64^{BASE64}", "TX"), ("\\\\share\\x.pdf^SYS^AP^PDF", "RP")],
)
def test_what_holds_no_document_gives_none(value, data_type):
    assert list(documents(message("OBX|1|ED", obx(value, data_type)))) == []


def test_encapsulated_data_under_the_type_of_a_pointer_is_read_as_what_it_is():
    (found,) = documents(message(obx(f"^application^pdf^Base64^{BASE64}", "RP")))
    assert found.content == PDF


@pytest.mark.parametrize(
    ("value", "location", "said"),
    [
        (f"^^PDF^Base64^{BASE64[:-3]}", "OBX[1]-5.5", "cut short"),
        (f"^^PDF^Base64^{BASE64[:60]}={BASE64[60:]}", "OBX[1]-5.5", "no Base64"),
        (f"^^PDF^Base64^{BASE64[:60]}*{BASE64[61:]}", "OBX[1]-5.5", "no Base64"),
        (f"^^PDF^Base64^{BASE64[:60]}&{BASE64[61:]}", "OBX[1]-5.5", "no Base64"),
        ("^^PDF^Base64^QQ==QUJD", "OBX[1]-5.5", "no Base64"),
        ("^^PDF^Base64^", "OBX[1]-5.5", "no document"),
        ("^^PDF^Base64^\\.br\\", "OBX[1]-5.5", "no document"),
        ("just text", "OBX[1]-5.5", "no document"),
        (f"^^PDF^^{BASE64}", "OBX[1]-5.4", "none of Base64, Hex and A"),
        (f"^^PDF^Base64^{BASE64}^more", "OBX[1]-5.6", "five components"),
        ("^^PDF^Base64^" + base64.b64encode(b"<html>no such page</html>").decode(), "OBX[1]-5.5", "%PDF-"),
        ("^^PDF^Hex^4g", "OBX[1]-5.5", "no Hex"),
        ("^^PDF^Hex^414", "OBX[1]-5.5", "cut short"),
        (f"^^PDF^Base64^{BASE64}~^^PDF^Base64^A", "OBX[1]-5[2].5", "cut short"),
    ],
)
def test_what_is_not_whole_is_told_with_its_place_and_no_value(value, location, said):
    told, reason = broken(value)
    assert told == location and said in reason
    assert BASE64[:8] not in reason and "<html>" not in reason


def test_of_two_base64_texts_in_a_row_the_second_is_no_part_of_the_first_wherever_they_are_cut(monkeypatch):
    monkeypatch.setattr(encapsulated, "_SLICE", 8)
    assert "something follows" in broken("^^X^Base64^QUJDREU=QUJD")[1]


@given(st.binary(min_size=1, max_size=200), st.integers(1, 17))
def test_slices_and_line_ends_do_not_change_what_comes_out(content, every):
    text = base64.b64encode(content).decode()
    lines = " ".join(text[at : at + every] for at in range(0, len(text), every))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encapsulated, "_SLICE", every)
        (found,) = documents(message(obx(f"^^X^Base64^{lines}")))
    assert found.content == content


def test_its_context_has_the_nearest_segment_of_each_kind_and_not_the_document():
    made = message(
        "PID|1||7",
        "OBR|1||F1",
        "OBX|1|NM|HB||1",
        "OBX|2|ED|PDF1||^^PDF^Base64^" + BASE64 + "||||||F|||20260102",
        "OBR|2||F2",
        "OBX|1|ED|PDF2||^^PDF^Base64^" + BASE64,
        "ZDS|1.2.3",
    )
    first, second = (one.context() for one in documents(made))
    assert [first.get(path) for path in ("PID-3", "OBR-3", "OBX-3", "OBX-14", "ZDS-1")] == [
        "7",
        "F1",
        "PDF1",
        "20260102",
        "1.2.3",
    ]
    assert [second.get(path) for path in ("PID-3", "OBR-3", "OBX-3", "ZDS-1")] == ["7", "F2", "PDF2", "1.2.3"]
    assert not first.get("OBX-5") and len(first.to_bytes()) < 200
    assert made.get("OBX[2]-5.5") == BASE64, "the message itself stays as it is"


@pytest.mark.parametrize(("charset", "codec"), [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("", "cp1252")])
def test_its_context_is_in_the_characters_of_its_message(charset, codec):
    head = HEAD + "|" * 6 + charset
    made = message("PID|1||M\u00fc\u00df", obx("^^X^Base64^QUJD"), head=head, codec=codec)
    (found,) = documents(made)
    assert found.context().get("PID-3") == "M\u00fc\u00df" == made.get("PID-3")


def test_of_many_documents_each_looks_at_its_own_segments_only(monkeypatch):
    read = 0
    segment = Message.segment

    def counted(self, index):
        nonlocal read
        read += 1
        return segment(self, index)

    made = message("PID|1||7", *(line for n in range(500) for line in (f"OBR|{n}||F{n}", obx("^^X^Base64^QUJD"))))
    monkeypatch.setattr(Message, "segment", counted)
    assert [one.context().get("OBR-3") for one in documents(made)] == [f"F{n}" for n in range(500)]
    assert read <= 500 * 6, "the segment with the document, and those of its context"


def test_a_document_of_some_megabytes_is_decoded_in_slices(monkeypatch):
    longest = 0
    decode = encapsulated.binascii.a2b_base64

    def counted(part: bytes, **options: bool) -> bytes:
        nonlocal longest
        longest = max(longest, len(part))
        return decode(part, **options)

    monkeypatch.setattr(encapsulated.binascii, "a2b_base64", counted)
    content = b"%PDF-" + bytes(3_000_000)
    (found,) = documents(message(obx("^^PDF^Base64^" + base64.b64encode(content).decode())))
    assert found.content == content
    assert longest <= encapsulated._SLICE
