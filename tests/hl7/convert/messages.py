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


USUAL = "^~\\&"

_pieces = st.one_of(
    st.sampled_from([*'|^~\\&#"\n !@%*;$', "\\F\\", "\\.br\\", "\\X41\\", "\\E\\", '""', "||", "MSH", "\x0b", "\x00"]),
    st.characters(codec="utf-8", exclude_characters="\r"),
)
_texts = st.lists(_pieces, max_size=12).map("".join)
_proper = st.sampled_from(["PID", "PV1", "OBR", "OBX", "NTE", "ZPI", ""])


def _segments(
    names: st.SearchStrategy[str], stray: st.SearchStrategy[bytes]
) -> st.SearchStrategy[list[list[str] | bytes]]:
    """Each the texts of its fields, or bytes as they are."""
    line = st.tuples(names, st.lists(_texts, max_size=6)).map(lambda part: [part[0], *part[1]])
    return st.lists(st.one_of(line, line, stray), max_size=6)


# Made once: to make them costs more than to draw from them.
_NAMED = _segments(_proper, st.binary(max_size=9).map(lambda part: b"OBX||ED|||" + part.translate(None, b"\r\n")))
_ANY = _segments(st.one_of(_proper, st.sampled_from(["MSH", "BHS"]), _texts), st.binary(max_size=12))


@st.composite
def raw_messages(draw: st.DrawFn, *, has_names: bool = False, is_usual: bool = False) -> bytes:
    """The bytes of a message: a header that can be read, and any segments at all, or only those with a proper name.

    `is_usual`: it begins with a header of the usual delimiters. One in sixteen of the others does.
    """
    field = "|" if is_usual else draw(st.sampled_from("||||#;$"))
    marks = USUAL if is_usual else draw(st.sampled_from(MARKS))
    charset = draw(st.sampled_from(CHARSETS))
    header = field.join(
        ["MSH", marks, "A", "B", "C", "D", "2026", "", "ADT^A01", "1", "P", "2.5.1", *[""] * 5, charset]
    )
    segments = draw(_NAMED if has_names else _ANY)
    lines = [one if isinstance(one, bytes) else field.join(one).encode() for one in segments]
    ends = draw(st.sampled_from([b"\r", b"\r", b"\n", b"\r\n"]))
    start = b"" if is_usual else draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\r\n", b"log\r"]))
    last = draw(st.sampled_from([b"", ends, ends + ends]))
    return start + ends.join([header.encode(), *lines]) + last
