"""`segmill profile`: learn, diff and import, as somebody at a terminal meets them."""

import json
from pathlib import Path

import pytest

from engine.config.profile_load import AnyFiles, load_profile
from engine.testing import messages


@pytest.fixture
def samples(repository: Path) -> Path:
    return repository / "samples"


def profile_of(path: Path):
    loaded, findings = load_profile(path.name, AnyFiles(path.parent))
    assert findings == []
    return loaded


# -- learn --------------------------------------------------------------------------------------------


def test_learn_prints_a_profile_that_can_be_read(segmill, samples, tmp_path):
    said = segmill("profile", "learn", samples / "adt")
    assert said.code == 0
    assert "learned " in said.err and "from 42 messages" in said.err
    (tmp_path / "p.yaml").write_text(said.out)
    (_, profile), *_ = profile_of(tmp_path / "p.yaml").profiles.choices
    assert "PID-3.usage" in {rule.id for rule in profile.all_rules()}


def test_learn_writes_a_file_and_does_not_overwrite_one(segmill, samples, tmp_path):
    out = tmp_path / "profiles" / "adt.yaml"
    assert segmill("profile", "learn", samples / "adt", "-o", out).out == ""
    before = out.read_text()
    again = segmill("profile", "learn", samples / "orders", "-o", out)
    assert again.code == 2
    assert "--force" in again.err
    assert out.read_text() == before
    assert segmill("profile", "learn", samples / "orders", "-o", out, "--force").code == 0
    assert out.read_text() != before


def test_learn_as_json_has_the_rules_and_the_file(segmill, samples):
    said = segmill("profile", "learn", samples / "adt", "--mode", "observe", "--json").json
    assert said["messages"] == 42
    assert said["senders"] == ["HIS|NORTH"]
    assert "PID-3.usage" in said["rules"]
    assert "\nmode: observe\n" in said["profile"]


def test_learn_makes_one_profile_for_each_sender_where_that_is_asked_for(segmill, tmp_path):
    for number in range(24):
        sender = ("LAB", "") if number % 2 else ("HIS", "NORTH")
        (tmp_path / f"{number}.hl7").write_bytes(messages.adt(sender=sender, control_id=f"C{number}"))
    said = segmill("profile", "learn", tmp_path, "--by-sender", "-o", tmp_path / "p.yaml")
    assert said.code == 0
    whom = [body.whose[0] for body in profile_of(tmp_path / "p.yaml").bodies if body.whose]
    assert [(one.sender, one.facility) for one in whom] == [("HIS", "NORTH"), ("LAB", "")]


def test_learn_reads_what_a_channel_has_stored(segmill, running):
    sent = [messages.adt(control_id=f"A{n}", mrn=f"9000{n:02}") for n in range(12)]
    running.send("adt", *sent, messages.adt(control_id="BAD", family="", given=""))
    said = segmill("profile", "learn", "--channel", "adt", "--since", "1h", "--site", running.folder, "--json").json
    assert said["messages"] == 12, "the rejected one is its sender's to keep"
    assert "PID-5.usage" in said["rules"]
    assert "9000" not in said["profile"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give files with messages, or --channel"),
        (["{samples}/adt", "--channel", "adt"], "not both"),
        (["{samples}/adt", "--since", "1d"], "--since is about"),
        (["{samples}/adt", "{samples}/profiles/adt_a01.xml"], "left out"),
    ],
)
def test_learn_says_how_it_is_used(segmill, samples, words, told):
    said = segmill("profile", "learn", *(word.format(samples=samples) for word in words))
    assert told in said.err
    assert said.code in (0, 2)


def test_learn_of_a_channel_without_messages(segmill, running):
    said = segmill("profile", "learn", "--channel", "orders", "--site", running.folder)
    assert said.code == 2
    assert "no message of channel orders is stored" in said.err


# -- diff ---------------------------------------------------------------------------------------------


