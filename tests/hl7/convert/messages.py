"""Messages of every readable kind, for hypothesis: odd delimiters, odd bytes, odd line ends."""

from hypothesis import strategies as st

MARKS = ["^~\\&", "^~\\&#", "^~&", "^", "^~", "^~\\\\&", "", "!@%*", "&&&&", "^~\\&", "^~\\&"]
CHARSETS = [
    "",
    "",
    "UNICODE UTF-8",
    "8859/1",
    "8859/5",
    "~ISO IR87",
    "GB 18030-2000",
    "BIG-5",
    "ISO IR14",
    "NONE",
    "~8859/7",
    "8859/1~8859/5",
]


@st.composite
def raw_messages(draw: st.DrawFn, *, has_names: bool = False) -> bytes:
    """The bytes of a message: a header that can be read, and any segments at all, or only those with a proper name."""
    field = draw(st.sampled_from("||||#;$"))
    marks = draw(st.sampled_from(MARKS))
    charset = draw(st.sampled_from(CHARSETS))
    header = field.join(
        ["MSH", marks, "A", "B", "C", "D", "2026", "", "ADT^A01", "1", "P", "2.5.1", *[""] * 5, charset]
    )
    alphabet = st.one_of(
        st.sampled_from(
            [*'|^~\\&#"\n !@%*;$', "\\F\\", "\\.br\\", "\\X41\\", "\\E\\", '""', "||", "MSH", "\x0b", "\x00"]
        ),
        st.characters(codec="utf-8", exclude_characters="\r"),
    )
    text = st.lists(alphabet, max_size=12).map("".join)
    proper = st.sampled_from(["PID", "PV1", "OBR", "OBX", "NTE", "ZPI", ""])
    names = proper if has_names else st.one_of(proper, st.sampled_from(["MSH", "BHS"]), text)
    line = st.tuples(names, st.lists(text, max_size=6)).map(lambda part: field.join([part[0], *part[1]]).encode())
    if has_names:
        stray = st.binary(max_size=9).map(lambda part: b"OBX||ED|||" + part.translate(None, b"\r\n"))
    else:
        stray = st.binary(max_size=12)
    lines = draw(st.lists(st.one_of(line, line, stray), max_size=6))
    ends = draw(st.sampled_from([b"\r", b"\r", b"\n", b"\r\n"]))
    start = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\r\n", b"log\r"]))
    last = draw(st.sampled_from([b"", ends, ends + ends]))
    return start + ends.join([header.encode(), *lines]) + last
