"""Acknowledgements that the sender's own parser will like, and that promise what is true (spec items 13, 16 to 37)."""

import datetime as dt
from itertools import product

import pytest

from engine.hl7.ack import (
    Ack,
    AckError,
    accept_code,
    answers,
    application_code,
    build_ack,
    condition_notices,
    read_ack,
)
from engine.hl7.message import Message

NOW = dt.datetime(2026, 3, 1, 10, 15, 7, 891234, dt.timezone(dt.timedelta(hours=5, minutes=45)))
MISSING = AckError("101", "error", "PID-3[1].4", "the assigning authority is missing")


def message(version="2.5.1", type_="ADT^A01^ADT_A01", control_id="ID 1", tail="", processing="P", encoding="ascii"):
    head = (
        f"MSH|^~\\&|HIS^1.2.3^ISO|MAIN&x^y|RIS\\T\\|RAD~2|20260301||{type_}|{control_id}|{processing}|{version}{tail}"
    )
    return Message.parse(f"{head}\rPID|1||4711\rPID|2||4712^^^^MR\r".encode(encoding))


def ack_of(inbound, code="AA", errors=(), **options):
    return build_ack(inbound, code, errors=errors, now=NOW, control_id="ACK1", **options)


def lines_of(raw, encoding="utf_8"):
    assert raw.endswith(b"\r")
    return raw.decode(encoding).split("\r")[:-1]


def test_the_header_is_made_anew_and_the_applications_change_places():
    msh, msa = lines_of(ack_of(message()))
    assert msh == ("MSH|^~\\&|RIS\\T\\|RAD~2|HIS^1.2.3^ISO|MAIN&x^y|20260301101507+0545||ACK^A01^ACK|ACK1|P|2.5.1")
    assert msa == "MSA|AA|ID 1"


@pytest.mark.parametrize(
    ("version", "type_", "expected"),
    [
        ("2.1", "ADT^A01", "ACK"),
        ("2.2", "ADT^A01", "ACK"),
        ("2.3", "ADT^A01", "ACK^A01"),
        ("2.3.1", "ADT^A01", "ACK^A01^ACK"),
        ("2.4", "ADT^A01^ADT_A01", "ACK^A01^ACK"),
        ("2.5.1", "ADT^A08^ADT_A01", "ACK^A08^ACK"),
        ("2.9", "ADT^A08", "ACK^A08^ACK"),
        ("3.0", "ADT^A08", "ACK^A08^ACK"),
        ("2.5^DEU", "ADT^A08", "ACK^A08^ACK"),
        ("2.3 PID", "ADT^A08", "ACK^A08"),
        ("1.0", "ADT^A08", "ACK"),
        ("", "ADT^A08", "ACK^A08^ACK"),
        ("2.5", "ORU", "ACK"),
        ("2.5", "", "ACK"),
        ("2.5", "ORU^^ORU_R01", "ACK"),
        ("2.5", "ADT^A01~X^Y", "ACK^A01^ACK"),
    ],
)
def test_the_message_type_by_version(version, type_, expected):
    msh = lines_of(ack_of(message(version, type_)))[0].split("|")
    assert msh[8] == expected
    assert msh[11] == (version or "2.5.1")


@pytest.mark.parametrize(("processing", "expected"), [("P", "P"), ("T^T", "T^T"), ("D", "D"), ("", "P")])
def test_a_test_message_is_never_answered_as_production(processing, expected):
    assert lines_of(ack_of(message(processing=processing)))[0].split("|")[10] == expected


def test_all_of_the_senders_delimiters_are_kept():
    inbound = Message.parse(b"MSH#@!%*+#LAB@1######ADT@A01#7#P#2.7\r")
    assert lines_of(ack_of(inbound, own=("ME#X", "")))[0].startswith("MSH#@!%*+#ME%F%X##LAB@1##2026")
    inbound = Message.parse(b"MSH|^~\\&#|LAB||X||||ADT^A01|7|P|2.5\r")
    assert lines_of(ack_of(inbound))[0].startswith("MSH|^~\\&#|X||LAB||2026")


def test_a_missing_receiver_becomes_our_own_name():
    inbound = Message.parse(b"MSH|^~\\&|LAB|L\r")
    msh, msa = lines_of(ack_of(inbound, own=("SEGMILL", "HOSP")))
    assert msh == "MSH|^~\\&|SEGMILL|HOSP|LAB|L|20260301101507+0545||ACK|ACK1|P|2.5.1"
    assert msa == "MSA|AA|"


