"""`segmill messages`, `replay` and `release`: the stored messages of a site whose engine runs."""

import json
import sqlite3
import time
from contextlib import closing

import pytest

from engine.cli.messages import masked
from engine.testing import messages
from engine.testing.messages import Observation

FERRITIN = Observation("FERR", "Ferritin", "88", units="ug/L")
SECRETS = ("Testperson", "Anna", "900001", "19700101", "Example Street", "555-0100")


@pytest.fixture
def busy(running):
    """Messages 1 and 2 processed, 3 held for its code, 4 refused for its name."""
    running.send("adt", messages.adt(control_id="A1", mrn="111"), messages.adt(control_id="A2", mrn="222"))
    running.send("results", messages.oru(control_id="R1", observations=[FERRITIN]))
    running.send("adt", messages.adt(control_id="A3", family="", given=""))
    return running


def seqs(said) -> list[int]:
    return [one["seq"] for one in said.lines]


def test_the_newest_come_first_with_what_became_of_them(segmill, busy):
    said = segmill("messages", "--site", busy.folder)
    assert said.code == 0
    rows = said.out.splitlines()
    assert rows[0].split()[:4] == ["seq", "received", "channel", "type"]
    assert [row.split()[0] for row in rows[1:]] == ["4", "E210", "3", "E214", "2", "1"]
    assert "rejected" in rows[1]
    assert "AE" in rows[1]
    assert "held" in rows[3]
    assert "2 delivered" in rows[5]
    assert "4 messages" in said.err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--where", 'PID-3.1 == "222"'], [2]),
        (["--where", 'MSH-9.1 == "ADT" and PID-5 is empty'], [4]),
        (["--channel", "results"], [3]),
        (["--state", "held"], [3]),
        (["--state", "delivered"], [2, 1]),
        (["--state", "held", "--state", "rejected"], [4, 3]),
        (["--state", "held", "--state", "delivered"], [3, 2, 1]),
        (["--control-id", "A2"], [2]),
        (["--since", "1h"], [4, 3, 2, 1]),
        (["--since", "2000-01-01"], [4, 3, 2, 1]),
        (["--until", "1h"], []),
        (["--limit", "2"], [4, 3]),
        (["--channel", "adt", "--state", "processed", "--limit", "1"], [2]),
        (["--key", "mrn=222"], [2]),
        (["--key", "mrn=nobody"], []),
        (["mrn=222", "channel:adt"], [2]),
        (["mrn=222", "channel:results"], []),
        (["key:222"], [2]),
        (["key:A2"], [2]),
        (["PID-3.1=222"], [2]),
        (["text:222"], [2]),
        (["state:held,delivered"], [3, 2, 1]),
        (["type:adt", "--before", "4"], [2, 1]),
        (["since:1h", "--limit", "2"], [4, 3]),
        (["--before", "3"], [2, 1]),
    ],
)
def test_a_search_finds_what_it_says(segmill, busy, words, found):
    said = segmill("messages", "--site", busy.folder, "--json", *words)
    assert said.code == 0
    assert seqs(said) == found


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--where", "PID-3. == 1"], "^"),
        (["--since", "yesterday"], "2h"),
        (["--state", "sent"], "delivered"),
        (["one"], "no message number"),
        (["99"], "there is no message 99"),
        (["1", "--channel", "adt"], "not both"),
        (["mnr=1"], "did you mean 'mrn'?"),
        (["--key", "mrn"], "NAME=VALUE"),
        (["mrn=1", "--channel", "adt"], "all with options"),
        (["text:one", "--summary"], "everything"),
    ],
)
def test_a_search_that_is_not_understood_says_what_would_be(segmill, busy, words, told):
    said = segmill("messages", "--site", busy.folder, *words)
    assert said.code == 2
    assert told in said.err
    assert said.out == ""


def test_values_are_masked_until_somebody_asks_for_them(segmill, busy):
    for words in (["1"], ["1", "--json"], ["--json"], []):
        said = segmill("messages", "--site", busy.folder, *words)
        assert said.code == 0
        assert not [secret for secret in SECRETS if secret in said.out + said.err], words
    shown = segmill("messages", "--site", busy.folder, "1", "--show-values")
    assert "Testperson^Anna" in shown.out
    as_json = segmill("messages", "--site", busy.folder, "1", "--show-values", "--json").json
    assert "Testperson^Anna" in as_json["raw"]
    assert "|RIS|RADIOLOGY|" in as_json["deliveries"][0]["body"]


