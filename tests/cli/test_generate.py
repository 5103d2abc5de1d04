"""`segmill generate`: where invented messages go, and what is said of them."""

import json
import os

import pytest

from engine.cli.main import segmill as group
from engine.hl7.message import Message
from engine.testing.sites import make_site


def test_to_standard_output_in_a_form_that_other_commands_read(segmill, site, tmp_path):
    said = segmill("generate", "adt", "--site", site, "--messages", 12, "--charset", "ASCII")
    assert said.code == 0, said.err
    assert said.out.count("MSH|") == 12 and "12 messages of" in said.err
    path = tmp_path / "made.hl7"
    path.write_text(said.out, encoding="latin-1")
    assert segmill("stats", path, "MSH-10", "--json").json["messages"] == 12
    tried = segmill("try", "adt", path, "--site", site, "--json")
    assert tried.code == 0
    assert {line["state"] for line in tried.lines} == {"processed"}


def test_the_same_words_make_the_same_bytes(segmill, site):
    words = ("generate", "results", "--site", site, "--patients", 2, "--charset", "UTF-8")
    one, two, other = segmill(*words), segmill(*words), segmill(*words, "--seed", 2)
    assert one.out == two.out != other.out
    quiet = segmill(*words, "--quiet")
    assert (quiet.out, quiet.err) == (one.out, "")


def test_each_message_as_json(segmill, site):
    said = segmill("generate", "orders", "--site", site, "--messages", 5, "--json")
    assert said.code == 0 and len(said.lines) == 5
    for line in said.lines:
        message = Message.parse(line["message"].encode())
        assert line["schema"] == 1 and line["state"] == "processed"
        assert message.get("MSH-10") == line["control_id"] and message.get("MSH-9.1") == line["type"][:3]
        assert line["what"] in (
            "imaging ordered", "imaging cancelled", "laboratory ordered", "laboratory cancelled",
        )  # fmt: skip


def test_into_a_folder_and_into_a_file(segmill, site, tmp_path):
    words = ("generate", "adt", "--site", site, "--messages", 7)
    said = segmill(*words, "--to", tmp_path / "made", "--json")
    assert said.code == 0, said.err
    assert said.json["messages"] == 7 and sum(said.json["types"].values()) == 7 and said.json["left_out"] == {}
    assert [path.name for path in sorted((tmp_path / "made").iterdir())] == [f"{n:06}.hl7" for n in range(1, 8)]
    assert segmill(*words, "-o", tmp_path / "made.hl7").code == 0
    assert segmill("compare", tmp_path / "made", tmp_path / "made.hl7", "--summary").code == 0
    for again in (("--to", tmp_path / "made"), ("-o", tmp_path / "made.hl7")):
        refused = segmill(*words, *again)
        assert refused.code == 2 and ("not empty" in refused.err or "is there already" in refused.err)


def test_as_cases_that_pass(segmill, site):
    said = segmill("generate", "results", "--site", site, "--patients", 3, "--cases", "--json")
    assert said.code == 0, said.err
    assert said.json["cases"] == [f"invented-1-{number:03}" for number in range(1, 1 + said.json["patients"])]
    for name in said.json["cases"]:
        files = {path.name for path in (site / "channels" / "results" / "cases" / name).iterdir()}
        assert "ack.hl7" in files and "out.epr.hl7" in files and {"in.hl7", "in.1.hl7"} & files
    tested = segmill("test", "results", "--site", site)
    assert tested.code == 0, tested.out
    again = segmill("generate", "results", "--site", site, "--patients", 3, "--cases")
    assert again.code == 2 and "take another --seed" in again.err


def test_to_a_running_engine(segmill, running):
    words = ("generate", "adt", "--site", running.folder, "--messages", 15)
    said = segmill(*words, "--send", f"127.0.0.1:{running.port('adt')}", "--json")
    assert said.code == 0, said.err
    assert said.json["sent"] == 15 and said.json["codes"] == {"AA": 15}
    running.settled()
    again = segmill(*words, "--send", f"127.0.0.1:{running.port('adt')}")
    assert again.code == 0 and "15 AA" in again.out


def test_for_a_profile_alone(segmill, tmp_path, repository):
    profile = repository / "samples" / "profiles" / "base.yaml"
    said = segmill("generate", "--profile", profile, "--messages", 40, "--to", tmp_path / "made")
    assert said.code == 0, said.err
    assert segmill("validate", tmp_path / "made", "--profile", profile).code == 0


