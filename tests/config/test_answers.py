"""What a channel may say of its answers, and what contradicts itself."""

import json

import jsonschema
import pytest

from engine.config.schema import channel_schema

CHANNEL = """\
listen:
  mllp: {port: 2576}
ack: {when: processed}
duplicates: {window: 1d}
sequence: off
routes: [{to: ris}]
destinations:
  ris: {mllp: {host: ris, port: 1}}
  archive: {file: {folder: out}}
"""
BACK = "connect_back: {host: his, port: 2580}"


def findings(load, *changes: tuple[str, str]):
    text = CHANNEL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return [(f.code, f.line, f.message) for f in load(text).findings if f.code != "W141"]


@pytest.mark.parametrize(
    "ack",
    [
        "{when: delivered(ris), timeout: 5s, on_timeout: AR}",
        f"{{app_ack: connect-back, {BACK}}}",
        "{app_ack: connect-back, connect_back: {host: his, port: 1, accept_ack: NE, on_refused: stop, "
        "retry: {first: 2s}}}",
        "{app_ack: none, mode: enhanced}",
        "{when: stored, app_ack: none}",
    ],
)
def test_what_goes_together(load, ack):
    assert findings(load, ("{when: processed}", ack)) == []


ACK = "{when: processed}"


@pytest.mark.parametrize(
    ("changes", "code", "line", "words"),
    [
        ([(ACK, "{app_ack: connect-back}")], "E147", 3, "nothing says where"),
        ([(ACK, f"{{{BACK}}}")], "E147", 3, "connect-back only"),
        ([(ACK, "{app_ack: none, mode: original}")], "E147", 3, "original mode"),
        ([(ACK, "{timeout: 5s}")], "E147", 3, "timeout is for"),
        ([(ACK, "{when: stored, on_timeout: AR}")], "E147", 3, "on_timeout is for"),
        ([(ACK, "{when: delivered(archive)}")], "E147", 3, "no route goes to 'archive'"),
        ([(ACK, "{when: delivered(ris), app_ack: none}")], "E147", 3, "does not go with"),
        ([(ACK, "{when: delivered(ris)}"), ("sequence: off", "sequence: on")], "E147", 5, "does not go with"),
        ([(ACK, "{when: delivered(ris)}"), ("{window: 1d}", "off")], "W147", 4, "delivered again"),
        ([(ACK, "{when: delivered(nobody)}")], "E140", 3, "no destination is named 'nobody'"),
        ([("2576}", "2576, answers_committed: require}")], "E147", 2, "Release 2"),
        ([("2576}", "2576, release: 2, commit_retries: 3}")], "E147", 2, "must be committed"),
        (
            [(ACK, "{app_ack: connect-back, connect_back: {host: localhost, port: 2576}}")],
            "W147",
            3,
            "own port",
        ),
        ([(ACK, "{app_ack: connect-back, connect_back: {port: 2580}}")], "E103", 3, "host"),
        ([(ACK, "{app_ack: connect-back, connect_back: {host: a, port: 2580, hots: b}}")], "E101", 3, "hots"),
        ([(ACK, "{app_ack: connect-back, connect_back: {host: a, port: 1, accept_ack: XX}}")], "E105", 3, ""),
        ([(ACK, "{app_ack: connect-back, connect_back: his}")], "E104", 3, "where to connect"),
        ([("sequence: off", "sequence: maybe")], "E105", 5, ""),
        ([("2576}", "2576, release: 3}")], "E106", 2, ""),
    ],
)
def test_what_contradicts_itself_is_told_at_its_place(load, changes, code, line, words):
    found = findings(load, *changes)
    assert [(c, at) for c, at, _ in found if c == code] == [(code, line)]
    assert all(words in text for c, _, text in found if c == code)


def test_an_editor_knows_the_keys_of_where_to_connect_back(kinds):
    schema = channel_schema(kinds)
    base = {"listen": {"mllp": {"port": 1}}}
    good = {**base, "ack": {"app_ack": "connect-back", "connect_back": {"host": "a", "port": 1, "accept_ack": "NE"}}}
    jsonschema.validate(good, schema)
    for bad in ({"port": 1}, {"host": "a", "port": 1, "hots": 1}, {"host": "a", "port": 1, "accept_ack": "XX"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**base, "ack": {"connect_back": bad}}, schema)
    for when in ("stored", "delivered(ris)"):
        jsonschema.validate({**base, "ack": {"when": when}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**base, "ack": {"when": "delivered"}}, schema)
    json.dumps(schema)
