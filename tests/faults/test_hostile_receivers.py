"""Receivers that misbehave in all the ways there are, mixed at random: nothing is lost, nothing overtakes, and nothing
counts as delivered that was not accepted (reliability.md R10, S1 to S12)."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from engine.adapters import mllp_connection
from engine.adapters.mllp_connection import MllpConnection
from engine.adapters.sinks.mllp import MllpSink
from engine.mllp.exchange import Answered, Broken, Exchange, Foreign
from engine.model.outcome import Delivered, Outcome, Unanswered
from tests.faults.hostile_rig import HostileRig, Verdict, Ways
from tests.faults.ledger import Ledger
from tests.faults.sites import until_caught

SEED = int(os.environ.get("SEGMILL_SEED", "20261125"))


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Destinations that come and go are told of each time, which is not what is looked at here."""
    logging.getLogger("segmill").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("segmill").setLevel(logging.NOTSET)


def note(ledger: Ledger, what: str, verdict: Verdict) -> None:
    ledger.write(
        "R10",
        what,
        seed=verdict.seed,
        messages=verdict.messages,
        ways=len(verdict.ways),
        attempts=sum(verdict.attempts.values()),
        ports_closed=verdict.closed,
        bad_certificates=verdict.bad_certificates,
        delivered=verdict.delivered,
        lost=len(verdict.lost),
        falsely_delivered=len(verdict.falsely_delivered),
        out_of_order=len(verdict.out_of_order),
        sent_while_an_answer_was_owed=len(verdict.floods),
        yes_at_once=verdict.yes_at_once,
        again_after_yes=len(verdict.again_after_yes),
    )


@pytest.mark.timeout(120)
async def test_R10_nothing_is_lost_reordered_or_falsely_delivered_to_a_hostile_receiver(
    tmp_path: Path, ledger: Ledger
) -> None:
    verdict = await HostileRig(tmp_path, SEED, messages=300).run()
    note(ledger, "hostile receivers, plain and TLS", verdict)
    assert verdict.is_good, str(verdict)
    assert verdict.delivered == 600, str(verdict)
    assert verdict.closed and verdict.bad_certificates and len(verdict.ways) >= 25, str(verdict.ways)


@pytest.mark.fault
@pytest.mark.timeout(3600)
async def test_R10_nothing_is_lost_in_50_000_deliveries_to_a_hostile_receiver(tmp_path: Path, ledger: Ledger) -> None:
    verdict = await HostileRig(tmp_path, SEED + 1, messages=25_000).run()
    note(ledger, "hostile receivers, plain and TLS, long", verdict)
    assert verdict.is_good, str(verdict)
    assert verdict.delivered == 50_000, str(verdict)


EARLY: Ways = ((["AA"], 70), (["early"], 20), (["stall", "half-close", "close"], 10))
"""A yes before the end of the message, and hanging up around it."""


@pytest.mark.timeout(120)
async def test_R10_a_yes_before_the_end_of_a_message_is_not_believed(tmp_path: Path, ledger: Ledger) -> None:
    verdict = await HostileRig(tmp_path, SEED, messages=60, ways=EARLY, long=0.5).run()
    note(ledger, "hostile receivers that say yes too early", verdict)
    assert verdict.is_good, str(verdict)
    assert verdict.delivered == 120, str(verdict)
    assert verdict.ways["early"] >= 20, str(verdict.ways)


# -- engines with one promise broken: the rig is trusted because it finds them ------------------------


def late_answer_credited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is answered counts for what is outstanding, MSA-2 unread."""
    on_block = Exchange._on_block

    def credulous(self: Exchange[Any], block: Any, unsent_bytes: int) -> Any:
        event = on_block(self, block, unsent_bytes)
        if isinstance(event, Foreign):
            self.is_trusted = True
            return Answered(event.answer, event.raw)
        return event

    monkeypatch.setattr(Exchange, "_on_block", credulous)


def done_before_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent is delivered."""
    outcome_of = MllpSink._outcome

    def hasty(self: MllpSink, end: Any, connection: MllpConnection) -> Outcome:
        return Delivered() if isinstance(end, Broken) else outcome_of(self, end, connection)

    monkeypatch.setattr(MllpSink, "_outcome", hasty)


def flood_on_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time-out the same is sent again on the same connection, and again (Mirth #1314)."""
    on_timeout = Exchange.on_timeout

    def stays(self: Exchange[Any], *, unsent_bytes: int = 0) -> Any:
        events = on_timeout(self, unsent_bytes=unsent_bytes)
        self.is_trusted = True
        return events

    monkeypatch.setattr(Exchange, "on_timeout", stays)


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new connection and the same message again, while the old connection waits on."""
    abort = MllpConnection._settle

    def keeps(self: MllpConnection, events: Any) -> None:
        transport = self._transport
        if events and isinstance(events[0], Broken) and events[0].code == "timeout":
            self._transport = None  # left open, and forgotten
            leaked.append(transport)
        abort(self, events)

    leaked: list[asyncio.BaseTransport | None] = []
    monkeypatch.setattr(MllpConnection, "_settle", keeps)


def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first yes to a message is not heard."""
    outcome_of, heard = MllpSink._outcome, set()

    def once(self: MllpSink, end: Any, connection: MllpConnection) -> Outcome:
        outcome = outcome_of(self, end, connection)
        if not isinstance(outcome, Delivered) or (place := (self._target.port, end.answer.control_id)) in heard:
            return outcome
        heard.add(place)
        return Unanswered("what was that?")

    monkeypatch.setattr(MllpSink, "_outcome", once)


def early_yes_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system has taken from us, the receiver has."""
    monkeypatch.setattr(mllp_connection, "untaken_bytes", lambda plain: 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mutant", "found"),
    [
        (late_answer_credited, "falsely_delivered"),
        (done_before_the_answer, "falsely_delivered"),
        pytest.param(flood_on_time_out, "floods", marks=pytest.mark.fault),
        (impatient, "floods"),
        (deaf, "again_after_yes"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_R10_the_rig_finds_an_engine_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Any, found: str
) -> None:
    mutant(monkeypatch)
    await until_caught(
        lambda site: HostileRig(tmp_path / f"site-{site}", SEED + site, messages=120).run(),
        lambda verdict: getattr(verdict, found),
    )


@pytest.mark.timeout(300)
async def test_R10_the_rig_finds_an_engine_that_believes_an_early_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early_yes_believed(monkeypatch)
    await until_caught(
        lambda site: HostileRig(tmp_path / f"site-{site}", SEED + site, messages=60, ways=EARLY, long=0.5).run(),
        lambda verdict: verdict.lost or verdict.falsely_delivered,
    )
