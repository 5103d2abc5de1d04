"""What is fuzzed: each target takes any bytes and raises only when something promised does not hold.

No target needs the fuzzer: `test_targets.py` runs them over their seeds and over what once broke, `fuzz.py` drives
them by coverage. Promises: no exception but those that are documented; what nobody edited leaves byte for byte; every
block has an answer that is read back as what it is; nothing is held or given out that is not bounded by the input.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from engine.adapters.metrics_numbers import ChannelNumbers
from engine.adapters.outgoing import control_id_of, expects_answer
from engine.config.expression import ExpressionError, ValueTooLong, compile_condition, compile_value
from engine.config.site import load_version
from engine.config.table import Table
from engine.hl7.ack import CODES, AckError, answers, build_ack, read_ack
from engine.hl7.batch import split_batch
from engine.hl7.charset import is_transparent
from engine.hl7.convert.errors import ConversionError
from engine.hl7.convert.json_form import from_json, to_json
from engine.hl7.convert.xml_form import from_xml, to_xml
from engine.hl7.errors import NOTICES, EditError, PathError, UnreadableMessage
from engine.hl7.escape import escape, plain_text, unescape
from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.hl7.validate import DEFAULT_LIMIT, STANDARD_RULES, Validator
from engine.hl7.values import parse_clock, parse_moment, parse_number, parse_sequence_number
from engine.mllp.exchange import Answered, Exchange
from engine.mllp.framing import FS, VT, Block, BlockDecoder, CommitByte, Fault, Item, Oversize, encode
from engine.model.envelope import Delivery
from engine.model.envelope import Intake as Received
from engine.model.finding import load_findings
from engine.model.ids import DeliveryId, MessageSeq, VersionId
from engine.pipeline.answer import AnswerSettings
from engine.pipeline.compile import compile_channel
from engine.pipeline.registry import load_kinds, load_steps
from engine.runtime.channels import RunningChannel
from engine.runtime.connection import Reply
from engine.runtime.intake import Receiver
from engine.runtime.recent import Recent
from engine.testing.torture.row import read_answers

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REPOSITORY = Path(__file__).parents[2]
MOST_BYTES = 4096
"""Longer inputs find nothing that these do not, and slow the search down."""

ERRORS = (AckError("101", "error", "PID-3", "a value is missing"), AckError("207", "warning", "", "a | b ^ c"))
PARSED = (
    b"MSH|^~\\&|A|B|C|D|20260102||ADT^A01^ADT_A01|1|P|2.5.1\rPID|1||1^^^N^MR~2||Test&x^Anna\rOBX|1|NM|A||5\rOBX|2\r",
    b"MSH|^|A|B|C|D|20260102||ADT^A01|1|P|2.5.1||||||UNICODE UTF-8\rPID|1||\xc3\xbc\rZZZ\r",
)


# -- framing --------------------------------------------------------------------------------------


def framing(data: bytes) -> None:
    """Any stream in any cut: the same items, no payload with a framing byte, nothing held beyond the bounds."""
    cut, options, stream = data[:4], data[4:5] or b"\0", data[5:]
    lenient, most = bool(options[0] & 1), (64, 1024)[options[0] >> 1 & 1]

    def decoder() -> BlockDecoder:
        return BlockDecoder(most, max_garbage_bytes=200, lenient_fs=lenient)

    whole, torn = decoder(), decoder()
    expected = [*whole.feed(stream), *whole.finish()]
    found: list[Item] = []
    for piece in _pieces(stream, cut):
        found += torn.feed(piece)
        assert torn.buffered_bytes <= max(most, 4096)
    found += torn.finish()
    assert found == expected
    if not torn.failed:  # past the end, how much of the rest was looked at depends on the cut
        assert torn.garbage_bytes == whole.garbage_bytes
        assert torn.truncated_blocks == whole.truncated_blocks
        assert torn.empty_blocks == whole.empty_blocks
    assert sum(len(item.payload) for item in found if isinstance(item, Block)) <= len(stream)
    for item in found[:-1]:
        assert not isinstance(item, Fault), "a fault is the last of all"
    for item in found:
        if isinstance(item, Block):
            assert VT not in item.payload
            assert len(item.payload) <= most
            assert item.payload in stream
            if FS not in item.payload:
                assert BlockDecoder(most).feed(encode(item.payload)) == [Block(item.payload)]
            else:
                assert lenient
    _exchange(stream, cut)


def _exchange(stream: bytes, cut: bytes) -> None:
    """The same bytes as a receiver's answer: only its own id is ever credited to a message."""
    exchange = Exchange(read_ack, max_answer_bytes=512)
    exchange.start(b"1")
    ends = 0
    for piece in _pieces(stream, cut):
        for event in exchange.on_bytes(piece):
            ends += 1
            if isinstance(event, Answered):
                assert event.answer.control_id == b"1"
                assert event.answer.code in CODES
        if not exchange.is_trusted:
            break
    ends += len(exchange.on_close())
    assert ends >= 1, "a message that was sent has an end"


