"""What a channel may say of batches and of messages in parts, and what contradicts itself."""

import jsonschema
import pytest

from engine.config.fragments import Continuation, Fragments
from engine.config.schema import channel_schema

CHANNEL = """\
listen:
  mllp: {port: 2576, batch: {}}
ack: {when: processed}
duplicates: {window: 1d}
sequence: off
fragments: {}
routes: [{to: ris}]
destinations:
  ris: {mllp: {host: ris, port: 1}}
"""


def read(load, *changes: tuple[str, str]):
    text = CHANNEL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return load(text)


def test_by_default_nothing_is_joined_and_every_member_is_answered(load) -> None:
    (channel,) = read(load).channels
    assert channel.file.fragments == Fragments(add="keep", dsc=None)
    batch = channel.file.listen.mllp.batch
    assert (batch.answer, batch.without_header, batch.count) == ("all", "each", "warn")


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("{dsc: join}", Continuation()),
        ("{dsc: keep, add: join}", None),
        ("{dsc: {timeout: 5m, max_message: 2MB}}", Continuation(timeout=300.0, max_message=2_000_000)),
        (
            "{dsc: {most_fragments: 5, unfinished: 2, unknown: hold, answers: last}}",
            Continuation(most_fragments=5, unfinished=2, unknown="hold", answers="last"),
        ),
    ],
)
def test_a_channel_joins_with_or_without_bounds_of_its_own(load, written: str, read_as) -> None:
    site = read(load, ("fragments: {}", f"fragments: {written}"))
    assert site.findings == []
    assert site.channels[0].file.fragments.dsc == read_as


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        (("fragments: {}", "fragments: {dsc: on}"), "E105", 6),
        (("fragments: {}", "fragments: {add: split}"), "E105", 6),
        (("fragments: {}", "fragments: {dsc: {timeout: 0s}}"), "E106", 6),
        (("fragments: {}", "fragments: {dsc: {most_fragments: 1}}"), "E106", 6),
        (("fragments: {}", "fragments: {dsc: {time_out: 5m}}"), "E101", 6),
        (("batch: {}", "batch: {answer: none}"), "E105", 2),
        (("batch: {}", "batch: {without_header: first}"), "E105", 2),
        (("batch: {}", "batch: {counts: warn}"), "E101", 2),
    ],
)
def test_a_mistake_is_told_at_its_place(load, change: tuple[str, str], code: str, line: int) -> None:
    assert [(f.code, f.line) for f in read(load, change).findings] == [(code, line)]


JOIN = ("fragments: {}", "fragments: {dsc: join}")


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (("{when: processed}", "{when: delivered(ris)}"), "E147", "do not wait"),
        (("sequence: off", "sequence: on"), "E147", "sequence: on"),
        (("{window: 1d}", "off"), "W147", "sent again"),
    ],
)
def test_what_contradicts_itself_is_told(load, change: tuple[str, str], code: str, words: str) -> None:
    found = read(load, JOIN, change).findings
    assert [f.code for f in found] == [code] and words in found[0].message
    assert not [f for f in read(load, change).findings if f.code == "E147"]


def test_channels_of_a_port_agree_on_batches(load) -> None:
    other = CHANNEL.replace("batch: {}", "batch: {answer: errors}")
    assert [f.code for f in load({"a": CHANNEL, "b": other}).findings if f.is_error] == ["E142"]
    assert not [f for f in load({"a": CHANNEL, "b": CHANNEL}).findings if f.is_error]


def test_an_editor_knows_the_settings(kinds) -> None:
    schema = channel_schema(kinds)
    base = {"listen": {"mllp": {"port": 1}}}
    for good in ({"dsc": "join", "add": "keep"}, {"dsc": {"timeout": "5m", "unknown": "hold"}}, {"dsc": "${JOIN}"}):
        jsonschema.validate({**base, "fragments": good}, schema)
    for bad in ({"dsc": "on"}, {"dsc": {"timeouts": "5m"}}, {"dsc": {"unknown": "drop"}}, {"addd": "join"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**base, "fragments": bad}, schema)
    jsonschema.validate({"listen": {"mllp": {"port": 1, "batch": {"answer": "report", "count": "reject"}}}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"listen": {"mllp": {"port": 1, "batch": {"answer": "none"}}}}, schema)
