"""A wall clock that jumps by years, to and fro, and over the end of summer time, under load (reliability.md R13, E3).

The engine's process sees libfaketime's clock, its peers and this test the machine's own.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.adapters.control_client import ControlClient
from engine.testing.peers import ReceivingPeer
from tests.faults.ledger import Ledger, needs
from tests.faults.load import END, message
from tests.faults.outside import Outside

CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
duplicates: {{window: 7d}}
retention: {{bodies: 1d, messages: 8d}}
routes:
  - to: receiver
  - to: refuser
    when: MSH-10 in ["S0N3"]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {receiver}}}
    retry: {{first: 20ms, most: 50ms}}
  refuser:
    mllp: {{host: 127.0.0.1, port: {{refuser}}}}
    on_rejected: retry
    retry: {{first: 1s, most: 10m, jitter: 0%}}
"""
PLACES = [
    Path(folder, "faketime", "libfaketimeMT.so.1")
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/lib64")
]
DAY_S = 86_400
FAR_S = 400 * DAY_S
SUMMER_TIME_ENDS = datetime(2026, 10, 25, 0, 59, 58, tzinfo=UTC)
"""Two seconds later it is two o'clock for the second time in Berlin."""
DUE_S = 1 + 2 + 4
"""The fourth attempt at what is refused comes after waits of 1, 2 and 4 seconds."""


class Clock:
    """The engine's wall clock, by libfaketime; `set` takes seconds ahead of the true one."""

    def __init__(self, folder: Path) -> None:
        library = next((place for place in PLACES if place.is_file()), None)
        needs("R13", library is not None, "libfaketime is not installed")
        self._file = folder / "clock"
        self.jumps = -1
        self.set(0)
        self.under = (
            "env",
            f"LD_PRELOAD={library}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "FAKETIME_NO_CACHE=1",
            # Its guess at the conditions of glibc makes each hand-over of the interpreter's lock take an age.
            "FAKETIME_FORCE_MONOTONIC_FIX=0",
            "NO_FAKE_STAT=1",
            "TZ=Europe/Berlin",
        )

    def set(self, ahead_s: float) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{ahead_s:+.0f}\n")
        draft.replace(self._file)
        self.jumps += 1

    def to(self, moment: datetime) -> None:
        self.set(moment.timestamp() - time.time())


@dataclass
class Seen:
    """What came of a run."""

    jumps: int = 0
    acknowledged: int = 0
    fourth_attempt_after_s: float = 0.0
    lost: int = 0
    forgotten: int = 0
    resends_recognised: list[bool] = field(default_factory=list)
    years_of_receipt: int = 0
    passes: int = 0
    """Of retention over all that had come by whatever clock, after somebody said that this one is right."""


async def jumping(folder: Path, *words: str) -> Seen:
    """A sender, a receiver, one that refuses, and an engine whose clock jumps every so many answers."""
    seen = Seen()
    tried: list[float] = []
    async with (
        ReceivingPeer("AR", on_message=lambda *_: tried.append(time.monotonic())) as refuser,
        Outside(folder, CHANNEL.replace("{{refuser}}", str(refuser.address[1])), senders=1) as site,
    ):
        clock = Clock(folder)
        site.write_site()
        await site.run("soon-forgetting", *words, under=clock.under, script="tests.faults.changed_engine")
        site.send()
        await site.until(lambda: len(site.acknowledged) > 20 and bool(tried))
        for ahead_s in (FAR_S, -FAR_S, 0, 3600, -3600, 0, -FAR_S, FAR_S, FAR_S + 2, FAR_S - 2, 0):
            clock.set(ahead_s)
            count = len(site.acknowledged)
            await site.until(lambda count=count: len(site.acknowledged) > count + 15)
            if not ahead_s:
                seen.passes += await _confirmed(site)
        clock.to(SUMMER_TIME_ENDS)
        count, began = len(site.acknowledged), time.monotonic()
        await site.until(lambda: len(site.acknowledged) > count + 20 and time.monotonic() - began > 3)
        await site.until_delivered()
        clock.set(FAR_S)
        await site.until(lambda: len(tried) >= 4, 40.0)
        seen.fourth_attempt_after_s = tried[3] - tried[0]
        site.judge()
        for ahead_s in (0, -FAR_S, FAR_S):
            clock.set(ahead_s)
            before = site.rows("SELECT count(*) FROM message")
            assert await _again(site, "S0N5") == "AA"
            seen.resends_recognised.append(site.rows("SELECT count(*) FROM message") == before)
        clock.set(0)
        while (await site.status())["lanes"][0]["queued"]:
            await asyncio.sleep(0.05)
        await site.end()
        seen.jumps = clock.jumps
        seen.acknowledged = len(set(site.acknowledged))
        seen.lost = len(set(site.acknowledged) - set(site.delivered()))
        kept = site.rows("SELECT count(DISTINCT control_id) FROM message m JOIN body b ON b.id = m.body")[0][0]
        seen.forgotten = seen.acknowledged - kept
        years = "SELECT count(DISTINCT received_at_us / 31557600000000) FROM message"
        seen.years_of_receipt = site.rows(years)[0][0]
    return seen


