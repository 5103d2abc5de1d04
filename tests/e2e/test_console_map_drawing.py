"""The map in a browser, with a browser's letters: no words on others, none out of their box."""

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from engine.adapters.console.map_drawing import draw
from engine.adapters.console.site_map import Where, map_of
from engine.model.ids import ChannelName
from engine.ports.control import FeedStatus
from tests.adapters.console.test_site_map import channel, lane

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LONG = "north-hospital-laboratory-results-to-the-patient-record-no-{:05}"
LOUD = "HOSPITAL-INFORMATION-SYSTEM-OF-THE-NORTHERN-CAMPUS-PRODUCTION-64"
assert len(LONG.format(0)) == len(LOUD) == 64

FOUND = """() => {
  const boxes = [...document.querySelectorAll('svg.map text')].map((text) => {
    const {x, y, width, height} = text.getBBox();
    return {text: text.textContent, x, y, right: x + width, below: y + height,
            box: text.closest('.node')?.querySelector('rect').getBBox()};
  });
  const over = boxes.flatMap((a, at) => boxes.slice(at + 1)
    .filter((b) => a.x < b.right && b.x < a.right && a.y + 3 < b.below && b.y + 3 < a.below)
    .map((b) => `${a.text} | ${b.text}`));
  const out = boxes.filter((a) => a.box && (a.right > a.box.x + a.box.width || a.below > a.box.y + a.box.height + 1))
    .map((a) => a.text);
  const columns = [...document.querySelectorAll('svg.map .node rect')].map((rect) => rect.getBBox());
  const between = boxes.filter((a) => !a.box && columns.some((b) => a.x < b.x + b.width && b.x < a.right));
  out.push(...between.map((a) => a.text));
  return {count: boxes.length, over, out};
}"""


def drawn(number: int, *, is_long: bool) -> str:
    """Each third channel has a sender of its own beside the one that feeds all; every receiver has several ways."""
    channels, places = [], {}
    for n in range(number):
        name, his = (LONG.format(n), LOUD) if is_long else (f"c{n}", "HIS")
        senders = (f"{his}|NORTH", f"LAB{n}|{LOUD}") if n % 3 == 0 else (f"{his}|NORTH",)
        lanes = [
            lane(name, "ris", "down" if n % 4 == 1 else "idle", queued=12_345 * (n % 2)),
            lane(name, LONG.format(7) if is_long else "archive", held=n % 3),
        ]
        for one in lanes:
            host = "ris.hospital-network.north.example.org" if is_long else "ris.local"
            places[name, str(one.destination)] = Where("mllp", f"{host}:{6000 + n // 5 + len(one.destination)}")
        feeds = tuple(
            FeedStatus(ChannelName(name), sender, kind, 1, 40.0, 40.0, n % 7 == 2)
            for sender in senders
            for kind in ("ADT^A01", "ADT^A08", "ORU^R01")
        )
        channels.append(channel(name, *lanes, senders=senders, feeds=feeds))
    return str(draw(map_of(channels, places, {}, {})))


@pytest.mark.parametrize("is_long", [False, True], ids=["short names", "names of 64 letters"])
@pytest.mark.parametrize("number", [1, 5, 30, 200])
def test_no_words_stand_on_others_and_none_leave_their_box(browser: "Browser", number: int, is_long: bool):
    styles = "".join(
        (files("engine.adapters.console") / "static" / name).read_text() for name in ("console.css", "map.css")
    )
    page = browser.new_page()
    try:
        page.set_content(f"<!doctype html><style>{styles}</style><body>{drawn(number, is_long=is_long)}")
        found: dict[str, Any] = page.evaluate(FOUND)
        assert found["count"] > 4 * number
        assert (found["over"], found["out"]) == ([], [])
    finally:
        page.close()
