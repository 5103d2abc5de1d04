"""A message in the XML encoding is what HAPI would write, and says the same when it comes back."""

import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hl7.batch import split_batch
from engine.hl7.charset import encoded
from engine.hl7.convert import ConversionError
from engine.hl7.convert.xml_form import from_xml, to_xml
from engine.hl7.delimiters import HEADERS, Delimiters
from engine.hl7.errors import UnencodableText, UnreadableMessage
from engine.hl7.escape import sequences
from engine.hl7.message import Message

from .messages import raw_messages

HEAD = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5.1\r"
SAMPLES = sorted((Path(__file__).parents[3] / "samples").rglob("*.hl7"))
NS = "{urn:hl7-org:v2xml}"


def xml_of(text: str, head: bytes = HEAD) -> str:
    return to_xml(Message.parse(head + text.encode() + b"\r")).decode()


def segment(text: str, head: bytes = HEAD) -> str:
    """The elements of the last segment, without what is around them and without blanks between them."""
    written = re.sub(r">\s+<", "><", xml_of(text, head))
    name = text[:3]
    found = re.search(f"<{name}>(.*)</{name}>", written)
    return found[1] if found else ""


def document(*segments: str, head: str = "") -> bytes:
    inner = head or "<MSH><MSH.1>|</MSH.1><MSH.2>^~\\&amp;</MSH.2></MSH>"
    return f'<ADT_A01 xmlns="urn:hl7-org:v2xml">{inner}{"".join(segments)}</ADT_A01>'.encode()


# -- what a message says, but not how ---------------------------------------------------------------


def meaning(message: Message) -> list[Any]:
    """Segments to leaves, without what the XML encoding does not say."""
    marks = message.delimiters
    said = []
    for index, name in enumerate(message.names()):
        if not name:
            continue
        fields = message.fields(index)[1:]
        if name in HEADERS:
            said.append([name, *trimmed([*fields[:2], *(repetitions(f, marks, message.codec) for f in fields[2:])])])
        else:
            said.append([name, *trimmed([repetitions(f, marks, message.codec) for f in fields])])
    return said


def trimmed(items: list[Any]) -> list[Any]:
    while items and not items[-1]:
        items.pop()
    return items


def repetitions(text: str, marks: Delimiters, codec: str) -> list[Any]:
    return trimmed([components(part, marks, codec) for part in text.split(marks.cut_repetition)])


def components(text: str, marks: Delimiters, codec: str) -> list[Any]:
    return trimmed(
        [
            trimmed([leaf(part, marks, codec) for part in component.split(marks.cut_subcomponent)])
            for component in text.split(marks.cut_component)
        ]
    )


def leaf(text: str, marks: Delimiters, codec: str) -> str:
    """The text with delimiters as `\\F\\` and so on, everything that XML or a segment cannot hold in hexadecimal."""
    names = {marks.field: "F", marks.component: "S", marks.subcomponent: "T", marks.repetition: "R", marks.escape: "E"}
    usual = {
        "F": marks.field,
        "S": marks.component or "^",
        "T": marks.subcomponent or "&",
        "R": marks.repetition or "~",
    }
    out = ""
    for literal, sequence in sequences(text, marks):
        if sequence in usual:
            literal, sequence = usual[sequence], None
        if sequence is not None:
            out += f"<{'E' if sequence == 'E' else sequence}>"
            continue
        for c in literal:
            if c in names:
                out += f"<{names[c]}>"
            elif c in "\n\r" or not ("\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" or c == "\t"):
                try:
                    out += "".join(f"<X{byte:02X}>" for byte in encoded(c, codec, "surrogateescape"))
                except UnicodeEncodeError:
                    out += "".join(f"<X{byte:02X}>" for byte in c.encode("utf-8", "surrogateescape"))
            else:
                out += c
    return re.sub(
        "<X((?:[0-9A-Fa-f]{2})+)>", lambda found: "".join(f"<X{b:02X}>" for b in bytes.fromhex(found[1])), out
    )


# -- writing ----------------------------------------------------------------------------------------


