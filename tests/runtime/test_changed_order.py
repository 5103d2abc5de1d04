"""A destination whose `order_by` changes: whatever is stored meanwhile keeps its place among its patient's messages."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from engine import lane_restarts
from engine.assembly import Assembly
from engine.exit_codes import CONFIGURATION
from engine.failures import EngineFailed
from engine.model.ids import DestinationName, MessageSeq
from engine.model.outcome import Delivered, Refused, Unanswered
from engine.ports.control import By, Order
from engine.runtime.lane import Lane
from tests.runtime.engines import MEMORY, SiteUnderTest, channel, msa
from tests.runtime.parts import until
from tests.runtime.test_isolation import poisoned
from tests.runtime.test_lanes import a01

LANE = "adt/out"
RETRY = "retry: {first: 20ms, most: 50ms}"
BY_PATIENT = f"{{out: {{kept: {{}}, order_by: PID-3.1, {RETRY}}}}}"
BY_CLASS = f"{{out: {{kept: {{}}, order_by: PV1-2, {RETRY}}}}}"
IN_ONE = f"{{out: {{kept: {{}}, {RETRY}}}}}"
SILENT = Unanswered("silence")


def site_of(tmp_path: Path, destinations: str, **more: str) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel(destinations=destinations, **more)}, MEMORY)


async def turn_to(site: SiteUnderTest, destinations: str, **more: str) -> None:
    write(site, destinations, **more)
    assert (await site.engine.control.reload()).outcome == "taken"


def write(site: SiteUnderTest, destinations: str, **more: str) -> None:
    (site.folder / "channels/adt/channel.yaml").write_text(channel(destinations=destinations, **more))


async def turn_while(
    monkeypatch: pytest.MonkeyPatch, site: SiteUnderTest, destinations: str, happens: Callable[[Lane], Awaitable[None]]
) -> None:
    """As `turn_to`; `happens` to the lane that is there once its order has ended, and before the files are in force."""
    order_ends = Assembly.order_ends

    async def and_it_happens(self: Assembly, lane: Lane, order: str) -> None:
        await order_ends(self, lane, order)
        await happens(lane)

    with monkeypatch.context() as patched:
        patched.setattr(Assembly, "order_ends", and_it_happens)
        await turn_to(site, destinations)


def orders_told(monkeypatch: pytest.MonkeyPatch, site: SiteUnderTest) -> list[str]:
    """What the store hears of the order of lanes from now on."""
    told: list[str] = []
    lane_window = site.store.lane_window

    def telling(channel: str, destination: str, window: int, order_by: str = "") -> int:
        told.append(order_by)
        return lane_window(channel, destination, window, order_by)

    monkeypatch.setattr(site.store, "lane_window", telling)
    return told


async def send(site: SiteUnderTest, *sent: tuple[str, str]) -> None:
    """Messages by control id and patient; each is answered once it is stored."""
    wire = await site.wire()
    for control_id, patient in sent:
        await wire.send(a01(control_id, patient))
        assert msa(await wire.answer())[0] == "AA"


def got(site: SiteUnderTest, lane: str = LANE) -> list[str]:
    return [body.split(b"|")[9].decode() for body in site.kept.bodies(lane)]


def key(site: SiteUnderTest, seq: int) -> str | None:
    """Of the last delivery of a message."""
    return site.store.queries().deliveries(MessageSeq(seq))[-1].key


class TestTheEngineDiesBeforeTheOtherLaneHasTakenOver:
    """What was stored by the other files has their key, or none; the files of before are in force again."""

    @pytest.mark.parametrize("other", [IN_ONE, BY_CLASS])
    async def test_a_patients_messages_stay_in_order(self, tmp_path, other: str) -> None:
        site = site_of(tmp_path, BY_PATIENT)
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running(stop=False):
            await send(site, ("A1", "P"))
            await until(lambda: sink.calls)
            await turn_to(site, other)
            await send(site, ("A2", "P"))
        write(site, BY_PATIENT)
        sink.calls.clear()
        sink.script[:] = [SILENT]
        sink.gate.set()
        async with site.running():
            await send(site, ("A3", "P"))
            await until(lambda: site.delivery_states() == ["delivered"] * 3)
        assert got(site) == ["A1", "A1", "A2", "A3"]

    async def test_files_that_were_in_force_for_a_moment_only_change_nothing_of_it(self, tmp_path) -> None:
        """Twice exchanged while one attempt is in hand: the lane between has never begun."""
        site = site_of(tmp_path, BY_PATIENT)
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running():
            await send(site, ("A1", "P"))
            await until(lambda: sink.calls)
            await turn_to(site, BY_CLASS)
            await send(site, ("A2", "P"))
            await turn_to(site, BY_PATIENT)
            await send(site, ("A3", "P"), ("B1", "Q"))
            sink.script[:] = [Delivered(), SILENT]
            sink.gate.set()
            await until(lambda: site.delivery_states() == ["delivered"] * 4)
        assert got(site)[:4] == ["A1", "A2", "A2", "A3"]

    async def test_the_store_never_hears_of_an_order_that_is_not_in_force_any_more(self, tmp_path, monkeypatch) -> None:
        """Else an end of the engine right then would leave what the last files stored under that order."""
        site = site_of(tmp_path, IN_ONE)
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running():
            await send(site, ("A1", "P"))
            await until(lambda: sink.calls)
            told = orders_told(monkeypatch, site)
            await turn_to(site, BY_PATIENT)
            await turn_to(site, BY_CLASS)
            sink.gate.set()
            await send(site, ("A2", "P"))
            await until(lambda: site.delivery_states() == ["delivered"] * 2)
        assert told == ["PID-3.1 (ended 1)", "PV1-2"]


class TestALaneThatOpensBetweenTwoReloads:
    async def test_what_is_stored_before_its_files_come_back_keeps_its_place(self, tmp_path, monkeypatch) -> None:
        """Other files are read, and then it opens, before those are in force: the order that it tells of has ended."""
        site = site_of(tmp_path, IN_ONE)
        sink = site.kept.sinks[LANE]
        sink.gate.clear()

        async def it_opens(lane: Lane) -> None:
            if lane.settings.is_keyed:
                sink.gate.set()
                await until(lambda: lane.predecessor is None and "A1" in got(site))
                sink.gate.clear()
                await send(site, ("A2", "P"))
                await until(lambda: len(sink.calls) == 2)

        async with site.running():
            await send(site, ("A1", "P"))
            await until(lambda: sink.calls)
            await turn_to(site, BY_PATIENT)
            await turn_while(monkeypatch, site, IN_ONE, it_opens)
            await send(site, ("A3", "P"))
            await turn_to(site, BY_PATIENT)
            await send(site, ("A4", "P"))
            sink.script[:] = [Delivered(), SILENT]
            sink.gate.set()
            await until(lambda: site.delivery_states() == ["delivered"] * 4)
        assert got(site) == ["A1", "A2", "A3", "A3", "A4"]


class TestALaneThatIsStartedAgainWhileOtherFilesAreRead:
    async def test_what_those_files_store_is_of_another_order_to_the_next_run(self, tmp_path, monkeypatch) -> None:
        """It died, and the one in its place opens before they are in force: the order that it tells of has ended."""
        monkeypatch.setattr(lane_restarts, "WAITS_S", (0.01,))
        site = site_of(tmp_path, BY_PATIENT)
        sink = site.kept.sinks[LANE]
        sink.gate.clear()

        async def it_is_started_again(lane: Lane) -> None:
            sink.gate.set()
            await until(lambda: lane.has_failed)
            sink.gate.clear()
            await until(lambda: len(sink.calls) == 2)

        async with site.running(stop=False):
            await send(site, ("A1", "P"))
            await until(lambda: sink.calls)
            poisoned(monkeypatch, b"A1", 1)
            await turn_while(monkeypatch, site, BY_CLASS, it_is_started_again)
            await send(site, ("A2", "P"))
        write(site, BY_PATIENT)
        sink.calls.clear()
        sink.script[:] = [Delivered(), SILENT]
        async with site.running():
            await send(site, ("A3", "P"))
            sink.gate.set()
            await until(lambda: site.delivery_states() == ["delivered"] * 3)
        assert got(site) == ["A1", "A2", "A2", "A3"]


class TestFilesThatAreRejectedTimeAndAgain:
    async def test_the_order_that_has_ended_is_told_of_as_briefly_each_time(self, tmp_path, monkeypatch) -> None:
        site = site_of(tmp_path, BY_PATIENT)

        async def refused(*_: object) -> None:
            raise EngineFailed("their own code does not load", CONFIGURATION)

        async with site.running() as engine:
            told = orders_told(monkeypatch, site)
            monkeypatch.setattr(Assembly, "start_workers", refused)
            for destinations in (BY_CLASS, IN_ONE, BY_CLASS):
                write(site, destinations)
                assert (await engine.control.reload()).outcome == "rejected"
        assert len(set(told)) == 3
        assert [text.rpartition(" ")[0] for text in told] == ["PID-3.1 (ended"] * 3


class TestTheKeyOfTheOrderThatIsKept:
    async def test_what_a_person_sends_again_has_it(self, tmp_path) -> None:
        site = site_of(tmp_path, IN_ONE)
        async with site.running():
            await send(site, ("A1", "P"))
            await until(lambda: site.delivery_states() == ["delivered"])
            await turn_to(site, BY_PATIENT)
            for destinations in (None, [DestinationName("out")]):
                await site.engine.control.resend([MessageSeq(1)], destinations)
                assert key(site, 1) == "P"
            await turn_to(site, BY_CLASS)
            await site.engine.control.resend([MessageSeq(1)], None)
            assert key(site, 1) == ""

    async def test_what_no_key_can_be_read_off_keeps_the_one_it_was_stored_with(self, tmp_path) -> None:
        site = site_of(tmp_path, "{out: {file: {folder: out}, format: json, order_by: PID-3.1}}")
        async with site.running():
            await send(site, ("A1", "P"))
            assert key(site, 1) == "P"
            await site.engine.control.resend([MessageSeq(1)], None)
            queries = site.store.queries()
            first, again = queries.deliveries(MessageSeq(1), bodies=True)
            assert (again.key, again.body) == ("P", first.body) and again.body.startswith(b"{")

    async def test_what_is_processed_again_as_before_has_it(self, tmp_path) -> None:
        site = site_of(tmp_path, IN_ONE)
        async with site.running():
            await send(site, ("A1", "P"))
            await until(lambda: site.delivery_states() == ["delivered"])
            version = site.messages()[0].version
            await turn_to(site, BY_PATIENT)
            order = Order("reprocess", By(), messages=[MessageSeq(1)], as_of=version)
            assert (await site.engine.control.operate(order)).messages == 1
            assert key(site, 1) == "P"

    async def test_what_an_attempt_by_the_files_before_sends_on_has_it(self, tmp_path) -> None:
        def two(order: str) -> str:
            return f"{{out: {{kept: {{}}, on_refused: redirect(other)}}, other: {{kept: {{}}, {order} {RETRY}}}}}"

        site = site_of(tmp_path, two(""))
        sink = site.kept.sinks[LANE]
        sink.gate.clear()
        async with site.running():
            await send(site, ("A1", "P"))
            await until(lambda: sink.calls)
            await turn_to(site, two("order_by: PID-3.1,"))
            sink.script[:] = [Refused("AE", "101")]
            sink.gate.set()
            await until(lambda: "redirected" in site.delivery_states())
            assert key(site, 1) == "P"
            await until(lambda: got(site, "adt/other") == ["A1"])