def test_diff_of_two_profiles_shows_every_rule_that_is_not_the_same(segmill, tmp_path):
    (tmp_path / "a.yaml").write_text(
        "fields: {PID-3: {usage: R}, PID-8: {values: [F, M]}, PID-5: {usage: R}}\n"
        "messages: {ADT^A01: {segments: {PV1: {usage: R}}}}\n"
    )
    (tmp_path / "b.yaml").write_text(
        "mode: warn\nfields: {PID-3: {usage: RE, mode: reject}, PID-8: {values: [F, M, O], mode: reject},"
        " PID-7: {usage: R}, PID-5: {usage: R, mode: reject}}\n"
    )
    said = segmill("profile", "diff", tmp_path / "a.yaml", tmp_path / "b.yaml", "--json")
    assert said.code == 1
    assert [(one["rule"], one["event"], one["before"], one["after"]) for one in said.lines] == [
        ("PID-3.usage", "", "R (reject)", "RE (reject)"),
        ("PID-8.values", "", "F, M (reject)", "F, M, O (reject)"),
        ("PV1.usage", "ADT^A01", "R (reject)", None),
        ("PID-7.usage", "", None, "R (warn)"),
    ]
    shown = segmill("profile", "diff", tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert [line.split()[0] for line in shown.out.splitlines()] == [
        "rule",
        "PID-3.usage",
        "PID-8.values",
        "ADT^A01",
        "PID-7.usage",
    ]
    assert "4 differences" in shown.err


def test_diff_of_the_same_is_nothing(segmill, samples):
    path = samples / "profiles" / "orders.yaml"
    said = segmill("profile", "diff", path, path)
    assert (said.code, said.out) == (0, "")
    assert "0 differences" in said.err


def test_diff_puts_profiles_of_the_same_sender_side_by_side(segmill, tmp_path):
    (tmp_path / "a.yaml").write_text("profiles: [{for: {sender: HIS}, fields: {PID-3: {usage: R}}}]\n")
    (tmp_path / "b.yaml").write_text(
        "profiles:\n  - {for: {sender: LAB}, fields: {PID-4: {usage: R}}}\n"
        "  - {for: {sender: HIS}, fields: {PID-5: {usage: R}}}\n"
    )
    said = segmill("profile", "diff", tmp_path / "a.yaml", tmp_path / "b.yaml", "--json").lines
    rules = {(one["sender"], one["rule"]) for one in said if "PID" in one["rule"]}
    assert rules == {("MSH-3 HIS", "PID-3.usage"), ("MSH-3 HIS", "PID-5.usage"), ("MSH-3 LAB", "PID-4.usage")}


def test_diff_of_a_profile_and_messages_names_what_is_broken_and_what_nobody_sends(segmill, tmp_path):
    (tmp_path / "p.yaml").write_text(
        "standard: off\nowner: us\nfields:\n  PID-3: {usage: R}\n  PID-19: {usage: RE}\n  PID-4: {usage: RE}\n"
    )
    for number, mrn in enumerate(("1", "", "")):
        (tmp_path / f"{number}.hl7").write_bytes(messages.adt(mrn=mrn, control_id=f"C{number}"))
    said = segmill("profile", "diff", tmp_path / "p.yaml", tmp_path, "--json")
    assert said.code == 1
    assert [(g["kind"], g["name"], g["messages"], g["of"], g["mode"]) for g in said.lines] == [
        ("broken", "PID-3.usage", 2, 3, "reject"),
        ("unsent", "PID-19", 0, 3, None),
        ("unsent", "PID-4", 0, 3, None),
    ]
    shown = segmill("profile", "diff", tmp_path / "p.yaml", tmp_path)
    assert "2 of 3 messages, first at PID-3" in shown.out
    assert "(owner: us)" in shown.out
    everything = segmill("profile", "diff", tmp_path / "p.yaml", tmp_path, "--all", "--json").lines
    assert {"PID-5", "PV1-2"} <= {g["name"] for g in everything if g["kind"] == "unknown"}
    assert not any("Testperson" in json.dumps(g) for g in everything)


def test_diff_of_a_learned_profile_and_its_own_messages_is_nothing(segmill, samples, tmp_path):
    segmill("profile", "learn", samples / "adt", "-o", tmp_path / "p.yaml")
    text = (tmp_path / "p.yaml").read_text().replace("standard: observe", "standard: off")
    (tmp_path / "p.yaml").write_text(text)
    assert segmill("profile", "diff", tmp_path / "p.yaml", samples / "adt", "--all").code == 0


def test_diff_tells_of_senders_without_a_profile(segmill, samples, tmp_path):
    (tmp_path / "p.yaml").write_text("for: {sender: LAB}\nfields: {PID-3: {usage: R}}\n")
    said = segmill("profile", "diff", tmp_path / "p.yaml", samples / "adt")
    assert said.code == 0
    assert "42 of senders without a profile" in said.err


def test_diff_of_a_broken_profile_shows_what_is_wrong(segmill, samples, tmp_path):
    (tmp_path / "p.yaml").write_text("fields: {PID-3: {usage: Q}}\n")
    said = segmill("profile", "diff", tmp_path / "p.yaml", samples / "adt")
    assert said.code == 78
    assert "p.yaml:1:25 E105" in said.err
    assert segmill("profile", "diff", samples / "profiles" / "base.yaml", tmp_path / "none.yaml").code == 2


# -- import -------------------------------------------------------------------------------------------


def test_import_writes_the_profile_and_tells_what_a_person_must_see_to(segmill, samples, tmp_path):
    out = tmp_path / "adt.yaml"
    said = segmill("profile", "import", samples / "profiles" / "adt_a01.xml", "-o", out)
    assert said.code == 0
    assert "2 things to see to" in said.err
    assert "weekend" in said.err
    assert profile_of(out).profiles.choices[0][1].version == "2.5.1"
    as_json = segmill("profile", "import", samples / "profiles" / "adt_a01.xml", "--json").json
    assert as_json["profile"] == out.read_text()
    assert len(as_json["notes"]) == 2


def test_import_refuses_a_document_type(segmill, tmp_path):
    (tmp_path / "x.xml").write_text('<!DOCTYPE a SYSTEM "a.dtd"><HL7v2xConformanceProfile/>')
    said = segmill("profile", "import", tmp_path / "x.xml")
    assert said.code == 1
    assert "DOCTYPE" in said.err
    assert said.out == ""


def test_learn_says_why_too_few_messages_teach_nothing(segmill, samples):
    said = segmill("profile", "learn", samples / "adt/adt_a01_2.5.hl7")
    assert said.code == 0
    assert "no place was seen in 10 messages" in said.err


def test_nothing_is_learned_of_what_is_no_hl7(segmill, tmp_path):
    (tmp_path / "junk.hl7").write_bytes(b"\x00\xff junk\r\nJUNK|1\r\n")
    said = segmill("profile", "learn", tmp_path / "junk.hl7", "-o", tmp_path / "learned.yaml")
    assert said.code == 2
    assert "junk.hl7 that can be read as HL7" in said.err
    assert not (tmp_path / "learned.yaml").exists()