def test_what_is_in_the_character_set_that_was_asked_for(segmill, site, tmp_path):
    for name, codec in (("UNICODE UTF-8", "utf-8"), ("8859/2", "iso8859-2")):
        to = tmp_path / codec
        said = segmill(
            "generate", "adt", "--site", site, "--patients", 30, "--charset", name, "--hl7", "2.4", "--to", to
        )
        assert said.code == 0, said.err
        texts = [path.read_bytes().decode(codec) for path in to.iterdir()]
        assert not all(text.isascii() for text in texts)
        assert all(f"|2.4||||||{name}\r" in text for text in texts)


def test_in_the_time_that_was_asked_for(segmill, site):
    said = segmill(
        "generate", "adt", "--site", site, "--since", "2026-03-02T08:00", "--until", "2026-03-02T20:00",
        "--rate", "20/h", "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    times = [line["at"] for line in said.lines]
    assert times == sorted(times) and len(times) > 20
    assert times[0] >= "2026-03-02T08:00" and times[-1] < "2026-03-02T20:00"


NARROW = """
    listen: {mllp: {port: 0}}
    accept: [%s]
    steps:
      - validate: {values: {PID-8: [F]}}
      - validate: {values: {PID-8: [M]}}
    routes: [{to: out}]
    destinations: {out: {file: {folder: out, name: "{MSH-10}"}}}
"""


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "name a channel, or --profile"),
        (("adt", "--profile", "p.yaml"), 2, "p.yaml"),
        (("nothing",), 2, "no channel 'nothing'"),
        (("adt", "--to", "x", "-o", "y"), 2, "choose one"),
        (("adt", "--pace", "5/s"), 2, "--pace is for --send"),
        (("adt", "--charset", "8859/77"), 2, "table 0211"),
        (("adt", "--hl7", "3"), 2, "--hl7 3"),
        (("adt", "--since", "soon"), 2, "'soon' is no time"),
        (("adt", "--until", "2026-01-01"), 2, "is not behind"),
        (("adt", "--rate", "many"), 2, "is no rate"),
        (("adt", "--send", "nowhere"), 2, "is no address"),
        (("narrow",), 78, "E212 PID-8"),
    ],
)
def test_what_cannot_be_is_said_and_what_to_do(segmill, site, words, code, told):
    make_site(site, {"narrow": NARROW % "ADT^A03"})
    said = segmill("generate", *words, "--site", site)
    assert said.code == code and told in said.err
    assert said.out == ""


def test_types_that_cannot_be_made_are_left_out_and_told(segmill, site):
    text = NARROW
    for allowed, other in (("F", "Q"), ("M", "R")):
        step = f"{{validate: {{values: {{PID-8: [{other}]}}}}, when: 'MSH-9.2 == \"A03\"'}}"
        text = text.replace(f"validate: {{values: {{PID-8: [{allowed}]}}}}", step)
    make_site(site, {"narrow": text % "ADT^A03, ADT^A04"})
    said = segmill("generate", "narrow", "--site", site, "--messages", 10, "--json")
    assert said.code == 0, said.err
    assert [line["type"] for line in said.lines] == ["ADT^A04"] * 10, "as many as asked for, all the same"
    times = [line["at"] for line in said.lines]
    assert times == sorted(times)
    assert "left out" in said.err and "ADT^A03 rejected, E212 PID-8" in said.err


def test_tab_completes_the_channels(site, monkeypatch):
    import click

    ctx = click.Context(group)
    command = group.get_command(ctx, "generate")
    inner = command.make_context("generate", ["--site", str(site)], resilient_parsing=True)
    argument = next(one for one in command.params if one.name == "channel")
    assert [item.value for item in argument.shell_complete(inner, "")] == ["adt", "orders", "results", "scanners"]
    assert [item.value for item in argument.shell_complete(inner, "r")] == ["results"]
    monkeypatch.chdir(os.sep)
    bare = command.make_context("generate", [], resilient_parsing=True)
    assert argument.shell_complete(bare, "") == []


def test_json_is_one_object_a_line(segmill, site):
    for line in segmill("generate", "adt", "--site", site, "--messages", 2, "--json").out.splitlines():
        assert json.loads(line)["patient"].startswith("9")


def test_what_cannot_be_made_leaves_no_empty_file_in_the_way(segmill, site, tmp_path):
    channel = site / "channels" / "never" / "channel.yaml"
    channel.parent.mkdir(parents=True)
    channel.write_text(
        "listen: {mllp: {port: 2999}}\naccept: [ADT^A01]\nsteps:\n  - validate: {pattern: {MSH-12: x}, mode: reject}\n"
        "routes: [{to: out}]\ndestinations: {out: {file: {folder: out}}}\n"
    )
    try:
        said = segmill("generate", "never", "--site", site, "-o", tmp_path / "made.hl7")
    finally:
        channel.unlink()
        channel.parent.rmdir()
    assert said.code == 78 and "no message that passes" in said.err
    assert not (tmp_path / "made.hl7").exists()
