"""`segmill queue` and `audit`: what waits, what a person does to it, and the record of that."""

import os
import pwd
import re
import sqlite3
from contextlib import closing

import pytest

from engine.cli import queueing
from engine.testing import messages

ME = f"{pwd.getpwuid(os.getuid()).pw_name} (uid {os.getuid()})"


@pytest.fixture
def paused(segmill, running):
    """adt/ris paused, three messages waiting for it."""
    said = segmill("queue", "pause", "adt/ris", "--reason", "RIS moves", "--site", running.folder)
    assert said.code == 0
    for number in (1, 2, 3):
        running.send_only("adt", messages.adt(control_id=f"A{number}", mrn=f"{number}{number}{number}"))
    running.settled(but=("ris",))
    return running


def queue_of(segmill, site, destination: str = "ris"):
    lines = segmill("queue", "list", "adt", "--json", "--site", site.folder).lines
    return next(line for line in lines if line["destination"] == destination)


def states(segmill, site, destination: str = "ris") -> list[str]:
    rows = segmill("messages", "--channel", "adt", "--json", "--site", site.folder).lines
    return [d["state"] for row in reversed(rows) for d in row["deliveries"] if d["destination"] == destination]


# -- pause and resume -----------------------------------------------------------------------------------


def test_what_is_paused_says_so_and_by_whom(segmill, paused):
    said = segmill("queue", "list", "--site", paused.folder)
    assert said.code == 1, "something stands still"
    (row,) = [line for line in said.out.splitlines() if line.startswith("adt") and " ris " in line]
    assert "paused" in row
    assert f"{ME}: RIS moves" in row
    told = queue_of(segmill, paused)
    assert (told["state"], told["queued"], told["head"]) == ("paused", 3, 1)
    assert told["age_s"] >= 0


def test_what_is_resumed_goes_on_in_order(segmill, paused):
    assert segmill("queue", "resume", "--all", "--site", paused.folder).code == 0
    paused.settled()
    assert [p.split(b"|")[9] for p in paused.peer.received] == [b"A1", b"A2", b"A3"]
    said = segmill("queue", "resume", "adt", "--site", paused.folder)
    assert (said.code, "Nothing of that is paused" in said.err) == (0, True)


def test_a_channel_alone_means_all_its_destinations(segmill, running):
    said = segmill("queue", "pause", "adt", "--json", "--site", running.folder)
    assert sorted(said.json["lanes"]) == ["adt/archive", "adt/ris"]
    said = segmill("queue", "pause", "adt", "--site", running.folder)
    assert "already" in said.err
    assert segmill("queue", "resume", "adt", "--json", "--site", running.folder).json["lanes"]


