"""What a connection may rely on when bytes become blocks (hl7.md items 1 to 10, 14, 15; reliability.md C1 to C5)."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.mllp.framing import Block, BlockDecoder, CommitByte, Fault, Item, Oversize, PayloadError, encode

MSG = b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5\rPID|1\r"
MSG2 = MSG.replace(b"ADT^A01|1", b"ADT^A01|2")


def fed(decoder: BlockDecoder, *chunks: bytes) -> list[Item]:
    return [item for chunk in chunks for item in decoder.feed(chunk)]


def payloads(items: Iterable[Item]) -> list[bytes]:
    return [item.payload for item in items if isinstance(item, Block)]


# -- the plain case, in every cut ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_whole_block_in_one_read_comes_out_as_it_was(kind):
    items = BlockDecoder().feed(kind(encode(MSG)))
    assert items == [Block(MSG)]
    assert type(items[0].payload) is bytes


def test_a_callers_read_buffer_may_be_used_again_at_once():
    buffer = bytearray(encode(MSG))
    items = BlockDecoder().feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert items == [Block(MSG)]


def test_a_block_in_single_bytes_is_the_same_block():
    assert fed(BlockDecoder(), *(bytes([b]) for b in encode(MSG))) == [Block(MSG)]


def test_every_place_to_cut_two_blocks_gives_the_same_two_blocks():
    stream = encode(MSG) + encode(MSG2)
    for cut in range(len(stream) + 1):
        assert fed(BlockDecoder(), stream[:cut], stream[cut:]) == [Block(MSG), Block(MSG2)]


def test_pipelined_blocks_come_out_in_order():
    sent = [MSG.replace(b"|1|P", b"|%d|P" % n) for n in range(300)]
    assert payloads(BlockDecoder().feed(b"".join(map(encode, sent)))) == sent


def test_line_feeds_tabs_and_escapes_inside_a_block_are_data():
    text = b"\xef\xbb\xbfMSH|^~\\&|\x1b$B\t\nPID|1\n\x00"
    assert BlockDecoder().feed(encode(text)) == [Block(text)]


# -- between blocks (item 4) -----------------------------------------------------------------------


def test_line_feeds_between_blocks_are_counted_and_no_more():
    decoder = BlockDecoder()
    assert fed(decoder, encode(MSG) + b"\n", b"\x00" + encode(MSG2)) == [Block(MSG), Block(MSG2)]
    assert decoder.garbage_bytes == 2


def test_text_between_blocks_is_skipped_counted_and_named_in_the_next_block():
    decoder = BlockDecoder()
    items = fed(decoder, b"GET / HT", b"TP/1.0\r\n" + encode(MSG) + encode(MSG2))
    assert items == [Block(MSG, ("bytes-before",)), Block(MSG2)]
    assert decoder.garbage_bytes == 16


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_garbage_without_end_ends_the_connection_at_its_bound(size):
    decoder = BlockDecoder(max_garbage_bytes=1000)
    items: list[Item] = []
    fed_bytes = 0
    while not items:
        items = decoder.feed(b"x" * size)
        fed_bytes += size
    assert isinstance(items[0], Fault) and items[0].code == "garbage"
    assert 1000 < fed_bytes <= 1000 + size
    assert decoder.failed and decoder.feed(encode(MSG)) == [] and decoder.finish() == []


def test_garbage_up_to_the_bound_is_borne_before_every_block():
    decoder = BlockDecoder(max_garbage_bytes=1000)
    for _ in range(5):
        assert payloads(decoder.feed(b"x" * 1000 + encode(MSG))) == [MSG]
    assert decoder.garbage_bytes == 5000


# -- what follows FS (item 5) ----------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(4))
def test_a_sender_that_leaves_out_the_cr_does_not_get_two_messages_merged(cut):
    stream = b"\x0b" + MSG + b"\x1c" + encode(MSG2)
    at = len(MSG) + cut
    items = fed(BlockDecoder(), stream[:at], stream[at:])
    assert items == [Block(MSG, ("no-cr",)), Block(MSG2)]


def test_fs_lf_ends_a_block():
    assert fed(BlockDecoder(), b"\x0b" + MSG + b"\x1c", b"\n" + encode(MSG2)) == [
        Block(MSG, ("lf-for-cr",)),
        Block(MSG2),
    ]


def test_fs_and_then_silence_ends_a_block_when_the_caller_has_waited_enough():
    decoder = BlockDecoder()
    assert decoder.feed(b"\x0b" + MSG + b"\x1c") == []
    assert decoder.awaits_cr and decoder.mid_block
    assert decoder.finish() == [Block(MSG, ("no-cr",))]
    assert not decoder.awaits_cr and not decoder.mid_block
    assert decoder.finish() == []


@pytest.mark.parametrize("late", [b"\r", b"\n"])
def test_a_cr_that_comes_after_the_wait_belongs_to_its_block(late):
    decoder = BlockDecoder()
    decoder.feed(b"\x0b" + MSG + b"\x1c")
    decoder.finish()
    assert fed(decoder, late, encode(MSG2)) == [Block(MSG2)]
    assert decoder.garbage_bytes == 0


def test_half_a_block_is_not_a_block_however_long_the_wait():
    decoder = BlockDecoder()
    decoder.feed(b"\x0b" + MSG)
    assert decoder.mid_block and not decoder.awaits_cr
    assert decoder.finish() == []
    assert decoder.buffered_bytes == len(MSG)


@pytest.mark.parametrize("following", [b"x", b"\x00", b" ", b"\x1c"])
def test_fs_followed_by_anything_else_ends_the_connection_and_neither_part_is_a_message(following):
    items = BlockDecoder().feed(b"\x0b" + MSG + b"\x1c" + following + MSG2 + b"\x1c\r")
    assert [type(item) for item in items] == [Fault]
    assert items[0].code == "fs-in-block"


def test_blocks_ahead_of_a_fault_are_not_lost_with_it():
    items = BlockDecoder().feed(encode(MSG) + b"\x0b" + MSG2 + b"\x1cx")
    assert items[0] == Block(MSG)
    assert isinstance(items[1], Fault)


def test_with_lenient_fs_it_is_data():
    decoder = BlockDecoder(lenient_fs=True)
    data = MSG + b"\x1c\x1cx\x1c" + MSG2
    for cut in range(len(data)):
        assert fed(decoder, encodeless(data)[:cut], encodeless(data)[cut:]) == [Block(data)]


def test_with_lenient_fs_a_pause_behind_fs_never_cuts_a_message():
    decoder = BlockDecoder(lenient_fs=True)
    decoder.feed(b"\x0b" + MSG + b"\x1c")
    assert not decoder.awaits_cr
    assert decoder.finish() == []
    assert decoder.feed(b"more\x1c\r") == [Block(MSG + b"\x1cmore")]


def test_with_lenient_fs_a_start_of_block_still_starts_a_block():
    items = BlockDecoder(lenient_fs=True).feed(b"\x0b" + MSG + b"\x1cx" + encode(MSG2))
    assert items == [Block(MSG2, ("truncated-before",))]


def encodeless(payload: bytes) -> bytes:
    return b"\x0b" + payload + b"\x1c\r"


# -- nested VT (item 6) ----------------------------------------------------------------------------


def test_a_sender_that_starts_again_inside_a_block_has_its_first_try_dropped():
    stream = b"\x0b" + MSG[:30] + encode(MSG2)
    for cut in range(len(stream) + 1):
        decoder = BlockDecoder()
        assert fed(decoder, stream[:cut], stream[cut:]) == [Block(MSG2, ("truncated-before",))]
        assert decoder.truncated_blocks == 1


def test_a_doubled_start_of_block_is_no_truncation():
    decoder = BlockDecoder()
    assert decoder.feed(b"\x0b" + encode(MSG)) == [Block(MSG)]
    assert decoder.truncated_blocks == 0


# -- empty blocks and commit bytes (items 9, 14, 15) -----------------------------------------------


@pytest.mark.parametrize("payload", [b"", b" ", b"\r\n", b"\t\r\r\r\r\r\r\r"])
def test_empty_blocks_are_counted_and_ignored(payload):
    decoder = BlockDecoder()
    assert decoder.feed(encode(payload) + encode(MSG)) == [Block(MSG)]
    assert decoder.feed(encode(payload)) == []
    assert decoder.empty_blocks == 2


def test_commit_bytes_of_release_2_are_told_from_messages():
    assert BlockDecoder().feed(encode(b"\x06") + encode(b"\x15") + encode(MSG)) == [
        CommitByte(positive=True),
        CommitByte(positive=False),
        Block(MSG),
    ]


# -- size (item 8) ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [7, 1000, 10**6])
def test_a_block_over_the_limit_is_skipped_to_its_end_and_its_start_is_kept(size):
    decoder = BlockDecoder(10_000)
    big = MSG + b"Z" * 30_000
    stream = encode(big) + encode(MSG)
    items: list[Item] = []
    for at in range(0, len(stream), size):
        items += decoder.feed(stream[at : at + size])
        assert decoder.buffered_bytes <= 10_000
    assert items == [Oversize(big[:4096], len(big), 10_000), Block(MSG)]
    assert decoder.buffered_bytes == 0


def test_a_block_of_exactly_the_limit_passes_and_one_byte_more_does_not():
    decoder = BlockDecoder(10_000)
    assert payloads(decoder.feed(encode(b"x" * 10_000))) == [b"x" * 10_000]
    assert decoder.feed(encode(b"x" * 10_001)) == [Oversize(b"x" * 4096, 10_001, 10_000)]


@pytest.mark.parametrize("size", [999, 65536])
def test_a_block_that_never_ends_is_given_up_at_the_second_bound_with_its_start(size):
    decoder = BlockDecoder(10_000, max_skipped_bytes=50_000)
    items = decoder.feed(b"\x0b" + MSG)
    fed_bytes = len(MSG)
    while not items:
        items = decoder.feed(b"Z" * size)
        fed_bytes += size
        assert decoder.buffered_bytes <= 10_000 + size
    assert fed_bytes <= 50_000 + size
    assert items[0] == Oversize((MSG + b"Z" * 5000)[:4096], 50_000, 10_000, is_complete=False)
    assert isinstance(items[1], Fault) and items[1].code == "oversize"


def test_an_oversize_block_cut_off_by_a_new_start_is_dropped_like_any_other():
    items = BlockDecoder(10_000).feed(b"\x0b" + b"x" * 20_000 + encode(MSG))
    assert items == [Block(MSG, ("truncated-before",))]


@pytest.mark.parametrize(
    ("unit", "total", "size"),
    [
        (b"x", 30_000_000, 100),
        (b"x", 30_000_000, 65536),
        *((unit, 3_000_000, 3_000_000) for unit in (b"\x0b", b"\x0bx", b"\x1c", b"\x0b\x1c")),
    ],
)
def test_the_work_grows_with_the_bytes_and_not_with_their_square(unit, total, size):
    """A search from zero at each of 300,000 pieces, or a move of what is left at each of a million marks, would go
    through terabytes, and end long after the time-out."""
    stream = b"\x0b" + unit * (total // len(unit))
    decoder = BlockDecoder(32 << 20)
    for at in range(0, len(stream), size):
        decoder.feed(stream[at : at + size])
    assert decoder.buffered_bytes <= len(stream)


# -- encoding (items 1, 2) -------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [b"\x0b", b"\x1c"])
def test_a_payload_that_would_break_the_peers_framing_is_not_framed(bad):
    with pytest.raises(PayloadError):
        encode(MSG + bad)


@given(st.binary())
def test_what_is_encoded_is_decoded(payload):
    payload = payload.replace(b"\x0b", b"").replace(b"\x1c", b"")
    if payload.strip() and payload not in (b"\x06", b"\x15"):
        assert BlockDecoder().feed(encode(payload)) == [Block(payload)]


# -- properties ------------------------------------------------------------------------------------


class Reference:
    """The state table of the module's docstring, one byte at a time, slow and plain."""

    def __init__(self, limit: int, skip: int, garbage: int, lenient: bool) -> None:
        self.limit, self.skip, self.garbage, self.lenient = limit, skip, garbage, lenient
        self.state, self.text, self.run, self.noise = "outside", b"", 0, b""
        self.warnings: list[str] = []
        self.items: list[Item] = []

    def complete(self, *warnings: str) -> None:
        text, notes = self.text, (*self.warnings, *warnings)
        self.state, self.warnings, self.run, self.noise = "outside", [], 0, b""
        if len(text) > self.limit:
            self.items.append(Oversize(text[:4096], len(text), self.limit))
        elif text in (b"\x06", b"\x15"):
            self.items.append(CommitByte(text == b"\x06"))
        elif text.strip():
            self.items.append(Block(text, notes))

    def fault(self, code: str) -> None:
        self.state = "failed"
        self.items.append(Fault(code, ""))

    def grow(self, byte: bytes) -> None:
        self.text += byte
        if len(self.text) > self.skip:
            self.items.append(Oversize(self.text[: self.skip][:4096], self.skip, self.limit, is_complete=False))
            self.fault("oversize")

    def warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    def byte(self, byte: bytes) -> None:
        if self.state == "ended":
            if byte in b"\r\n":
                self.complete(*(["lf-for-cr"] if byte == b"\n" else []))
                return
            if byte == b"\x0b":
                self.complete("no-cr")
            elif self.lenient:
                self.state = "inside"
                self.grow(b"\x1c")
            else:
                if len(self.text) > self.limit:
                    self.items.append(Oversize(self.text[:4096], len(self.text), self.limit, is_complete=False))
                self.fault("fs-in-block")
        if self.state == "outside":
            if byte == b"\x0b":
                if self.noise.strip(b"\r\n\t \x00"):
                    self.warn("bytes-before")
                self.state, self.text, self.run = "inside", b"", 0
            else:
                self.noise += byte
                self.run += 1
                if self.run > self.garbage:
                    self.fault("garbage")
        elif self.state == "inside":
            if byte == b"\x0b":
                if self.text:
                    self.warn("truncated-before")
                self.text = b""
            elif byte == b"\x1c":
                self.state = "ended"
            else:
                self.grow(byte)