def _pieces(stream: bytes, cut: bytes) -> Iterator[bytes]:
    at, turn = 0, 0
    while at < len(stream):
        size = cut[turn % len(cut)] + 1 if cut else 1
        yield stream[at : at + size]
        at += size
        turn += 1


# -- messages -------------------------------------------------------------------------------------


def message(data: bytes) -> None:
    """Any block: read or named unreadable, left as it came, answered in every form, split where a message begins."""
    raw = data.translate(None, VT + FS)  # no block holds them
    parts = split_batch(raw)
    assert len(parts) <= 1 + raw.count(b"MSH")
    assert sum(map(len, parts)) <= len(raw)
    for part in parts:
        assert _is_of(part, raw), "a part is a part of what came"
        _one(part)


def _is_of(part: bytes, raw: bytes) -> bool:
    """Whether a message stands in a block as it is; the first one may have the text before the batch headers."""
    same = next((n for n, (a, b) in enumerate(zip(part, raw, strict=False)) if a != b), min(len(part), len(raw)))
    return part in raw or part[same:] in raw


def _one(raw: bytes) -> None:
    try:
        parsed = Message.parse(raw)
    except UnreadableMessage as error:
        assert error.hl7_code in ("100", "102")
        _answer(None, raw)
        return
    sent = parsed.to_bytes()
    if _is_plain(raw):
        assert sent == raw + (b"" if raw.endswith(b"\r") else b"\r")
    assert Message.parse(sent).to_bytes() == sent
    assert parsed.raw == raw
    assert len(parsed.names()) == len(parsed) <= 1 + len(raw)
    assert {notice.code for notice in parsed.warnings} <= set(NOTICES)
    copy = parsed.copy()
    for index in range(len(parsed)):
        fields = parsed.fields(index)
        if fields[0] not in ("MSH", "FHS", "BHS") or index == 0:
            copy.replace_fields(index, list(fields))
    if is_transparent(parsed.codec):
        assert copy.to_bytes() == sent, "what is put back as it was changes nothing"
    _answer(parsed, raw, sent)


def _is_plain(raw: bytes) -> bool:
    """Whether nothing about the bytes themselves has to be put right on the way out."""
    return raw.startswith((b"MSH|", b"FHS|", b"BHS|")) and b"\n" not in raw