def test_a_paused_intake_is_told_to_its_senders(segmill, running):
    assert segmill("queue", "pause", "adt", "--intake", "--site", running.folder).code == 0
    report = running.send("adt", messages.adt())
    assert report.codes == {"AR": 1}
    assert "(intake)" in segmill("queue", "list", "adt", "--site", running.folder).out
    assert segmill("queue", "resume", "adt", "--intake", "--site", running.folder).code == 0
    assert running.send("adt", messages.adt()).codes == {"AA": 1}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["pause"], 2, "Missing argument"),
        (["pause", "nowhere"], 2, "no channel 'nowhere' runs"),
        (["pause", "adt/"], 2, "write CHANNEL/DESTINATION"),
        (["pause", "adt/nowhere"], 2, "there is no destination adt/nowhere; there is archive, ris"),
        (["pause", "nowhere", "--intake"], 2, "no channel 'nowhere' runs"),
        (["list", "nowhere"], 2, "no channel 'nowhere' runs; there is adt, orders, results"),
        (["retry", "adt/nowhere"], 2, "there is no destination adt/nowhere"),
        (["hold", "adt/nowhere", "--plan"], 2, "there is no destination adt/nowhere"),
        (["hold", "--channel", "nowhere", "--yes"], 2, "no channel 'nowhere' runs"),
        (
            ["hold", "1", "--destination", "nowhere"],
            2,
            "there is no destination nowhere; there is adt/archive, adt/ris",
        ),
        (["redirect", "adt/ris", "--to", "nowhere", "--plan"], 2, "there is no destination adt/nowhere"),
        (["pause", "adt/ris", "--intake"], 2, "--intake is of a channel"),
        (["resume"], 2, "say --all"),
        (["resume", "adt", "--all"], 2, "say --all"),
        (["hold"], 2, "say which"),
        (["hold", "one"], 2, "no message number"),
        (["hold", "adt/ris", "--destination", "ris"], 2, "name one destination"),
        (["hold", "1", "--since", "2h"], 2, "not both"),
        (["hold", "99"], 2, "there is no message 99"),
        (["hold", "--delivery", "99"], 2, "there is no delivery 99"),
        (["hold", "--state", "held", "--channel", "adt"], 2, "queued"),
        (["skip", "adt/ris", "--yes"], 2, "say why"),
        (["redirect", "adt/ris", "--yes"], 2, "--to"),
        (["redirect", "adt/ris", "--to", "nowhere", "--yes"], 2, "there is no destination adt/nowhere"),
        (["redirect", "adt/ris", "--to", "ris", "--yes"], 1, "nothing was done"),
    ],
)
def test_what_is_not_understood_says_what_would_be_and_does_nothing(segmill, paused, words, code, told):
    said = segmill("queue", *words, "--site", paused.folder)
    assert (said.code, told in said.err) == (code, True), said.err
    assert states(segmill, paused) == ["queued"] * 3


def test_where_nothing_is_meant_it_says_why(segmill, paused):
    said = segmill("queue", "release", "1", "--destination", "archive", "--site", paused.folder)
    assert said.code == 0
    assert "it is for those that are failed or held" in said.err
    assert "message 1: queued (to ris), delivered (to archive)" in said.err
    paused.send_only("results", messages.oru(observations=[messages.Observation("FERR", "Ferritin", "88")]))
    said = segmill("queue", "skip", "4", "--reason", "x", "--site", paused.folder)
    assert "message 4 itself is held: segmill release 4" in said.err


# -- hold, release, skip, redirect, retry ----------------------------------------------------------------


def test_one_message_is_held_and_released(segmill, paused):
    said = segmill("queue", "hold", "2", "--reason", "wrong patient", "--site", paused.folder)
    assert (said.code, "held: 1 delivery" in said.err) == (0, True)
    assert states(segmill, paused) == ["queued", "held", "queued"]
    told = segmill("messages", "2", "--site", paused.folder).out
    assert f"held by {ME}: wrong patient" in told
    segmill("queue", "resume", "--all", "--site", paused.folder)
    paused.settled()
    assert segmill("queue", "release", "2", "--site", paused.folder).code == 0
    paused.settled()
    assert [p.split(b"|")[9] for p in paused.peer.received] == [b"A1", b"A3", b"A2"]


def test_a_plan_counts_by_channel_destination_and_state_names_the_first_and_does_nothing(segmill, paused):
    plan = segmill("queue", "skip", "adt/ris", "--reason", "x", "--plan", "--json", "--site", paused.folder).json
    assert (plan["action"], plan["messages"], plan["deliveries"]) == ("skip", 3, 3)
    assert plan["plan"] == [{"channel": "adt", "destination": "ris", "state": "queued", "count": 3}]
    assert [one["seq"] for one in plan["first"]] == [1, 2, 3]
    said = segmill("queue", "skip", "adt/ris", "--reason", "x", "--plan", "--site", paused.folder)
    assert "message 1 to ris" in said.err
    assert states(segmill, paused) == ["queued"] * 3