def shown(items: Iterable[Item]) -> list[object]:
    return [("fault", item.code) if isinstance(item, Fault) else item for item in items]


PIECES = st.sampled_from(
    [b"\x0b", b"\x1c", b"\r", b"\n", b"a", b"bcd", b" ", b"\x06", b"\x00", encode(b"m1"), b"0123456789"]
)
STREAMS = st.lists(PIECES, max_size=40).map(b"".join)
CUTS = st.lists(st.integers(1, 30), max_size=60)


def cut_up(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    return [*chunks, stream]


@settings(max_examples=1500)
@given(STREAMS, CUTS, st.booleans())
@example(b"\x0b" * 3 + b"a" * 30 + b"\x0b" * 2 + b"a\x1c\r", [], False)
def test_the_decoder_does_what_the_state_table_says_however_the_stream_was_cut(stream, sizes, lenient):
    bounds = {"max_skipped_bytes": 24, "max_garbage_bytes": 16, "lenient_fs": lenient}
    reference = Reference(12, 24, 16, lenient)
    for value in stream:
        reference.byte(bytes([value]))
    decoder = BlockDecoder(12, **bounds)
    assert shown(fed(decoder, *cut_up(stream, sizes))) == shown(reference.items)
    assert decoder.failed == (reference.state == "failed")
    assert decoder.mid_block == (reference.state in ("inside", "ended"))
    whole = BlockDecoder(12, **bounds)
    assert shown(whole.feed(stream)) == shown(reference.items)
    assert whole.failed or (whole.garbage_bytes, whole.truncated_blocks, whole.empty_blocks) == (
        decoder.garbage_bytes,
        decoder.truncated_blocks,
        decoder.empty_blocks,
    )


MESSAGES = st.integers(0, 999).map(lambda n: b"MSH|%d|begin\rOBX|%d|end\r" % (n, n))
STARTED_FRAMES = st.one_of(
    MESSAGES.map(encode),
    MESSAGES.map(lambda m: b"\x0b" + m + b"\x1c"),
    MESSAGES.map(lambda m: b"\x0b" + m + b"\x1c\n"),
    st.builds(lambda m, n: b"\x0b" + m[:n], MESSAGES, st.integers(0, 30)),
    st.binary(max_size=5),
)
LOST_STARTS = st.builds(lambda m, n: (b"\x0b" + m)[n:] + b"\x1c\r", MESSAGES, st.integers(1, 30))


@settings(max_examples=600)
@given(st.lists(STARTED_FRAMES, max_size=12).map(b"".join), CUTS, st.booleans())
def test_two_messages_are_never_merged_whatever_the_sender_leaves_out_at_the_end(stream, sizes, lenient):
    decoder = BlockDecoder(lenient_fs=lenient)
    for payload in payloads(fed(decoder, *cut_up(stream, sizes)) + decoder.finish()):
        assert payload.count(b"MSH|") <= 1


@settings(max_examples=600)
@given(st.lists(st.one_of(STARTED_FRAMES, LOST_STARTS), max_size=12).map(b"".join), CUTS, st.booleans())
def test_no_payload_reaches_across_a_start_or_an_end_of_block(stream, sizes, lenient):
    decoder = BlockDecoder(lenient_fs=lenient)
    for payload in payloads(fed(decoder, *cut_up(stream, sizes)) + decoder.finish()):
        assert b"\x0b" not in payload
        assert lenient or b"\x1c" not in payload
