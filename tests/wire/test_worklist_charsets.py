"""Every character set of dicom.md 1.5, from the bytes of an HL7 message to the bytes that dcmdump sees in an answer.

Each order comes over MLLP in the set that its MSH-18 names, and is asked for by two scanners: one is answered in
Unicode, one in the set that its `charset:` names. The bytes of Japanese, Korean and Chinese answers are the examples
of PS3.5 annexes H, I and K.
"""

import asyncio
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runtime.engines import SiteUnderTest, msa

pytestmark = pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk's findscu is not installed")


@dataclass(frozen=True)
class Row:
    """`msh18`: with the set that its message is written in. `name`: PID-5. `pn`: as an answer in Unicode has it.

    `kept`: the charset of another scanner, and `raw`: the bytes of the name that it gets.
    """

    msh18: str
    codec: str
    name: str
    pn: str
    kept: str
    raw: bytes


def plain(msh18: str, codec: str, name: str, kept: str, dicom_codec: str = "") -> Row:
    """A name that is written the same way on both sides."""
    return Row(msh18, codec, name, name, kept, name.encode(dicom_codec or codec))


THREE = "YAMADA^TARO^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P"
YAMADA = "YAMADA^TARO=山田^太郎=やまだ^たろう"
YAMADA_87 = (
    b"YAMADA^TARO=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"  # PS3.5 section H.3.1
)
KANA = "ﾔﾏﾀﾞ^ﾀﾛｳ^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P"
KANA_13 = (
    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"  # H.3.2
)
HONG = "Hong^Gildong^^^^^L^A~洪^吉洞^^^^^L^I~홍^길동^^^^^L^P"
HONG_149 = (
    b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"  # section I.2
)
WANG = "Wang^XiaoDong=王^小东"

LIU = "Liu^Te-hua=劉^德華"

