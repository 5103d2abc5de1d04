"""What every sink keeps, as tests: subclass `SinkContract`, give it a `bench`, and run it with pytest.

class TestMySink(SinkContract):
    @pytest.fixture
    async def bench(self, tmp_path): ...  # a SinkBench; its receiver is stopped at the end

The tests are coroutines: pytest-asyncio in its `auto` mode runs them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from typing import Protocol, get_args

import pytest

from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.sink import Sink
from engine.testing import messages

CHANNEL = ChannelName("adt")
DESTINATION = DestinationName("out")
NAME = "Zzyzx"
"""A patient's name, which no outcome may tell."""

_numbers = count(1)


class SinkBench(Protocol):
    """One sink under test with its receiver, which is up."""

    def open(self) -> Sink:
        """A sink to this receiver; the test closes it."""
        ...

    def times(self, control_id: str) -> int:
        """How often the receiver has this message now."""
        ...

    async def down(self) -> None:
        """From now on the receiver cannot be reached."""
        ...

    async def up(self) -> None:
        """It can be reached again, and has what it had."""
        ...

    async def refusing(self) -> bool:
        """From now on the receiver refuses what it is sent, for its content; False: this one never does that."""
        ...


def delivery(control_id: str | None = None, body: bytes | None = None, *, family: str = NAME) -> Delivery:
    """A delivery that no other equals."""
    number = next(_numbers)
    made = messages.adt(control_id=control_id or f"C{number}", family=family) if body is None else body
    return Delivery(DeliveryId(number), MessageSeq(number), CHANNEL, DESTINATION, made, 1_767_323_045_000_000 + number)


def note_of(outcome: Outcome) -> str:
    """What people are told of an attempt."""
    return f"{outcome.note} {outcome.hl7_code}" if isinstance(outcome, Refused) else outcome.note


class SinkContract:
    """`Delivered` means that the receiver has it; every call comes to outcomes, one a delivery, and never raises."""

    @pytest.fixture
    async def sink(self, bench: SinkBench) -> AsyncIterator[Sink]:
        sink = bench.open()
        yield sink
        await sink.close()

    async def test_what_is_delivered_is_there(self, sink: Sink, bench: SinkBench) -> None:
        one = delivery("ONE")
        (outcome,) = await sink.send([one])
        assert isinstance(outcome, Delivered), outcome
        assert bench.times("ONE") == 1

    async def test_each_delivery_has_an_outcome_in_order(self, sink: Sink, bench: SinkBench) -> None:
        some = [delivery(f"N{number}") for number in range(min(sink.max_batch, 5))]
        outcomes = await sink.send(some)
        assert [type(outcome) for outcome in outcomes] == [Delivered] * len(some)
        assert [bench.times(f"N{number}") for number in range(len(some))] == [1] * len(some)

    async def test_one_after_the_other_on_one_sink(self, sink: Sink, bench: SinkBench) -> None:
        for number in range(10):
            (outcome,) = await sink.send([delivery(f"S{number}")])
            assert isinstance(outcome, Delivered), outcome
        assert [bench.times(f"S{number}") for number in range(10)] == [1] * 10

    async def test_a_receiver_that_is_down_is_an_outcome_and_is_found_again(self, sink: Sink, bench: SinkBench) -> None:
        await bench.down()
        (outcome,) = await sink.send([delivery("D1")])
        assert isinstance(outcome, Unreachable), outcome
        assert outcome.note
        await bench.up()
        (outcome,) = await sink.send([delivery("D2")])
        assert isinstance(outcome, Delivered), outcome
        assert (bench.times("D1"), bench.times("D2")) == (0, 1)

    async def test_a_receiver_that_goes_away_in_between_loses_nothing_that_was_delivered(
        self, sink: Sink, bench: SinkBench
    ) -> None:
        (before,) = await sink.send([delivery("B1")])
        await bench.down()
        again = delivery("B2")
        (outcome,) = await sink.send([again])
        assert not isinstance(outcome, Delivered), outcome
        await bench.up()
        for _ in range(3):  # an attempt may be spent on a connection that is found dead
            (outcome,) = await sink.send([again])
            if isinstance(outcome, Delivered):
                break
        assert isinstance(before, Delivered)
        assert isinstance(outcome, Delivered), outcome
        assert bench.times("B1") == 1
        assert bench.times("B2") >= 1

    async def test_a_refusal_is_an_outcome_that_tells_no_value(self, sink: Sink, bench: SinkBench) -> None:
        if not await bench.refusing():
            pytest.skip("this receiver takes everything")
        (outcome,) = await sink.send([delivery("R1")])
        assert isinstance(outcome, Refused | Unsendable), outcome
        assert NAME.lower() not in note_of(outcome).lower()
        assert note_of(outcome).strip()

    async def test_the_same_delivery_again_is_delivered_again(self, sink: Sink, bench: SinkBench) -> None:
        """As after a crash between the receiver's answer and its record."""
        one = delivery("AGAIN")
        outcomes = [*await sink.send([one]), *await sink.send([one])]
        assert [type(outcome) for outcome in outcomes] == [Delivered] * 2
        assert bench.times("AGAIN") in (1, 2)

    @pytest.mark.parametrize(
        "body",
        [b"", b"\r", b"MSH", b"MSH|^~\\&\r", b"\x00" * 1000, b"\x0b\x1c\r", b"MSH|^~\\&|\xff\xfe\r" * 3, b"PID|1\r"],
        ids=["empty", "blank", "short", "no id", "zeros", "frames", "no text", "no header"],
    )
    async def test_whatever_is_to_be_delivered_comes_to_an_outcome(
        self, sink: Sink, bench: SinkBench, body: bytes
    ) -> None:
        (outcome,) = await sink.send([delivery(body=body)])
        assert isinstance(outcome, get_args(Outcome))
        (outcome,) = await sink.send([delivery("AFTER")])
        assert isinstance(outcome, Delivered), outcome

    async def test_a_long_message_is_delivered_whole(self, sink: Sink, bench: SinkBench) -> None:
        body = messages.adt(control_id="LONG") + b"OBX|1|ED|SCAN||^AP^Octet-stream^Base64^" + b"QUJD" * 500_000 + b"\r"
        (outcome,) = await sink.send([delivery(body=body)])
        assert isinstance(outcome, Delivered), outcome
        assert bench.times("LONG") == 1

    async def test_after_a_cancelled_call_the_next_goes_through(self, sink: Sink, bench: SinkBench) -> None:
        call = asyncio.ensure_future(sink.send([delivery("GONE")]))  # noqa: TID251 - awaited below
        await asyncio.sleep(0)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        for _ in range(3):
            (outcome,) = await sink.send([delivery("NEXT")])
            if isinstance(outcome, Delivered):
                break
        assert isinstance(outcome, Delivered), outcome

    async def test_it_lets_go_within_a_second_and_twice(self, bench: SinkBench) -> None:
        sink = bench.open()
        await sink.send([delivery()])
        async with asyncio.timeout(1.0):
            await sink.close()
            await sink.close()

    async def test_it_says_how_much_a_call_may_carry(self, sink: Sink) -> None:
        assert sink.max_batch >= 1
        assert sink.linger_s >= 0

    async def test_no_outcome_tells_a_value(self, sink: Sink, bench: SinkBench) -> None:
        outcomes: list[Outcome] = [*await sink.send([delivery()])]
        await bench.down()
        outcomes += await sink.send([delivery()])
        await bench.up()
        assert not any(NAME.lower() in note_of(outcome).lower() for outcome in outcomes)
        assert all(isinstance(outcome, Delivered | Unreachable | Unanswered) for outcome in outcomes)