def test_one_message_shows_its_deliveries_findings_and_answer(segmill, busy):
    said = segmill("messages", "--site", busy.folder, "3").out
    assert "message 3  ORU^R01  control id R1  held" in said
    assert "E214" in said
    assert "OBX[1]-3.1" in said
    assert "no deliveries" in said
    assert "MSA|AA|R1" in said
    said = segmill("messages", "--site", busy.folder, "1").out
    assert [line.split()[:3] for line in said.splitlines() if line.startswith(("ris", "archive"))] == [
        ["ris", "delivered", "1"],
        ["archive", "delivered", "1"],
    ]


def test_the_store_is_read_without_the_engine_too(segmill, busy):
    busy.stop()
    assert seqs(segmill("messages", "--site", busy.folder, "--json")) == [4, 3, 2, 1]
    assert seqs(segmill("messages", "--data", busy.folder / "data", "--json")) == [4, 3, 2, 1]


def test_a_broken_channel_does_not_keep_anybody_from_looking(segmill, busy):
    (busy.folder / "channels" / "adt" / "channel.yaml").write_text("listen: [")
    assert seqs(segmill("messages", "--site", busy.folder, "--json")) == [4, 3, 2, 1]
    (busy.folder / "segmill.yaml").write_text("data: [")
    said = segmill("messages", "--site", busy.folder)
    assert said.code == 78
    assert "--data" in said.err
    assert segmill("messages", "--data", busy.folder / "data").code == 0


def test_where_nothing_ever_ran_it_says_so(segmill, site):
    said = segmill("messages", "--site", site)
    assert said.code == 69
    assert "segmill run" in said.err


def test_a_store_of_an_earlier_version_is_said(segmill, busy):
    busy.stop()
    with closing(sqlite3.connect(busy.folder / "data" / "segmill.db")) as db:
        db.execute("DROP TABLE link")
        db.execute("PRAGMA user_version = 5")
        db.commit()
    said = segmill("messages", "1", "--site", busy.folder)
    assert (said.code, "earlier Segmill" in said.err, "segmill run" in said.err) == (74, True, True)


def test_a_store_of_a_newer_version_is_left_alone(segmill, busy):
    busy.stop()
    with closing(sqlite3.connect(busy.folder / "data" / "segmill.db")) as db:
        db.execute("PRAGMA user_version = 99")
        db.commit()
    for words in (("messages",), ("audit", "--verify"), ("replay", "1", "--plan")):
        said = segmill(*words, "--site", busy.folder)
        assert (said.code, "newer Segmill" in said.err, said.out) == (78, True, "")


def test_the_summary_counts_by_channel_and_by_what_waits(segmill, busy):
    said = segmill("messages", "--site", busy.folder, "--summary", "--json").json
    assert said["messages"]["adt"] == {"processed": 2, "rejected": 1}
    assert said["messages"]["results"] == {"held": 1}
    assert "adt" in segmill("messages", "--site", busy.folder, "--summary").out


# -- release --------------------------------------------------------------------------------------


def test_a_held_message_goes_through_its_channel_again_and_says_why_it_is_held_still(segmill, busy):
    said = segmill("release", "3", "--site", busy.folder)
    assert said.code == 1
    assert "left alone: message 3, it is held again: E214" in said.err
    assert "segmill reload, then release again" in said.err


def test_after_the_table_was_mended_and_the_engine_started_again_it_goes_out(segmill, busy, run_site_with):
    busy.stop()
    table = busy.folder / "channels" / "results" / "tables" / "codes.csv"
    table.write_text(table.read_text() + "FERR,N0050-1,Ferritin\n")
    again = run_site_with(busy.folder)
    said = segmill("release", "--all", "--yes", "--site", busy.folder)
    assert said.code == 0
    assert "released: 1 message, 2 deliveries" in said.err
    again.send("adt")
    assert any(b"N0050-1^Ferritin" in payload for payload in again.peer.received)
    assert seqs(segmill("messages", "--state", "held", "--json", "--site", busy.folder)) == []


