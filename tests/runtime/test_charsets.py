"""Character sets through a running engine: what is answered, stored, counted and delivered."""

from pathlib import Path

import pytest

from engine.hl7.message import Message
from engine.model.finding import load_findings
from engine.runtime.senders import MOST_SENDERS, OTHERS, Senders
from engine.testing.peers import ReceivingPeer
from tests.hl7.test_charset import DECLARED, TEXTS, colliding
from tests.runtime.engines import SiteUnderTest, channel, err, msa
from tests.runtime.parts import CountingMeter, until

STRICT = "charset: {strict: true}"


def adt(text: bytes, declared: str = "", control_id: str = "A1", sender: str = "HIS") -> bytes:
    head = f"MSH|^~\\&|{sender}|NORTH|SEGMILL|NORTH|2026||ADT^A01^ADT_A01|{control_id}|P|2.5.1||||||{declared}\r"
    return head.encode() + b"PID|1||4711||" + text + b"\r"


def site_of(tmp_path: Path, **more: str) -> SiteUnderTest:
    return SiteUnderTest(tmp_path / "site", {"adt": channel(**more)})


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        (b"M\xfcller", ""),
        (b"M\xfcller", "UNICODE UTF-8"),
        ("Jürgen Müller".encode() + b"\xc3", "UNICODE UTF-8"),
        (b"Mueller", "CNS 11643-1992"),
        (b"M\xfcller", "ISO IR 999"),
    ],
)
@pytest.mark.parametrize("ack", ["processed", "stored"])
async def test_a_strict_channel_says_no_to_what_is_not_as_declared(tmp_path, text, declared, ack) -> None:
    site = site_of(tmp_path, more=f"{STRICT}\nack: {{when: {ack}}}")
    async with site.running():
        wire = await site.wire()
        await wire.send(adt(text, declared))
        answer = await wire.answer()
        assert msa(answer) == ("AE", "A1")
        assert err(answer) == ["103"]
        assert b"ERR||MSH^1^18|103^Table value not found^HL70357|E" in answer
        (message,) = site.messages()
        assert (message.state, load_findings(message.findings)[-1].code) == ("rejected", "E272")


@pytest.mark.parametrize(
    ("text", "declared"),
    [("Müller".encode(), ""), ("Müller".encode(), "8859/1"), ("M“ü”".encode("cp1252"), "8859/1"), (b"Mueller", "")],
)
async def test_a_strict_channel_takes_what_is_certain_without_being_declared(tmp_path, text, declared) -> None:
    site = site_of(tmp_path, more=STRICT)
    async with site.running():
        wire = await site.wire()
        await wire.send(adt(text, declared))
        assert msa(await wire.answer()) == ("AA", "A1")


async def test_what_was_taken_before_the_channel_became_strict_gets_its_answer_again(tmp_path) -> None:
    site = site_of(tmp_path)
    async with site.running():
        wire = await site.wire()
        await wire.send(adt(b"M\xfcller"))
        first = await wire.answer()
    (site.folder / "channels/adt/channel.yaml").write_text(channel(more=STRICT))
    async with site.running():
        wire = await site.wire()
        await wire.send(adt(b"M\xfcller"), adt(b"M\xfcller", control_id="A2"))
        assert await wire.answer() == first
        assert msa(await wire.answer()) == ("AE", "A2")


async def test_evidence_is_counted_by_sender_and_by_channel(tmp_path) -> None:
    site = site_of(tmp_path)
    async with site.running() as engine:
        wire = await site.wire()
        sent = [
            adt("Müller".encode(), "", "1", "A"),
            adt("Müller".encode(), "8859/1", "2", "A"),
            adt("Müller".encode(), "UNICODE UTF-8", "3", "A"),
            adt(b"M\xfcller", "", "4", "B"),
            adt("“é”".encode("cp1252"), "8859/1", "5", "B"),
            adt("Größe Größe".encode() + b"\xc3", "UNICODE UTF-8", "6", "B"),
            adt(b"Mueller", "", "7", "C"),
        ]
        await wire.send(*sent)
        await wire.answers(len(sent))
        (status,) = await engine.control.status()
        assert {row.sender: row.charsets for row in status.senders} == {
            "A|NORTH": {"utf-8": 2, "declared": 1},
            "B|NORTH": {"fallback": 1, "windows-1252": 1, "broken": 1},
        }
        _, metrics = engine.meter.render()
        for evidence, count in {"declared": 1, "utf-8": 2, "windows-1252": 1, "fallback": 1, "broken": 1}.items():
            line = f'segmill_charset_evidence_total{{channel="adt",evidence="{evidence}"}} {count}.0'
            assert line in metrics.decode()
        assert "NORTH" not in metrics.decode()