def test_in_bulk_by_an_expression(segmill, paused):
    words = ("--where", 'PID-3.1 in ["111", "333"]', "--destination", "ris", "--reason", "sent by hand")
    said = segmill("queue", "skip", *words, "--site", paused.folder)
    assert (said.code, "--yes" in said.err) == (2, True), "nobody is here to ask"
    said = segmill("queue", "skip", *words, "--yes", "--json", "--site", paused.folder)
    assert (said.code, said.json["deliveries"]) == (0, 2)
    assert states(segmill, paused) == ["failed", "queued", "failed"]


def test_what_was_planned_is_what_is_done_or_nothing(segmill, paused, monkeypatch):
    """Between the plan and the yes another message comes: it is said, and nothing is done."""
    monkeypatch.setattr(queueing.sys.stdin, "isatty", lambda: True, raising=False)

    def confirm(*_, **__):
        paused.send_only("adt", messages.adt(control_id="A4"))
        return True

    monkeypatch.setattr(queueing.click, "confirm", confirm)
    said = segmill("queue", "hold", "adt/ris", "--site", paused.folder)
    assert said.code == 75
    assert "since the plan 1 came to it and 0 left it: nothing was done" in said.err
    assert states(segmill, paused) == ["queued"] * 4


def test_what_has_changed_when_the_engine_is_asked_is_refused_as_a_whole(segmill, paused, monkeypatch):
    carry = queueing.by_state
    # As if delivery 1 had been held when it was planned.
    monkeypatch.setattr(queueing, "by_state", lambda ids: {**carry(ids[1:]), "held": [ids[0][0]]})
    said = segmill("queue", "skip", "adt/ris", "--reason", "x", "--yes", "--site", paused.folder)
    assert (said.code, "1 of 3 have changed since the plan" in said.err) == (75, True), said.err
    assert states(segmill, paused) == ["queued"] * 3


def test_what_is_redirected_goes_to_the_other_destination(segmill, paused):
    said = segmill("queue", "redirect", "adt/ris", "--to", "archive", "--yes", "--site", paused.folder)
    assert said.code == 0
    paused.settled(but=("ris",))
    assert states(segmill, paused) == ["redirected"] * 3
    assert states(segmill, paused, "archive") == ["delivered"] * 6


def test_a_destination_that_is_down_is_tried_now(segmill, site, run_site_with):
    channel = site / "channels" / "adt" / "channel.yaml"
    # By itself it must not try again before we ask, on however slow a machine.
    waits = "    on_refused: hold\n    retry: {first: 1h, most: 1h}\n"
    text = channel.read_text()
    assert "    on_refused: hold" in text
    channel.write_text(re.sub(r"    on_refused: hold.*\n", waits, text, count=1))
    running = run_site_with(site, "AR", "AA")
    running.send("adt", messages.adt())
    assert queue_of(segmill, running)["attempts"] == 1
    said = segmill("queue", "retry", "adt/ris", "--site", site)
    assert (said.code, "adt/ris tries again (it was waiting: the receiver answered AR" in said.err) == (0, True), (
        said.err
    )
    running.settled()
    assert states(segmill, running) == ["delivered"]


def test_what_a_retry_does_not_end_is_said(segmill, paused):
    said = segmill("queue", "retry", "adt/ris", "--site", paused.folder)
    assert "adt/ris is paused: nothing is tried until segmill queue resume adt/ris" in said.err
    assert "nothing waits for adt/archive" in segmill("queue", "retry", "adt/archive", "--site", paused.folder).err
    said = segmill("queue", "retry", "adt/ris", "--json", "--site", paused.folder)
    assert (said.json["lanes"], said.json["was"], said.json["queued"]) == (["adt/ris"], "paused", 3)


def test_one_delivery_is_tried_now(segmill, site, run_site_with):
    running = run_site_with(site, "AR", "AA")
    running.send("adt", messages.adt())
    assert segmill("queue", "retry", "1", "--destination", "ris", "--site", site).code == 0
    running.settled()
    assert states(segmill, running) == ["delivered"]


