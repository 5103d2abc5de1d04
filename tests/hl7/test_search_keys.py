"""The numbers that messages are looked up by: the quick way reads what the long way reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hl7.search_keys import DEFAULT_KEYS, MOST_SEGMENTS, MOST_VALUES, SEARCHED_BYTES, SHORT_BYTES, KeyReader
from tests.work import calls_of

HEADER = b"MSH|^~\\&|LAB|MAIN|||20260101||ORU^R01|C1|P|2.5\r"
READER = KeyReader(DEFAULT_KEYS)
NESTED = KeyReader({"a": ("PID-3.2.2", "PID-3"), "b": ("OBR-2.2", "ZZZ-1.1.3")})

ORU = (
    HEADER
    + b"PID|1|OLD1|4711^^^MAIN^MR~0815^^^CITY^PI||MEIER^ANNA\r"
    + b"MRG|4712^^^MAIN^MR\r"
    + b"PV1|1|I|||||||||||||||||V99^^^VN\r"
    + b"ORC|RE|P1^HIS|F1^LAB\rOBR|1|P1^HIS|F1^LAB|X||||||||||||||A17\r"
    + b"ORC|RE|P2|F2\rOBR|2|P2|F2|X\rOBX|1|NM|718-7||13\r"
)


def test_a_result_is_found_by_the_numbers_of_its_patient_visit_and_orders() -> None:
    assert set(READER.read(ORU)) == {
        *(("mrn", value) for value in ("old1", "4711", "0815", "4712")),
        ("visit", "v99"),
        *(("placer", value) for value in ("p1", "p2")),
        *(("filler", value) for value in ("f1", "f2")),
        ("accession", "a17"),
    }


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (HEADER + b"PID|1||\r", ()),
        (HEADER + b'PID|1||""\r', ()),
        (HEADER + b"PID|1||  4711  \r", ("4711",)),
        (HEADER + b"PID|1||a\\T\\b^^^M\r", ("a&b",)),
        (HEADER + b"PID|1||4711~4711^^^X\r", ("4711",)),
        (HEADER.replace(b"\r", b"\n") + b"PID|1||4711\n", ("4711",)),
        (b"MSH$*%!@$LAB\rPID$1$$4711*X\r", ("4711",)),
        (HEADER + "PID|1||4711||MÜLLER\r".encode("cp1252"), ("4711",)),
        (HEADER + "PID|1||Ü1\r".encode(), ("ü1",)),
        (b"no HL7 at all", ()),
        (b"", ()),
    ],
)
def test_what_is_odd_about_a_message_hides_none_of_them(raw: bytes, values: tuple[str, ...]) -> None:
    assert READER.read(raw) == tuple(("mrn", value) for value in values)


TEXT = st.text('aB1 ^~&"', max_size=12).map(lambda text: text.encode())
SEGMENTS = st.builds(
    lambda name, fields: b"|".join([name, *fields]),
    st.sampled_from([b"PID", b"ORC", b"OBR", b"MRG", b"PV1", b"ZZZ", b"PIDX", b"OBX"]),
    st.lists(TEXT, max_size=6),
)


@given(st.lists(SEGMENTS, max_size=8), st.booleans())
def test_the_quick_way_and_the_long_way_agree(segments: list[bytes], ends: bool) -> None:
    raw = HEADER + b"\r".join(segments) + (b"\r" if ends and segments else b"")
    for reader in (READER, NESTED):
        assert set(reader.read(raw)) == set(reader._read_slowly(raw))


ODD = st.lists(
    st.sampled_from(
        [b"a", b"1", b" ", b"^", b"~", b"&", b'""', b"\\T\\", b"\\X41\\", b"\x0b", b"\xdc", b"\xc3\x9c", b"#", b"\n"]
    ),
    max_size=6,
).map(b"".join)
HEADERS = st.sampled_from(
    [
        HEADER[:-1],
        b"MSH$*%!@$LAB",
        b"MSH|^~\\&#|LAB",
        b"MSH|^~|LAB",
        b"MSH|^~\\&",
        b"MSH|^~\\&|L" + b"|" * 15 + b"UNICODE UTF-8",
    ]
)


@given(
    st.lists(HEADERS, min_size=1, max_size=2),
    st.lists(
        st.builds(
            lambda name, fields: b"|".join([name, *fields]),
            st.sampled_from([b"PID", b"ORC", b"ZZZ", b"PID ", b"pid", b"BHS", b"BTS", b"ADD"]),
            st.lists(ODD, max_size=6),
        ),
        max_size=5,
    ),
    st.sampled_from([b"\r", b"\r\n", b"\n", b"\r\r"]),
)
def test_they_agree_of_odd_delimiters_character_sets_line_ends_and_batches(
    headers: list[bytes], segments: list[bytes], end: bytes
) -> None:
    raw = end.join([headers[0], *segments, *headers[1:], *segments])
    for reader in (READER, NESTED):
        assert set(reader.read(raw)) == set(reader._read_slowly(raw))


def test_a_message_that_is_all_numbers_is_bounded() -> None:
    many = HEADER + b"".join(b"OBR|%d|P%d|F%d\r" % (n, n, n) for n in range(10 * MOST_SEGMENTS))
    assert len(READER.read(many)) == MOST_VALUES
    assert len(READER.read(many.replace(b"LAB", "LÄB".encode()))) == MOST_VALUES


def test_a_site_without_keys_parses_nothing() -> None:
    """What is not a key costs nothing, however odd the message is."""
    none = KeyReader({})
    odd = "MSH$*%!@$LÄB\r".encode()
    assert none.read(ORU) == none.read(odd) == ()
    assert calls_of(lambda: none.read(odd)) < 5


def test_a_long_message_is_read_a_segment_at_a_time_with_the_same_result() -> None:
    long = ORU + b"".join(b"OBX|%d|NM|718-7||13\r" % n for n in range(SHORT_BYTES // 16)) + b"OBR|9|LAST\r"
    assert len(long) > SHORT_BYTES
    assert set(READER.read(long)) == {*READER.read(ORU), ("placer", "last")} == set(READER._read_slowly(long))
    empty = ORU + b"OBR|||\r" * 10_000
    assert set(READER.read(empty + b"OBR|9|LATE\r")) == set(READER.read(ORU))
    assert calls_of(lambda: READER.read(empty)) < 20 * MOST_SEGMENTS


def test_of_a_document_no_more_than_its_beginning_is_looked_at() -> None:
    long = HEADER + b"PID|1||4711\rOBX|1|ED|||" + b"x" * SEARCHED_BYTES + b"\rOBR|1|LATE\r"
    assert READER.read(long) == (("mrn", "4711"),)
    assert READER.read(long.replace(b"LAB", b"L\xe4B")) == (("mrn", "4711"),)


def test_a_plain_message_costs_a_few_calls_and_is_not_parsed() -> None:
    """Some 5 microseconds; a parse alone is a hundred calls."""
    READER.read(ORU)
    assert calls_of(lambda: READER.read(ORU)) < 120
    assert calls_of(lambda: READER.read(ORU)) < calls_of(lambda: READER._read_slowly(ORU))
