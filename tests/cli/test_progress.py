"""A line that counts along: on a terminal, after a second, and nowhere else."""

import sys

import click
import pytest

from engine.cli.progress import CLEAR, Progress, counted

SEEN = click.unstyle(CLEAR)
"""What is left of it where no terminal is on the other side."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def terminal(monkeypatch):
    """Makes standard error a terminal, and standard output one or none."""

    def make(*, out: bool = False) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: out)

    return make


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
