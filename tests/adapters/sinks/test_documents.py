"""Documents of messages in files of their own: whole ones, durable ones, and of a broken one nothing at all."""

import base64
import errno
import os
from pathlib import Path

import pytest

from engine.adapters.sinks import folder as folder_module
from engine.adapters.sinks.file import FileSink, FileSinkSettings
from engine.adapters.sinks.folder import HIDDEN
from engine.hl7.convert import convert
from engine.hl7.message import Message
from engine.model.envelope import Delivery
from engine.model.ids import ChannelName, DeliveryId, DestinationName, MessageSeq
from engine.model.outcome import Delivered, Unreachable, Unsendable
from engine.ports.clock import SystemClock

PDF = b"%PDF-1.4\nfirst\n%%EOF\n"
OTHER = b"%PDF-1.4\nsecond\n%%EOF\n"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
async def sink(tmp_path):
    (tmp_path / "channels" / "oru").mkdir(parents=True)
    sinks: list[FileSink] = []

    def make(documents: dict[str, str] | None = None, **settings) -> FileSink:
        model = FileSinkSettings.model_validate({"folder": "out", "documents": documents or {}, **settings})
        sinks.append(FileSink.open(model, folder=tmp_path / "channels" / "oru", lane="oru/a", clock=SystemClock()))
        return sinks[-1]

    yield make
    for opened in sinks:
        await opened.close()


def result(*documents: bytes | str, control_id: str = "C1") -> Delivery:
    """A result with these documents, each behind an OBR of its own; a text stands in OBX-5.5 as it is."""
    number = int.from_bytes(control_id.encode(), "big")
    lines = [f"MSH|^~\\&|LAB|NORTH|||20260102||ORU^R01|{control_id}|P|2.5.1", "PID|1||900004^^^NORTH^MR"]
    for at, document in enumerate(documents, 1):
        data = document if isinstance(document, str) else base64.b64encode(document).decode()
        lines += [f"OBR|{at}||F{at}", f"OBX|1|ED|R||^application^pdf^Base64^{data}||||||F"]
    body = "".join(f"{line}\r" for line in lines).encode()
    ids = DeliveryId(number), MessageSeq(number)
    return Delivery(*ids, ChannelName("oru"), DestinationName("a"), body, 1_767_323_045_000_000)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and HIDDEN not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


async def test_each_document_is_a_file_beside_that_of_its_message(sink, out):
    one, two = result(PDF), result(PDF, OTHER, control_id="C2")
    outcomes = await sink().send([one, two])
    assert outcomes == [Delivered(note="written, with 1 document"), Delivered(note="written, with 2 documents")]
    assert files(out) == {
        "2026-01-02/C1.hl7": one.body,
        "2026-01-02/C1-1.pdf": PDF,
        "2026-01-02/C2.hl7": two.body,
        "2026-01-02/C2-1.pdf": PDF,
        "2026-01-02/C2-2.pdf": OTHER,
    }


async def test_a_name_is_made_of_the_segments_that_its_document_belongs_to(sink, out):
    await sink({"name": "{PID-3.1}/{OBR-3.1}_{seq}.{ext}", "only": "true"}).send([result(PDF, OTHER)])
    assert files(out) == {"900004/F1_0000017201.pdf": PDF, "900004/F2_0000017201.pdf": OTHER}


async def test_two_documents_of_one_name_are_two_files(sink, out):
    await sink({"name": "{MSH-10}.{ext}", "only": "true"}).send([result(PDF, OTHER)])
    assert files(out) == {"C1.pdf": PDF, "C1-2.pdf": OTHER}


async def test_a_message_without_a_document_is_written_or_held_where_only_documents_are(sink, out):
    plain = result()
    assert await sink().send([plain]) == [Delivered(note="written, with 0 documents")]
    (held,) = await sink({"only": "true"}).send([plain])
    assert isinstance(held, Unsendable) and "there is no document" in held.note
    assert files(out) == {"2026-01-02/C1.hl7": plain.body}


@pytest.mark.parametrize("only", ["true", "false"])
async def test_one_broken_document_leaves_nothing_of_its_message_and_its_neighbours_go(sink, out, only):
    broken = result(PDF, base64.b64encode(OTHER).decode()[:-3], control_id="C2")
    outcomes = await sink({"only": only}).send([result(PDF), broken, result(OTHER, control_id="C3")])
    assert [type(outcome) for outcome in outcomes] == [Delivered, Unsendable, Delivered]
    assert outcomes[1].note.startswith("OBX[2]-5.5: is cut short")
    assert {name for name in files(out) if name.endswith(".pdf")} == {"2026-01-02/C1-1.pdf", "2026-01-02/C3-1.pdf"}
    assert not any("C2" in name for name in files(out))
    assert not list((out / HIDDEN).iterdir())


