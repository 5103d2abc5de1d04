"""The room of all ports: what many senders together can hold is bounded, and nobody waits for it for ever."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runtime.room import Room
from tests.runtime.parts import turns, until
from tests.runtime.wires import HeldIntake, block, listening

KB = 1024


@pytest.fixture
def held() -> HeldIntake:
    return HeldIntake(at_once=False)


async def settled(intake: HeldIntake) -> int:
    """How many were taken, once nothing more comes."""
    before = -1
    while before != len(intake.taken):
        before = len(intake.taken)
        for _ in range(30):
            await asyncio.sleep(0.001)
    return before


class TestConnections:
    async def test_the_limit_is_one_for_all_ports(self) -> None:
        intake = HeldIntake()
        room = Room(most_connections=3)
        async with listening(intake, room=room) as one, listening(intake, room=room) as two:
            wires = [await one.wire(), await one.wire(), await two.wire()]
            await until(lambda: one.listener.connection_count + two.listener.connection_count == 3)
            refused = await two.wire()
            assert await refused.rest() == b""
            assert two.meter.events("refused_limit") == 1
            wires[0].reset()
            await until(lambda: one.listener.connection_count == 1)
            wires.append(await two.wire())
            for wire in wires[1:]:
                await wire.send(b"a")
                assert await wire.answer() == b"a"


class TestBytes:
    async def test_past_the_bound_nobody_is_read_from_until_half_is_free(self, held) -> None:
        room = Room(most_bytes=500 * KB)
        async with listening(held, room=room) as port:
            wires = [await port.wire() for _ in range(10)]
            sending = [
                asyncio.get_running_loop().create_task(wire.send(*[b"%d" % n + b"x" * 50 * KB] * 10))
                for n, wire in enumerate(wires)
            ]
            count = await settled(held)
            assert room.is_full
            # One read of a connection may still be under way when the bound is passed.
            assert 500 * KB <= count * 50 * KB <= 500 * KB + 256 * KB
            late = await port.wire()
            await late.send(b"late")
            await turns(50)
            assert len(held.taken) == count, "a new connection is read from"
            for place in range(2):
                held.answer(place)
            await turns(50)
            assert room.is_full
            held.at_once = True
            held.answer_all()
            for wire in wires:
                assert len(await wire.answers(10)) == 10
            assert await late.answer() == b"late"
            await asyncio.gather(*sending)
            assert not room.is_full and room.in_hand_bytes == 0 and room.partial_bytes == 0

    async def test_what_the_committer_still_holds_of_senders_that_are_gone_counts(self, held) -> None:
        waiting = 0
        room = Room(most_bytes=100 * KB, waiting=lambda: waiting)
        async with listening(held, room=room) as port:
            wire = await port.wire()
            waiting = 101 * KB
            await wire.send(b"a" * 10)
            await until(lambda: room.is_full)
            await wire.send(b"b")
            held.answer_all()
            assert await settled(held) == 1
            waiting = 0
            await until(lambda: len(held.taken) == 2)  # the port's own clock finds out

    async def test_halves_of_blocks_do_not_block_the_room(self, held) -> None:
        """The first to begin comes to its end; the last to begin is sent away and may send again."""
        room = Room(most_bytes=300 * KB)
        async with listening(held, room=room) as port:
            wires = []
            for number in range(5):
                wire = await port.wire()
                wires.append(wire)
                before = room.partial_bytes
                await wire.raw(b"\x0b%d" % number + b"x" * 59 * KB)
                await until(lambda before=before: room.partial_bytes >= before + 59 * KB)
            await wires[0].raw(b"x" * 59 * KB)
            assert await wires[4].rest() == b""
            assert port.meter.events("crowded") == 1
            for number, wire in enumerate(wires[:4]):
                await wire.raw(b"\x1c\r")
                await until(lambda number=number: len(held.taken) == number + 1)
                held.answer(number)
                assert (await wire.answer())[:1] == b"%d" % number
            assert room.in_hand_bytes == 0 and room.partial_bytes == 0

    async def test_what_a_connection_held_is_free_when_it_is_gone(self, held) -> None:
        room = Room(most_bytes=1000 * KB)
        async with listening(held, room=room) as port:
            for how in ("reset", "close", "abort"):
                wire = await port.wire()
                await wire.raw(block(b"x" * 1000) + b"\x0b" + b"y" * 1000)
                await until(lambda: room.partial_bytes >= 1000 and room.in_hand_bytes == 1000)
                if how == "abort":
                    held.replies[-1].drop()
                else:
                    getattr(wire, how)()
                await until(lambda: room.partial_bytes == 0)
                held.answer_all()
                await until(lambda: room.in_hand_bytes == 0)
            await until(lambda: port.listener.connection_count == 0)

    async def test_a_defect_does_not_fill_the_room(self) -> None:
        intake = HeldIntake()
        room = Room(most_bytes=10 * KB)
        async with listening(intake, room=room) as port:
            intake.defect = KeyError("a defect")
            for _ in range(20):
                wire = await port.wire()
                await wire.raw(block(b"x" * KB) * 3)
                assert await wire.rest() == b""
            assert room.in_hand_bytes == 0
            intake.defect = None
            wire = await port.wire()
            await wire.send(b"a")
            assert await wire.answer() == b"a"


class Guest:
    """An occupant of which only the numbers are real."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.partial_bytes = 0
        self.mid_block_since = 0.0
        self.in_hand = 0
        self.holds = 0
        self.is_gone = False

    def hold(self) -> None:
        self.holds += 1

    def let_go(self) -> None:
        assert self.holds > 0
        self.holds -= 1

    def crowded_out(self) -> None:
        self.go()

    def read(self, partial: int, whole: int, now: float) -> None:
        self.room.in_hand_bytes += whole
        self.in_hand += whole
        if not self.partial_bytes or whole:
            self.mid_block_since = now
        self.room.partial_bytes += partial - self.partial_bytes
        self.partial_bytes = partial
        self.room.look()

    def answered(self) -> None:
        self.room.in_hand_bytes -= self.in_hand
        self.in_hand = 0
        self.room.look()

    def go(self) -> None:
        self.is_gone = True
        self.room.partial_bytes -= self.partial_bytes
        self.partial_bytes = 0
        self.room.leave(self)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from(["read", "answered", "go"]), st.integers(0, 60), st.integers(0, 60)
        ),
        max_size=60,
    )
)
def test_the_doors_agree_with_what_is_inside(actions: list[tuple[int, str, int, int]]) -> None:
    room = Room(most_bytes=100)
    guests = [Guest(room) for _ in range(6)]
    for guest in guests:
        assert room.admit(guest)
    for now, (who, action, partial, whole) in enumerate(actions, 1):
        guest = guests[who]
        if action == "read" and not guest.holds and not guest.is_gone:
            guest.read(partial, whole, float(now))
        elif action == "answered":
            guest.answered()
        elif action == "go" and not guest.is_gone:
            guest.go()
        there = [guest for guest in guests if not guest.is_gone]
        assert all(guest.holds == int(room.is_full) for guest in there)
        assert room.partial_bytes == sum(guest.partial_bytes for guest in guests)
        if room.is_full:
            assert room.in_hand_bytes > 0, "nobody would ever be read from again"
        else:
            assert room.in_hand_bytes + room.partial_bytes <= 100
