"""A line that counts along: on a terminal, after a second, and nowhere else."""

import re

import click
import pytest

from engine.cli.command import COMMANDS
from engine.cli.progress import CLEAR, Progress, counted
from engine.testing import messages

SEEN = click.unstyle(CLEAR)
"""What is left of it where no terminal is on the other side."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(clock: Clock, *, seconds: float = 0.125, **how: bool) -> None:
    with Progress("messages", 100, clock=clock, **how) as progress:
        for _ in range(50):
            clock.now = round(clock.now + seconds, 6)
            progress.step()


def test_after_a_second_it_counts_along_and_goes(terminal, capsys):
    terminal()
    run(Clock())
    said = capsys.readouterr()
    assert said.out == ""
    first = said.err.split("\r")[1]
    assert first == "8 of 100 messages, 8 % "
    assert click.unstyle(said.err).endswith(SEEN), "the line is taken away"
    assert said.err.count("messages") == 22, "five a second, not one a message"


def test_short_work_says_nothing(terminal, capsys):
    terminal()
    run(Clock(), seconds=0.01)
    assert capsys.readouterr().err == ""


def test_not_in_a_pipe(capsys):
    run(Clock())
    assert capsys.readouterr().err == ""


def test_not_where_the_data_goes_to_the_same_terminal(terminal, capsys):
    terminal(out=True)
    run(Clock(), prints=True)
    assert capsys.readouterr().err == ""
    terminal(out=False)
    run(Clock(), prints=True)
    assert "messages" in capsys.readouterr().err


def test_not_with_quiet(segmill, terminal, site, monkeypatch, capsys):
    from engine.cli import progress

    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    words = ("generate", "adt", "--site", site, "--messages", 3)

    def call(*more):
        terminal()
        return segmill(*words, *more).err

    assert "of 3 messages" in call()
    assert call("--quiet") == ""


def test_of_what_nobody_has_counted(terminal, capsys):
    terminal()
    clock = Clock()
    with Progress("messages", clock=clock) as progress:
        clock.now = 2.0
        progress.step(1234)
    assert "\r1,234 messages " in capsys.readouterr().err
    assert list(counted(iter("abc"), "letters")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "words",
    [
        ("stats", "samples/adt"),
        ("compare", "samples/adt", "samples/adt", "--summary"),
        ("test", "adt", "--site", "."),
        ("deidentify", "samples/adt", "--key", "KEY", "--to", "OUT"),
    ],
)
def test_commands_that_may_take_long_count_along(segmill, terminal, monkeypatch, repository, tmp_path, words):
    from engine.cli import progress

    (tmp_path / "KEY").write_text("0123456789abcdef0123456789abcdef")
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    monkeypatch.chdir(repository)
    terminal()
    said = segmill(*(tmp_path / word if word.isupper() else word for word in words))
    assert said.code == 0
    assert "\r1 " in said.err and SEEN in said.err


LONG = {
    "test", "validate", "compare", "convert", "send", "messages", "replay", "release", "queue", "tables", "profile",
    "stats", "generate", "deidentify", "backup", "restore", "store",
}  # fmt: skip
"""Commands whose work grows with messages, cases or the store."""
OTHERS = {
    "demo": "prints each thing as it comes",
    "init": "writes some files",
    "check": "reads the site's files",
    "try": "prints each message as it is run",
    "run": "logs",
    "plan": "asks the engine",
    "reload": "asks the engine",
    "listen": "prints each message as it comes",
    "worklist": "asks for a page at most",
    "dicom": "waits for one peer, with a time limit",
    "users": "asks the engine",
    "tokens": "asks the engine",
    "audit": "prints as it reads",
    "import-mirth": "reads one file of at most 64 MB",
    "doctor": "has a time limit a check",
    "support-bundle": "has a bound on all that it takes",
    "retention": "asks the engine",
    "senders": "asks the engine",
    "graph": "reads the site's files",
    "impact": "reads the site's files",
    "spec": "reads one channel's files",
    "docs": "reads what ships",
    "explain": "reads what ships",
    "completion": "prints a script",
    "schema": "prints a schema",
}


def test_of_each_command_it_is_said_whether_its_work_can_be_long():
    assert {*LONG, *OTHERS} == set(COMMANDS) and not LONG & OTHERS.keys()


@pytest.fixture(scope="module")
def stored(module_site):
    wards = ("3W", "3W", "NOT-THERE")
    module_site.send("adt", *(messages.adt(control_id=f"P{n}", ward=ward) for n, ward in enumerate(wards)))
    return module_site.folder


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("test", "SITE", "adt"), "cases of adt"),
        (("validate", "FILES"), "messages"),
        (("compare", "FILES", "FILES", "--summary"), "messages"),
        (("convert", "FILES", "--to", "json", "-o", "OUT"), "messages"),
        (("send", "FILES/K1.hl7", "--to", "127.0.0.1:PORT", "--count", "3"), "messages"),
        (("messages", "--site", "SITE", "--where", 'PID-8 != "x"'), "messages found"),
        (("replay", "--site", "SITE", "--channel", "adt", "--plan"), "messages found"),
        (("replay", "--site", "SITE", "--channel", "adt", "--as-of", "new", "--diff"), "messages"),
        (("tables", "misses", "--site", "SITE"), "held messages"),
        (("profile", "learn", "FILES"), "messages"),
        (("stats", "FILES"), "messages"),
        (("generate", "adt", "--site", "SITE", "--messages", "3", "--to", "OUT"), "messages"),
        (("deidentify", "FILES", "--key", "KEY", "--to", "OUT"), "messages"),
        (("backup", "OUT", "--site", "SITE"), "MB"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_long_work_shows_how_far_it_is(words, shown, segmill, stored, module_site, terminal, tmp_path, monkeypatch):
    from engine.cli import progress

    files = tmp_path / "files"
    files.mkdir()
    for name in ("K1", "K2"):
        (files / f"{name}.hl7").write_bytes(messages.adt(control_id=name))
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef")
    places = {
        "SITE": stored,
        "FILES": files,
        "OUT": tmp_path / "out",
        "KEY": tmp_path / "key",
        "PORT": module_site.port("adt"),
    }
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    terminal()
    filled = [re.sub("|".join(places), lambda found: str(places[found[0]]), word) for word in words]
    said = segmill(*filled)
    assert said.code in (0, 1), said.err
    assert re.search(rf"\r[0-9,]+ (of [0-9,]+ )?{shown}", said.err), said.err
