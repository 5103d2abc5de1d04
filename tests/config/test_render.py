import json

import pytest

from engine.config.finding import ConfigFinding
from engine.config.render import MAX_SHOWN, as_github, as_json, hidden, render, render_all

TEXT = """\
steps:
  - set: {PID-8: F}
  - mapp: {PV1-2: tables/class.csv}
"""
FINDING = ConfigFinding("E102", "channels/lab/channel.yaml", 3, 5, 4, "unknown step 'mapp'", "did you mean 'map'?")


def test_a_finding_is_shown_with_the_line_before_the_line_and_a_caret() -> None:
    assert render(FINDING, TEXT).split("\n") == [
        "channels/lab/channel.yaml:3:5 E102 unknown step 'mapp'",
        "    2 |   - set: {PID-8: F}",
        "    3 |   - mapp: {PV1-2: tables/class.csv}",
        "      |     ^^^^ did you mean 'map'?",
    ]


def test_the_first_line_has_none_before_it_and_a_hint_may_be_missing() -> None:
    finding = ConfigFinding("E101", "f.yaml", 1, 1, 5, "unknown key 'steps'")
    assert render(finding, TEXT).split("\n")[1:] == ["    1 | steps:", "      | ^^^^^"]


def test_a_finding_of_a_whole_file_has_its_hint_on_a_line_of_its_own() -> None:
    finding = ConfigFinding("E100", "channels", 0, 0, 0, "there is no channel in it", "segmill init shows one")
    assert render(finding, "") == "channels E100 there is no channel in it\n      = segmill init shows one"


def test_a_caret_stands_under_its_character_behind_tabs_and_wide_characters() -> None:
    lines = render(ConfigFinding("E1", "f", 1, 4, 2, "m"), "a\t表xy\n").split("\n")
    assert lines[-1] == "      |  \t  ^^"
    lines = render(ConfigFinding("E1", "f", 1, 3, 1, "m"), "a\t表xy\n").split("\n")
    assert lines[-1] == "      |  \t^^"


def test_of_a_long_line_the_part_around_the_caret_is_shown() -> None:
    text = "x" * 5000 + "BAD" + "y" * 5000
    line, caret = render(ConfigFinding("E1", "f", 1, 5001, 3, "m"), text).split("\n")[1:]
    assert len(line) <= MAX_SHOWN + 8
    assert line[caret.index("^") : caret.rindex("^") + 1] == "BAD"


def test_what_could_move_a_terminal_is_not_printed() -> None:
    shown = render(ConfigFinding("E1", "f", 2, 1, 1, "m"), "\x1b[2J\n\x1b]0;x\x07: 1\n")
    assert "\x1b" not in shown
    assert "\x07" not in shown


@pytest.mark.parametrize("key", ["password", "api_token", "secret-name", "PASSPHRASE"])
def test_a_password_typed_into_the_file_is_starred(key: str) -> None:
    finding = ConfigFinding("E1", "f", 2, 1, 1, "m")
    assert "hunter2" not in render(finding, f"{key}: hunter2\n{key}: 'hunter2'\n")
    assert "${NAME}" in render(finding, f"x: 1\n{key}: ${{NAME}}\n")


def test_a_place_behind_the_file_does_not_bring_it_down() -> None:
    assert render(ConfigFinding("E1", "f", 99, 99, 1, "m", "h"), "a\n").endswith("= h")
    assert render(ConfigFinding("E1", "f", 1, 99, 1, "m"), "a\n").endswith("^")


def test_tools_get_every_part() -> None:
    assert json.loads(json.dumps(as_json(FINDING))) == {
        "code": "E102",
        "severity": "error",
        "file": "channels/lab/channel.yaml",
        "line": 3,
        "column": 5,
        "length": 4,
        "message": "unknown step 'mapp'",
        "hint": "did you mean 'map'?",
    }
    assert as_json(ConfigFinding("W141", "f", 1, 1, 1, "m"))["severity"] == "warning"


def test_a_pull_request_is_annotated_at_the_line() -> None:
    assert as_github(FINDING) == (
        "::error file=channels/lab/channel.yaml,line=3,col=5,endColumn=9,title=E102::"
        "unknown step 'mapp' (did you mean 'map'?)"
    )
    odd = ConfigFinding("W1", "a,b:c", 0, 0, 0, "50%\nnext")
    assert as_github(odd) == "::warning file=a%2Cb%3Ac,title=W1::50%25%0Anext"


def test_all_findings_come_in_order_of_file_and_place() -> None:
    findings = [
        ConfigFinding("E2", "b", 1, 1, 1, "m"),
        ConfigFinding("E1", "a", 2, 1, 1, "m"),
        ConfigFinding("E1", "a", 1, 2, 1, "m"),
    ]
    reads: list[str] = []

    def read(name: str) -> str:
        reads.append(name)
        return "x: 1\ny: 2\n"

    shown = render_all(findings, read)
    assert [part.split(" ")[0] for part in shown.split("\n\n")] == ["a:1:2", "a:2:1", "b:1:1"]
    assert reads == ["a", "b"]
    assert render_all([], read) == ""


@pytest.mark.parametrize("typed", ["token", "token ", "secret-", "token'   ", "password" + " " * 50])
def test_a_line_of_many_such_words_takes_no_time_that_grows_with_its_square(typed: str) -> None:
    # A person types it into a page of the console: with the square of it the engine would stand still for hours.
    line = typed * (200_000 // len(typed))
    assert hidden(line) == line
    assert hidden(f"{line}: hunter2") == f"{line}: *******"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("password:hunter2", "password:*******"),
        ('{"api-token" :  "x y"}', '{"api-token" :  ******'),
        ("a: 1, my_secret_of-it: 'x'", "a: 1, my_secret_of-it: ***"),
        ("password: ${NAME} # token: x", "password: ${NAME} # token: *"),
        ("token: '${NAME}'", "token: '${NAME}'"),
        ("password:", "password:"),
        ("passwords are: none", "passwords are: none"),
    ],
)
def test_from_the_first_value_of_a_secret_on_all_is_starred(line: str, shown: str) -> None:
    assert hidden(line) == shown