def test_no_number_of_senders_takes_more_memory_than_a_few() -> None:
    senders = Senders(CountingMeter())
    for number in range(MOST_SENDERS + 50):
        senders.count(f"S{number:04}|", "declared", ())
    senders.count("S0001|", "fallback", ())
    status = senders.status()
    assert len(status) == MOST_SENDERS + 1
    assert (status[-1].sender, status[-1].charsets) == (OTHERS, {"declared": 50})
    assert status[1].charsets == {"declared": 1, "fallback": 1}


async def test_no_byte_that_is_no_character_gets_into_texts_of_the_store(tmp_path, caplog) -> None:
    """Lone surrogates would fail there, and with them the commit of everybody else's messages."""
    files = {"adt": channel(accept="*", destinations="{out: {kept: {}, charset: 8859/1}}")}
    site = SiteUnderTest(tmp_path / "site", files, "admin: off\n")
    head = b"MSH|^~\\&|\xff\xc3|N\x81|S|N|2026||ADT\xff^A\xfe1|ID\xff1|P|2.5.1||||||UNICODE UTF-8\r"
    broken = head + b"PID|\xff|\xfe\r\xfe\xff|x\r" + "PID|1||Größe Größe Größe Größe Größe\r".encode()
    engine = site.make()
    await engine.start()
    try:
        wire = await site.wire()
        await wire.send(broken, adt(b"Mueller", control_id="END"))
        first, second = await wire.answer(), await wire.answer()
        assert b"\rMSA|AA|ID\xff1" in first and msa(second) == ("AA", "END")
        stored = list(engine._queries.messages(newest_first=False, bodies=True))
        assert [message.state for message in stored] == ["held", "processed"]
        assert [finding.code for finding in load_findings(stored[0].findings)] == ["W304", "E271"]
        for message in stored:
            texts = (message.sender, message.control_id, message.message_type, message.findings, caplog.text)
            assert all(text.encode("utf-8") is not None for text in texts)
        wire.reset()
    finally:
        await engine.stop(deadline_s=2)


@pytest.mark.parametrize("codec", ["shift_jis", "big5", "gb18030", "iso2022_jp"])
async def test_every_set_goes_from_socket_to_socket_and_into_files(tmp_path, codec) -> None:
    """Item 63: real MLLP in and out, real files, characters whose second byte is a delimiter."""
    declared = {"shift_jis": "ISO IR14", "big5": "BIG-5", "gb18030": "GB 18030-2000", "iso2022_jp": "~ISO IR87"}[codec]
    text = colliding(codec)
    async with ReceivingPeer() as peer:
        destinations = (
            f"{{lab: {{mllp: {{host: 127.0.0.1, port: {peer.address[1]}}}, charset: UNICODE UTF-8}}, "
            "archive: {file: {folder: out, name: '{MSH-10}.hl7'}}, "
            "same: {file: {folder: same, name: '{MSH-10}.hl7'}, charset: '" + declared + "'}}"
        )
        site = site_of(
            tmp_path,
            steps="steps:\n  - set: {PID-8: =PID-5}",
            routes="[{to: lab}, {to: archive}, {to: same}]",
            destinations=destinations,
        )
        async with site.running():
            wire = await site.wire()
            await wire.send(adt(text.encode(codec), declared))
            assert msa(await wire.answer()) == ("AA", "A1")
            files = [site.folder / "out/A1.hl7", site.folder / "same/A1.hl7"]
            await until(lambda: len(peer.received) == 1 and all(file.is_file() for file in files))
        (received,) = peer.received
        for raw, read_as in [(received, "utf_8"), *((file.read_bytes(), codec) for file in files)]:
            message = Message.parse(raw)
            assert (message.get("PID-5"), message.get("PID-8"), message.codec) == (text, text, read_as)


@pytest.mark.parametrize("declared", ["8859/2", "GB 18030-2000"])
async def test_the_worker_of_own_code_writes_the_same_sets(tmp_path, declared) -> None:
    site = SiteUnderTest(
        tmp_path / "site",
        {
            "adt": {
                "channel.yaml": channel(
                    steps="steps:\n  - python: steps.py:same",
                    destinations="{out: {kept: {}, charset: UNICODE UTF-8}}",
                ),
                "steps.py": "def same(message, context):\n    message.set('PID-8', 'F')\n",
            }
        },
    )
    async with site.running():
        wire = await site.wire()
        await wire.send(adt(TEXTS[declared].encode(DECLARED[declared]), declared))
        assert msa(await wire.answer()) == ("AA", "A1")
        (body,) = await site.delivered("adt/out", 1)
        message = Message.parse(body)
        assert (message.get("PID-5"), message.codec) == (TEXTS[declared], "utf_8")