def _answer(parsed: Message | None, raw: bytes, sent: bytes = b"") -> None:
    for decision in ("accept", "error", "reject"):
        due = answers(parsed, cast(Any, decision), "102")
        assert len(due) <= 2
        assert set(due) <= set(CODES)
    for code in ("AE", CODES[len(raw) % len(CODES)]):  # one with reasons, and each of the others in its turn
        ack = build_ack(parsed, code, errors=ERRORS, now=NOW, control_id="9", own=("OWN", "A|B"))
        assert VT not in ack
        assert FS not in ack
        assert ack.endswith(b"\r")
        assert len(ack) <= 20 * len(raw) + 2000
        found = read_ack(ack)
        assert found is not None
        assert found.code == code
        assert Message.parse(ack).names()[:2] == ["MSH", "MSA"]
        # An answer may end its lines with LF, so that an id with one in it cannot be read back.
        if sent.startswith(b"MSH") and b"\n" not in (own := control_id_of(sent)):
            assert found.control_id == own, "the sink that sends it on knows it by the same id"


def ack(raw: bytes) -> None:
    """Any bytes as an answer: it is one of table 0008, or none."""
    found = read_ack(raw)
    if found is not None:
        assert found.code in CODES
        assert found.control_id in raw or b"MSA" in raw
        assert len(found.text) <= 4 * len(raw)
    for said in read_answers(raw):
        assert said.control_id in raw.replace(b"\n", b"\r")
    try:
        control_id_of(raw)
        expects_answer(raw)
    except UnreadableMessage:
        pass


VALIDATOR = Validator()


def validation(raw: bytes) -> None:
    """Any message held against the standard: known rules at places of its own, bounded, and the message unharmed."""
    try:
        parsed = Message.parse(raw)
    except UnreadableMessage:
        return
    before = parsed.to_bytes()
    found = VALIDATOR.validate(parsed)
    assert len(found.violations) <= DEFAULT_LIMIT
    for violation in found.violations:
        assert violation.rule in STANDARD_RULES or violation.rule.startswith("table.")
        assert 0 <= violation.start <= violation.end <= len(raw) + 1
    assert parsed.to_bytes() == before


def conversion(raw: bytes) -> None:
    """Any bytes as a JSON and an XML document, and any message as both and back: the same, or refused by name."""
    for read in (from_json, from_xml):
        try:
            assert read(raw).endswith(b"\r")
        except ConversionError as error:
            assert len(str(error)) < 500, "a refusal does not quote what it refuses"
    try:
        parsed = Message.parse(raw)
    except UnreadableMessage:
        return
    assert from_json(to_json(parsed)) == parsed.to_bytes()
    try:
        Message.parse(from_xml(to_xml(parsed)))
    except (ConversionError, EditError):
        pass


# -- paths, texts, values -------------------------------------------------------------------------


def path(data: bytes) -> None:
    """Any text as a path, and any as a value: refused by name, or written so that it reads the same."""
    written, _, value = data.decode("utf-8", "replace").partition("\0")
    for raw in PARSED:
        parsed = Message.parse(raw)
        _escapes(parsed, value)
        try:
            found = compile_path(written)
        except PathError as error:
            assert 0 <= error.column <= len(written)
            continue
        before = parsed.to_bytes()
        found.get(parsed)
        assert len(found.all(parsed)) <= len(before)
        found.raw(parsed)
        assert parsed.to_bytes() == before
        for write in (found.set, found.set_raw):
            work = parsed.copy()
            try:
                places = write(work, value)
            except EditError:
                places = 0
            assert places <= len(before)
            try:
                out = work.to_bytes()
            except EditError:
                continue  # a character that the message's set does not have, found when it is written
            assert len(out) <= len(before) + 16 * (places or 1) * (len(value) + 4096)
            if places and write == found.set and found.field and "*" not in written and is_transparent(work.codec):
                assert found.get(Message.parse(out)) in (value, None) or not value
        work = parsed.copy()
        try:
            found.delete(work)
        except EditError:
            continue
        work.to_bytes()
        assert parsed.to_bytes() == before, "a copy is its own"


def _escapes(parsed: Message, value: str) -> None:
    try:
        written = escape(value, parsed.delimiters)
    except ValueError:
        assert not parsed.delimiters.escape
    else:
        assert unescape(written, parsed.delimiters) == value
        assert len(written) <= 6 * len(value)
    unescape(value, parsed.delimiters)
    plain_text(value, parsed.delimiters)
    for parse in (parse_moment, parse_clock, parse_number, parse_sequence_number):
        parse(value)