@pytest.mark.parametrize("control_id", ["", "A B", " x", "a^b&c~d", "\\F\\ \\X0D\\ \\", "x" * 250, "é"])
def test_the_control_id_comes_back_byte_for_byte(control_id):
    inbound = message(control_id=control_id, encoding="utf_8")
    for code in ("AA", "AE", "CR"):
        ack = ack_of(inbound, code, [MISSING] if code != "AA" else [])
        assert ack.split(b"\rMSA|")[1].split(b"\r")[0].split(b"|")[1] == control_id.encode()
        assert read_ack(ack).control_id == control_id.encode()


def test_a_control_id_that_its_charset_can_write_in_two_ways_comes_back_as_it_was_written():
    odd = b"\x1b$B;3\x1b(B\x1b$BK|\x1b(B"  # shifts out and in again between the characters; K| is one of them
    inbound = Message.parse(b"MSH|^~\\&|\x1b$BK|\x1b(B|B|C|D|2026||ADT^A01|" + odd + b"|P|2.5||||||ISO IR87\rPID|1\r")
    assert inbound.get("MSH-10") == "山万"
    ack = ack_of(inbound)
    assert b"\rMSA|AA|" + odd + b"\r" in ack
    assert Message.parse(ack).get("MSH-5") == "万"


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("8859/1", "latin_1"), ("UNICODE UTF-8", "utf_8"), ("GB 18030-2000", "gb18030"), ("~ISO IR87", "iso2022_jp")],
)
def test_an_ack_is_in_the_charset_of_its_message_and_says_so(declared, encoding):
    text = "Größe" if encoding in ("latin_1", "utf_8") else "山田"
    inbound = message(control_id=text, tail=f"||||||{declared}", encoding=encoding)
    ack = ack_of(inbound, "AE", [AckError("101", "error", "PID-3", f"{text} ist zu ł")])
    assert lines_of(ack, encoding)[0].endswith(f"|2.5.1||||||{declared}")
    read = Message.parse(ack)
    assert read.get("MSA-2") == text
    expected = f"{text} ist zu ł" if encoding in ("utf_8", "gb18030") else f"{text} ist zu ?"
    assert read.get("ERR-8") == expected


def test_undecodable_bytes_in_what_is_copied_do_not_matter():
    inbound = Message.parse(b"MSH|^~\\&|A\x81|B|C|D|||ADT^A01|7\x81|P|2.5\r")
    assert b"|A\x81|B|" in ack_of(inbound) and ack_of(inbound).endswith(b"MSA|AA|7\x81\r")


def test_errors_in_2_5_and_later_are_a_segment_each():
    errors = [
        AckError("101", "error", "PID[2]-3[1].4", "no | authority"),
        AckError("0", "error", "", ""),
        AckError("", "fatal", "no path", "x"),
        AckError("103", "warning", 'PID[3.5 == "MR"]-8', "code"),
    ]
    for version in ("2.5", "2.6", "2.7", "2.9"):
        ack = lines_of(ack_of(message(version), "AE", errors))
        assert ack[1] == ("MSA|AE|ID 1|no \\F\\ authority" if version < "2.7" else "MSA|AE|ID 1")
        assert ack[2:] == [
            "ERR||PID^2^3^1^4|101^Required field missing^HL70357|E||||no \\F\\ authority",
            "ERR|||0^Message accepted^HL70357|I",
            "ERR|||207^Application internal error^HL70357|F||||x",
            "ERR||PID^2^8|103^Table value not found^HL70357|W||||code",
        ]


@pytest.mark.parametrize("version", ["2.2", "2.3", "2.3.1", "2.4"])
def test_errors_before_2_5_repeat_in_one_field(version):
    errors = [MISSING, AckError("207", "error", "", "disk")]
    ack = lines_of(ack_of(message(version), "AE", errors))
    assert ack[1] == "MSA|AE|ID 1|the assigning authority is missing|||101^Required field missing^HL70357"
    assert ack[2:] == ["ERR|PID^1^3^101&Required field missing&HL70357~^^^207&Application internal error&HL70357"]