ROWS = [
    plain("", "ascii", "Muster^Anna", "ISO_IR 6"),
    plain("", "utf_8", "Müller^Eva", "ISO_IR 100", "iso8859_1"),
    plain("", "cp1252", "Müller^Žan", "ISO_IR 192", "utf_8"),
    plain("ASCII", "ascii", "Muster^Anna", "ISO_IR 100"),
    plain("8859/1", "iso8859_1", "Müller^Françoise", "ISO_IR 100"),
    plain("8859/2", "iso8859_2", "Łoś^Żaneta", "ISO_IR 101"),
    plain("8859/3", "iso8859_3", "Ċensu^Ġorġ", "ISO_IR 109"),
    plain("8859/4", "iso8859_4", "Šķēle^Ģirts", "ISO_IR 110"),
    plain("8859/5", "iso8859_5", "Люкceмбypг^Анна", "ISO_IR 144"),
    plain("8859/6", "iso8859_6", "قباني^لنزار", "ISO_IR 127"),
    plain("8859/7", "iso8859_7", "Διονυσιος^Ελένη", "ISO_IR 126"),
    plain("8859/8", "iso8859_8", "שרון^דבורה", "ISO_IR 138"),
    plain("8859/9", "iso8859_9", "Çavuşoğlu^İsmail", "ISO_IR 148"),
    plain("8859/15", "iso8859_15", "Bœuf^Žan", "ISO_IR 192", "utf_8"),
    Row("UNICODE UTF-8", "utf_8", THREE, YAMADA, "\\ISO 2022 IR 87", YAMADA_87),
    Row("UNICODE", "utf_8", HONG, "Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149", HONG_149),
    plain("UTF-8", "utf_8", "Дуброва^Анна", "ISO_IR 144", "iso8859_5"),
    Row("GB 18030-2000", "gb18030", "Wang^XiaoDong^^^^^L^A~王^小东^^^^^L^I", WANG, "GB18030", WANG.encode("gb18030")),
    Row("ASCII~ISO IR87", "iso2022_jp", THREE, YAMADA, "\\ISO 2022 IR 87", YAMADA_87),
    Row("ISO IR13~ISO IR87", "jis", KANA, "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "ISO 2022 IR 13\\ISO 2022 IR 87", KANA_13),
    Row(
        "ASCII~ISO IR159",
        "iso2022_jp_1",
        "HATAKEYAMA^SHIGEKO^^^^^L^A~丂丄^丌^^^^^L^I",
        "HATAKEYAMA^SHIGEKO=丂丄^丌",
        "\\ISO 2022 IR 159",
        b'HATAKEYAMA^SHIGEKO=\x1b$(D0!0"\x1b(B^\x1b$(D0$\x1b(B',
    ),
    Row(
        "ASCII~ISO IR87~ISO IR159",
        "iso2022_jp_1",
        "YAMADA^TARO^^^^^L^A~山田^丂^^^^^L^I",
        "YAMADA^TARO=山田^丂",
        "\\ISO 2022 IR 87\\ISO 2022 IR 159",
        b"YAMADA^TARO=\x1b$B;3ED\x1b(B^\x1b$(D0!\x1b(B",
    ),
    plain("ISO IR13", "shift_jis", "ﾔﾏﾀﾞ ABC^ﾀﾛｳ", "ISO_IR 13"),
    Row(
        "GB 18030-2000",
        "gb18030",
        "Zhang^XiaoDong^^^^^L^A~张^小东^^^^^L^I",
        "Zhang^XiaoDong=张^小东",
        "\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",  # PS3.5 section K.2
    ),
    # A set that lacks a part of the name: the alphabetic group alone, and never a question mark.
    Row(
        "ASCII~ISO IR87~ISO IR159",
        "iso2022_jp_1",
        "YAMADA^TARO^^^^^L^A~山田^丂^^^^^L^I",
        "YAMADA^TARO=山田^丂",
        "\\ISO 2022 IR 159",
        b"YAMADA^TARO",
    ),
    Row("UNICODE UTF-8", "utf_8", THREE, YAMADA, "ISO_IR 100", b"YAMADA^TARO"),
    Row("8859/2", "iso8859_2", "Łoś^Żaneta", "Łoś^Żaneta", "ISO_IR 100", b"Los^Zaneta"),
    Row("KS X 1001", "euc_kr", HONG, "Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149", HONG_149),
    Row(
        "BIG-5",
        "big5",
        "Liu^Te-hua^^^^^L^A~劉^德華^^^^^L^I",
        "Liu^Te-hua=劉^德華",
        "ISO_IR 192",
        "Liu^Te-hua=劉^德華".encode(),
    ),
]

CHARSETS = sorted({row.kept for row in ROWS})
TITLES = {charset: f"SCANNER{number}" for number, charset in enumerate(CHARSETS)}
UTF_8 = "ISO_IR 192"
CHANNEL = """\
listen: {mllp: {port: 0}}
accept: ['ORM^O01']
ack: {when: delivered(modalities)}
routes: [{to: modalities}]
destinations:
  modalities: {worklist: {authority: HIS, station: [{ae: [CT1]}]}}
"""


def settings() -> str:
    lines = [f"    {TITLES[charset]}: {{charset: '{charset}'}}" for charset in CHARSETS]
    start = "admin: off\nstore: 'memory:'\ndicom:\n  host: 127.0.0.1\n  port: 0\n  modalities:\n"
    return start + "\n".join(lines) + "\n"


def message(number: int, row: Row) -> bytes:
    segments = [
        f"MSH|^~\\&|HIS|NORTH|SEGMILL|RAD|20260101120000+0000||ORM^O01|M{number}|P|2.3.1||||||{row.msh18}",
        f"PID|1||{number}^^^HIS^MR||{row.name}||19800203|F",
        "PV1|1|O",
        f"ORC|NW|P{number}^HIS|F{number}^RIS||SC||^^^20260102103000||20260101120000+0000",
        f"OBR|1|P{number}^HIS|F{number}^RIS|CTH^CT head^L^CTH^Head^L||||||||||||||A{number}|R{number}|S{number}||||CT",
        f"ZDS|1.2.826.0.1.99.{number}^RIS^Application^DICOM",
    ]
    text = "\r".join(segments) + "\r"
    return text.encode(row.codec) if row.codec != "jis" else _jis(text)


def _jis(text: str) -> bytes:
    """JIS X 0201 in eight bits, with JIS X 0208 switched to (ISO IR13 and ISO IR87)."""
    made = bytearray()
    for part in re.findall(r"[\x00-\x7f\uff61-\uff9f]+|[^\x00-\x7f\uff61-\uff9f]+", text):
        is_plain = part.isascii() or "\uff61" <= part[0] <= "\uff9f" or part[0].isascii()
        made += part.encode("shift_jis") if is_plain else part.encode("iso2022_jp").replace(b"\x1b(B", b"\x1b(J")
    return bytes(made)


@dataclass(frozen=True)
class Answers:
    """What came of one order: MSA-1, and what dcmdump sees in the answer to each of the two scanners."""

    ack: str
    unicode: bytes
    kept: bytes


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Answers]:
    return asyncio.run(_answers(tmp_path_factory.mktemp("charsets")))


async def _answers(folder: Path) -> list[Answers]:
    site = SiteUnderTest(folder / "site", {"orders": CHANNEL}, settings())
    made = []
    async with site.running() as engine:
        wire = await site.wire("orders")
        for number, row in enumerate(ROWS):
            await wire.send(message(number, row))
            ack, _ = msa(await wire.answer())
            port = engine.dicom_port
            assert port is not None
            asked = [
                await asyncio.to_thread(dump, port, title, number, folder / f"{number}{title}")
                for title in ("OTHER", TITLES[row.kept])
            ]
            made.append(Answers(ack, *asked))
    return made