def test_a_message_looks_like_this():
    oru = HEAD.replace(b"ADT^A01", b"ORU^R01^ORU_R01")
    text = "PID|1||77^^^HIS&1.2&ISO^MR~4711||Doe^J\rOBR|1\rOBX|1|CE|||a^b\rNTE|1||x\\.br\\y\rZZ1|a^b\rOBX|2|NM|||7"
    body = xml_of(text, oru)
    assert body.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<ORU_R01 xmlns="urn:hl7-org:v2xml">\n    <MSH>\n')
    assert body.partition("    </MSH>\n")[2] == (
        "    <ORU_R01.PATIENT_RESULT>\n"
        "        <ORU_R01.PATIENT>\n"
        "            <PID>\n"
        "                <PID.1>1</PID.1>\n"
        "                <PID.3>\n"
        "                    <CX.1>77</CX.1>\n"
        "                    <CX.4>\n"
        "                        <HD.1>HIS</HD.1>\n"
        "                        <HD.2>1.2</HD.2>\n"
        "                        <HD.3>ISO</HD.3>\n"
        "                    </CX.4>\n"
        "                    <CX.5>MR</CX.5>\n"
        "                </PID.3>\n"
        "                <PID.3>\n"
        "                    <CX.1>4711</CX.1>\n"
        "                </PID.3>\n"
        "                <PID.5>\n"
        "                    <XPN.1>\n"
        "                        <FN.1>Doe</FN.1>\n"
        "                    </XPN.1>\n"
        "                    <XPN.2>J</XPN.2>\n"
        "                </PID.5>\n"
        "            </PID>\n"
        "        </ORU_R01.PATIENT>\n"
        "        <ORU_R01.ORDER_OBSERVATION>\n"
        "            <OBR>\n"
        "                <OBR.1>1</OBR.1>\n"
        "            </OBR>\n"
        "            <ORU_R01.OBSERVATION>\n"
        "                <OBX>\n"
        "                    <OBX.1>1</OBX.1>\n"
        "                    <OBX.2>CE</OBX.2>\n"
        "                    <OBX.5>\n"
        "                        <CE.1>a</CE.1>\n"
        "                        <CE.2>b</CE.2>\n"
        "                    </OBX.5>\n"
        "                </OBX>\n"
        "                <NTE>\n"
        "                    <NTE.1>1</NTE.1>\n"
        '                    <NTE.3>x<escape V=".br"/>y</NTE.3>\n'
        "                </NTE>\n"
        "                <ZZ1>\n"
        "                    <ZZ1.1>\n"
        "                        <UNKNOWN.1>a</UNKNOWN.1>\n"
        "                        <UNKNOWN.2>b</UNKNOWN.2>\n"
        "                    </ZZ1.1>\n"
        "                </ZZ1>\n"
        "            </ORU_R01.OBSERVATION>\n"
        "            <ORU_R01.OBSERVATION>\n"
        "                <OBX>\n"
        "                    <OBX.1>2</OBX.1>\n"
        "                    <OBX.2>NM</OBX.2>\n"
        "                    <OBX.5>7</OBX.5>\n"
        "                </OBX>\n"
        "            </ORU_R01.OBSERVATION>\n"
        "        </ORU_R01.ORDER_OBSERVATION>\n"
        "    </ORU_R01.PATIENT_RESULT>\n"
        "</ORU_R01>\n"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("PID|||||^^^~Doe", "<PID.5/><PID.5><XPN.1><FN.1>Doe</FN.1></XPN.1></PID.5>"),
        ("PID||||||||F^x", "<PID.8><UNKNOWN.1>F</UNKNOWN.1><UNKNOWN.2>x</UNKNOWN.2></PID.8>"),
        ("PID||||||||F&x", "<PID.8><UNKNOWN.1><UNKNOWN.1>F</UNKNOWN.1><UNKNOWN.2>x</UNKNOWN.2></UNKNOWN.1></PID.8>"),
        ("PID|||1^^^^^^^^^^^^x", "<PID.3><CX.1>1</CX.1><CX.13>x</CX.13></PID.3>"),
        ("PID|||||^^^^^^^^^20200101&20210101", "<PID.5><XPN.10><DR.1><TS.1>20200101</TS.1></DR.1><DR.2><TS.1>2021010"
         "1</TS.1></DR.2></XPN.10></PID.5>"),
        ('PID|||||""', '<PID.5><XPN.1><FN.1>""</FN.1></XPN.1></PID.5>'),
        ("PID|||", ""),
        ("PID||||||||F^^~F&", "<PID.8>F</PID.8><PID.8>F</PID.8>"),
        ("ZZ1|a^b&&^^|a&^^", "<ZZ1.1><UNKNOWN.1>a</UNKNOWN.1><UNKNOWN.2>b</UNKNOWN.2></ZZ1.1><ZZ1.2>a</ZZ1.2>"),
        ("NTE|1||\\F\\\\S\\\\T\\\\R\\\\E\\<>", "<NTE.1>1</NTE.1><NTE.3>|^&amp;~\\&lt;&gt;</NTE.3>"),
        ("NTE|1||\\H\\a\\N\\\\X0D\\\x07", '<NTE.1>1</NTE.1><NTE.3><escape V="H"/>a<escape V="N"/><escape V="X0D"/>'
         '<escape V="X07"/></NTE.3>'),
        ("NTE|1||50\\5 mg", "<NTE.1>1</NTE.1><NTE.3>50\\5 mg</NTE.3>"),
        ("NTE|1||a\nb", "<NTE.1>1</NTE.1><NTE.3>a&#10;b</NTE.3>"),
        ("OBX|1||||a^b", "<OBX.1>1</OBX.1><OBX.5><UNKNOWN.1>a</UNKNOWN.1><UNKNOWN.2>b</UNKNOWN.2></OBX.5>"),
        ("OBX|1|QQ|||a", "<OBX.1>1</OBX.1><OBX.2>QQ</OBX.2><OBX.5>a</OBX.5>"),
    ],
)  # fmt: skip
def test_every_level_has_its_element(text, wanted):
    assert segment(text) == wanted


