"""`segmill try`: each step of a channel on a message, without a socket."""

import signal
import subprocess

import pytest

from engine.testing import messages
from engine.testing.fragments import cut_message, cut_segments
from tests.forked import shared

PYTHON_CHANNEL = {
    "channel.yaml": "listen: {mllp: {port: 0}}\nsteps:\n  - python: steps.py:shout\nroutes: [{to: out}]\n"
    "destinations: {out: {file: {folder: out}}}\n",
    "steps.py": "def shout(message, context):\n    message.set('PID-5.1', message.get('PID-5.1').upper())\n",
}


@pytest.fixture
def admission(tmp_path):
    path = tmp_path / "a.hl7"
    path.write_bytes(messages.adt(national_id="NAT1", sex="W", ward="3W", more=["NK1|1|Contact^Nora"]))
    return path


def test_every_step_shows_what_it_saw_and_changed(segmill, site, admission):
    said = segmill("try", "adt", admission, "--site", site)
    assert said.code == 0
    text = said.out
    assert 'MSH-11.1 == "P" -> true   (MSH-11.1 = "P")' in text
    assert "tables/sex.csv: row 5 for" in text
    assert 'PID-8  "W" -> "F"' in text
    assert "tables/wards.csv: row" in text
    assert 'PV1-3.1  "3W" -> "W03"' in text
    assert "route to ris  yes" in text
    assert "processed, answer AA" in text
    assert "MSA|AA|ADT00001" in text
    assert "to ris, archive" in text
    assert " us" in text


def test_steps_that_were_not_reached_are_named(segmill, site, tmp_path):
    path = tmp_path / "t.hl7"
    path.write_bytes(messages.adt(processing_id="T"))
    said = segmill("try", "adt", path, "--site", site)
    assert said.code == 0
    assert "filtered, answer AA" in said.out
    assert "not reached" in said.out


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (messages.adt(ward="NOWHERE"), "held, answer AA"),
        (messages.adt(family="", given=""), "rejected, answer AE"),
        (messages.oru(), "rejected, answer AR"),
        (messages.adt(sender=("OTHER", "")), "rejected, answer AR"),
        (messages.adt(control_id=""), "rejected, answer AR"),
        (b"no message at all", "rejected, answer"),
    ],
)
def test_what_would_be_held_or_refused_ends_with_1_and_its_reason(segmill, site, tmp_path, message, told):
    path = tmp_path / "m.hl7"
    path.write_bytes(message)
    said = segmill("try", "adt", path, "--site", site)
    assert said.code == 1
    assert told in said.out
    assert " E2" in said.out


def test_brief_leaves_only_what_happened(segmill, site, admission):
    said = segmill("try", "adt", admission, "--site", site, "--brief")
    assert 'PID-8  "W" -> "F"' in said.out
    assert "production only" not in said.out
    assert "MSA|AA" not in said.out


def test_json_tells_the_same(segmill, site, admission):
    told = segmill("try", "adt", admission, "--site", site, "--json").json
    assert told["schema"] == 1
    assert (told["state"], told["ack_code"], told["control_id"]) == ("processed", "AA", "ADT00001")
    changes = [change for step in told["steps"] for change in step["changes"]]
    assert {"path": "PID-8", "before": "W", "after": "F"} in changes
    assert all(step["microseconds"] >= 0 for step in told["steps"] if step["outcome"] == "done")
    assert [output["to"] for output in told["outputs"]] == [["ris", "archive"]]


def test_several_files_folders_and_batches_are_each_tried(segmill, site, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "one.hl7").write_bytes(messages.adt(control_id="A1"))
    (folder / "two.hl7").write_bytes(messages.adt(control_id="A2") + messages.adt(control_id="A3"))
    (folder / "notes.md").write_text("no message")
    told = segmill("try", "adt", folder, "--site", site, "--json").lines
    assert [one["control_id"] for one in told] == ["A1", "A2", "A3"]