def expression(data: bytes) -> None:
    """Any text as an expression: refused with a column, or run over messages to an end."""
    text = data.decode("utf-8", "replace")
    for compiler in (compile_condition, compile_value):
        try:
            compiled = compiler(text)
        except ExpressionError as error:
            assert 0 <= error.column <= len(text)
            continue
        for raw in PARSED:
            parsed = Message.parse(raw)
            try:
                compiled(parsed)
                compiled.explain(parsed)
            except ValueTooLong:
                pass
            assert parsed.to_bytes() == raw


# -- configuration --------------------------------------------------------------------------------

KINDS = load_kinds()
STEPS = load_steps()


def config(data: bytes) -> None:
    """Any bytes as a channel's file and as a code table: a channel that compiles, or findings with places."""
    loaded, findings = load_version("fuzzed", {"channel.yaml": data, "tables/t.csv": b"from,to\na,1\n"}, KINDS)
    lines = data.count(b"\n") + data.count(b"\r") + 2 + data.count(b"\x85") + data.count(b"\xe2\x80")
    for finding in findings:
        assert finding.code[0] in "EW"
        assert 1 <= finding.line <= lines
        assert finding.column >= 1
    assert (loaded is not None) or any(finding.is_error for finding in findings)
    if loaded is not None and not any(finding.is_error for finding in findings):
        compiled = compile_channel(loaded, STEPS, runs_own_code=False)
        if not compiled.isolated:
            compiled.run(Message.parse(PARSED[0]), NOW)
    table, found = Table.load(data, "t.csv")
    assert table.size <= data.count(b"\n") + data.count(b"\r") + 1
    assert all(line >= 1 and column >= 1 for line, column, _, _ in found)


# -- from block to answer -------------------------------------------------------------------------

CHANNELS = {
    "lab": """
listen: {mllp: {port: 2575}}
accept: ["ORU^*"]
steps:
  - validate: {required: [PID-3.1, "OBX[*]-3.1"], values: {PID-8: [F, M]}, mode: reject}
  - each: OBX
    when: OBX-2 == "NM"
    do:
      - set: {OBX-5: "=trim(OBX-5)"}
routes: [{to: out}]
destinations: {out: {file: {folder: out}}}
""",
    "all": """
listen: {mllp: {port: 2575}}
accept: ["*"]
from: MSH-3.1 != "NOBODY"
steps:
  - filter: MSH-11.1 != "X"
  - map: {PID-8: tables/t.csv, otherwise: hold}
  - set: {MSH-5: RIS, PID-5.1: "=upper(PID-5.1)"}
  - copy: {PID-2: PID-3}
  - delete: [NTE, PID-19]
routes: [{to: out, when: MSH-9.1 exists}]
destinations: {out: {file: {folder: out}}}
""",
}


class Committing:
    """A committer that commits at once."""

    tracing = None

    def __init__(self) -> None:
        self.kept: list[Received] = []

    def put(
        self,
        record: Received,
        committed: Callable[[MessageSeq, list[Delivery]], None],
        refused: Callable[[Exception], None],
        order: Hashable = None,
    ) -> None:
        self.kept.append(record)
        seq = MessageSeq(len(self.kept))
        deliveries = [
            Delivery(
                DeliveryId(n), seq, record.channel, draft.destination, draft.body or record.raw, record.received_at_us
            )
            for n, draft in enumerate(record.deliveries)
        ]
        committed(seq, deliveries)


class StandingClock:
    """A clock that stands still."""

    def now_us(self) -> int:
        return 1_767_323_045_000_000

    def monotonic(self) -> float:
        return 1.0

    def random_bytes(self, count: int) -> bytes:
        return bytes(count)


class Sending:
    """A connection that waits for its answer."""

    unanswered = 1


