"""What the commands show of character sets."""

import asyncio

from engine.testing import messages
from engine.testing.sites import make_site

CHANNEL = """\
listen: {mllp: {port: 0}}
routes: [{to: his}, {to: lab}]
destinations:
  his: {file: {folder: out/his}, charset: 8859/1, unencodable: "replace(?)"}
  lab: {file: {folder: out/lab}}
"""


def test_senders_are_shown_with_how_their_messages_were_read(segmill, running):
    running.send(
        "adt",
        messages.adt(control_id="A1", charset="UNICODE UTF-8", family="Müller"),
        messages.adt(control_id="A2", family="Muller").replace(b"Muller", "Müller".encode()),
        messages.adt(control_id="A3"),
    )
    said = segmill("senders", "--site", running.folder)
    assert said.code == 0
    head, row = said.out.splitlines()
    assert head.split()[:2] == ["channel", "sender"]
    assert row.split() == ["adt", "HIS|NORTH", "1", "1"]
    said = segmill("senders", "--site", running.folder, "--json")
    assert [(one["channel"], one["sender"], one["charsets"]) for one in said.lines] == [
        ("adt", "HIS|NORTH", {"declared": 1, "utf-8": 1})
    ]


def test_nobody_is_shown_where_all_is_ascii(segmill, running):
    said = segmill("senders", "--site", running.folder, "--channel", "adt")
    assert (said.code, said.out) == (0, "")
    assert "no message beyond plain ASCII" in said.err


def test_feeds_are_shown_with_what_is_usual_and_a_channel_without_any_says_so(segmill, running):
    running.send("adt", messages.adt(control_id="A1"))
    feeds = running.engine._watch_feeds()
    asyncio.run_coroutine_threadsafe(feeds.look(), running._loop).result(60)
    said = segmill("senders", "--feeds", "--site", running.folder)
    assert said.code == 0
    head, line = said.out.splitlines()
    assert head.split("  ")[0] == "channel" and "usual in an hour" in head
    assert "ADT^A01" in line and "not learned yet" in line
    (record,) = segmill("senders", "--feeds", "--site", running.folder, "--json").lines
    assert (record["kind"], record["usual"], record["missed"], record["is_silent"]) == ("ADT^A01", None, 0, False)
    assert (
        "no message has come in" in segmill("senders", "--feeds", "--channel", "orders", "--site", running.folder).err
    )


def test_senders_without_an_engine_says_so(segmill, site):
    assert segmill("senders", "--site", site).code == 69


def test_try_shows_what_each_destination_would_get(segmill, tmp_path):
    site = make_site(tmp_path / "site", {"a": CHANNEL}, "")
    file = tmp_path / "a.hl7"
    file.write_bytes(messages.adt(charset="UNICODE UTF-8", family="Łüx"))
    said = segmill("try", "a", file, "--site", site)
    assert said.code == 0
    assert "W272 PID-5: to his: 1 character that 8859/1 does not have went as the text that" in said.out
    his = said.out.partition("  to his\n")[2].partition("  to lab")[0]
    assert "?üx" in his and "||||||8859/1" in his
    assert "  to lab (as it came in)" in said.out


def test_try_refuses_for_a_strict_channel(segmill, tmp_path):
    site = make_site(tmp_path / "site", {"a": CHANNEL + "charset: {strict: true}\n"}, "")
    file = tmp_path / "a.hl7"
    file.write_bytes(messages.adt(family="Muller").replace(b"Mu", b"M\xfc"))
    said = segmill("try", "a", file, "--site", site)
    assert (said.code, "rejected, answer AE" in said.out, "E272 MSH-18" in said.out) == (1, True, True)


def test_a_file_in_utf_16_is_tried_as_utf_8(segmill, tmp_path, repository):
    site = make_site(tmp_path / "site", {"a": CHANNEL}, "")
    said = segmill("try", "a", repository / "samples/quirks/utf16_file.hl7", "--site", site, "--json")
    assert (said.code, said.json["state"], said.json["findings"][0]["code"]) == (0, "processed", "W272")
    lab = next(one["body"] for one in said.json["outputs"] if one["to"] == ["lab"])
    assert "UNICODE UTF-8" in lab and "Pröbenname" in lab