def test_what_its_receiver_refused_goes_out_again_after_release(segmill, site, run_site_with):
    running = run_site_with(site, "AE", "AA")
    running.send("adt", messages.adt())
    assert seqs(segmill("messages", "--state", "held", "--json", "--site", site)) == [1]
    said = segmill("release", "--channel", "adt", "--all", "--yes", "--json", "--site", site)
    assert (said.code, said.json["deliveries"]) == (0, 1)
    running.send("adt")
    assert running.peer.messages == 2


def test_a_destination_that_stands_still_is_part_of_all(segmill, site, run_site_with):
    """The orders channel stops its lane at a refusal, so that nothing overtakes."""
    running = run_site_with(site, "AE", "AA")
    running.send("orders", messages.orm(control_id="O1"), messages.orm(control_id="O2"))
    plan = segmill("release", "--all", "--plan", "--json", "--site", site).json
    assert plan["messages"] == 1
    assert segmill("release", "--all", "--yes", "--site", site).code == 0
    running.send("orders")
    assert running.peer.messages == 3


def test_the_plan_for_a_held_message_names_the_destination_that_goes_on_with_it(segmill, site, run_site_with):
    """It stands still at a delivery of the first run; a second run was held."""
    running = run_site_with(site, "AE", "AA")
    running.send("orders", messages.orm(control_id="O1"))
    file = site / "channels" / "orders" / "channel.yaml"
    (file.parent / "known.csv").write_text("from,to\nNOBODY,X\n")
    file.write_text(file.read_text().replace("steps:\n", "steps:\n  - map: {ORC-2: known.csv, otherwise: hold}\n"))
    assert segmill("reload", site).code == 0
    segmill("replay", "1", "--reprocess", "--yes", "--site", site)
    planned = segmill("release", "1", "--plan", "--json", "--site", site).json["plan"]
    assert {(row["what"], row["count"]) for row in planned} == {("held messages", 1), ("queued deliveries to ris", 1)}
    said = segmill("release", "1", "--site", site)
    assert "1 delivery" in said.err and "held again" in said.err
    running.settled()
    assert running.peer.messages == 2


def test_giving_up_needs_a_reason_and_keeps_it(segmill, busy):
    said = segmill("release", "3", "--discard", "LAB sent a test", "--yes", "--site", busy.folder)
    assert said.code == 0
    told = segmill("messages", "3", "--json", "--site", busy.folder).json
    assert told["state"] == "discarded"
    assert "LAB sent a test" in json.dumps(told["findings"])
    assert segmill("release", "3", "--site", busy.folder).code == 1


def test_nothing_is_done_to_all_without_a_yes(segmill, busy):
    said = segmill("release", "--all", "--site", busy.folder)
    assert said.code == 2
    assert "--yes" in said.err
    assert "held messages" in said.err
    assert segmill("release", "--all", "--plan", "--site", busy.folder).code == 0
    assert segmill("messages", "3", "--json", "--site", busy.folder).json["state"] == "held"


@pytest.mark.parametrize("words", [[], ["--channel", "adt"], ["3", "--all"], ["3", "--channel", "adt"], ["0"], ["5-2"]])
def test_a_release_of_nobody_knows_what_is_refused(segmill, busy, words):
    assert segmill("release", *words, "--site", busy.folder).code == 2


# -- replay ---------------------------------------------------------------------------------------


def test_the_same_bytes_go_to_the_same_places_again(segmill, busy):
    before = busy.peer.messages
    said = segmill("replay", "1", "--yes", "--site", busy.folder)
    assert said.code == 0
    assert "1 message, 2 deliveries" in said.err
    busy.send("adt")
    assert busy.peer.messages == before + 1
    assert busy.peer.received[-1] == busy.peer.received[0]


def test_a_replay_can_be_for_one_destination_alone(segmill, busy):
    before = busy.peer.messages
    said = segmill("replay", "1-2", "--to", "archive", "--yes", "--json", "--site", busy.folder)
    assert (said.code, said.json["deliveries"]) == (0, 2)
    busy.send("adt")
    assert busy.peer.messages == before


def test_processing_again_is_another_word(segmill, busy):
    said = segmill("replay", "--channel", "adt", "--state", "processed", "--reprocess", "--yes", "--site", busy.folder)
    assert said.code == 0
    assert "processed again: 2 messages, 4 deliveries" in said.err
    said = segmill("replay", "4", "--reprocess", "--yes", "--site", busy.folder)
    assert said.code == 1
    assert "rejected" in said.err


