"""Sealed values and tokens: what opens, what does not, and what is left to see (ADR 54)."""

import base64
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.adapters.stores.sealed_tables import TABLES
from engine.adapters.stores.sealing import (
    DRAWN_NONCES,
    NONCE_BYTES,
    SEALED_MORE_BYTES,
    TAG_BYTES,
    TOKEN_KEY,
    TOKEN_KEY_BYTES,
    Sealing,
    Unopened,
    bound,
    closed,
    number_of,
    opened,
    unwrap,
    wrap,
)
from engine.model.store_key import KEY_BYTES, NO_KEYS, StoreKey, StoreKeys
from engine.ports.store import StoreError

TOKENS = bytes(range(TOKEN_KEY_BYTES))
FIRST = bytes(range(KEY_BYTES))
SECOND = bytes(range(1, KEY_BYTES + 1))


def sealing(**more: bytes) -> Sealing:
    made = Sealing()
    made.unlock({TOKEN_KEY: TOKENS, 1: FIRST, **{int(n[1:]): key for n, key in more.items()}}, left=1000)
    return made


ONE = sealing()
ONE.left = 1 << 62


@given(value=st.binary(), row=st.one_of(st.integers(), st.text(), st.tuples(st.text(), st.integers())))
def test_what_is_sealed_opens_in_its_place_and_row(value: bytes, row: int | str | tuple[str | int, ...]) -> None:
    sealed = ONE.seal("message.ack", row, value)
    assert ONE.open("message.ack", row, sealed) == value
    assert len(sealed) == (len(value) + SEALED_MORE_BYTES if value else 0)


@given(value=st.binary(min_size=1, max_size=200), data=st.data())
def test_any_turned_bit_is_found(value: bytes, data: st.DataObject) -> None:
    sealed = bytearray(ONE.seal("body.bytes", 7, value))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Unopened):
        ONE.open("body.bytes", 7, bytes(sealed))


@pytest.mark.parametrize("cut", [1, 5, SEALED_MORE_BYTES - 1, SEALED_MORE_BYTES])
def test_what_was_cut_does_not_open(cut: int) -> None:
    with pytest.raises(Unopened):
        ONE.open("body.bytes", 7, ONE.seal("body.bytes", 7, b"x" * 40)[:cut])


@pytest.mark.parametrize(
    ("place", "row"), [("message.ack", 8), ("answer", 7), ("message.ack", "7|"), ("message.ack", (7, 0))]
)
def test_a_value_cannot_be_moved_to_another_place_or_row(place: str, row: int | str | tuple[int, ...]) -> None:
    with pytest.raises(Unopened):
        ONE.open(place, row, ONE.seal("message.ack", 7, b"MSA|AA|1"))


def test_the_parts_of_a_key_cannot_run_into_each_other() -> None:
    assert bound("t.c", ("a|b", "c")) != bound("t.c", ("a", "b|c"))


def test_two_seals_of_one_value_differ_and_two_tokens_do_not() -> None:
    assert ONE.seal("message.ack", 7, b"same") != ONE.seal("message.ack", 7, b"same")
    assert ONE.token("delivery.key", "12345") == ONE.token("delivery.key", "12345")
    assert ONE.token("delivery.key", "12345") != ONE.token("worklist_item.patient", "12345")


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_token_gives_its_text_back_and_does_not_show_it(text: str) -> None:
    token = ONE.token("delivery.key", text)
    assert ONE.untoken("delivery.key", token) == text
    if text:
        assert isinstance(token, bytes)
        assert len(token) == len(text.encode()) + 1 + TAG_BYTES


@pytest.mark.parametrize("wrong", [b"\2" + bytes(40), b"\1" + bytes(40), b"", b"\2", "12345", None, 5])
def test_what_is_no_token_is_not_read_as_one(wrong: object) -> None:
    with pytest.raises(Unopened):
        ONE.untoken("delivery.key", wrong)