def test_files_as_editors_save_them_are_as_good(segmill, site, tmp_path):
    wire = messages.adt()
    for number, saved in enumerate(
        (wire.replace(b"\r", b"\n"), wire.replace(b"\r", b"\r\n"), b"\x0b" + wire + b"\x1c\r", b"\n" + wire)
    ):
        path = tmp_path / f"{number}.hl7"
        path.write_bytes(saved)
        told = segmill("try", "adt", path, "--site", site, "--json").json
        assert told["state"] == "processed"
        assert "\n" not in told["outputs"][0]["body"]


def test_a_site_is_found_by_the_channels_folder(segmill, site, admission):
    assert segmill("try", site / "channels" / "adt", admission).code == 0


def test_a_channels_own_python_runs(segmill, make_site, admission):
    folder = make_site({"loud": PYTHON_CHANNEL})
    said = segmill("try", "loud", admission, "--site", folder)
    assert said.code == 0, said.err
    assert 'PID-5.1  "Testperson" -> "TESTPERSON"' in said.out


def test_a_message_cannot_act_upon_the_terminal(segmill, make_site, tmp_path):
    folder = make_site({"all": "listen: {mllp: {port: 0}}\nsteps: [{set: {PID-6: =PID-5}}]\n"})
    path = tmp_path / "m.hl7"
    path.write_bytes(messages.adt(family="\x1b[2J\x07\x9b", charset="UNICODE UTF-8"))
    said = segmill("try", "all", path, "--site", folder)
    assert "\x1b" not in said.out
    assert "\x9b" not in said.out
    assert "\\x1b[2J\\x07" in said.out


def test_a_file_that_is_not_there_is_named(segmill, site, tmp_path):
    said = segmill("try", "adt", tmp_path / "none.hl7", "--site", site)
    assert said.code == 2
    assert "none.hl7" in said.err


def test_a_message_longer_than_the_port_takes_is_refused_as_on_the_wire(segmill, make_site, tmp_path):
    folder = make_site({"all": "listen: {mllp: {port: 0, max_message: 2KB}}\n"})
    path = tmp_path / "m.hl7"
    path.write_bytes(messages.adt(more=["NTE|1||" + "x" * 3000]))
    told = segmill("try", "all", path, "--site", folder, "--json")
    assert told.code == 1
    assert (told.json["state"], told.json["ack_code"]) == ("rejected", "AE")
    assert [finding["code"] for finding in told.json["findings"]] == ["E230"]
    assert "MSA|AE|ADT00001" in told.json["ack"]


def test_a_file_without_a_message_is_named(segmill, site, tmp_path, admission):
    (tmp_path / "empty.hl7").write_bytes(b"")
    said = segmill("try", "adt", admission, tmp_path / "empty.hl7", "--site", site)
    assert said.code == 2
    assert "there is no message in" in said.err
    assert "empty.hl7" in said.err
    (tmp_path / "folder").mkdir()
    said = segmill("try", "adt", tmp_path / "folder", "--site", site)
    assert said.code == 2
    assert ".hl7, .txt, .msg, .er7 files are read" in said.err


def test_what_was_odd_about_a_message_is_among_the_findings_in_try_and_in_a_case(segmill, make_site, tmp_path):
    folder = make_site(
        {"all": "listen: {mllp: {port: 0}}\nroutes: [{to: out}]\ndestinations: {out: {file: {folder: o}}}\n"}
    )
    path = tmp_path / "m.hl7"
    path.write_bytes(messages.adt(family="Müller", charset="8859/1").replace(b"8859/1", b""))
    told = segmill("try", "all", path, "--site", folder, "--json").json
    assert (told["state"], [finding["code"] for finding in told["findings"]]) == ("processed", ["W306"])
    assert segmill("try", "all", path, "--site", folder).out.count("W306") == 1
    case = folder / "channels" / "all" / "cases" / "odd"
    case.mkdir(parents=True)
    (case / "in.hl7").write_bytes(path.read_bytes())
    assert segmill("test", folder, "--update").code == 0
    assert (case / "findings.txt").read_text() == "W306 MSH-18\n"