async def test_the_same_delivery_again_finds_its_files(sink, out):
    again = result(PDF, OTHER)
    opened = sink({"only": "true"})
    assert await opened.send([again]) == [Delivered(note="2 documents written")]
    before = files(out)
    assert await opened.send([again]) == [Delivered(note="2 documents already there with the same bytes")]
    assert files(out) == before


@pytest.mark.parametrize("whole", [0, 1, 2])
async def test_a_disk_that_fills_anywhere_leaves_nothing_of_the_message_and_it_is_tried_again(
    sink, out, monkeypatch, whole
):
    write, written = os.write, []

    def fills(descriptor: int, part: memoryview) -> int:
        if len(written) == whole:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(bytes(part))
        return write(descriptor, part)

    opened, message = sink(), result(PDF, OTHER)
    monkeypatch.setattr(os, "write", fills)
    (outcome,) = await opened.send([message])
    assert isinstance(outcome, Unreachable)
    assert files(out) == {} and not list((out / HIDDEN).iterdir())
    monkeypatch.undo()
    (outcome,) = await opened.send([message])
    assert isinstance(outcome, Delivered)
    assert files(out) == {
        "2026-01-02/C1-1.pdf": PDF,
        "2026-01-02/C1-2.pdf": OTHER,
        "2026-01-02/C1.hl7": message.body,
    }


@pytest.mark.parametrize("published", [0, 1, 2])
async def test_a_crash_between_two_names_makes_each_file_once(sink, out, monkeypatch, published):
    """Documents of one name, too: the second keeps the number that it had."""
    rename, renamed = folder_module.rename_new, []

    def dies(*args: object) -> None:
        if len(renamed) == published:
            raise KeyboardInterrupt  # nothing is put in order any more
        rename(*args)
        renamed.append(args)

    message, names = result(PDF, OTHER), {"name": "{MSH-10}.{ext}"}
    monkeypatch.setattr(folder_module, "rename_new", dies)
    with pytest.raises(KeyboardInterrupt):
        sink(names)._write([message])
    monkeypatch.undo()
    assert files(out) == dict([("C1.pdf", PDF), ("C1-2.pdf", OTHER)][:published])
    (outcome,) = await sink(names).send([message])
    assert isinstance(outcome, Delivered)
    assert files(out) == {"C1.pdf": PDF, "C1-2.pdf": OTHER, "2026-01-02/C1.hl7": message.body}
    assert not list((out / HIDDEN).iterdir())


async def test_a_name_that_is_impossible_leaves_no_document(sink, out, tmp_path):
    out.mkdir()
    (out / "hl7").symlink_to(tmp_path)
    (outcome,) = await sink({"name": "{MSH-10}-{n}.pdf"}, name="hl7/{MSH-10}.hl7").send([result(PDF)])
    assert isinstance(outcome, Unsendable)
    assert files(out) == {} and not list((out / HIDDEN).iterdir())


async def test_a_writer_that_was_left_behind_does_not_meet_the_files_of_the_next(sink, out, monkeypatch):
    """A reload leaves a thread that hangs on its disk, and the lane's next one writes in the same folder."""
    message, other = result(PDF), result(OTHER, control_id="C2")
    old, new = sink({"only": "true"}), sink({"only": "true"})
    rename = folder_module.rename_new

    def hangs(*args: object) -> None:
        monkeypatch.setattr(folder_module, "rename_new", rename)
        assert isinstance(new._write([other])[0], Delivered)
        rename(*args)

    monkeypatch.setattr(folder_module, "rename_new", hangs)
    assert isinstance(old._write([message])[0], Unreachable), "the next one has cleared what it left"
    assert files(out) == {"2026-01-02/C2-1.pdf": OTHER}


@pytest.mark.parametrize("form", ["json", "xml"])
async def test_documents_come_out_of_other_forms_too(sink, out, form):
    message = result(PDF)
    message.body = convert(Message.parse(message.body), form)
    await sink().send([message])
    assert files(out) == {f"2026-01-02/C1.{form}": message.body, "2026-01-02/C1-1.pdf": PDF}


async def test_a_document_of_20_mb_is_written_whole(sink, out):
    content = b"%PDF-1.7\n" + bytes(20_000_000)
    (outcome,) = await sink({"only": "true"}).send([result(content)])
    assert outcome == Delivered(note="1 document written")
    assert (out / "2026-01-02" / "C1-1.pdf").read_bytes() == content


@pytest.mark.parametrize(
    "bad",
    [
        {"documents": {"name": "../{n}.pdf"}},
        {"documents": {"name": "{OBR[2]-3}.pdf"}},
        {"documents": {"name": "{OBX}.pdf"}},
        {"documents": {"nam": "{n}.pdf"}},
        {"documents": {}, "batch": {}},
        {"documents": {"only": "true"}, "name": "{MSH-10}.hl7"},
        {"name": "{n}.hl7"},
    ],
)
def test_settings_that_cannot_work_are_refused(bad):
    with pytest.raises(ValueError):
        FileSinkSettings.model_validate({"folder": "out", **bad})