def test_of_one_destination_alone_held_ones_are_released(segmill, paused):
    segmill("queue", "hold", "1-3", "--site", paused.folder)
    said = segmill("release", "--all", "--destination", "ris", "--yes", "--json", "--site", paused.folder)
    assert (said.code, said.json["deliveries"]) == (0, 3)
    assert states(segmill, paused) == ["queued"] * 3


def test_a_destination_can_be_named_as_its_sisters_name_it(segmill, paused):
    segmill("queue", "hold", "1-3", "--destination", "ris", "--site", paused.folder)
    said = segmill("queue", "release", "adt/ris", "--site", paused.folder)
    assert (said.code, "--yes" in said.err) == (2, True), "it is about many: nobody is here to ask"
    for words in (["1", "adt/ris"], ["adt/ris", "--channel", "adt"], ["adt/"]):
        assert segmill("queue", "release", *words, "--yes", "--site", paused.folder).code == 2
    said = segmill("queue", "release", "adt/ris", "--yes", "--json", "--site", paused.folder)
    assert (said.code, said.json["deliveries"]) == (0, 3)


def test_what_was_given_up_does_not_come_back_with_all(segmill, paused):
    words = ("--destination", "ris", "--reason", "sent by hand", "--yes")
    assert segmill("queue", "skip", "1", *words, "--site", paused.folder).code == 0
    segmill("queue", "hold", "2", "--destination", "ris", "--site", paused.folder)
    said = segmill("queue", "release", "adt/ris", "--yes", "--json", "--site", paused.folder)
    assert (said.code, said.json["deliveries"]) == (0, 1)
    assert states(segmill, paused) == ["failed", "queued", "queued"]
    said = segmill("queue", "release", "adt/ris", "--state", "failed", "--yes", "--json", "--site", paused.folder)
    assert (said.code, said.json["deliveries"]) == (0, 1)
    assert states(segmill, paused) == ["queued"] * 3


def test_a_release_of_what_stands_still_says_what_starts_it(segmill, site, run_site_with):
    file = site / "channels" / "adt" / "channel.yaml"
    file.write_text(file.read_text().replace("on_refused: hold", "on_refused: stop"))
    running = run_site_with(site, "AE", "AA")
    running.send("adt", messages.adt())
    said = segmill("queue", "release", "adt/ris", "--yes", "--site", site)
    assert (said.code, "adt/ris stands still at message 1: segmill queue retry adt/ris" in said.err) == (0, True), (
        said.err
    )
    assert segmill("queue", "retry", "adt/ris", "--site", site).code == 0
    running.settled()
    assert states(segmill, running) == ["delivered"]


def test_the_same_key_again_does_nothing_more(segmill, paused):
    segmill("queue", "resume", "--all", "--site", paused.folder)
    paused.settled()
    for _ in range(2):
        said = segmill("replay", "1", "--to", "ris", "--key", "ticket-4711", "--yes", "--json", "--site", paused.folder)
        assert (said.code, said.json["deliveries"], said.json["key"]) == (0, 1, "ticket-4711")
    assert said.json["done_before"] is True
    paused.settled()
    assert paused.peer.messages == 4
    said = segmill("replay", "2", "--key", "ticket-4711", "--yes", "--site", paused.folder)
    assert (said.code, "used for something else" in said.err) == (1, True)


def test_without_an_engine_it_says_so(segmill, paused):
    paused.stop()
    said = segmill("queue", "hold", "1", "--site", paused.folder)
    assert (said.code, "no engine is running" in said.err) == (69, True)
    assert segmill("queue", "hold", "1", "--plan", "--site", paused.folder).code == 0


# -- the record -----------------------------------------------------------------------------------------