OUT = "routes: [{to: ris}]\ndestinations: {ris: {file: {folder: out}}}\n"


@pytest.mark.parametrize(
    ("ack", "asked", "told", "shown"),
    [
        ("{}", ("AL", "AL"), "answer CA and AA", ["MSA|CA|ADT00001", "MSA|AA|ADT00001"]),
        ("{}", ("NE", "NE"), "answer none", []),
        ("{app_ack: none}", ("AL", "AL"), "answer CA", ["MSA|CA|ADT00001"]),
        ("{when: delivered(ris)}", ("", ""), "answer what ris answers", []),
        (
            "{when: delivered(ris)}",
            ("AL", "AL"),
            "answer CA once it is stored, and what ris answers",
            ["MSA|CA|ADT00001"],
        ),
        (
            "{app_ack: connect-back, connect_back: {host: his, port: 1}}",
            ("AL", "AL"),
            "answer CA, and the application's over one of our own",
            ["MSA|CA|ADT00001", "  over a connection of our own", "MSA|AA|ADT00001"],
        ),
        (
            "{app_ack: connect-back, connect_back: {host: his, port: 1}}",
            ("NE", "AL"),
            "answer AA over a connection of our own",
            ["  over a connection of our own", "MSA|AA|ADT00001"],
        ),
    ],
)
def test_every_answer_that_would_go_back_is_shown(segmill, make_site, tmp_path, ack, asked, told, shown):
    where = make_site({"adt": f"listen: {{mllp: {{port: 0}}}}\nack: {ack}\n{OUT}"})
    path = tmp_path / "a.hl7"
    path.write_bytes(messages.adt(accept_ack=asked[0], application_ack=asked[1]))
    said = segmill("try", "adt", path, "--site", where)
    assert f"processed, {told}\n" in said.out
    lines = [line for line in said.out.splitlines() if "MSA|" in line or "over a connection" in line]
    assert [line.strip() for line in lines if "processed" not in line] == [line.strip() for line in shown]


JOINING = (
    "listen: {mllp: {port: 0}}\naccept: ['ADT^*']\nfragments: {add: join, dsc: join}\nroutes: [{to: out}]\n"
    "destinations: {out: {file: {folder: out}}}\n"
)


def in_parts(**given) -> list[bytes]:
    raw = messages.adt(control_id="F1", more=["NTE|1||" + "text " * 20], **given)
    return cut_message(raw, [len(raw) - 60, len(raw) - 20])


def test_fragments_are_tried_as_the_message_they_make(segmill, make_site, tmp_path):
    folder = make_site({"adt": JOINING})
    for number, part in enumerate(in_parts(accept_ack="AL", application_ack="AL")):
        (tmp_path / f"{number}.hl7").write_bytes(part)
    files = [tmp_path / f"{number}.hl7" for number in range(3)]
    first, second, last = segmill("try", "adt", *files, "--site", folder, "--json").lines
    assert [(one["state"], one["ack_code"]) for one in (first, second, last)] == [
        ("waiting", "CA"), ("waiting", "CA"), ("processed", "AA"),
    ]  # fmt: skip
    assert "MSA|CA|F3" in last["ack"] and "MSA|AA|F1" in last["ack"]
    assert last["control_id"] == "F1"
    assert last["outputs"][0]["body"].endswith("text " * 20 + "\r")
    assert [finding["code"] for finding in last["findings"]] == ["I260"]
    said = segmill("try", "adt", *files[:2], "--site", folder)
    assert said.code == 1 and "1 message is not complete" in said.err
    said = segmill("try", "adt", files[1], "--site", folder)
    assert said.code == 1 and "E261" in said.out


def test_a_false_count_of_a_batch_is_shown(segmill, make_site, tmp_path, repository):
    folder = make_site({"adt": JOINING, "strict": JOINING.replace("{port: 0}", "{port: 0, batch: {count: reject}}")})
    batch = repository / "samples" / "batch" / "batch_2.5.1_miscounted.hl7"
    for channel, state, code in (("adt", "processed", "W340"), ("strict", "rejected", "E264")):
        told = segmill("try", channel, batch, "--site", folder, "--json").lines
        assert [(one["state"], [f["code"] for f in one["findings"]]) for one in told] == [(state, [code])] * 2