def test_errors_in_2_1_are_a_bare_code():
    assert lines_of(ack_of(message("2.1"), "AR", [MISSING]))[1:] == [
        "MSA|AR|ID 1|the assigning authority is missing",
        "ERR|101",
    ]


def test_a_positive_answer_carries_remarks_only_where_they_have_a_severity():
    remark = [AckError("103", "warning", "PID-8", "code")]
    assert lines_of(ack_of(message("2.5"), "AA", remark))[1:] == [
        "MSA|AA|ID 1",
        "ERR||PID^1^8|103^Table value not found^HL70357|W||||code",
    ]
    assert lines_of(ack_of(message("2.4"), "CA", remark))[1:] == ["MSA|CA|ID 1"]


@pytest.mark.parametrize(
    ("location", "erl"),
    [
        ("PID", "PID^1"),
        ("PID[2]", "PID^2"),
        ("PID-3", "PID^1^3"),
        ("PID-3[2]", "PID^1^3^2"),
        ("PID-3.1.2", "PID^1^3^1^1^2"),
        ("PID-3[2].1", "PID^1^3^2^1"),
        ("MSH-18", "MSH^1^18"),
        ("ZZZ[*]-1[*]", "ZZZ^1^1"),
        ("", ""),
    ],
)
def test_locations_count_segments_absolutely(location, erl):
    ack = lines_of(ack_of(message(), "AE", [AckError("101", "error", location, "")]))
    assert ack[2] == f"ERR||{erl}|101^Required field missing^HL70357|E"


def test_delimiters_that_the_sender_has_not_are_not_used_on_it():
    inbound = Message.parse(b"MSH|^|LAB||X||||ADT^A01|7|P|2.5\r")
    ack = lines_of(ack_of(inbound, "AE", [AckError("101", "error", "PID-3", "a|b^c")]))
    assert ack[1:] == ["MSA|AE|7|a b c", "ERR||PID^1^3|101^Required field missing^HL70357|E||||a b c"]
    inbound = Message.parse(b"MSH||LAB||X||||ADT|7|P|2.4\r")
    ack = lines_of(ack_of(inbound, "AE", [MISSING, MISSING]))
    assert ack[0].split("|")[8] == "ACK"
    assert ack[2] == "ERR|PID"


def test_nothing_readable_is_answered_all_the_same():
    assert lines_of(ack_of(None, "AR", own=("SEGMILL", "HOSP"))) == [
        "MSH|^~\\&|SEGMILL|HOSP|||20260301101507+0545||ACK|ACK1|P|2.5.1",
        "MSA|AR||no HL7 message could be found in what was received",
        "ERR|||100^Segment sequence error^HL70357|E||||no HL7 message could be found in what was received",
    ]
    given = [AckError("207", "error", "", "the message is larger than 16 MiB")]
    assert lines_of(ack_of(None, "AE", given))[2].startswith("ERR|||207^Application internal error^HL70357|E||||the m")


def test_a_batch_header_is_answered_with_its_own_names():
    ack = lines_of(ack_of(Message.parse(b"BHS|^~\\&|A|B|C|D|2026||||||11\r"), "AR"))
    assert ack[0].startswith("MSH|^~\\&|C|D|A|B|2026") and ack[1] == "MSA|AR|"


def test_an_application_answer_in_enhanced_mode_asks_for_nothing_back():
    enhanced = message(tail="|||AL|AL")
    assert lines_of(ack_of(enhanced, "AA"))[0].endswith("|2.5.1|||NE|NE")
    assert lines_of(ack_of(enhanced, "CA"))[0].endswith("|2.5.1")
    declared = message(tail="|||NE|AL||8859/1")
    assert lines_of(ack_of(declared, "AE", [MISSING]))[0].endswith("|2.5.1|||NE|NE||8859/1")
    assert lines_of(ack_of(declared, "CE", [MISSING]))[0].endswith("|2.5.1||||||8859/1")


def enhanced_answers(accept, application, decision, hl7_code=""):
    return answers(message(tail=f"|||{accept}|{application}"), decision, hl7_code)


def test_original_mode_gives_one_application_code():
    inbound = message()
    assert [answers(inbound, d) for d in ("accept", "error", "reject")] == [["AA"], ["AE"], ["AR"]]
    assert [answers(None, d) for d in ("error", "reject")] == [["AE"], ["AR"]]


