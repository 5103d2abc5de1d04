"""The loop of the simulation is one: what asyncio promises holds in it, and what it draws is the same each time."""

import asyncio
from random import Random

import pytest

from tests.simulation.loop import Clock, Killed, Loop, Process, Stuck
from tests.simulation.network import Network, Weather


def finished(loop: Loop, process: Process, work) -> object:
    task = loop.spawn(process, work, "work")
    loop.run_while(lambda: not task.done(), 10_000)
    return task.result()


class TestLoop:
    def test_callbacks_of_a_process_run_in_the_order_they_were_asked_for(self) -> None:
        loop, process, seen = Loop(Random(1)), Process("p"), []

        async def work() -> None:
            for number in range(50):
                loop.call_soon(seen.append, number)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        finished(loop, process, work())
        assert seen == list(range(50))

    def test_which_process_runs_next_is_drawn(self) -> None:
        def order(seed: int) -> str:
            loop, seen = Loop(Random(seed)), []

            async def work(name: str) -> None:
                for _ in range(6):
                    seen.append(name)
                    await asyncio.sleep(0)

            tasks = [loop.spawn(Process(name), work(name), name) for name in "abc"]
            loop.run_while(lambda: not all(task.done() for task in tasks), 10_000)
            return "".join(seen)

        assert len({order(seed) for seed in range(20)}) > 15
        assert order(3) == order(3)

    def test_time_passes_only_for_those_who_wait(self) -> None:
        loop = Loop(Random(1))

        async def work() -> float:
            before = loop.time()
            await asyncio.sleep(3600)
            return loop.time() - before

        assert 3600 <= finished(loop, Process("p"), work()) < 3600.001

    def test_a_timer_never_fires_before_its_time(self) -> None:
        loop, process = Loop(Random(1)), Process("p")

        async def work() -> None:
            for number in range(1, 400):
                when = loop.time() + number / 7 / 1e6
                fired = loop.create_future()
                loop.call_at(when, lambda fired=fired: fired.set_result(loop.time()))
                assert await fired >= when

        finished(loop, process, work())

    def test_time_outs_events_and_threads_are_asyncios_own(self) -> None:
        loop, process = Loop(Random(1)), Process("p")

        async def work() -> list[object]:
            found: list[object] = []
            event = asyncio.Event()
            loop.call_later(2, event.set)
            try:
                async with asyncio.timeout(1):
                    await event.wait()
            except TimeoutError:
                found.append("time-out")
            async with asyncio.timeout(5):
                await event.wait()
            found.append(await asyncio.to_thread(lambda: 6 * 7))
            with pytest.raises(ZeroDivisionError):
                await asyncio.to_thread(lambda: 1 / 0)
            return found

        assert finished(loop, process, work()) == ["time-out", 42]

    def test_a_killed_process_runs_nothing_any_more(self) -> None:
        loop, seen = Loop(Random(1)), []
        process, world = Process("p"), Process("w")

        async def work() -> None:
            try:
                while True:
                    seen.append("step")
                    await asyncio.sleep(0.001)
            finally:
                await asyncio.sleep(0)
                seen.append("end")

        async def watch() -> None:
            await asyncio.sleep(1)

        process.left = 7
        loop.spawn(process, work(), "work")
        finished(loop, world, watch())
        assert process.is_dead and process.was_killed
        assert seen == ["step"] * len(seen) and 0 < len(seen) <= 7

    def test_a_process_can_end_inside_a_call(self) -> None:
        loop, seen = Loop(Random(1)), []
        process, world = Process("p"), Process("w")

        async def work() -> None:
            seen.append("before")
            loop.kill_here(process)
            raise Killed

        async def watch() -> None:
            await asyncio.sleep(1)

        loop.spawn(process, work(), "work")
        finished(loop, world, watch())
        assert seen == ["before"] and process.is_dead and loop.defects == []

    def test_nothing_left_to_happen_is_told(self) -> None:
        loop = Loop(Random(1))
        with pytest.raises(Stuck):
            finished(loop, Process("p"), asyncio.Event().wait())

    def test_a_callback_that_raises_is_a_defect(self) -> None:
        loop, process = Loop(Random(1)), Process("p")

        async def work() -> None:
            loop.call_soon(lambda: 1 / 0)
            await asyncio.sleep(1)

        finished(loop, process, work())
        assert len(loop.defects) == 1 and "ZeroDivisionError" in loop.defects[0]

    def test_the_clock_is_the_loops(self) -> None:
        loop = Loop(Random(1))
        clock = Clock(loop, Random(2))
        before = clock.now_us(), clock.monotonic()
        loop.advance(1_500_000)
        assert (clock.now_us() - before[0], clock.monotonic() - before[1]) == (1_500_000, 1.5)
        assert clock.random_bytes(4) == Clock(loop, Random(2)).random_bytes(4)


