"""The file sink on a real file system: whole files, durable ones, and none over another (issue: file sink)."""

import errno
import os
import threading
from pathlib import Path

import pytest

from engine.adapters.sinks import folder as folder_module
from engine.adapters.sinks.file import FileSink, FileSinkSettings
from engine.adapters.sinks.folder import HIDDEN
from engine.hl7.convert import convert
from engine.hl7.message import Message, split_batch
from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Unreachable, Unsendable
from engine.ports.clock import SystemClock


@pytest.fixture
def site(tmp_path):
    (tmp_path / "channels" / "adt").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def out(site):
    return site / "out"


@pytest.fixture
async def sink(site):
    sinks: list[FileSink] = []

    def make(lane: str = "adt/archive", **settings) -> FileSink:
        model = FileSinkSettings.model_validate({"folder": "out", **settings})
        sinks.append(FileSink.open(model, folder=site / "channels" / "adt", lane=lane, clock=SystemClock()))
        return sinks[-1]

    yield make
    for opened in sinks:
        await opened.close()


@pytest.fixture
def delivery(adt):
    counter = iter(range(1, 10**6))

    def make(control_id: str = "C1", body: bytes | None = None, **options) -> Delivery:
        number = next(counter)
        return Delivery(
            DeliveryId(number),
            MessageSeq(number),
            ChannelName("adt"),
            DestinationName("archive"),
            adt(control_id=control_id, **options) if body is None else body,
            1_767_323_045_000_000,
        )

    return make


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and HIDDEN not in path.parts
    }


def unfinished(folder: Path) -> list[Path]:
    return list((folder / HIDDEN).iterdir()) if (folder / HIDDEN).exists() else []


async def test_each_message_is_a_file_with_its_very_bytes(sink, delivery, out):
    sent = [delivery(f"C{n}") for n in range(5)]
    outcomes = await sink().send(sent)
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 5
    assert files(out) == {f"2026-01-02/C{n}.hl7": message.body for n, message in enumerate(sent)}
    assert unfinished(out) == []


async def test_of_a_large_message_only_the_header_is_read_for_its_name(sink, delivery, out, monkeypatch, adt):
    read: list[int] = []
    parse = Message.parse

    def counted(raw: bytes, **given: str) -> Message:
        read.append(len(raw))
        return parse(raw, **given)

    monkeypatch.setattr(Message, "parse", counted)
    rest = b"OBX|1|ED|PDF||" + b"A" * 100_000 + b"\r"
    plain = adt(control_id="PLAIN") + rest
    latin = adt(control_id="LATIN").replace(b"LATIN", b"L\xe4TIN") + rest
    await sink().send([delivery(body=plain), delivery(body=latin)])
    assert [size < 1000 for size in read] == [True, False], "what an umlaut is, all of a message says together"
    (other,) = await sink(lane="adt/other", folder="other", name="{PID-3.1}.hl7").send([delivery(body=plain)])
    assert isinstance(other, Delivered) and read[-1] == len(plain)


async def test_the_same_delivery_again_finds_its_file_and_makes_no_second_copy(sink, delivery, out):
    message = delivery()
    await sink().send([message])
    (outcome,) = await sink().send([message])
    assert outcome == Delivered(note="already there with the same bytes")
    assert list(files(out)) == ["2026-01-02/C1.hl7"]
    assert unfinished(out) == []


async def test_another_message_of_the_same_name_gets_a_number_and_nothing_is_overwritten(sink, delivery, out):
    first, second, third = delivery(trigger="A01"), delivery(trigger="A02"), delivery(trigger="A03")
    opened = sink()
    await opened.send([first, second])
    await opened.send([third])
    await opened.send([second])
    assert files(out) == {
        "2026-01-02/C1.hl7": first.body,
        "2026-01-02/C1-2.hl7": second.body,
        "2026-01-02/C1-3.hl7": third.body,
    }