@pytest.mark.parametrize("wrong", ["plain", 5, None, b"\1", b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5.1\rPID|||47"])
def test_a_plain_value_is_not_read_as_a_sealed_one(wrong: object) -> None:
    with pytest.raises(Unopened):
        ONE.open("message.ack", 7, wrong)


def test_nothing_stays_nothing() -> None:
    assert ONE.seal("message.ack", 7, b"") == ONE.open("message.ack", 7, b"") == b""
    assert ONE.seal_text("x.y", 7, "") == ONE.open_text("x.y", 7, "") == ONE.token("x.y", "") == ""


def test_the_newest_data_key_seals_and_all_of_them_open() -> None:
    before = ONE.seal("message.ack", 7, b"MSA|AA|1")
    both = sealing(_2=SECOND)
    after = both.seal("message.ack", 7, b"MSA|AA|1")
    assert (number_of(before), number_of(after)) == (1, 2)
    assert both.open("message.ack", 7, before) == both.open("message.ack", 7, after) == b"MSA|AA|1"


def test_a_key_that_another_made_since_is_asked_for() -> None:
    asked: list[int] = []
    reader = Sealing()

    def missing() -> Mapping[int, bytes]:
        asked.append(1)
        return {TOKEN_KEY: TOKENS, 1: FIRST, 2: SECOND}

    reader.unlock({TOKEN_KEY: TOKENS, 1: FIRST}, missing=missing)
    value = sealing(_2=SECOND).seal("message.ack", 7, b"MSA")
    assert [reader.open("message.ack", 7, value) for _ in range(3)] == [b"MSA"] * 3
    assert len(asked) == 1


def test_nothing_is_sealed_beyond_what_is_counted_ahead() -> None:
    few = Sealing()
    few.unlock({TOKEN_KEY: TOKENS, 1: FIRST}, left=2)
    for _ in range(2):
        few.seal("message.ack", 7, b"x")
    with pytest.raises(StoreError, match="counted ahead"):
        few.seal("message.ack", 7, b"x")


def test_what_is_locked_opens_nothing() -> None:
    some = sealing()
    value = some.seal("message.ack", 7, b"x")
    some.lock()
    with pytest.raises(Unopened):
        some.open("message.ack", 7, value)
    with pytest.raises(StoreError):
        some.token("delivery.key", "x")
    with pytest.raises(StoreError):
        some.seal("message.ack", 7, b"x")


def test_no_nonce_comes_twice_however_many_are_drawn_at_a_time() -> None:
    some = Sealing()
    some.unlock({TOKEN_KEY: TOKENS, 1: FIRST}, left=10_000)
    values = [some.seal("message.ack", 7, b"x") for _ in range(3 * DRAWN_NONCES + 1)]
    nonces = {value[3 : 3 + NONCE_BYTES] for value in values}
    assert len(nonces) == len(values) and {len(nonce) for nonce in nonces} == {NONCE_BYTES}
    assert all(some.open("message.ack", 7, value) == b"x" for value in values)


# -- the site's key ----------------------------------------------------------------------------------


def test_a_key_is_a_line_of_base64() -> None:
    key = StoreKey.make()
    for text in (key.line(), f"{key.line()}\n", f"{key.line()}\r\n", f"\ufeff{key.line()}\n", f"  {key.line()} "):
        assert StoreKey.parse(text) == key


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("\n", "empty"),
        (base64.b64encode(bytes(range(16))).decode(), "16 bytes"),
        (base64.b64encode(bytes(range(33))).decode(), "33 bytes"),
        ("correct horse battery staple", "base64"),
        ("k\u00e4se" * 11, "base64"),
        (f"{base64.b64encode(bytes(range(32))).decode()}\n{base64.b64encode(bytes(range(32, 64))).decode()}", "base64"),
        (base64.b64encode(bytes(32)).decode(), "again and again"),
    ],
)
def test_what_is_no_key_is_refused_and_not_quoted(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        StoreKey.parse(text)
    assert not text.strip() or text.strip() not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_key_is_shown_by_its_id_only() -> None:
    key = StoreKey.make()
    shown = f"{key!r} {key} {StoreKeys(key)!r} {key.id}"
    assert key.line() not in shown and key.secret.hex() not in shown and repr(key.secret) not in shown
    assert len(key.id) == 12 and key.id != StoreKey.make().id


def test_both_keys_are_found_by_their_ids() -> None:
    new, old = StoreKey.make(), StoreKey.make()
    keys = StoreKeys(new, old)
    assert keys.by_id(new.id) == new and keys.by_id(old.id) == old and keys.by_id(StoreKey.make().id) is None
    assert keys.ids() == f"{new.id} and {old.id}" and NO_KEYS.ids() == "none"


def test_a_wrapped_key_opens_with_its_key_in_its_store_under_its_number() -> None:
    key = StoreKey.make()
    wrapped = wrap(key, b"store", 1, FIRST)
    assert unwrap(key, b"store", 1, wrapped) == FIRST
    for other, store, number, what in (
        (StoreKey.make(), b"store", 1, wrapped),
        (key, b"other", 1, wrapped),
        (key, b"store", 2, wrapped),
        (key, b"store", 1, wrapped[:-1]),
        (key, b"store", 1, b""),
    ):
        with pytest.raises(Unopened):
            unwrap(other, store, number, what)


# -- the registry --------------------------------------------------------------------------------------


def test_every_sealed_column_is_converted_there_and_back() -> None:
    for table in TABLES:
        for column in table.columns:
            plain: dict[str, object] = dict.fromkeys((*table.key, *column.row), 3)
            plain[column.name] = "Hübner" if column.is_text or column.kind == "token" else b"H\xfcbner"
            there = closed(ONE, table, column, plain)
            assert isinstance(there, bytes) and there != plain[column.name]
            assert opened(ONE, table, column, plain | {column.name: there}) == plain[column.name]
            assert closed(ONE, table, column, plain | {column.name: None}) is None
            assert opened(ONE, table, column, plain | {column.name: None}) is None


def test_a_value_of_another_type_is_not_converted() -> None:
    table = TABLES[0]
    with pytest.raises(Unopened):
        closed(ONE, table, table.columns[0], {"id": 1, "bytes": "text"})