class Peer(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = bytearray()
        self.ends: list[str] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.ends.append("end")
        return False

    def connection_lost(self, error) -> None:
        self.ends.append(type(error).__name__ if error else "closed")


class TestNetwork:
    def _connected(self, weather: Weather, seed: int = 1):
        loop = Loop(Random(seed))
        network = Network(loop, Random(seed), weather)
        server, client = Process("server"), Process("client")
        made: list[Peer] = []

        def factory() -> Peer:
            made.append(Peer())
            return made[-1]

        network.listen(server, "there", 1, factory)

        async def work():
            _, near = await network.connect(client, Peer, "there", 1)
            await asyncio.sleep(0.1)
            return near

        return loop, network, client, server, finished(loop, client, work()), made[0]

    @pytest.mark.parametrize("seed", range(5))
    def test_bytes_come_in_order_however_they_are_cut(self, seed: int) -> None:
        loop, _, client, _, near, far = self._connected(Weather(cuts=0.8, window=50), seed)
        sent = bytes(range(256)) * 4

        async def work() -> None:
            for at in range(0, len(sent), 100):
                near.transport.write(sent[at : at + 100])
            near.transport.close()
            await asyncio.sleep(2)

        finished(loop, client, work())
        assert far.got == sent
        assert far.ends == ["end", "closed"] and near.ends == ["closed"]

    def test_a_peer_that_does_not_read_fills_the_window(self) -> None:
        loop, _, client, _, near, far = self._connected(Weather(window=50))
        far.transport.pause_reading()
        near.transport.set_write_buffer_limits(high=1, low=0)
        paused: list[str] = []
        near.pause_writing = lambda: paused.append("paused")
        near.resume_writing = lambda: paused.append("resumed")

        async def work() -> None:
            near.transport.write(b"x" * 120)
            await asyncio.sleep(1)
            assert paused == ["paused"] and near.transport.get_write_buffer_size() == 70
            far.transport.process.context.copy().run(far.transport.resume_reading)
            await asyncio.sleep(1)

        finished(loop, client, work())
        assert paused == ["paused", "resumed"] and far.got == b"x" * 120

    def test_a_close_on_unread_bytes_resets(self) -> None:
        loop, _, client, _, near, far = self._connected(Weather())
        far.transport.pause_reading()

        async def work() -> None:
            near.transport.write(b"x" * 10)
            await asyncio.sleep(1)
            far.transport.process.context.copy().run(far.transport.close)
            await asyncio.sleep(1)

        finished(loop, client, work())
        assert near.ends == ["ConnectionResetError"]

    def test_a_dead_process_leaves_closed_connections_and_no_port(self) -> None:
        loop, network, client, server, near, _ = self._connected(Weather(resets=0.0))
        loop.on_killed = network.killed

        async def work() -> None:
            loop.kill(server)
            await asyncio.sleep(1)
            with pytest.raises(ConnectionRefusedError):
                await network.connect(client, Peer, "there", 1)

        finished(loop, client, work())
        assert near.ends == ["end", "closed"]