def dump(port: int, calling: str, number: int, folder: Path) -> bytes:
    """dcmdump of the one answer, its bytes as they are; empty without an answer."""
    folder.mkdir()
    keys = ["-k", f"PatientID={number}", "-k", "PatientName", "-k", "RequestingPhysician"]
    command = ["findscu", "-W", "-X", "-od", str(folder), "-aet", calling, "-aec", "SEGMILL", *keys]
    subprocess.run([*command, "127.0.0.1", str(port)], capture_output=True, timeout=60, check=True)
    files = list(folder.glob("*.dcm"))
    if not files:
        return b""
    (file,) = files
    return subprocess.run(["dcmdump", str(file)], capture_output=True, timeout=30, check=True).stdout


def value(dumped: bytes, tag: bytes) -> bytes | None:
    """Between the brackets, without the pad; None where the element is not there or is empty."""
    found = re.search(rb"(?m)^\(" + tag + rb"\) .. \[(.*)\] +#", dumped)
    return found[1].rstrip(b" ") if found is not None else None


@pytest.mark.parametrize(
    "number", range(len(ROWS)), ids=[f"{row.msh18 or 'empty'} {row.codec} to {row.kept}" for row in ROWS]
)
class TestEachRow:
    def test_it_is_answered_in_unicode(self, answers: list[Answers], number: int) -> None:
        row, told = ROWS[number], answers[number]
        assert told.ack == "AA"
        assert value(told.unicode, b"0008,0005") == b"ISO_IR 192"
        assert value(told.unicode, b"0010,0010") == row.pn.encode()

    def test_it_is_answered_in_the_scanners_own_set(self, answers: list[Answers], number: int) -> None:
        row, told = ROWS[number], answers[number]
        assert value(told.kept, b"0008,0005") == (None if row.kept == "ISO_IR 6" else row.kept.encode())
        assert value(told.kept, b"0010,0010") == row.raw


@pytest.mark.parametrize(
    "row",
    [
        plain("UNICODE UTF-8", "iso8859_1", "Müller^Eva", UTF_8),
        plain("KS X 1001", "iso8859_1", "Müller^Eva", UTF_8),
        # Python has no codec for it, and DICOM no term: dcm4chee takes it for Thai.
        plain("CNS 11643-1992", "big5", "劉^德華", UTF_8),
    ],
    ids=lambda row: row.msh18,
)
async def test_bytes_that_msh_18_does_not_have_are_no_item(tmp_path: Path, row: Row) -> None:
    site = SiteUnderTest(tmp_path / "site", {"orders": CHANNEL}, settings())
    async with site.running() as engine:
        wire = await site.wire("orders")
        await wire.send(message(1, row))
        answer = await wire.answer()
        assert msa(answer)[0] == "AE"
        assert b"\rERR|" in answer and b"MSH^1^18" in answer and b"|102^" in answer
        assert engine.dicom_port is not None
        assert await asyncio.to_thread(dump, engine.dicom_port, "OTHER", 1, tmp_path / "answer") == b""


@pytest.mark.parametrize(
    "row",
    [
        plain("8859/1", "utf_8", "Müller^Eva", UTF_8),
        plain("8859/1", "cp1252", "Müller^“Eva”", UTF_8),
    ],
    ids=["UTF-8", "windows-1252"],
)
async def test_a_strict_channel_makes_no_item_of_text_in_another_set_than_it_says(tmp_path: Path, row: Row) -> None:
    """dicom.md 1.5: AE 102 at MSH-18, where the channel asks for it."""
    strict = CHANNEL + "charset: {strict: true}\n"
    site = SiteUnderTest(tmp_path / "site", {"orders": strict}, settings())
    async with site.running() as engine:
        wire = await site.wire("orders")
        await wire.send(message(1, row))
        answer = await wire.answer()
        assert msa(answer)[0] == "AE"
        assert b"MSH^1^18" in answer and b"|102^" in answer
        await wire.send(message(2, plain("8859/1", "iso8859_1", "Müller^Eva", UTF_8)))
        assert msa(await wire.answer())[0] == "AA"
        assert engine.dicom_port is not None
        assert await asyncio.to_thread(dump, engine.dicom_port, "OTHER", 1, tmp_path / "answer") == b""


async def test_utf_8_under_another_name_is_read_as_what_it_is(tmp_path: Path) -> None:
    """By evidence, with a warning (W302): `Ã¼` is nobody's name."""
    site = SiteUnderTest(tmp_path / "site", {"orders": CHANNEL}, settings())
    async with site.running() as engine:
        wire = await site.wire("orders")
        await wire.send(message(1, plain("8859/1", "utf_8", "Müller^Eva", UTF_8)))
        assert msa(await wire.answer())[0] == "AA"
        assert engine.dicom_port is not None
        told = await asyncio.to_thread(dump, engine.dicom_port, "OTHER", 1, tmp_path / "answer")
        assert value(told, b"0010,0010") == "Müller^Eva".encode()
