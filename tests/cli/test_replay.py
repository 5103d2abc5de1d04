"""`segmill replay`: what would differ, a channel as it was, and an edited message that is linked to the first."""

import pytest

from engine.testing import messages
from tests.cli.test_queue import ME


@pytest.fixture
def sent(running):
    """One message, delivered to the RIS and the archive."""
    running.send("adt", messages.adt(control_id="A1", mrn="111"))
    return running


@pytest.fixture
def changed(sent, run_site_with):
    """The same site after its channel was changed: nobody's sex is known any more (X, which its table makes U)."""
    sent.stop()
    file = sent.folder / "channels" / "adt" / "channel.yaml"
    text = file.read_text()
    assert "steps:\n" in text
    file.write_text(text.replace("steps:\n", "steps:\n  - set: {PID-8: X}\n", 1))
    return run_site_with(sent.folder)


# -- what would differ ----------------------------------------------------------------------------------


def test_a_plan_to_process_again_says_what_would_come_out_otherwise_and_hides_values(segmill, changed):
    said = segmill("replay", "1", "--reprocess", "--plan", "--site", changed.folder)
    assert said.code == 0
    assert "0 messages would come out as before, 1 otherwise" in said.err
    assert 'PID-8  "*" -> "*"' in said.err
    assert "masked" in said.err
    shown = segmill("replay", "1", "--reprocess", "--plan", "--show-values", "--site", changed.folder)
    assert 'PID-8  "F" -> "U"' in shown.err
    (row,) = segmill("audit", "--action", "read", "--json", "--site", changed.folder).lines
    assert (row["ids"], row["actor"]) == ("messages 1", ME)
    told = segmill("replay", "1", "--reprocess", "--plan", "--json", "--site", changed.folder).json["differences"]
    assert (told["compared"], told["same"], told["differing"]) == (1, 0, 1)
    assert {"path": "PID-8"} in told["first"][0]["changes"]
    assert changed.peer.messages == 0


def test_as_it_was_nothing_would_differ(segmill, changed):
    said = segmill("replay", "1", "--reprocess", "--as-of", "received", "--plan", "--site", changed.folder)
    assert "1 message would come out as before, 0 otherwise" in said.err
    version = segmill("messages", "1", "--json", "--site", changed.folder).json["version"]
    said = segmill("replay", "1", "--reprocess", "--as-of", str(version), "--plan", "--site", changed.folder)
    assert "1 message would come out as before" in said.err
    assert f"version {version}" in segmill("messages", "1", "--site", changed.folder).out


def test_a_plan_needs_no_engine(segmill, changed):
    changed.stop()
    said = segmill("replay", "1", "--reprocess", "--plan", "--json", "--site", changed.folder)
    assert (said.code, said.json["differences"]["differing"]) == (0, 1)


def test_a_message_that_would_be_held_is_told_with_the_code(segmill, running):
    from engine.testing.messages import Observation

    running.send("results", messages.oru(control_id="R1", observations=[Observation("FERR", "Ferritin", "88")]))
    said = segmill("replay", "1", "--reprocess", "--plan", "--site", running.folder)
    assert "1 message would come out as before" in said.err, "held before, and held again"


def test_it_is_processed_as_it_was_received_or_as_it_is(segmill, changed):
    for words, letter in ((["--as-of", "received"], b"F"), ([], b"U")):
        said = segmill("replay", "1", "--reprocess", *words, "--yes", "--site", changed.folder)
        assert said.code == 0, said.err
        changed.settled()
        pid = next(line for line in changed.peer.received[-1].split(b"\r") if line.startswith(b"PID"))
        assert pid.split(b"|")[8] == letter


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["1", "--as-of", "received"], "--as-of is for --reprocess"),
        (["1", "--reprocess", "--as-of", "lately"], "no version"),
        (["1", "--reprocess", "--to", "ris"], "--to is for"),
        (["1-2", "--set", "PID-8=F"], "made of one"),
        (["1", "--set", "PID-8"], "PATH=TEXT"),
        (["1", "--set", "PID-=F"], "cannot be written"),
        (["1", "--set", "PID-8=F", "--reprocess"], "made of one"),
        (["1", "--keep-id"], "--keep-id is for"),
        (["1", "--set", "PID-8=F", "--keep-id"], "nothing is different"),
        (["1", "--set", "PID-8=F"], "nothing is different"),
        (["1", "--reprocess", "--as-of", "99", "--plan"], "version 99 of channel adt is not recorded"),
        (["1", "--edited", "nowhere.hl7"], "nowhere.hl7"),
    ],
)
def test_what_does_not_go_together_is_said(segmill, sent, words, told):
    said = segmill("replay", *words, "--yes", "--site", sent.folder)
    assert (said.code, told in said.err) == (2, True), said.err


# -- edited ---------------------------------------------------------------------------------------------


def test_an_edited_message_is_sent_as_a_new_one_and_linked_both_ways(segmill, sent):
    said = segmill("replay", "1", "--set", "PID-8=M", "--reason", "sex corrected", "--yes", "--site", sent.folder)
    assert (said.code, "it is message 2 now" in said.err) == (0, True), said.err
    sent.settled()
    pid = next(line for line in sent.peer.received[-1].split(b"\r") if line.startswith(b"PID"))
    assert pid.split(b"|")[8] == b"M"
    first = segmill("messages", "1", "--site", sent.folder).out
    second = segmill("messages", "2", "--site", sent.folder).out
    assert "edited and sent as message 2" in first
    assert "edited from message 1, and not received from a sender" in second
    assert f"from (edited) at edited by {ME}" in second
    told = segmill("messages", "2", "--json", "--site", sent.folder).json
    assert (told["origin"], told["ack_code"], told["sender"]) == (1, "", "(edited)")
    assert told["control_id"] != "A1"
    (row,) = segmill("audit", "--action", "edit", "--json", "--site", sent.folder).lines
    assert (row["reason"], row["ids"]) == ("sex corrected", "messages 1-2")