def test_a_message_of_no_known_structure_has_its_segments_at_the_top():
    head = HEAD.replace(b"ADT^A01", b"ZZZ^Z01")
    root = ET.fromstring(xml_of("PID|1\rOBX|1\rPID|2", head))
    assert root.tag == f"{NS}ZZZ_Z01"
    assert [child.tag for child in root] == [f"{NS}{name}" for name in ("MSH", "PID", "OBX", "PID")]
    assert xml_of("PID|1", HEAD.replace(b"ADT^A01", b"<script>")).splitlines()[1].startswith("<MESSAGE ")


def groups(text: str, head: bytes) -> str:
    """The tree of a message's groups and segments: `PATIENT_RESULT(PATIENT(PID PV1) ...)`."""

    def shown(element: ET.Element) -> str:
        name = element.tag.removeprefix(NS)
        if re.fullmatch("[A-Z][A-Z0-9]{2}", name):
            return name
        return f"{name.partition('.')[2]}({' '.join(map(shown, element))})"

    return " ".join(map(shown, ET.fromstring(xml_of(text, head))))


@pytest.mark.parametrize(
    ("event", "text", "tree"),
    [
        (b"ORU^R01", "PID\rPV1\rORC\rOBR\rOBX\rNTE\rOBX\rORC\rOBR\rOBX\rPID\rOBR",
         "MSH PATIENT_RESULT(PATIENT(PID VISIT(PV1)) ORDER_OBSERVATION(ORC OBR OBSERVATION(OBX NTE) OBSERVATION(OBX)) "
         "ORDER_OBSERVATION(ORC OBR OBSERVATION(OBX))) PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR))"),
        (b"ORU^R01", "OBX", "MSH PATIENT_RESULT(ORDER_OBSERVATION(OBSERVATION(OBX)))"),
        (b"ORU^R01", "PV1\rOBR", "MSH PATIENT_RESULT(PATIENT(VISIT(PV1)) ORDER_OBSERVATION(OBR))"),
        (b"ORU^R01", "ZPI\rPID\rZPI\rOBR\rZBR\rOBX\rZBX", "MSH ZPI PATIENT_RESULT(PATIENT(PID ZPI) ORDER_OBSERVATION("
         "OBR ZBR OBSERVATION(OBX ZBX)))"),
        (b"ADT^A01", "EVN\rPID\rPV1\rPD1\rDG1\rDG1\rIN1\rIN2\rIN1\rPID",
         "MSH EVN PID PV1 PD1 DG1 DG1 INSURANCE(IN1 IN2) INSURANCE(IN1 PID)"),
        (b"ADT^A40", "EVN\rPID\rMRG\rPV1\rPID\rMRG", "MSH EVN PATIENT(PID MRG PV1) PATIENT(PID MRG)"),
        (b"ORM^O01", "PID\rORC\rOBR\rNTE\rOBX\rORC\rRXO\rRXR",
         "MSH PATIENT(PID) ORDER(ORC ORDER_DETAIL(OBR NTE OBSERVATION(OBX))) ORDER(ORC ORDER_DETAIL(RXO RXR))"),
        (b"ACK", "MSA\rERR\rERR", "MSH MSA ERR ERR"),
    ],
)  # fmt: skip
def test_segments_stand_in_the_groups_of_their_structure(event, text, tree):
    assert groups(text, HEAD.replace(b"ADT^A01", event)) == tree


