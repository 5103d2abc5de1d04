"""What the file of a channel may say of character sets, and what is said where it cannot be."""

import pytest

from engine.config.charsets import target

CHANNEL = """\
listen:
  mllp: {{port: 2576}}
routes:
  - to: archive
destinations:
  archive:
    file: {{folder: out}}
    {settings}
"""


def channel(*settings: str) -> str:
    return CHANNEL.format(settings="\n    ".join(settings))


@pytest.mark.parametrize(
    ("settings", "declared", "codec", "switching"),
    [
        (["charset: 8859/1"], "8859/1", "iso8859_1", ""),
        (["charset: unicode utf-8"], "UNICODE UTF-8", "utf_8", ""),
        (["charset: UTF-8", "unencodable: escape"], "UNICODE UTF-8", "utf_8", ""),
        (["charset: ~ISO IR87~ISO IR159"], "~ISO IR87~ISO IR159", "iso2022_jp_1", "ISO 2022-1994"),
        (["charset: 8859/1~8859/7"], "8859/1~8859/7", "iso_2022:8859/1,8859/7", "ISO 2022-1994"),
        (["charset: ASCII", "unencodable: replace(?)"], "ASCII", "ascii", ""),
    ],
)
def test_a_destination_says_what_its_receiver_reads(load, settings, declared, codec, switching):
    loaded = load(channel(*settings))
    assert loaded.findings == []
    policy = loaded.channels[0].file.destinations["archive"].policy
    made = target(policy.charset, policy.unencodable)
    assert (made.name, made.codec, made.switching) == (declared, codec, switching)


@pytest.mark.parametrize(
    ("settings", "line", "column", "message", "hint"),
    [
        (["charset: 8859-1"], 8, 14, "'8859-1' is no character set", "did you mean '8859/1'?"),
        (["charset: ISO-8859-15"], 8, 14, "'ISO-8859-15' is no character set", "did you mean '8859/15'?"),
        (["charset: UNICODE UFT-8"], 8, 14, "'UNICODE UFT-8' is no character set", "did you mean 'UNICODE UTF-8'?"),
        (["charset: GB18030"], 8, 14, "'GB18030' is no character set", "did you mean 'GB 18030-2000'?"),
        (["charset: latin1"], 8, 14, "'latin1' is no character set", "did you mean '8859/1'?"),
        (["charset: windows-1252"], 8, 14, "'windows-1252' is no character set", "8859/1 is its nearest"),
        (["charset: UNICODE UTF-16"], 8, 14, "cannot go over MLLP", "take UNICODE UTF-8"),
        (["charset: CNS 11643-1992"], 8, 14, "CNS 11643-1992 is not known here", ""),
        (["charset: 8859/1~BIG-5"], 8, 14, "cannot stand in one message", ""),
        (["charset: 8859/1", "unencodable: hols"], 9, 18, "'hols' is not what can become", "did you mean 'hold'?"),
        (["charset: 8859/1", "unencodable: replace"], 9, 18, "'replace' is not what", "such as replace(?)"),
        (["charset: 8859/1", "unencodable: replace(ł)"], 9, 18, "does not have the replacement itself", "take hold"),
        (["charset: BIG-5", "unencodable: escape"], 9, 18, "'escape' does not go with BIG-5", "take hold"),
        (["unencodable: escape"], 8, 18, "is for a destination with a charset", "such as charset: 8859/1"),
    ],
)
def test_what_cannot_be_meant_is_said_with_its_place(load, settings, line, column, message, hint):
    (finding,) = load(channel(*settings)).findings
    assert (finding.code, finding.line, finding.column) == ("E105", line, column)
    assert message in finding.message
    assert hint in finding.hint


def test_a_channel_can_be_strict(load):
    loaded = load(channel() + "charset: {strict: true, fallback: cp1250}\n")
    assert loaded.findings == []
    assert loaded.channels[0].file.charset.strict
    (finding,) = load(channel() + "charset: {strict: yes}\n").findings
    assert finding.code == "E105"


def test_an_editor_is_told_the_same(load, kinds):
    from jsonschema import Draft7Validator

    from engine.config.schema import channel_schema
    from tests.config.test_schema import complaints

    schema = channel_schema(kinds)
    Draft7Validator.check_schema(schema)
    for policy in ("hold", "escape", "replace(?)"):
        assert complaints(schema, channel("charset: 8859/1", f"unencodable: {policy}")) == []
    assert complaints(schema, channel("charset: 8859/1", "unencodable: drop"))