async def test_a_name_that_says_nothing_gives_up_after_999_files_with_a_sentence(sink, delivery, out):
    opened = sink(name="same.hl7")
    out.mkdir()
    for number in range(1, 1000):
        (out / ("same.hl7" if number == 1 else f"same-{number}.hl7")).write_bytes(b"%d" % number)
    (outcome,) = await opened.send([delivery()])
    assert isinstance(outcome, Unsendable) and "{MSH-10} or {seq}" in outcome.note
    assert unfinished(out) == []


@pytest.mark.parametrize(("terminator", "end"), [("cr", b"\r"), ("lf", b"\n"), ("crlf", b"\r\n")])
async def test_segments_end_as_the_receiver_wants_them(terminator, end, sink, delivery, out):
    message = delivery()
    await sink(terminator=terminator).send([message])
    assert files(out)["2026-01-02/C1.hl7"] == message.body.replace(b"\r", end)


async def test_notes_hold_no_name_as_a_name_may_hold_a_value(sink, delivery, site):
    opened = sink(name="{PID-3.1}.hl7")
    body = delivery().body.replace(b"PID|", b"PID|", 1)
    message = delivery(body=body)
    for outcome in [*await opened.send([message]), *await opened.send([message]), *await opened.send([delivery("X")])]:
        assert ".hl7" not in outcome.note


# -- crashes ---------------------------------------------------------------------------------------


async def test_a_crash_before_the_rename_leaves_nothing_to_be_seen_and_the_next_start_clears_it(
    sink, delivery, out, monkeypatch
):
    message = delivery()

    def crash(*_):
        raise KeyboardInterrupt

    opened = sink()
    await opened.send([delivery("C0")])
    monkeypatch.setattr(folder_module, "rename_new", crash)
    with pytest.raises(KeyboardInterrupt):
        opened._write([message])
    monkeypatch.undo()
    assert list(files(out)) == ["2026-01-02/C0.hl7"]
    assert len(unfinished(out)) == 1
    await sink().send([message])
    assert unfinished(out) == []
    assert files(out)["2026-01-02/C1.hl7"] == message.body


async def test_a_start_clears_only_what_its_own_lane_left(sink, delivery, out):
    (out / HIDDEN).mkdir(parents=True)
    foreign = out / HIDDEN / "ffffffffffff-1-1"
    foreign.write_bytes(b"half")
    await sink().send([delivery()])
    assert unfinished(out) == [foreign]


async def test_content_is_synced_before_the_name_and_the_name_before_the_outcome(sink, delivery, monkeypatch):
    order: list[str] = []
    rename, fsync = folder_module.rename_new, os.fsync

    def noted_fsync(descriptor: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def noted_rename(*arguments) -> None:
        order.append("rename")
        rename(*arguments)

    opened = sink()
    await opened.send([delivery("C0")])
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(folder_module, "rename_new", noted_rename)
    await opened.send([delivery("C1"), delivery("C2")])
    assert order == ["file", "rename", "file", "rename", "folder"]


async def test_new_subfolders_are_synced_in_the_ones_above(sink, delivery, out, monkeypatch):
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    await sink(name='{date(MSH-7, "%Y/%m")}/{MSH-10}').send([delivery()])
    for folder in (out.parent, out, out / "2026", out / "2026/01"):
        assert str(folder) in synced


# -- a folder in trouble ---------------------------------------------------------------------------


async def test_a_folder_that_cannot_be_made_stops_the_lane_with_a_sentence_until_it_can(sink, delivery, site, out):
    out.write_bytes(b"a file is in the way")
    opened = sink()
    (outcome,) = await opened.send([delivery()])
    assert outcome == Unreachable(f"{out} is not a folder")
    out.unlink()
    (outcome,) = await opened.send([delivery()])
    assert isinstance(outcome, Delivered)


async def test_a_folder_that_was_there_and_is_gone_is_not_made_again(sink, delivery, out):
    opened = sink()
    await opened.send([delivery("C1")])
    out.rename(out.with_name("unmounted"))
    (outcome,) = await opened.send([delivery("C2")])
    assert outcome == Unreachable(f"the folder {out} does not exist")
    assert not out.exists()
    out.with_name("unmounted").rename(out)
    (outcome,) = await opened.send([delivery("C2")])
    assert isinstance(outcome, Delivered)


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"), (errno.EIO, "cannot be written")],
)
async def test_what_follows_a_failed_file_waits_with_it_and_what_came_before_stays(
    number, says, sink, delivery, out, monkeypatch
):
    write = os.write
    big = delivery("C2", body=delivery("C2").body + b"NTE|1||" + b"x" * 5000 + b"\r")

    def full(descriptor: int, data) -> int:
        if len(data) > 3000:
            raise OSError(number, os.strerror(number))
        return write(descriptor, data)

    opened = sink()
    monkeypatch.setattr(os, "write", full)
    outcomes = await opened.send([delivery("C1"), big, delivery("C3")])
    assert [type(outcome) for outcome in outcomes] == [Delivered, Unreachable, Unreachable]
    assert says in outcomes[1].note and str(out) in outcomes[1].note
    assert list(files(out)) == ["2026-01-02/C1.hl7"]
    assert unfinished(out) == []
    monkeypatch.undo()
    assert [type(outcome) for outcome in await opened.send([big, delivery("C3")])] == [Delivered, Delivered]