def test_what_no_element_can_be_named_after_is_refused():
    with pytest.raises(ConversionError, match="segment 3 has a name"):
        xml_of("PID|1\rpid|1")
    with pytest.raises(ConversionError, match="BHS: only a message"):
        to_xml(Message.parse(b"BHS|^~\\&|A\r" + HEAD))
    with pytest.raises(ConversionError, match="NTE-3: a character that XML does not have"):
        to_xml(Message.parse(b"MSH|^~|A\rNTE|1||\x01\r"))


# -- there and back ---------------------------------------------------------------------------------


@given(raw_messages(has_names=True))
@settings(max_examples=500)
def test_what_comes_back_says_the_same(raw):
    try:
        message = Message.parse(raw)
        body = to_xml(message)
        back = from_xml(body)
    except (UnreadableMessage, ConversionError) as error:
        # Nothing but what cannot be said with these delimiters, in this character set or under this name.
        assert re.search(
            "MSH|name that|escape character|escape cannot|does not have|MSH-2|not read|separator", str(error)
        )
        return
    ET.fromstring(body)
    again = Message.parse(back)
    if again.codec == "cp1252" != message.codec:
        return  # as a C1 character under 8859/1 is read (item 59)
    assert meaning(again) == meaning(message)
    if again.codec == message.codec and again.charset.evidence == message.charset.evidence:
        assert from_xml(to_xml(again)) == back, "the second time nothing is lost any more"


@given(raw_messages(has_names=True, is_usual=True))
@settings(max_examples=300)
def test_with_the_usual_delimiters_everything_can_be_said(raw):
    message = Message.parse(raw)
    if message.names()[0] != "MSH" or any(name and len(name) != 3 for name in message.names()):
        return
    body = to_xml(message)
    try:
        back = from_xml(body)
    except ConversionError as error:
        assert "does not have" in error.reason  # what MSH-18 declares is not what the text is
        return
    again = Message.parse(back)
    if again.codec != "cp1252":  # as a C1 character under 8859/1 is read (item 59)
        assert meaning(again) == meaning(message)


@pytest.mark.parametrize("text", [b"MSH", b"MSH|", b"MSH|^~\\&|x^y", b"BHS|#", b"FTS", b"PID|||^|~"])
def test_headers_and_trailers_inside_a_message_come_back(text):
    message = Message.parse(HEAD + text + b"\r")
    assert meaning(Message.parse(from_xml(to_xml(message)))) == meaning(message)


def test_delimiters_of_ones_own_come_back():
    for raw in (b"MSH#!@%*#A#B\rPID###1!2*3@4#\rNTE#%S%#%F%\r", b"MSH||a^b~c\rPID|x&y\r", b"MSH|^~\\&#|x\rNTE|a#\r"):
        message = Message.parse(raw)
        assert meaning(Message.parse(from_xml(to_xml(message)))) == meaning(message)