@pytest.mark.parametrize(
    ("accept", "application", "on_accept", "on_error"),
    [
        ("AL", "AL", ["CA", "AA"], ["CE"]),
        ("AL", "NE", ["CA"], ["CE"]),
        ("AL", "", ["CA"], ["CE"]),
        ("AL", "ER", ["CA"], ["CE"]),
        ("AL", "SU", ["CA", "AA"], ["CE"]),
        ("NE", "AL", ["AA"], ["AE"]),
        ("", "AL", ["AA"], ["AE"]),
        ("NE", "NE", [], []),
        ("NE", "ER", [], ["AE"]),
        ("NE", "SU", ["AA"], []),
        ("ER", "AL", ["AA"], ["CE"]),
        ("ER", "NE", [], ["CE"]),
        ("SU", "AL", ["CA", "AA"], ["AE"]),
        ("SU", "NE", ["CA"], []),
        ("0/0", "NE", ["CA"], ["CE"]),
        ("NE", "ACCEPT", ["AA"], ["AE"]),
    ],
)
def test_enhanced_mode_follows_msh_15_and_16(accept, application, on_accept, on_error):
    assert enhanced_answers(accept, application, "accept") == on_accept
    assert enhanced_answers(accept, application, "error", "101") == on_error


@pytest.mark.parametrize(
    ("hl7_code", "code"), [("200", "CR"), ("201", "CR"), ("202", "CR"), ("203", "CR"), ("207", "CE"), ("", "CE")]
)
def test_cr_is_for_type_version_and_processing_id_alone(hl7_code, code):
    assert enhanced_answers("AL", "NE", "reject", hl7_code) == [code]


def test_the_channel_can_choose_the_mode():
    assert answers(message(tail="|||AL|AL"), "accept", "", "original") == ["AA"]
    assert answers(message(), "accept", "", "enhanced") == ["CA"]
    assert answers(message(), "error", "101", "enhanced") == ["CE"]
    assert answers(message(tail="|||NE|AL"), "accept", "", "enhanced") == ["AA"]


def test_an_acknowledgement_is_never_acknowledged_at_application_level():
    assert answers(message(type_="ACK^A01^ACK"), "accept") == []
    assert answers(message(type_="ACK", tail="|||AL|AL"), "accept") == ["CA"]
    assert answers(message(type_="ACK", tail="|||NE|AL"), "accept") == []
    assert answers(message(type_="RSP^K11"), "accept") == ["AA"]


def test_every_answer_is_of_table_0008_and_never_two_verdicts():
    for accept, application in product(["", "AL", "NE", "ER", "SU", "?"], repeat=2):
        for decision in ("accept", "error", "reject"):
            found = enhanced_answers(accept, application, decision)
            verdicts = {code[1] == "A" for code in found}
            assert len(verdicts) <= 1 and verdicts <= {decision == "accept"}


def test_unknown_conditions_are_named():
    assert condition_notices(message(tail="|||AL|NE")) == ()
    notices = condition_notices(message(tail="|||0/0| /"))
    assert [(n.code, n.location) for n in notices] == [("W330", "MSH-15"), ("W330", "MSH-16")]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"MSH|^~\\&|A\rMSA|AA|17\r", Ack("AA", b"17", "", "")),
        (b"MSH|^~\\&|A\rMSA|AA|17|all fine\r", Ack("AA", b"17", "", "")),
        (b"MSH|^~\\&|A\rMSA|CA|17", Ack("CA", b"17", "", "")),
        (b"MSH|^~\\&|A\nMSA|AA|17\n", Ack("AA", b"17", "", "")),
        (b"MSH|^~\\&|A\r\nMSA|AA|17\r\nZZZ|1\r\n", Ack("AA", b"17", "", "")),
        (b"MSH#^~\\&#A\rMSA#AA#1|7\r", Ack("AA", b"1|7", "", "")),
        (b"MSA|AA|17\r", Ack("AA", b"17", "", "")),
        (b"\xef\xbb\xbfMSH|^~\\&|A\rMSA| aa |17 \r", Ack("AA", b"17 ", "", "")),
        (b"MSH|^~\\&|A\rSFT|x\rMSA|AA\r", Ack("AA", b"", "", "")),
        (b"MSH|^~\\&|A\rMSA|AE|17|no \\F\\ name\r", Ack("AE", b"17", "", "no | name")),
        (b"MSH|^~\\&|A\rMSA|AE|17||||101^x\r", Ack("AE", b"17", "101", "")),
        (b"MSH|^~\\&|A\rMSA|AR|17\rERR|||203^Version^HL70357|E||||told you\r", Ack("AR", b"17", "203", "told you")),
        (b"MSH|^~\\&|A\rMSA|CE|17\rERR|PID^1^3^101&x&HL70357\r", Ack("CE", b"17", "101", "")),
        ("MSH¦^~\\&¦A\rMSA¦AA¦17¦x\r".encode(), Ack("AA", b"17", "", "")),
        ("MSH¦^~\\&¦A\rMSA¦AE¦17¦x\r".encode(), Ack("AE", b"17", "", "x")),
        (b"MSA|AE|17|x", Ack("AE", b"17", "", "")),
    ],
)
def test_reading_an_acknowledgement(raw, expected):
    assert read_ack(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"OK",
        b"MSH|^~\\&|A\r",
        b"MSH|^~\\&|A\rMSA\r",
        b"MSH|^~\\&|A\rMSA||17\r",
        b"MSH|^~\\&|A\rMSA|OK|17\r",
        b"MSA",
        b"MSAAA17",
    ],
)
def test_what_is_no_acknowledgement(raw):
    assert read_ack(raw) is None