def test_the_plan_counts_and_does_nothing(segmill, busy):
    before = busy.peer.messages
    said = segmill("replay", "--channel", "adt", "--plan", "--json", "--site", busy.folder).json
    assert said["messages"] == 3
    assert {"channel": "adt", "destination": "ris", "count": 2} in said["plan"]
    busy.send("adt")
    assert busy.peer.messages == before


def test_the_queue_list_tells_of_held_messages_too(segmill, busy):
    said = segmill("queue", "list", "--site", busy.folder)
    where = "segmill messages --channel results --state held"
    assert f"1 message of results is held and waits for a person: {where}" in said.err
    assert "for a person" not in segmill("queue", "list", "adt", "--site", busy.folder).err
    assert len(segmill("queue", "list", "--json", "--site", busy.folder).lines) == 8


def test_a_plan_says_what_will_be_left_alone(segmill, busy):
    said = segmill("replay", "1-4", "--plan", "--json", "--site", busy.folder).json
    counted = {(row["channel"], row["destination"]): row["count"] for row in said["plan"]}
    assert counted == {
        ("adt", "ris"): 2,
        ("adt", "archive"): 2,
        ("results", "(never sent: left alone)"): 1,
        ("adt", "(rejected: left alone)"): 1,
    }


def test_the_place_of_a_finding_reads_as_a_sentence(segmill, busy):
    said = segmill("messages", "3", "--site", busy.folder).out
    assert "codes of the record, channel.yaml:48, OBX[1]-3.1: no row" in said
    assert ",:" not in segmill("messages", "4", "--site", busy.folder).out


def test_what_was_never_sent_cannot_be_sent_again(segmill, busy):
    said = segmill("replay", "3", "--yes", "--site", busy.folder)
    assert said.code == 1
    assert "never delivered" in said.err


@pytest.mark.parametrize(
    "words", [[], ["1", "--channel", "adt"], ["1", "--reprocess", "--to", "ris"], ["77"], ["1"], ["--channel", "adt"]]
)
def test_a_replay_that_is_not_clear_or_not_confirmed_is_refused(segmill, busy, words):
    before = busy.peer.messages
    assert segmill("replay", *words, "--site", busy.folder).code == 2
    assert busy.peer.messages == before


@pytest.mark.parametrize("words", [["release", "1"], ["release", "--all", "--yes"], ["replay", "1", "--yes"]])
def test_without_an_engine_actions_say_how_to_start_it(segmill, busy, words):
    busy.stop()
    said = segmill(*words, "--site", busy.folder)
    assert said.code == 69
    assert "no engine is running" in said.err
    assert "segmill run" in said.err


def test_a_file_that_is_no_store_is_called_what_it_is(segmill, tmp_path):
    store = tmp_path / "segmill.db"
    for content, told in ((b"", "is empty"), (b"no database" * 999, "is damaged, or no store")):
        store.write_bytes(content)
        said = segmill("messages", "--data", tmp_path)
        assert said.code == 74
        assert told in said.err
    store.unlink()
    with closing(sqlite3.connect(store)) as db:
        db.execute("CREATE TABLE other (x)")
    said = segmill("messages", "--data", tmp_path)
    assert said.code == 74
    assert "not a store of Segmill" in said.err


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("PID|||900001^^^N||Test^Anna", "PID|||******^^^*||****^****"),
        ("Anna Testperson, born 1970", "**** **********, **** ****"),
        ("ANN", "***"),
        (
            "MSH|^~\\&|HIS|N|RIS|N|2026|Anna|ADT^A01|1|P|2.5|Anna",
            "MSH|^~\\&|HIS|N|RIS|N|2026|****|ADT^A01|1|P|2.5|****",
        ),
        ("MSH", "***"),
        ("FHS|^~\\&|Anna", "FHS|^~\\&|****"),
    ],
)
def test_of_a_line_without_values_only_the_shape_is_shown(line, shown):
    assert masked(line) == shown