class Asked:
    """A reply, settled once."""

    peer = "10.0.0.1"
    started = 0.5

    def __init__(self) -> None:
        self.sender = Sending()
        self.answers: list[bytes] = []

    def settle(self, answer: bytes) -> None:
        self.answers.append(answer)

    def drop(self) -> None:
        raise AssertionError("nothing goes wrong here, so nothing is dropped")


@cache
def _running() -> Sequence[RunningChannel]:
    running = []
    for name, text in CHANNELS.items():
        files = {"channel.yaml": text.encode(), "tables/t.csv": b"from,to\nF,W\nM,M\n"}
        loaded, findings = load_version(name, files, KINDS)
        assert loaded is not None, findings
        compiled = compile_channel(loaded, STEPS, runs_own_code=False)
        running.append(
            RunningChannel(
                compiled,
                VersionId(1),
                AnswerSettings.of(loaded.file.ack),
                [],
                ChannelNumbers(),
                ack_when_stored=False,
                duplicates_window_us=0,
                isolated=None,
                committer=cast(Any, Committing()),
                timer=cast(Any, None),
            )
        )
    return running


def intake(data: bytes) -> None:
    """Any stream on a port: for each block one answer, and what is accepted is kept byte for byte."""
    committer = Committing()
    receiver = Receiver(_running(), cast(Any, committer), cast(Any, None), Recent([], True), StandingClock())
    decoder = BlockDecoder(2048)
    items = [*decoder.feed(VT + data), *decoder.finish()]
    for item in items:
        reply = Asked()
        before = len(committer.kept)
        if isinstance(item, Block):
            receiver.take(item.payload, cast(Reply, reply))
        elif isinstance(item, Oversize):
            receiver.take_oversize(item, cast(Reply, reply))
        else:
            assert isinstance(item, Fault | CommitByte)
            continue
        kept = committer.kept[before:]
        assert len(reply.answers) == 1, "one answer, no more and no less"
        _check_kept(item, kept, reply.answers[0])


def _check_kept(item: Item, kept: Sequence[Received], answer: bytes) -> None:
    payload = item.payload if isinstance(item, Block) else b""
    acks = sum(1 for record in kept for part in record.ack.split(FS) if part)
    assert len([part for part in answer.split(FS + b"\r") if part]) in (0, 1, acks)
    for record in kept:
        if isinstance(item, Block):
            assert _is_of(record.raw, payload), "what came is kept as it came"
        load_findings(record.findings)
        assert record.control_id.isprintable()
        assert record.sender.isprintable()
        if record.ack:
            for line in record.ack.split(b"\r"):
                assert not line.startswith(b"MSA") or line in answer, "what the record says was said is said"
            found = read_ack(record.ack.replace(b"\x1c\r\x0b", b""))
            assert found is not None
            is_positive = found.code[1] == "A"
            assert is_positive == (record.state != "rejected"), "a yes is said to what is ours, and to nothing else"
        for draft in record.deliveries:
            assert record.state == "processed"
            assert draft.body is None or b"\x0b" not in draft.body


# -- the list -------------------------------------------------------------------------------------


class Target(NamedTuple):
    """One target. `share` of the time; `seeds` are where its search begins; `words` what it puts in."""

    run: Callable[[bytes], None]
    share: int
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()


def _samples() -> list[bytes]:
    files = sorted((REPOSITORY / "samples").rglob("*.hl7"))
    return [raw for file in files if 0 < len(raw := file.read_bytes()) <= MOST_BYTES]


def _documents() -> list[bytes]:
    parsed = [Message.parse(raw) for raw in _samples() if raw.startswith(b"MSH|")][::9]
    return [document for one in parsed for document in (to_json(one), to_xml(one)) if len(document) <= MOST_BYTES]