async def set_back(folder: Path, *words: str) -> None:
    """The clock is set back when the first attempt has been made, and stays there; ends when the second has."""
    tried: list[float] = []
    folder.mkdir()
    text = CHANNEL.replace("first: 1s", "first: 5s")
    async with (
        ReceivingPeer("AR", on_message=lambda *_: tried.append(time.monotonic())) as refuser,
        Outside(folder, text.replace("{{refuser}}", str(refuser.address[1])), senders=1) as site,
    ):
        clock = Clock(folder)
        site.write_site()
        await site.run(*words, under=clock.under, script="tests.faults.changed_engine")
        site.send()
        # By then the time of the second has been worked out.
        await site.until(lambda: site.rows("SELECT 1 FROM delivery WHERE next_at_us > 0") != [])
        clock.set(-FAR_S)
        await site.until(lambda: len(tried) >= 2, 20.0)
        assert tried[1] - tried[0] >= 4.5, "early"


async def _confirmed(site: Outside) -> int:
    """Say that the clock is right, and wait until retention has been over everything by it."""
    client = ControlClient(site.folder / "data")
    before = (await asyncio.to_thread(client.post, "/v1/retention", {}))["last_pass_us"]
    while (await asyncio.to_thread(client.get, "/v1/retention"))["last_pass_us"] == before:
        await asyncio.sleep(0.01)
    return 1


async def _again(site: Outside, control_id: str) -> str:
    """Send a message once more, as it was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    try:
        writer.write(b"\x0b" + message(control_id, site.size) + END)
        answer = await asyncio.wait_for(reader.readuntil(END), 30)
        return answer.split(b"MSA|")[1][:2].decode()
    finally:
        writer.close()


@pytest.mark.timeout(120)
async def test_R13_a_clock_that_jumps_hastens_nothing_delays_nothing_and_forgets_nothing(
    tmp_path: Path, ledger: Ledger
) -> None:
    seen = await jumping(tmp_path)
    ledger.write(
        "R13",
        "wall clock +-400 d, +-1 h, end of summer time",
        jumps=seen.jumps,
        acknowledged=seen.acknowledged,
        lost=seen.lost,
        forgotten=seen.forgotten,
        fourth_attempt_due_after_seconds=DUE_S,
        came_after_seconds=seen.fourth_attempt_after_s,
    )
    assert seen.years_of_receipt >= 2, "the clock did not jump for the engine"
    assert seen.passes == 3
    assert seen.lost == 0 and seen.forgotten == 0
    assert seen.fourth_attempt_after_s >= 0.9 * DUE_S, "early"
    # A resend is recognised by the clock: where that says that more than the window has gone by, it is a new message.
    assert seen.resends_recognised == [True, True, False]


@pytest.mark.timeout(120)
async def test_R13_the_rig_finds_an_engine_that_forgets_by_any_clock(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"^(forgotten|acknowledged and not delivered)"):
        seen = await jumping(tmp_path, "trusts-any-clock")
        assert seen.forgotten == 0, "forgotten"


@pytest.mark.fault
@pytest.mark.timeout(120)
async def test_R13_the_rig_finds_an_engine_whose_waits_go_by_the_wall_clock(tmp_path: Path) -> None:
    await set_back(tmp_path / "as-it-is")
    with pytest.raises(TimeoutError):
        await set_back(tmp_path / "changed", "waits-by-the-wall-clock")