def test_attempts_are_listed_and_what_was_answered_only_with_values(segmill, site, run_site_with):
    """An answer may repeat what is in the message."""
    file = site / "channels" / "adt" / "channel.yaml"
    text = file.read_text()
    assert "    on_refused: hold " in text
    file.write_text(text.replace("    on_refused: hold ", "    retry: {first: 10ms}\n    on_refused: retry(3) "))
    busy = run_site_with(site, "AE", "AE", "AA")
    busy.send("adt", messages.adt(control_id="A1"))
    deadline = time.monotonic() + 30
    while [d["state"] for d in segmill("messages", "--site", site, "1", "--json").json["deliveries"]] != [
        "delivered"
    ] * 2:
        assert time.monotonic() < deadline
    said = segmill("messages", "--site", site, "1")
    rows = [line.split() for line in said.out.splitlines() if line.startswith("ris")]
    assert [(row[1], row[4:6]) for row in rows[1:]] == [("1", ["AE", "207"]), ("2", ["AE", "207"])]
    assert "MSA|AE|A1" not in said.out
    shown = segmill("messages", "--site", site, "1", "--show-values").out
    assert [line for line in shown.splitlines() if line.startswith("answer of")] == [
        "answer of ris to attempt 1",
        "answer of ris to attempt 2",
        "answer of ris",
    ]
    assert shown.count("MSA|AE|A1") == 2
    masked, whole = (
        segmill("messages", "--site", site, "1", "--json", *words).json["deliveries"]
        for words in ([], ["--show-values"])
    )
    (ris,) = [row for row in masked if row["destination"] == "ris"]
    assert [(a["number"], a["code"], "answer" in a) for a in ris["earlier_attempts"]] == [
        (1, "AE 207", False),
        (2, "AE 207", False),
    ]
    (ris,) = [row for row in whole if row["destination"] == "ris"]
    assert [("MSA|AE|A1" in a["answer"]) for a in ris["earlier_attempts"]] == [True, True]
    assert "MSA|AA|A1" in ris["answer"]


def test_what_was_given_up_is_left_by_a_release_of_all_and_said(segmill, site, run_site_with):
    running = run_site_with(site)
    for number in (1, 2):
        assert segmill("queue", "pause", "adt", "--site", site).code == 0
        running.send_only("adt", messages.adt(control_id=f"G{number}"))
    give_up = ("queue", "skip", "1", "--reason", "sent by hand", "--yes", "--site", site)
    assert segmill(*give_up).code == 0
    assert segmill("queue", "hold", "2", "--destination", "ris", "--site", site).code == 0
    left = {"channel": "adt", "destination": "ris", "state": "failed", "count": 1}
    plan = segmill("release", "--all", "--plan", "--json", "--site", site).json
    assert plan["plan"] == [{"channel": "adt", "what": "held deliveries to ris", "count": 1}]
    assert left in plan["left"]
    said = segmill("release", "--all", "--yes", "--site", site)
    assert (said.code, "released: 1 delivery" in said.err) == (0, True), said.err
    assert "left alone: 1 failed delivery to adt/ris" in said.err
    assert delivery_states(segmill, site, 1) == {"ris": "failed", "archive": "failed"}
    assert delivery_states(segmill, site, 2)["ris"] == "queued"
    assert segmill("release", "1", "--site", site).code == 0
    assert delivery_states(segmill, site, 1) == {"ris": "queued", "archive": "queued"}


def test_a_message_with_both_has_its_held_delivery_released_alone(segmill, site, run_site_with):
    running = run_site_with(site)
    assert segmill("queue", "pause", "adt", "--site", site).code == 0
    running.send_only("adt", messages.adt())
    skip = ("queue", "skip", "1", "--destination", "archive", "--reason", "not wanted there", "--yes")
    assert segmill(*skip, "--site", site).code == 0
    assert segmill("queue", "hold", "1", "--destination", "ris", "--site", site).code == 0
    assert segmill("release", "--all", "--yes", "--site", site).code == 0
    assert delivery_states(segmill, site, 1) == {"ris": "queued", "archive": "failed"}
    said = segmill("release", "--all", "--state", "failed", "--yes", "--json", "--site", site)
    assert (said.code, said.json["deliveries"]) == (0, 1)
    assert delivery_states(segmill, site, 1) == {"ris": "queued", "archive": "queued"}


def delivery_states(segmill, site, seq: int) -> dict[str, str]:
    told = segmill("messages", str(seq), "--json", "--site", site).json
    return {d["destination"]: d["state"] for d in told["deliveries"]}