@pytest.mark.parametrize(
    ("version", "code", "errors", "expected"),
    [
        ("2.5.1", "AA", (), "MSA|AA|ID 1||7"),
        ("2.3", "CE", (AckError("207", "error", "MSH-13", "out of turn"),), None),
        ("2.5.1", "AE", (AckError("207", "error", "", "out of turn"),), "MSA|AE|ID 1|out of turn|7"),
        ("2.8", "AE", (AckError("207", "error", "", "out of turn"),), "MSA|AE|ID 1||7"),
    ],
)
def test_the_expected_sequence_number_is_msa_4(version, code, errors, expected):
    raw = ack_of(message(version), code, errors, sequence=7)
    (msa,) = [line for line in lines_of(raw) if line.startswith("MSA")]
    if expected is None:
        expected = "MSA|CE|ID 1|out of turn|7||207^Application internal error^HL70357"
    assert msa == expected
    assert Message.parse(raw).get("MSA-4") == "7"


def test_a_new_start_of_the_link_is_answered_with_minus_one():
    assert "MSA|AA|ID 1||-1" in lines_of(ack_of(message(), sequence=-1))


def test_an_application_acknowledgement_of_its_own_may_ask_for_an_accept_and_for_nothing_more():
    header = Message.parse(ack_of(message(tail="|||AL|AL"), "AA", accept_when="AL"))
    assert (header.get("MSH-15"), header.get("MSH-16")) == ("AL", "NE")
    with_charset = Message.parse(ack_of(message(tail="|||AL|AL||UNICODE UTF-8"), "AA", accept_when="AL"))
    assert [with_charset.get(f"MSH-{n}") for n in (15, 16, 18)] == ["AL", "NE", "UNICODE UTF-8"]
    assert Message.parse(ack_of(message(tail="|||AL|AL"), "CA", accept_when="AL")).get("MSH-15") is None


@pytest.mark.parametrize(
    ("accept", "application", "decision", "mode", "expected"),
    [
        ("", "", "accept", "auto", ("", "AA")),
        ("", "", "error", "auto", ("", "AE")),
        ("AL", "AL", "accept", "auto", ("CA", "AA")),
        ("AL", "AL", "error", "auto", ("CE", "AE")),
        ("NE", "AL", "reject", "auto", ("", "AR")),
        ("AL", "NE", "error", "auto", ("CE", "")),
        ("AL", "ER", "accept", "auto", ("CA", "")),
        ("", "SU", "error", "auto", ("", "")),
        ("", "", "accept", "enhanced", ("CA", "")),
        ("AL", "AL", "accept", "original", ("", "AA")),
    ],
)
def test_the_two_levels_can_be_asked_for_apart(accept, application, decision, mode, expected):
    inbound = message(tail=f"|||{accept}|{application}")
    assert (accept_code(inbound, decision, "", mode), application_code(inbound, decision, mode)) == expected


def test_an_acknowledgement_has_no_application_level():
    assert application_code(message(type_="ACK^A01", tail="|||AL|AL"), "accept") == ""