LOSSY = {"blank_lines", "trailing_delimiters", "embedded_lf", "lone_backslash"}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_comes_back(path):
    for raw in split_batch(path.read_bytes()):
        try:
            message = Message.parse(raw)
        except UnreadableMessage:
            continue
        if message.names()[0] != "MSH":
            continue
        body = to_xml(message)
        if message.charset.evidence == "windows-1252 found":
            with pytest.raises(ConversionError, match="iso8859_1 does not have"):
                from_xml(body)
            continue
        back = from_xml(body)
        assert meaning(Message.parse(back)) == meaning(message)
        if message.charset.evidence in ("ascii", "declared") and path.stem not in LOSSY:
            assert back == message.to_bytes()


@pytest.mark.skipif(not os.environ.get("SEGMILL_CORPUS"), reason="SEGMILL_CORPUS names no folder of samples")
def test_every_foreign_message_comes_back(corpus):
    count = same = 0
    for path in sorted(corpus.glob("*.hl7")):
        for raw in split_batch(path.read_bytes()):
            try:
                message = Message.parse(raw)
                body = to_xml(message)
            except UnreadableMessage:
                continue
            except ConversionError as error:
                assert "name" in error.reason or "batch header" in error.reason, path.name
                continue
            try:
                back = from_xml(body)
            except ConversionError as error:
                assert "does not have" in error.reason, path.name
                continue
            ET.fromstring(body)
            assert meaning(Message.parse(back)) == meaning(message), path.name
            same += back == message.to_bytes()
            count += 1
    assert count > 200
    print(f"{count} messages, {same} byte for byte")


# -- written by others ------------------------------------------------------------------------------


def test_a_document_without_namespace_and_with_other_layout_is_read():
    assert (
        from_xml(
            b'<?xml version="1.0"?>\n<!-- x --><ACK><MSH>\n <MSH.1>|</MSH.1><MSH.2>^~\\&amp;</MSH.2>'
            b"<MSH.9><MSG.1>ACK</MSG.1></MSH.9></MSH>\r\n<MSA><MSA.1><![CDATA[AA]]></MSA.1></MSA></ACK>"
        )
        == b"MSH|^~\\&|||||||ACK\rMSA|AA\r"
    )


def test_a_prefix_is_a_namespace_too():
    body = b'<v:ADT_A01 xmlns:v="urn:hl7-org:v2xml"><v:MSH><v:MSH.3>A</v:MSH.3></v:MSH></v:ADT_A01>'
    assert from_xml(body) == b"MSH|^~\\&|A\r"


def test_blanks_in_a_value_count_and_between_elements_do_not():
    body = document("<PID> <PID.5>\n <XPN.1> <FN.1> Doe </FN.1> </XPN.1>\n</PID.5> </PID>")
    assert from_xml(body).endswith(b"PID||||| Doe \r")


def test_text_that_looks_like_markup_is_text():
    body = document("<NTE><NTE.3>a\\.br\\b|c&#13;d</NTE.3></NTE>")
    assert from_xml(body).endswith(b"NTE|||a\\E\\.br\\E\\b\\F\\c\\X0D\\d\r")


def test_the_bytes_are_in_the_set_of_msh_18():
    head = "<MSH><MSH.1>|</MSH.1><MSH.2>^~\\&amp;</MSH.2><MSH.18>{}</MSH.18></MSH>"
    body = document("<PID><PID.5><XPN.1>M\u00fcller</XPN.1></PID.5></PID>", head=head.format("8859/1"))
    assert from_xml(body).endswith("Müller\r".encode("latin-1"))
    body = document("<PID><PID.5><XPN.1>M\u00fcller \u0142</XPN.1></PID.5></PID>", head=head.format("8859/1"))
    with pytest.raises(ConversionError, match="PID-5: the text holds a character that iso8859_1 does not have"):
        from_xml(body)


