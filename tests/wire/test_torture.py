"""The torture table against the engine: each row's answers, what is stored and what is delivered."""

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hl7.client import MLLPClient
from hl7.mllp import start_hl7_server

from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.app import Engine, load
from engine.model.finding import load_findings
from engine.ports.store import Store, StoredMessage
from engine.testing import messages
from engine.testing.peers import ReceivingPeer
from engine.testing.sites import make_site
from engine.testing.torture.judge import judge
from engine.testing.torture.row import Row
from engine.testing.torture.rows import ROWS
from engine.testing.torture.run import Receiver, run_row, run_rows
from engine.testing.torture.senders import SENDER_ROWS, SenderVerdict, SenderWatch
from engine.testing.torture.site import channels
from tests.ports import free_port

TAG = b"00001"
MEMORY = "admin: off\nstore: 'memory:'\n"


class ObservedEngine(Engine):
    """An engine whose store can be looked into."""

    kept: Store

    def _make_store(self) -> Store:
        self.kept = super()._make_store()
        return self.kept

    def messages(self) -> list[StoredMessage]:
        return list(self.kept.queries().messages(newest_first=False, bodies=True))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_row_is_answered_stored_and_delivered_as_the_table_says(
    row: Row, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tagged = row.tagged(TAG)
    async with ReceivingPeer() as receiver:
        site = make_site(tmp_path / "site", channels(receiver.address, free_port()), MEMORY)
        engine = ObservedEngine(load(site, {}))
        await engine.start()
        try:
            with caplog.at_level(logging.ERROR):
                got = await run_row(tagged, Receiver(*engine.addresses["z-all"], patience_s=10, quiet_s=10))
            await receiver.until_received(len(tagged.delivered), 10)
            found = engine.messages()
        finally:
            await engine.stop(deadline_s=5)
    judged = judge(tagged, got)
    assert judged.verdict == "standard", f"{judged.verdict}: {judged.why}; {got}"
    ours = tagged.outcomes[0]
    assert len(got.said) == len(ours.answers)
    for said, due in zip(got.said, ours.answers, strict=True):
        assert said.fits(due)
        assert not said.lacks(due)
        # Its own time, with the offset (item 31), and its own id, never the same twice (item 25).
        assert re.fullmatch(rb"20\d{12}[+-]\d{4}", said.msh[7])
    assert len({said.msh[10] for said in got.said}) == len(got.said) or row.name.startswith("resend")
    assert got.closed == ours.closes
    assert [(m.state, tuple(f.code for f in load_findings(m.findings))) for m in found] == [
        (kept.state, kept.findings) for kept in tagged.stored
    ]
    for message, kept in zip(found, tagged.stored, strict=True):
        assert kept.raw is None or message.raw == kept.raw
    assert receiver.received == list(tagged.delivered)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []


def test_every_row_has_a_name_and_control_ids_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) > 120
    ids: dict[bytes, str] = {}
    for row in ROWS:
        for due in row.outcomes[0].answers:
            if due.control_id:
                assert ids.setdefault(due.control_id, row.name) == row.name
                assert TAG not in due.control_id, "the run's mark is put in when it runs"


# -- other people's peers ---------------------------------------------------------------------------


HANGING = frozenset({"lf-for-cr", "cr-never-comes"})
"""Rows in which python-hl7 never answers."""


async def verdicts_of_python_hl7(rows: Sequence[Row], encoding: str | None) -> dict[str, str]:
    """python-hl7's asyncio server as its documentation shows it, answering with its own `create_ack`."""

    async def serve(reader: Any, writer: Any) -> None:
        try:
            while True:
                message = await reader.readmessage()
                writer.writemessage(message.create_ack())
                await writer.drain()
        except Exception:
            pass  # what its documentation says to do: the connection ends
        finally:
            writer.close()

    server = await start_hl7_server(serve, "127.0.0.1", 0, encoding=encoding)
    try:
        receiver = Receiver(*server.sockets[0].getsockname()[:2], patience_s=0.5, quiet_s=20.0)
        found = {row.name: judged.verdict async for row, _, judged in run_rows(rows, receiver, TAG)}
        # That short patience is for the rows that hang; on a busy machine others can seem to, or cannot be connected.
        doubtful = [row for row in rows if found[row.name] in ("silent", "closed") and row.name not in HANGING]
        patient = replace(receiver, patience_s=20.0)
        return found | {row.name: judged.verdict async for row, _, judged in run_rows(doubtful, patient, TAG)}
    finally:
        server.close()


