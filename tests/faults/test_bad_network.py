"""A network that delays, tears and cuts, on both sides of the engine (reliability.md C2, S7); seeded."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.faults.chaos_proxy import ChaosProxy
from tests.faults.ledger import Ledger
from tests.faults.outside import Outside
from tests.faults.sites import until_it_fails

SEED = int(os.environ.get("SEGMILL_SEED", "42"))
CHANNEL = """\
listen:
  mllp: {{port: {port}, host: 127.0.0.1}}
accept: [ADT^*]
ack: {{mode: original}}
routes: [{{to: receiver}}]
destinations:
  receiver:
    mllp: {{host: 127.0.0.1, port: {{proxy}}, ack_timeout: 10s}}
    retry: {{first: 10ms, most: 20ms}}
"""


async def weathered(folder: Path, seed: int, messages: int, *words: str) -> dict[str, int | str]:
    """Senders and a receiver that an engine knows through bad weather only; what was seen of it."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(Outside(folder, CHANNEL, senders=6, size=900))
        out = await stack.enter_async_context(ChaosProxy(site.receiver.address[1], seed))
        into = await stack.enter_async_context(ChaosProxy(site.port, seed + 1))
        site._channel = CHANNEL.replace("{{proxy}}", str(out.port))
        site.write_site()
        await site.run(*words, script="tests.faults.changed_engine")
        site.port = into.port
        site.send()
        within_s = 60 + messages / 20
        await site.until(lambda: len(site.acknowledged) >= messages, within_s)
        for proxy in (out, into):
            proxy.clear_up()
        await site.finish()
        async with asyncio.timeout(within_s):
            while await site.queued():
                await asyncio.sleep(0.2)
        seen = out.counts + into.counts
        cuts = sum(out.counts[kind] for kind in ("reset", "close", "half-close"))
        site.judge(most_repeats=cuts)
        await site.end()
        repeats = len(site.delivered()) - len(set(site.delivered()))
        return {
            "seed": seed,
            "acknowledged": len(set(site.acknowledged)),
            "connections": seen["connections"],
            "pieces": seen["pieces"],
            "reset": seen["reset"],
            "closed": seen["close"],
            "half_closed": seen["half-close"],
            "delivered_twice_and_marked": repeats,
            "lost": len(set(site.acknowledged) - set(site.delivered())),
            "out_of_order": 0,  # judged
        }


@pytest.mark.timeout(120)
async def test_R10_nothing_is_lost_in_bad_weather(tmp_path: Path, ledger: Ledger) -> None:
    seen = await weathered(tmp_path, SEED, 400)
    ledger.write("R10", "chaos proxy on both sides", **seen)
    assert min(int(seen[kind]) for kind in ("reset", "closed", "half_closed")) >= 3, seen


@pytest.mark.fault
@pytest.mark.timeout(1200)
async def test_R10_nothing_is_lost_in_a_long_spell_of_bad_weather(tmp_path: Path, ledger: Ledger) -> None:
    seen = await weathered(tmp_path, SEED + 100, 10_000)
    ledger.write("R10", "chaos proxy on both sides, long", **seen)


@pytest.mark.timeout(300)
async def test_R10_the_rig_finds_an_engine_that_takes_sent_for_delivered(tmp_path: Path) -> None:
    await until_it_fails(
        lambda site: weathered(tmp_path / f"site-{site}", SEED + site, 200, "done-when-sent"),
        r"^(acknowledged and not delivered|out of order)",
    )