def test_its_control_id_can_be_kept(segmill, sent, tmp_path):
    raw = segmill("messages", "1", "--raw", "--site", sent.folder).out
    file = tmp_path / "edited.hl7"
    file.write_text(raw.replace("|F|", "|M|").replace("\r", "\n"))
    said = segmill("replay", "1", "--edited", file, "--keep-id", "--yes", "--json", "--site", sent.folder)
    assert (said.code, said.json["made"]) == (0, [2])
    assert segmill("messages", "2", "--json", "--site", sent.folder).json["control_id"] == "A1"


def test_a_file_that_is_no_edit_is_refused(segmill, sent, tmp_path):
    file = tmp_path / "edited.hl7"
    file.write_bytes(segmill("messages", "1", "--raw", "--site", sent.folder).out.encode())
    said = segmill("replay", "1", "--edited", file, "--yes", "--site", sent.folder)
    assert (said.code, "nothing is different" in said.err) == (2, True), said.err
    file.write_text("no message")
    said = segmill("replay", "1", "--edited", file, "--yes", "--site", sent.folder)
    assert (said.code, "--raw" in said.err) == (2, False), "which this command does not have"


def test_what_is_edited_is_shown_first_and_masked(segmill, sent):
    said = segmill("replay", "1", "--set", "PID-5.1=Otherperson", "--keep-id", "--plan", "--site", sent.folder)
    assert (said.code, "1 difference" in said.err) == (0, True)
    assert "Otherperson" not in said.err
    said = segmill(
        "replay", "1", "--set", "PID-5.1=Otherperson", "--plan", "--show-values", "--json", "--site", sent.folder
    )
    assert {"path": "PID-5.1", "before": "Testperson", "after": "Otherperson"} in said.json["changes"]
    said = segmill("replay", "1", "--set", "PID-5.1=Otherperson", "--site", sent.folder)
    assert (said.code, "nobody is here to ask" in said.err) == (2, True)
    assert sent.peer.messages == 1


def test_what_the_channel_would_reject_is_said_and_not_stored(segmill, sent):
    said = segmill("replay", "1", "--set", "PID-5=", "--yes", "--site", sent.folder)
    assert (said.code, "rejects it: E210" in said.err) == (1, True), said.err
    assert segmill("messages", "2", "--site", sent.folder).code == 2


# -- what other files would do --------------------------------------------------------------------------


class TestDiff:
    @pytest.fixture
    def edited(self, sent):
        """The files were changed, and the engine has not taken that up."""
        file = sent.folder / "channels" / "adt" / "channel.yaml"
        file.write_text(file.read_text().replace("steps:\n", "steps:\n  - set: {PID-8: X}\n", 1))
        return sent

    def test_what_the_files_would_do_otherwise_is_grouped_by_cause(self, segmill, edited):
        said = segmill("replay", "--channel", "adt", "--as-of", "new", "--diff", "--site", edited.folder)
        assert said.code == 1
        lines = said.out.splitlines()
        assert "fields" in lines
        at = next(number for number, line in enumerate(lines) if "ris PID-8  8 map PID-8, channel.yaml" in line)
        assert lines[at + 1].strip() == 'message 1: "*" -> "*"'
        assert "1 message: 0 come out the same, 1 otherwise" in said.err and "masked" in said.err

    def test_values_are_shown_when_asked_for_and_that_is_on_record(self, segmill, edited):
        said = segmill("replay", "1", "--diff", "--show-values", "--site", edited.folder)
        assert 'message 1: "F" -> "U"' in said.out
        (row,) = segmill("audit", "--action", "read", "--json", "--site", edited.folder).lines
        assert (row["ids"], row["actor"]) == ("messages 1", ME)

    def test_nothing_is_sent_and_nothing_changes(self, segmill, edited):
        before = segmill("messages", "1", "--json", "--site", edited.folder).json
        segmill("replay", "1", "--diff", "--site", edited.folder)
        assert segmill("messages", "1", "--json", "--site", edited.folder).json == before

    def test_as_json_without_values_unless_asked_for(self, segmill, edited):
        told = segmill("replay", "1", "--diff", "--json", "--site", edited.folder).json
        groups = {group["place"]: group for group in told["groups"]}
        assert groups["ris PID-8"]["messages"] == 1 and groups["ris PID-8"]["examples"] == [{"seq": 1}]
        told = segmill("replay", "1", "--diff", "--json", "--show-values", "--site", edited.folder).json
        groups = {group["place"]: group for group in told["groups"]}
        assert groups["ris PID-8"]["examples"] == [{"seq": 1, "before": "F", "after": "U"}]

    def test_files_that_do_the_same_end_with_0(self, segmill, sent):
        said = segmill("replay", "1", "--diff", "--site", sent.folder)
        assert said.code == 0 and "1 come out the same" in said.err

    def test_files_with_errors_are_shown_and_end_with_78(self, segmill, edited):
        (edited.folder / "channels" / "adt" / "channel.yaml").write_text("listen: {}\n")
        assert segmill("replay", "1", "--diff", "--site", edited.folder).code == 78

    @pytest.mark.parametrize(
        "words", [["--diff", "--to", "ris"], ["--diff", "--reprocess"], ["--reprocess", "--as-of", "new"]]
    )
    def test_what_does_not_go_together_is_misuse(self, segmill, sent, words):
        assert segmill("replay", "1", *words, "--site", sent.folder).code == 2
