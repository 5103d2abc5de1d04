"""`segmill docs`: every page can be found and read."""

import subprocess
import sys

import click
import pytest

from engine.cli.main import segmill as group
from engine.docs.topics import plain, sections_of, topics


def test_every_page_that_ships_is_a_topic(segmill, repository):
    said = segmill("docs", "--json")
    assert said.code == 0
    root = repository / "engine" / "docs"
    pages = {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.md")}
    assert {line["topic"] for line in said.lines} == pages
    assert all(line["title"] and line["title"] != line["topic"] for line in said.lines)
    listed = segmill("docs")
    assert "code-tables" in listed.out and "Code tables" in listed.out and "adr/" not in listed.out
    assert listed.out.splitlines()[1].startswith("tutorial"), "where a reader starts"


@pytest.mark.parametrize("topic", [topic.name for topic in topics()])
def test_a_pipe_gets_the_page_as_it_is(segmill, repository, topic):
    said = segmill("docs", topic)
    assert said.code == 0
    assert said.out == (repository / "engine" / "docs" / f"{topic}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (("code-tables",), "# Code tables"),
        (("code-t",), "# Code tables"),
        (("Code-Tables.md",), "# Code tables"),
        (("0011",), "# "),
        (("map",), "### map"),
        (("lanes", "after"), "## After a crash"),
        (("lanes", "CRASH"), "## After a crash"),
    ],
)
def test_by_the_beginning_of_a_name_a_heading_and_a_part_of_one(segmill, words, begins):
    said = segmill("docs", *words)
    assert said.code == 0, said.err
    assert said.out.startswith(begins)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("codetabels",), "did you mean code-tables"),
        (("tables",), "did you mean code-tables"),
        (("xyzzy",), "see 'segmill docs', or 'segmill docs --search xyzzy'"),
        (("lanes", "xyzzy"), "there is: "),
        (("w",), "is the beginning of "),
        (("lanes", "--search", "x"), "leave out TOPIC"),
        (("--search", " "), "needs a word"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(segmill, words, told):
    said = segmill("docs", *words)
    assert said.code == 2 and told in said.err


def test_search_finds_the_section_about_it_first(segmill):
    said = segmill("docs", "--search", "unreadable", "--json")
    assert said.code == 0 and said.lines
    for line in said.lines:
        page = segmill("docs", line["topic"], "--json").json
        assert line["section"] in [page["title"], *page["sections"]]
    first = segmill("docs", "--search", "after crash", "--json").lines[0]
    assert (first["topic"], first["section"]) == ("lanes", "After a crash")
    shown = segmill("docs", "--search", "ORDER_BY")
    assert "lanes" in shown.out and "order_by" in shown.out
    nothing = segmill("docs", "--search", "xyzzy")
    assert nothing.code == 1 and "nothing has all of: xyzzy" in nothing.err and nothing.out == ""


def test_a_section_as_json(segmill):
    said = segmill("docs", "lanes", "after", "--json").json
    assert said["topic"] == "lanes" and said["section"] == "After a crash"
    assert said["text"].startswith("## After a crash\n")


def test_a_terminal_gets_it_laid_out_through_its_pager(segmill, monkeypatch):
    shown = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(click, "echo_via_pager", lambda text, color=None: shown.append((text, color)))
    assert segmill("docs", "lanes").code == 0
    text, colour = shown[0]
    assert "destinations:" in text and "```" not in text and "\x1b" not in text and colour is False
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert segmill("docs", "lanes").code == 0
    assert "\x1b[" in shown[1][0] and shown[1][1] is True


def test_a_heading_in_a_block_of_code_is_none():
    text = "# One\n\n```console\n# no heading\n```\n\n## Two `x` and [y](z.md)\n~~~\n## nor this\n~~~\nend\n"
    found = list(sections_of(text))
    assert [(section.title, section.level, section.line) for section in found] == [("One", 1, 1), ("Two x and y", 2, 7)]
    assert "\n".join(section.text for section in found) == text


def test_names_keep_their_underscores():
    assert plain("`order_by` and **[lanes](lanes.md)**") == "order_by and lanes"


def test_tab_completes_the_topics():
    command = group.get_command(click.Context(group), "docs")
    argument = next(one for one in command.params if one.name == "topic")
    ctx = command.make_context("docs", [], resilient_parsing=True)
    assert "code-tables" in [item.value for item in argument.shell_complete(ctx, "code")]


def test_head_may_stop_reading():
    script = "import sys; from engine.cli.main import main; main(['docs', 'reference'])"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 0