def test_continued_segments_are_whole_in_the_trace(segmill, make_site, tmp_path):
    folder = make_site({"adt": JOINING})
    raw = messages.adt(more=["NTE|1||some text"])
    path = tmp_path / "add.hl7"
    path.write_bytes(cut_segments(raw, [len(raw) - 5]))
    (told,) = segmill("try", "adt", path, "--site", folder, "--json").lines
    assert told["outputs"][0]["body"].encode() == raw


class TestWhy:
    @pytest.mark.parametrize(
        ("change", "destination", "told"),
        [
            ({}, "archive", ["to archive: its route has no condition"]),
            ({}, "ris", ["to ris: its route takes it", 'not MSH-9.2 in ["A05", "A28"] -> true   (MSH-9.2 = "A01")']),
            (
                {"trigger": "A05"},
                "ris",
                ["not to ris: its route does not take it", 'in ["A05", "A28"] -> false   (MSH-9.2 = "A05")'],
            ),
            ({"processing_id": "T"}, "ris", ["not to ris: step 1 production only", '(MSH-11.1 = "T")']),
            ({"ward": "NOWHERE"}, "ris", [" holds it", 'tables/wards.csv: no row for PV1-3.1 = "NOWHERE"', "E214"]),
            ({"control_id": ""}, "ris", ["not to ris: it never came to the channel's steps", "E2"]),
        ],
    )
    def test_the_sentence_and_the_values_that_decided(self, segmill, site, tmp_path, change, destination, told):
        path = tmp_path / "m.hl7"
        path.write_bytes(messages.adt(**change))
        said = segmill("try", "adt", path, "--site", site, "--why", destination)
        for words in told:
            assert words in said.out

    def test_a_destination_that_is_none_is_answered_with_those_that_are(self, segmill, site, admission):
        said = segmill("try", "adt", admission, "--site", site, "--why", "rsi")
        assert said.code == 2 and "there is ris, archive" in said.err


class Watched:
    """`segmill try --watch` in a process of its own."""

    def __init__(self, *words: object) -> None:
        command = [*shared().python, "-m", "engine", "try", *map(str, words), "--watch"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        self.output = self.process.stdout

    def drawn(self) -> str:
        """What it shows until it waits for a change."""
        lines = []
        for line in self.output:
            lines.append(line)
            if "waiting for a change" in line:
                break
        return "".join(lines)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait()


@pytest.mark.timeout(60)
def test_watch_shows_each_change_and_mistakes_in_the_place_of_results(site, admission):
    watched = Watched("adt", admission, "--site", site, "--brief")
    try:
        assert 'PV1-3.1  "3W" -> "W03"' in watched.drawn()
        wards = site / "channels" / "adt" / "tables" / "wards.csv"
        wards.write_text(wards.read_text().replace("W03", "WEST3"))
        assert 'PV1-3.1  "3W" -> "WEST3"' in watched.drawn()
        channel = site / "channels" / "adt" / "channel.yaml"
        text = channel.read_text()
        channel.write_text(text.replace("filter:", "fliter:", 1))
        shown = watched.drawn()
        assert "did you mean 'filter'?" in shown and "cannot be tried: channel adt has errors" in shown
        draft = channel.with_suffix(".new")
        draft.write_text(text)
        draft.replace(channel)  # as editors save
        assert "WEST3" in watched.drawn()
        admission.write_bytes(messages.adt(processing_id="T"))
        assert "filtered" in watched.drawn()
        assert watched.end() == 0
    finally:
        watched.process.kill()
        watched.process.wait()
        watched.output.close()


def test_watch_needs_files_that_it_can_read_again(segmill, site):
    assert segmill("try", "adt", "-", "--site", site, "--watch").code == 2
