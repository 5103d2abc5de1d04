"""JSON and XML through a running engine: what is stored is what is delivered."""

import asyncio

from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.app import Engine, load
from engine.hl7.convert import convert
from engine.hl7.message import Message
from engine.testing.messages import adt

CHANNEL = """
    listen:
      mllp: {port: 0}
    steps:
      - set: {MSH-5: ARCHIVE}
      STEP
    routes: [{to: a}, {to: b}]
    destinations:
      a:
        file: {folder: out/a}
      b:
        file: {folder: out/b}
        format: xml
"""
OWN_CODE = "def nothing(message, context):\n    pass\n"


async def _files(make_site, step: str) -> dict[str, bytes]:
    channel = {"channel.yaml": CHANNEL.replace("STEP", step), "steps.py": OWN_CODE}
    site = make_site({"adt": channel}, "admin: off\n")
    engine = Engine(load(site, {}))
    await engine.start()
    try:
        report = await Sender(Target(*engine.addresses["adt"]), [adt(control_id="F1")]).run()
        assert report.codes == {"AA": 1}
        async with asyncio.timeout(20):
            while any(lane.queued for status in await engine.control.status() for lane in status.lanes):
                await asyncio.sleep(0.01)
    finally:
        await engine.stop()
    return {str(p.relative_to(site / "out")): p.read_bytes() for p in (site / "out").rglob("F1*")}


async def test_each_destination_has_its_form_on_disk(make_site):
    message = Message.parse(adt(control_id="F1"))
    message.set("MSH-5", "ARCHIVE")
    wanted = {"a/2026-01-02/F1.json": convert(message, "json"), "b/2026-01-02/F1.xml": convert(message, "xml")}
    assert await _files(make_site, "- convert: json") == wanted


async def test_a_channel_with_code_of_its_own_converts_too(make_site):
    found = await _files(make_site, "- python: steps.py:nothing\n      - convert: json")
    assert set(found) == {"a/2026-01-02/F1.json", "b/2026-01-02/F1.xml"}