def test_who_did_what_is_on_record(segmill, paused):
    words = ("--where", 'PID-3.1 == "111"', "--destination", "ris")
    segmill("queue", "hold", *words, "--reason", "wrong patient", "--yes", "--site", paused.folder)
    rows = segmill("audit", "--json", "--site", paused.folder).lines
    assert [(row["action"], row["actor"], row["reason"]) for row in rows] == [
        ("pause", ME, "RIS moves"),
        ("hold", ME, "wrong patient"),
    ]
    assert rows[1]["ids"].startswith("deliveries ")
    assert "scope" not in rows[1]
    said = segmill("audit", "--site", paused.folder)
    assert "wrong patient" in said.out
    assert "111" not in said.out, "an expression may hold patient data"
    assert 'PID-3.1 == "111"' in segmill("audit", "--show-values", "--site", paused.folder).out
    assert [r["id"] for r in segmill("audit", "--action", "hold", "--json", "--site", paused.folder).lines] == [2]
    assert segmill("audit", "--actor", "nobody of that name", "--site", paused.folder).out == ""
    assert [r["id"] for r in segmill("audit", "--limit", "1", "--json", "--site", paused.folder).lines] == [2]
    assert segmill("audit", "--since", "2000-01-01", "--json", "--site", paused.folder).lines == rows


def test_looking_at_values_is_on_record_and_not_shown_where_it_cannot_be(segmill, paused):
    assert "Testperson" in segmill("messages", "1", "--show-values", "--site", paused.folder).out
    assert "Testperson" in segmill("messages", "2", "--raw", "--site", paused.folder).out
    segmill("messages", "1", "--site", paused.folder)
    rows = segmill("audit", "--action", "read", "--json", "--show-values", "--site", paused.folder).lines
    assert [(row["ids"], row["scope"]) for row in rows] == [
        ("messages 1", "messages --show-values"),
        ("messages 2", "messages --raw"),
    ]
    paused.stop()
    assert "Testperson" in segmill("messages", "1", "--show-values", "--site", paused.folder).out
    assert len(segmill("audit", "--action", "read", "--json", "--site", paused.folder).lines) == 2


def test_a_record_put_in_at_the_end_is_noticed(segmill, paused):
    paused.stop()
    with closing(sqlite3.connect(paused.folder / "data" / "segmill.db")) as db:
        db.execute(
            "INSERT INTO audit SELECT 9, at_us, 'bert', action, reason, scope, counts, ids, run, hash FROM audit"
        )
        db.commit()
    said = segmill("audit", "--verify", "--json", "--site", paused.folder)
    assert (said.code, said.json["whole"], said.json["broken_at"]) == (1, False, 2)


def test_the_newest_hash_can_be_kept_elsewhere(segmill, paused):
    said = segmill("audit", "--verify", "--site", paused.folder)
    (row,) = segmill("audit", "--json", "--site", paused.folder).lines
    assert row["hash"] in said.out, "it is data, to be piped"


def test_what_was_paused_is_on_record(segmill, paused):
    segmill("queue", "pause", "adt", "--intake", "--site", paused.folder)
    segmill("queue", "retry", "adt/archive", "--site", paused.folder)
    rows = segmill("audit", "--json", "--site", paused.folder).lines
    assert [(row["action"], row["ids"]) for row in rows] == [
        ("pause", "adt/ris"),
        ("pause", "the intake of adt"),
        ("retry", "adt/archive"),
    ]


def test_the_record_is_proved_whole_and_a_change_is_noticed(segmill, paused):
    said = segmill("audit", "--verify", "--json", "--site", paused.folder)
    assert (said.code, said.json["whole"], said.json["records"]) == (0, True, 1)
    segmill("queue", "hold", "1", "--site", paused.folder)
    segmill("queue", "hold", "2", "--site", paused.folder)
    paused.stop()
    store = paused.folder / "data" / "segmill.db"
    with closing(sqlite3.connect(store)) as db:
        for sql in ("UPDATE audit SET actor = 'bert'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(sql)
        db.execute("DROP TRIGGER audit_is_not_forgotten")
        db.execute("DELETE FROM audit WHERE id = 3")
        db.commit()
    said = segmill("audit", "--verify", "--site", paused.folder)
    assert (said.code, "number 3 was changed, put in or taken away" in said.out) == (1, True), said.out
    assert segmill("audit", "--verify", "--since", "2h", "--site", paused.folder).code == 2
