"""Python of a site for those who may not see its secrets: values of secret names are starred, and the rest stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import secrets_python
from engine.config.secrets_python import hidden_python
from engine.config.secrets_shown import hidden_lines

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        'PASSWORD = "hunter2"\n',
        "api_key: str = 'hunter2'\n",
        'TOKEN = """\nhunter2\nand more hunter2\n"""\nx = 1\n',
        'TOKEN = (\n    "hunter2"  # the old one\n    "hunter2"\n)\n',
        'token = rb"hunter2"\n',
        'connect(host, password="hunter2", port=1)\n',
        'def connect(host, *, password: str = "hunter2") -> None: ...\n',
        'headers = {"Accept": "text", "X-Api-Key": "hunter2"}\n',
        'headers["X-Api-Key"] = "hunter2"\n',
        'self.client_secret = "hunter2"\n',
        'password = decoded(["x", "hunter2"])\n',
        'secret = f"hunter2{x}hunter2"\n',
        'URL = "https://u:hunter2@host/x"\n',
        'asked = get("https://host/x?token=hunter2")\n',
        "# password: hunter2\n",
        'say("Authorization: Bearer hunter2")\n',
        'PASSWORD = "hunter2\n',
        'def broken(:\n    password = "hunter2"\n',
    ],
)
def test_a_secret_is_nowhere_and_the_text_is_as_long(text):
    shown = hidden_python(text)
    assert SECRET not in shown
    assert [len(line) for line in shown.split("\n")] == [len(line) for line in text.split("\n")]


def test_numbers_are_values_too():
    assert hidden_python("PASSWORD = 471100\nPORT = 2575\n") == "PASSWORD = ******\nPORT = 2575\n"


@pytest.mark.parametrize(
    "text",
    [
        'def route(message, tokens: list[str]) -> str:\n    key = message["PID-3.1"]\n    return key\n',
        'for token in tokens:\n    if token == "A":\n        return "B"\n',
        'if password: return "no"\n',
        'x = {"ward": "3W", "room": "12"}\n',
        'say("a", token)\nsay("b")\n',
        'password = ask()\nward = "3W"\n',
        'connect(password=ask(), ward="3W")\n',
        'PASSWORD = read(); ward = "3W"\n',
    ],
)
def test_what_is_beside_a_secret_name_stays(text):
    assert hidden_python(text) == text


def test_what_is_long_or_no_python_is_looked_at_line_by_line(monkeypatch):
    broken = 'password = "hunter2\n'
    assert hidden_python(broken) == hidden_lines(broken)
    text = "def f(tokens: list):\n    return 1\n"
    assert hidden_python(text) == text
    monkeypatch.setattr(secrets_python, "MOST_LETTERS", 10)
    assert hidden_python(text) == hidden_lines(text) != text


@given(st.text(alphabet="ab_=:,;()[]{}\"'#\\ \r\n\tfrpassword1", max_size=200))
def test_whatever_it_is_it_keeps_its_length_and_lines(text):
    shown = hidden_python(text)
    assert len(shown) == len(text) and shown.count("\n") == text.count("\n")