def _streams() -> list[bytes]:
    from engine.testing.torture.row import Send
    from engine.testing.torture.rows import ROWS

    streams = [b"".join(step.data for step in row.steps if isinstance(step, Send)) for row in ROWS]
    return [stream for stream in streams if len(stream) <= MOST_BYTES]


def _acks() -> list[bytes]:
    raw = [file.read_bytes() for file in sorted((REPOSITORY / "samples" / "acks").glob("*.hl7"))]
    return [
        *raw,
        *(
            build_ack(Message.parse(one), code, errors=ERRORS, now=NOW, control_id="9")
            for one in _samples()[:10]
            if one.startswith(b"MSH")
            for code in ("AE", "CA")
        ),
    ]


PATHS = (
    "PID-3",
    "PID-3[2].1",
    'PID-3[5 == "MR"].1',
    "OBX[*]-5",
    "OBX[2]-5.1.2",
    'OBX[3.1 == "A"]-5',
    "MSH-2",
    "ZZZ",
    "PID",
)
EXPRESSIONS = (
    'PV1-2 in ["I", "O"] and not PID-8 is empty',
    'any OBX (OBX-2 == "NM" and number(OBX-5) > 5)',
    'PID-3[5 == "MR"].1 matches "[0-9]+" or PID-7 starts with "19"',
    "upper(PID-5.1)",
    'concat(PID-5.1, "-", default(PID-8, "U"))',
)


def _configs() -> list[bytes]:
    shipped = [file.read_bytes() for file in sorted((REPOSITORY / "channels").glob("*/*.yaml"))]
    tables = [file.read_bytes() for file in sorted((REPOSITORY / "channels").glob("*/tables/*.csv"))]
    return [*shipped, *tables, *(text.encode() for text in CHANNELS.values())]


HL7_WORDS = (
    b"MSH|^~\\&|",
    b"\rPID|",
    b"\rMSH|",
    b"FHS|^~\\&",
    b"BHS|^~\\&",
    b"\rBTS|1",
    b"UNICODE UTF-8",
    b"8859/1",
    b"~ISO IR87",
    b"GB 18030-2000",
    b"ISO IR14",
    b"BIG-5",
    b"\\X0D\\",
    b"\\F\\",
    b"\x1b$B",
    b"\x1b(B",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"2.5.1",
    b"2.2",
    b"|AL|NE",
    b"ACK",
    b"MSA|AA|",
    b"ERR|||",
    b'""',
    b"ADD|",
    b"DSC|",
)

TARGETS: dict[str, Target] = {
    "framing": Target(
        framing,
        2,
        lambda: [bytes((0, 7, n, 40, n & 3)) + one for n, one in enumerate(_streams())],
        (b"\x0b", b"\x1c", b"\x1c\r", b"\x1c\n", b"\x06"),
    ),
    "message": Target(message, 3, _samples, HL7_WORDS),
    "validation": Target(validation, 2, _samples, HL7_WORDS),
    "conversion": Target(
        conversion, 2, lambda: [*_samples(), *_documents()], (b'{"', b'":', b"<MSH>", b"</", b"&#", *HL7_WORDS)
    ),
    "ack": Target(ack, 1, _acks, HL7_WORDS),
    "path": Target(
        path,
        2,
        lambda: [one.encode() + b"\0A\\F\\|^" for one in PATHS],
        (b"[*]", b"[2]", b" == ", b'"', b".1", b"OBX-5"),
    ),
    "expression": Target(
        expression,
        2,
        lambda: [one.encode() for one in EXPRESSIONS],
        (b" and ", b" or ", b"not ", b" in [", b"any ", b"("),
    ),
    "config": Target(
        config,
        2,
        _configs,
        (b"steps:", b"\n  - ", b": {", b"[", b"]", b"}", b"validate", b"&a", b"*a", b"!!", b"|\n", b"'"),
    ),
    "intake": Target(intake, 3, _streams, (b"\x1c\r\x0b", *HL7_WORDS)),
}
"""In the order in which they run."""
