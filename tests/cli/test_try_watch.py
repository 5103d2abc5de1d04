"""`segmill try --watch` as somebody at a terminal has it: the real command, a real edit, the screen drawn anew."""

import os
from pathlib import Path

import pytest

from engine.testing import messages
from engine.testing.markdown import normalised
from engine.testing.sites import make_site
from tests.forked import shared
from tests.terminal import Terminal

CHANNEL = """\
listen: {mllp: {port: 2575}}
steps:
  - name: where it goes
    set: {MSH-5: RIS}
routes:
  - to: out
destinations:
  out:
    file: {folder: out}
"""
WAITS = "waiting for a change; Ctrl-C ends --"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    made = make_site(tmp_path / "site", {"adt": CHANNEL})
    (made / "a01.hl7").write_bytes(messages.adt(control_id="W1"))
    return made


@pytest.fixture
def terminal(site: Path, repository: Path):
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    opened: list[Terminal] = []

    def start(*words: str, **more: str) -> Terminal:
        command = [*shared().python, "-m", "engine", *words]
        opened.append(Terminal(command, site, {**env, "PYTHONPATH": str(repository), **more}))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def drawn(*parts: str):
    """The screen is whole, and has these in it."""
    return lambda screen: screen.rstrip().endswith(WAITS) and all(part in screen for part in parts)


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_a_saved_channel_is_shown_anew_with_the_step_as_it_is_now(site: Path, terminal):
    watched = terminal("try", "adt", "a01.hl7", "--brief", "--watch")
    first = watched.until(drawn("where it goes", '-> "RIS"'))
    edit(site / "channels" / "adt" / "channel.yaml", "{MSH-5: RIS}", "{MSH-5: RADIS, PID-8: U}")
    second = watched.until(drawn('-> "RADIS"', 'PID-8  "F" -> "U"'))
    assert '-> "RIS"' not in second
    # The rest stands as it stood: the screen was cleared, and nothing of the first is left.
    assert second.count(WAITS) == first.count(WAITS) == 1
    assert normalised(first).splitlines()[0] == normalised(second).splitlines()[0]
    assert watched.interrupt() == 0


def test_a_mistake_stands_in_the_place_of_the_result_until_it_is_mended(site: Path, terminal):
    channel = site / "channels" / "adt" / "channel.yaml"
    watched = terminal("try", "adt", "a01.hl7", "--watch")
    watched.until(drawn('-> "RIS"'))
    edit(channel, "set: {MSH-5", "sett: {MSH-5")
    broken = watched.until(drawn("cannot be tried"))
    assert "channel.yaml:4:5 E102 unknown step 'sett'" in broken
    assert "did you mean 'set'?" in broken
    assert "RIS" not in broken.replace("{MSH-5: RIS}", "")
    edit(channel, "sett: {MSH-5", "set: {MSH-5")
    watched.until(drawn('-> "RIS"'))
    assert watched.interrupt() == 0


def test_a_changed_message_and_a_new_table_are_seen(site: Path, terminal):
    watched = terminal("try", "adt", "a01.hl7", "--brief", "--watch")
    watched.until(drawn("control id W1"))
    (site / "a01.hl7").write_bytes(messages.adt(control_id="W2"))
    watched.until(drawn("control id W2"))
    edit(site / "channels" / "adt" / "channel.yaml", "routes:", "  - map: {PID-8: tables/sex.csv}\nroutes:")
    watched.until(drawn("there is no such file"))
    (site / "channels" / "adt" / "tables").mkdir()
    (site / "channels" / "adt" / "tables" / "sex.csv").write_text("from,to\nF,female\n")
    watched.until(drawn("tables/sex.csv: row 2", '"F" -> "female"'))
    assert watched.interrupt() == 0


def test_the_screen_is_cleared_without_colours_too(site: Path, terminal):
    watched = terminal("try", "adt", "a01.hl7", "--brief", "--watch", NO_COLOR="1")
    watched.until(drawn('-> "RIS"'))
    edit(site / "channels" / "adt" / "channel.yaml", "MSH-5: RIS", "MSH-5: RADIS")
    watched.until(drawn('-> "RADIS"'))
    assert [WAITS in screen for screen in watched.screens] == [False, True, True]
    assert watched.interrupt() == 0