async def test_it_sees_what_python_hl7s_server_loses_merges_and_garbles() -> None:
    found = await verdicts_of_python_hl7(ROWS, "utf-8")
    # Two messages are accepted as one: the second patient's segments are inside the first one's message.
    assert {name for name, verdict in found.items() if verdict == "merged"} == {
        "cr-left-out",
        "batch",
        "two-in-a-block",
    }
    # An FS in the data, and what stands behind it: accepted although it is no whole message.
    assert found["end-inside"] == "accepted"
    # Half a message and the next one in one: its answer cannot even be framed.
    assert found["start-inside"] == "outside"
    # It never reads MSH-15 and MSH-16.
    assert {found[name] for name in ("wishes-ne-ne", "wishes-er-er", "silence-then-answer")} == {"unasked"}
    assert found["wishes-al-al"] == "tolerated"
    # Its sender waits for ever, or can never get past the message.
    assert {found[name] for name in ("lf-for-cr", "cr-never-comes")} == {"silent"}
    closed = {name for name, verdict in found.items() if verdict == "closed"}
    assert {
        "line-feed-between",
        "zeros-between",
        "empty-blocks",
        "large",
        "byte-order-mark",
        "blank-lines-between",
        "type-without-event",
        "version-none",
        "charset-latin1",
    } <= closed
    # And what is plain goes well.
    plain = (
        "one-block",
        "one-byte-reads",
        "ten-pipelined",
        "cut-across-blocks",
        "resend",
        "z-segments",
        "charset-utf8",
    )
    assert {found[name] for name in plain} == {"standard"}


async def test_its_default_encoding_stops_at_the_first_umlaut() -> None:
    rows = [row for row in ROWS if row.name == "charset-utf8"]
    assert await verdicts_of_python_hl7(rows, None) == {"charset-utf8": "closed"}


# -- senders ----------------------------------------------------------------------------------------

SENDING = """
listen: {mllp: {port: 0}}
accept: [ADT^*]
routes: [{to: out}]
destinations:
  out:
    mllp: {host: 127.0.0.1, port: PORT, ack_timeout: 400ms}
    retry: {first: 20ms, most: 50ms}
"""


async def test_our_own_deliveries_lose_and_repeat_nothing_whatever_the_receiver_answers(tmp_path: Path, adt) -> None:
    found: dict[str, SenderVerdict] = {}
    watch = SenderWatch(SENDER_ROWS, lambda row, did, verdict: found.update({row.kind: verdict}))
    async with ReceivingPeer(*watch.script, on_message=watch.received) as peer:
        site = make_site(tmp_path / "site", {"adt": SENDING.replace("PORT", str(peer.address[1]))}, MEMORY)
        engine = Engine(load(site, {}))
        await engine.start()
        try:
            messages = [adt(control_id=f"T{number}") for number in range(2 * len(SENDER_ROWS))]
            await Sender(Target(*engine.addresses["adt"]), messages).run()
            await peer.until(lambda: watch.is_done, 60)
        finally:
            await engine.stop(deadline_s=2)
    assert set(found) == {row.kind for row in SENDER_ROWS}
    assert set(found.values()) <= {"standard", "tolerated"}
    strict = {row.kind for row in SENDER_ROWS if row.is_strict}
    assert {found[kind] for kind in strict} == {"standard"}


async def test_it_sees_that_python_hl7s_plain_client_takes_anything_for_an_answer() -> None:
    rows = [
        row for row in SENDER_ROWS if row.kind in ("AA", "split", "garbage", "text", "wrong-id", "half-ack", "none")
    ]
    found: dict[str, SenderVerdict] = {}
    watch = SenderWatch(rows, lambda row, did, verdict: found.update({row.kind: verdict}))

    def send(address: tuple[str, int]) -> None:
        """Each message again until its `send` returns something, as a program that uses it would."""
        numbers = iter(range(100))
        number = next(numbers)
        while not watch.is_done:
            try:
                with MLLPClient(*address) as client:
                    client.socket.settimeout(0.5)
                    while not watch.is_done:
                        if not client.send_message(messages.adt(control_id=f"T{number}")):
                            raise ConnectionError
                        number = next(numbers)
            except OSError:
                continue

    async with ReceivingPeer(*watch.script, on_message=watch.received) as peer:
        await asyncio.wait_for(asyncio.to_thread(send, peer.address), 30)
    assert found == {
        "AA": "standard",
        # Half an answer is an answer to it, the other half is the answer to the next message, and so on: what is
        # never answered at all is taken for answered, too.
        "split": "standard",
        "none": "lost",
        "garbage": "lost",
        "text": "lost",
        "wrong-id": "lost",
        "half-ack": "lost",
    }