LAUGHS = """<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not XML"),
        (b"<a>", "not XML"),
        (b"<ADT_A01></ADT_A01>", "not MSH"),
        (b"<ADT_A01><PID/></ADT_A01>", "not MSH"),
        (LAUGHS.encode() + document("<PID>&b;</PID>"), "line 1, column 13: a document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + document(), "document type"),
        (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + document("<NTE>&e;</NTE>"), "document type"),
        (document("<NTE><NTE.3>&e;</NTE.3></NTE>"), "not XML: undefined entity"),
        (b'<?xml version="1.0" encoding="x-none"?>' + document(), "encoding"),
        (b'<?xml version="1.0" encoding="shift_jis"?>' + document(), "encoding"),
        (document("<a>" * 70 + "</a>" * 70), "nested more than 64"),
        (document('<PID xmlns="urn:other"/>'), "namespace"),
        (document("text"), "text stands where"),
        (document("<PID>text</PID>"), "text stands where"),
        (document("<PID><PID.5>text<XPN.1>x</XPN.1></PID.5></PID>"), "beside components"),
        (document("<PID><PV1.5>x</PV1.5></PID>"), "such as PID.1"),
        (document("<PID><PID.x>x</PID.x></PID>"), "such as PID.1"),
        (document("<PID><PID.0>x</PID.0></PID>"), "such as PID.1"),
        (document("<PID><PID.5><b>x</b></PID.5></PID>"), "such as CX.1"),
        (document("<PID><PID.5><XPN.1>x</XPN.1><XPN.1>y</XPN.1></PID.5></PID>"), "PID-5: a component stands twice"),
        (document("<PID><PID.5><A.1><A.1><A.2>x</A.2></A.1></A.1></PID.5></PID>"), "no delimiter for parts"),
        (document("<NTE><NTE.3><escape/></NTE.3></NTE>"), "says what it stands for"),
        (document('<NTE><NTE.3><escape V="a|b"/></NTE.3></NTE>'), "NTE-3: this escape cannot"),
        (document('<NTE><NTE.3><escape V="H"><x/></escape></NTE.3></NTE>'), "holds no elements"),
        (document('<NTE><NTE.3><escape V="H">x</escape></NTE.3></NTE>'), "text stands where"),
        (document("<PID><PID.9999999/></PID>"), "asks for more than"),
        (document(head="<MSH><MSH.1>A</MSH.1></MSH>"), "MSH-1"),
        (document(head="<MSH><MSH.1>||</MSH.1></MSH>"), "MSH-1"),
        (document(head="<MSH><MSH.1>^</MSH.1></MSH>"), "MSH-1"),
        (document("<NTE><NTE.1>a|b</NTE.1></NTE>", head="<MSH><MSH.2>^</MSH.2></MSH>"), "no escape character"),
        (document("<NTE><NTE.1>a</NTE.1><NTE.1>b</NTE.1></NTE>", head="<MSH><MSH.2>^</MSH.2></MSH>"), "no delimiter"),
        (document("<MSH><MSH.1>#</MSH.1></MSH>"), "not the separator"),
        (document("<MSH><MSH.2>^|</MSH.2></MSH>"), "hold the separator"),
        (document("<MSH><MSH.2><a.1>^</a.1></MSH.2></MSH>"), "delimiters are one text"),
    ],
)
def test_a_document_that_cannot_be_meant_is_refused(body, reason):
    with pytest.raises(ConversionError) as caught:
        from_xml(body)
    assert reason in str(caught.value)


def test_a_document_longer_than_allowed_is_not_read():
    with pytest.raises(ConversionError, match="longer than 10 bytes"):
        from_xml(document(), max_bytes=10)


names = st.sampled_from(["PID", "MSH", "PID.1", "PID.5", "MSH.1", "CX.1", "A.2", "escape", "ADT_A01.X", "b"])
elements = st.recursive(
    st.text("ab|^ \\", max_size=3),
    lambda inner: st.tuples(names, st.lists(inner, max_size=3)).map(lambda e: f"<{e[0]}>{''.join(e[1])}</{e[0]}>"),
    max_leaves=8,
)


@given(st.lists(elements, max_size=3))
@settings(max_examples=300)
def test_any_xml_at_all_is_a_message_or_a_refusal(parts):
    try:
        raw = from_xml(document(*parts))
    except ConversionError:
        return
    assert Message.parse(raw).to_bytes() == raw


def test_an_edited_message_is_written_as_it_stands():
    message = Message.parse(HEAD + b"PID|1\r")
    message.set("PID-5.1", "A & B")
    assert b"<FN.1>A &amp; B</FN.1>" in to_xml(message)
    message.set("PID-5.1", "\u0142")
    with pytest.raises(UnencodableText):
        to_xml(message)