async def test_a_short_write_is_carried_on(sink, delivery, out, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    message = delivery()
    await sink().send([message])
    assert files(out)["2026-01-02/C1.hl7"] == message.body


async def test_a_name_that_cannot_be_synced_is_not_delivered(sink, delivery, out, monkeypatch):
    fsync = os.fsync
    opened = sink()
    await opened.send([delivery("C0")])

    def broken(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", broken)
    message = delivery("C1")
    (outcome,) = await opened.send([message])
    assert isinstance(outcome, Unreachable)
    monkeypatch.undo()
    assert await opened.send([message]) == [Delivered(note="already there with the same bytes")]


async def test_a_file_system_without_rename_noreplace_is_served_by_links(sink, delivery, out, monkeypatch):
    monkeypatch.setattr(folder_module, "_renameat2", lambda: None)
    first, second = delivery(trigger="A01"), delivery(trigger="A02")
    await sink().send([first, second, first])
    assert files(out) == {"2026-01-02/C1.hl7": first.body, "2026-01-02/C1-2.hl7": second.body}
    assert unfinished(out) == []


# -- never out of the folder -----------------------------------------------------------------------


async def test_a_link_among_the_subfolders_is_not_followed(sink, delivery, site, out):
    elsewhere = site / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "2026-01-02").symlink_to(elsewhere)
    (outcome,) = await sink().send([delivery()])
    assert isinstance(outcome, Unsendable)
    assert list(elsewhere.iterdir()) == []


async def test_a_link_in_the_files_place_is_neither_followed_nor_replaced(sink, delivery, site, out):
    secret = site / "secret"
    message = delivery()
    secret.write_bytes(message.body)
    (out / "2026-01-02").mkdir(parents=True)
    (out / "2026-01-02" / "C1.hl7").symlink_to(secret)
    await sink().send([message])
    assert (out / "2026-01-02" / "C1.hl7").is_symlink()
    assert files(out)["2026-01-02/C1-2.hl7"] == message.body
    assert secret.read_bytes() == message.body


@pytest.mark.parametrize("control_id", ["../../../tmp/x", "..", "/etc/passwd", "CON", "-rf", ".bashrc", "a" * 300])
async def test_a_hostile_control_id_stays_inside(control_id, sink, delivery, site, out):
    before = {path for path in site.rglob("*") if out not in path.parents}
    message = delivery(control_id)
    (outcome,) = await sink().send([message])
    assert isinstance(outcome, Delivered)
    assert list(files(out).values()) == [message.body]
    assert {path for path in site.rglob("*") if out not in path.parents} - before == {out}


async def test_an_unreadable_message_has_no_name(sink, delivery):
    (outcome,) = await sink().send([delivery(body=b"hello")])
    assert isinstance(outcome, Unsendable)


async def test_an_unreadable_message_can_be_kept_under_its_number(sink, delivery, out):
    (outcome,) = await sink(name="{seq}.txt").send([delivery(body=b"hello")])
    assert isinstance(outcome, Delivered)
    assert list(files(out).values()) == [b"hello"]


# -- batches ---------------------------------------------------------------------------------------


async def test_a_batch_is_one_wrapped_file_with_its_counts(sink, delivery, out):
    opened = sink(batch={"count": "10", "every": "5s"})
    assert (opened.max_batch, opened.linger_s) == (10, 5.0)
    sent = [delivery(f"C{n}") for n in range(3)]
    outcomes = await opened.send(sent)
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 3
    ((name, content),) = files(out).items()
    assert name == "2026-01-02/C0.hl7"
    lines = content.split(b"\r")
    ids = f"{sent[0].seq}-{sent[-1].seq}".encode()
    assert lines[0] == b"FHS|^~\\&|SEGMILL||||20260102030405+0000||||" + ids
    assert lines[1] == b"BHS" + lines[0][3:]
    assert lines[-3:] == [b"BTS|3", b"FTS|1", b""]
    assert split_batch(content) == [message.body for message in sent]


async def test_the_same_batch_again_makes_no_second_file(sink, delivery, out):
    sent = [delivery(f"C{n}") for n in range(3)]
    await sink(batch={}).send(sent)
    await sink(batch={}).send(sent)
    assert len(files(out)) == 1


async def test_a_batch_without_wrapping_is_the_messages_one_after_the_other(sink, delivery, out):
    sent = [delivery(f"C{n}") for n in range(3)]
    await sink(batch={"wrap": "false"}).send(sent)
    assert list(files(out).values()) == [b"".join(message.body for message in sent)]


async def test_a_batch_that_cannot_be_written_is_not_there_at_all(sink, delivery, out, monkeypatch):
    def full(descriptor: int, data) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    opened = sink(batch={})
    monkeypatch.setattr(os, "write", full)
    outcomes = await opened.send([delivery("C0"), delivery("C1")])
    assert [type(outcome) for outcome in outcomes] == [Unreachable] * 2
    assert files(out) == {}


# -- settings and threads --------------------------------------------------------------------------


async def test_file_work_is_never_done_on_the_loops_thread(sink, delivery, monkeypatch):
    threads: set[int] = set()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        threads.add(threading.get_ident())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    await sink().send([delivery()])
    assert threads and threading.get_ident() not in threads


def test_without_a_batch_a_call_takes_up_to_64_messages_and_waits_for_none(sink):
    opened = sink()
    assert (opened.max_batch, opened.linger_s) == (64, 0.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "../{seq}"},
        {"name": "{PID.3}"},
        {"terminator": "nul"},
        {"batch": {"count": "0"}},
        {"extension": ".hl7"},
    ],
)
def test_settings_that_cannot_work_are_refused(bad):
    with pytest.raises(ValueError):
        FileSinkSettings.model_validate({"folder": "out", **bad})


# -- other forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "xml"])
async def test_json_and_xml_have_their_extension_and_the_names_of_their_message(sink, out, delivery, adt, form):
    body = convert(Message.parse(adt(control_id="C7")), form)
    [outcome] = await sink(name="{date(MSH-7)}/{MSH-10}.{ext}", terminator="lf").send([delivery(body=body)])
    assert isinstance(outcome, Delivered)
    assert files(out) == {f"2026-01-02/C7.{form}": body}


async def test_the_usual_name_says_what_is_in_the_file(sink, out, delivery, adt):
    hl7 = adt(control_id="C7")
    await sink().send([delivery(body=hl7), delivery(body=convert(Message.parse(hl7), "json"))])
    assert set(files(out)) == {"2026-01-02/C7.hl7", "2026-01-02/C7.json"}


async def test_a_document_that_is_none_has_no_name(sink, out, delivery):
    outcomes = await sink().send([delivery(body=b"{}"), delivery(body=b"<a/>")])
    assert all(isinstance(outcome, Unsendable) for outcome in outcomes)
    assert files(out) == {}
