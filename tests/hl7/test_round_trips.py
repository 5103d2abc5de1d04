"""Round trips under any delimiters and any character set: text to bytes to the same text, bytes to the same bytes."""

from datetime import UTC, datetime

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.adapters.outgoing import control_id_of
from engine.hl7.ack import build_ack, read_ack
from engine.hl7.charset import codecs_of
from engine.hl7.delimiters import Delimiters, read_delimiters
from engine.hl7.errors import EditError
from engine.hl7.escape import escape, reencode, unescape
from engine.hl7.message import Message
from engine.hl7.output import encode_exactly
from engine.hl7.path import compile_path

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PRINTABLE = "!#$%&'()*+,:;<=>?@[\\]^_`{|}~"
"""But for the characters of versions and of names in table 0211, which would then be cut."""
CHARSETS = (
    "ASCII",
    "8859/1",
    "8859/5",
    "8859/15",
    "UNICODE UTF-8",
    "GB 18030-2000",
    "BIG-5",
    "KS X 1001",
    "ISO IR14",
    "~ISO IR87",
)


def codec_of(declared: str) -> str:
    return codecs_of(declared.removeprefix("~"))[0]


@st.composite
def delimiters(draw: st.DrawFn, alphabet: str = PRINTABLE) -> Delimiters:
    """A separator and four or five encoding characters, all different."""
    marks = draw(st.lists(st.sampled_from(alphabet), min_size=5, max_size=6, unique=True))
    found, notices = read_delimiters(f"MSH{marks[0]}{''.join(marks[1:])}{marks[0]}")
    assert not notices
    return found


def values_in(codec: str) -> st.SearchStrategy[str]:
    """Texts that the codec has, among them every delimiter, and characters whose bytes are delimiters."""
    tricky = st.sampled_from(PRINTABLE + "測亅乗功許表ポ万太Жüœ€")
    return st.text(st.one_of(tricky, st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])), max_size=6).filter(
        lambda text: encode_exactly(text, codec) is not None and "\x1b" not in text
    )


def is_read_as(declared: str, raw: bytes) -> bool:
    """Whether the bytes say nothing against their declaration: what is valid UTF-8 by chance is read as that."""
    return Message.parse(raw).codec == codec_of(declared)


@settings(max_examples=120)
@given(delimiters(), st.text(max_size=30))
def test_any_value_under_any_delimiters_comes_back(d: Delimiters, value: str) -> None:
    assume(not any("\ud800" <= c <= "\udfff" for c in value))
    text = escape(value, d)
    assert unescape(text, d) == value
    assert not set(text) & {d.field, d.component, d.repetition, d.subcomponent, "\r", "\n", "\x0b", "\x1c"}


@settings(max_examples=120)
@given(delimiters(), delimiters(), st.lists(st.lists(st.text(PRINTABLE + "ab", max_size=5), max_size=3), max_size=3))
def test_a_field_of_one_message_means_the_same_in_another(a: Delimiters, b: Delimiters, tree: list[list[str]]) -> None:
    written = a.repetition.join(a.component.join(escape(leaf, a) for leaf in parts) for parts in tree)
    moved = reencode(written, a, b)
    assert moved.count(b.repetition) == written.count(a.repetition)
    # Markup is part of a value and is written with the escape character of the message it stands in.
    assume(not any(mark in leaf for mark in (a.escape, b.escape) for parts in tree for leaf in parts))
    found = [[unescape(leaf, b) for leaf in parts.split(b.component)] for parts in moved.split(b.repetition)]
    assert found == [parts or [""] for parts in tree] or not tree


@settings(max_examples=120, deadline=None)
@given(st.data(), delimiters(), st.sampled_from(CHARSETS))
def test_a_message_that_is_joined_is_split_into_the_same_values(
    data: st.DataObject, d: Delimiters, declared: str
) -> None:
    codec = codec_of(declared)
    leaf = values_in(codec)
    subs_of = st.lists(leaf, min_size=1, max_size=2)
    components_of = st.lists(subs_of, min_size=1, max_size=3)
    repetitions_of = st.lists(components_of, min_size=1, max_size=2)
    tree = data.draw(st.lists(repetitions_of, min_size=1, max_size=3))
    name = declared.replace("~", d.repetition)
    header = ["MSH", d.written, "A", "B", "C", "D", "2026", "", d.component.join(("ADT", "A01")), "1", "P", "2.5.1"]
    fields = [
        d.repetition.join(
            d.component.join(d.subcomponent.join(escape(one, d) for one in subs) for subs in components)
            for components in repetitions
        )
        for repetitions in tree
    ]
    text = d.field.join([*header, *[""] * 5, name]) + "\r" + d.field.join(["ZZZ", *fields]) + "\r"
    raw = encode_exactly(text, codec)
    assume(raw is not None)
    assert raw is not None
    assume(is_read_as(declared, raw))
    message = Message.parse(raw)
    assert message.delimiters == d
    assert message.to_bytes() == raw
    for f, repetitions in enumerate(tree, 1):
        for r, components in enumerate(repetitions, 1):
            for c, subs in enumerate(components, 1):
                for s, value in enumerate(subs, 1):
                    assert (message.get(f"ZZZ-{f}[{r}].{c}.{s}") or "") == value
    message.replace_fields(1, list(message.fields(1)))
    assert Message.parse(message.to_bytes()).segment(1) == message.segment(1)


@settings(max_examples=120, deadline=None)
@given(st.data(), delimiters(), st.sampled_from(CHARSETS), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3))
def test_what_is_set_under_any_delimiters_and_charset_is_read_back_from_the_wire(
    data: st.DataObject, d: Delimiters, declared: str, field: int, component: int, subcomponent: int
) -> None:
    codec = codec_of(declared)
    header = ["MSH", d.written, "A", "B", "C", "D", "2026", "", "ADT", "1", "P", "2.5.1", *[""] * 5]
    raw = (d.field.join([*header, declared.replace("~", d.repetition)]) + "\rPID\r").encode("ascii")
    message = Message.parse(raw)
    value = data.draw(values_in(codec))
    path = f"PID-{field}.{component}.{subcomponent}"
    try:
        compile_path(path).set(message, value)
        sent = message.to_bytes()
    except EditError:
        assert codec == "shift_jis", "all that the set has can be written; Shift JIS has no backslash of its own"
        return
    assume(is_read_as(declared, sent) or sent.isascii())
    assert (Message.parse(sent).get(path) or "") == value


@settings(max_examples=120, deadline=None)
@given(st.data(), st.sampled_from(CHARSETS), st.binary(min_size=1, max_size=20))
def test_any_control_id_comes_back_byte_for_byte(data: st.DataObject, declared: str, given_id: bytes) -> None:
    text = data.draw(st.one_of(st.none(), values_in(codec_of(declared))))
    if text is None:
        own = given_id.translate(None, b"|\r\n\x0b\x1c\x1b")
    else:
        own = text.replace("|", "").encode(codec_of(declared))
    assume(own and own.strip() == own)
    raw = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|" + own + b"|P|2.5.1||||||" + declared.encode() + b"\rPID|1\r"
    message = Message.parse(raw)
    assume(len(message.fields(0)) == 19)  # in some sets half a character is a separator
    found = read_ack(build_ack(message, "AA", now=NOW, control_id="9"))
    assert found is not None
    assert found.control_id == own == control_id_of(raw)
