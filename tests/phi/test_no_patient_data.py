"""No patient data outside the store: markers in every field of many messages, and a hunt for them everywhere else.

The messages go over a socket through a running engine with every kind of step, to receivers that refuse some of
them and quote them while they do, and into files named after patients. Then everything that people and tools see
without asking for values is searched: log records at DEBUG, metrics, probes, status, findings and notes in the
store, the answers to the sender, and what the commands print. Control ids, MSH-3 to MSH-6, types, and ids of our
own may be there (STYLE section 5).
"""

import asyncio
import itertools
import json
import logging
import re
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.adapters.control_client import ControlClient
from engine.adapters.sinks.file import FileSink
from engine.app import Engine, load
from engine.cli.main import run as segmill
from engine.config.expression import ExpressionError, compile_condition, compile_value
from engine.config.table import Table
from engine.hl7.errors import Hl7Error
from engine.hl7.message import Message
from engine.hl7.path import compile_path
from engine.mllp.framing import BlockDecoder, encode
from tests.phi.api_pages import pages

MARKER = re.compile("zq[0-9]{5}qz", re.IGNORECASE)
VT, END = b"\x0b", b"\x1c\r"
DEAF_S = "250ms"

CHANNEL = """
description: Every kind of step, and receivers of every temper
listen: {{mllp: {{port: 0, max_message: 30KB}}}}
accept: ["ADT^*", "ORU^*", "ORM^*", "MDM^*", "SIU^*", "VXU^*"]
from: MSH-3 in ["HIS", "LAB", "RIS"]
validate: {{profile: profile.yaml, mode: warn}}
steps:
  - filter: not PID-8 contains "FILTERME"
  - validate:
      required: [PID-3.1]
      pattern: {{PID-7: ".*ZQ.*"}}
      values: {{PID-10: tables/known.csv}}
      length: {{PID-5.1: 200}}
      mode: reject
    when: MSH-6 == "VALIDATE"
  - map: {{PID-15: tables/known.csv, otherwise: hold}}
    when: MSH-6 == "MAP"
  - map: {{PID-15: tables/known.csv, otherwise: keep}}
  - map: {{PID-16: tables/known.csv, otherwise: default(U)}}
  - set:
      ZZA-1: =upper(PID-5.1)
      ZZA-2: '=date(PID-7, "%Y")'
      ZZA-3: =number(PID-3.1)
      ZZA-4: =table("tables/known.csv", PID-5)
    when: MSH-6 == "COMPUTE"
  - copy: {{ZZA-5: PID-5}}
  - delete: [PID-19]
  - each: OBX
    when: OBX-2 == "ED"
    do:
      - delete: [OBX-5]
  - set: {{PID-5.1: "=replace(PID-5.1, \\"ZQ\\", \\"\u4e2d\\")"}}
    when: MSH-6 == "UNWRITABLE"
routes:
  - to: refusing
  - to: babbling
    when: MSH-6 == "BABBLE"
  - to: folder
destinations:
  refusing:
    mllp: {{host: 127.0.0.1, port: {refusing}}}
    retry: {{first: 20ms, most: 20ms, limit: 2}}
    on_rejected: hold
  babbling:
    mllp: {{host: 127.0.0.1, port: {babbling}, ack_timeout: {deaf}}}
    retry: {{first: 20ms, most: 20ms, limit: 2}}
    on_unanswered: hold
  folder:
    file: {{folder: out, name: "{{PID-3.1}}/{{PID-5.1}}-{{MSH-10}}.hl7"}}
    retry: {{first: 20ms, most: 20ms, limit: 2}}
"""

PROFILE = """
standard: reject
fields:
  PID-3: {usage: X}
  PID-3.1: {pattern: "[0-9]", length: 1, constant: A}
  PID-5.1: {values: [A], data_type: NM}
  PID-8: {usage: R, values: tables/known.csv, evidence: {of: 100, filled: 100}}
  PID-31: {usage: X, evidence: {of: 100, filled: 0}}
  OBX-5: {usage: C, when: OBX-2 == "NM", length: 2}
segments: {ZZZ: {usage: X, fields: {1: {data_type: DT, length: 2}}}}
rules: [{name: a rule, require: PID-5.1 == "A"}]
"""

OWN = """
listen: {mllp: {port: 0}}
accept: ["ADT^*"]
steps:
  - python: steps.py:go
routes: [{to: folder}]
destinations: {folder: {file: {folder: out}}}
"""

OWN_STEPS = """
from engine.pipeline.step import Filter, Hold, Reject


def go(message, context):
    secret = message.get("PID-5.1") or ""
    what = message.get("MSH-6")
    print(secret)
    if what == "RAISE":
        raise ValueError(f"cannot do {secret}")
    if what == "CHAIN":
        try:
            {}[secret]
        except KeyError as error:
            raise RuntimeError(secret) from error
    if what == "HOLD":
        raise Hold(f"no ward for {secret}", "PID-5.1")
    if what == "REJECT":
        raise Reject(f"unknown {secret}", f'PID-3[1 == "{secret}"].1', hl7_code=secret)
    if what == "FILTER":
        raise Filter(secret)
    if what == "PATH":
        message.set(secret, "x")
    if what == "RETURN":
        return secret
    if what == "EXIT":
        raise SystemExit(secret)
"""


class Markers:
    """Text that stands nowhere else, a new one for every place."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        return f"ZQ{next(self._numbers):05}QZ"

    def field(self) -> str:
        """Repetitions, components, subcomponents and an escape, with a marker in each."""
        return f"{self()}^{self()}&{self()}~{self()}^\\T\\{self()}"

    def segment(self, name: str, fields: int = 24) -> str:
        return "|".join([name, *(self.field() for _ in range(fields))])


class Mail:
    """Messages by what is the matter with them."""

    def __init__(self) -> None:
        self.marker = Markers()
        self._ids = itertools.count(1)

    def msh(self, kind: str = "ADT^A01", purpose: str = "NORTH", *, control_id: str | None = None, **more: str) -> str:
        """A header with a marker in MSH-8 and in all that follows MSH-18."""
        number = next(self._ids) if control_id is None else 0
        fields = ["MSH", "^~\\&", more.get("sender", "HIS"), "NORTH", "SEGMILL", purpose, "20260102030405+0100"]
        fields += [self.marker(), kind, f"C{number}" if control_id is None else control_id, "P", "2.5.1"]
        fields += ["", self.marker(), "", "", "", more.get("charset", ""), self.marker(), self.marker(), self.marker()]
        return "|".join(fields)

    def message(self, kind: str = "ADT^A01", purpose: str = "NORTH", *segments: str, **more: str) -> bytes:
        """With the segments that such messages have, a marker in every field."""
        by_type = {
            "ADT": ("EVN", "PID", "PD1", "NK1", "NK1", "PV1", "PV2", "AL1", "DG1", "IN1", "ZPI"),
            "ORU": ("PID", "PV1", "ORC", "OBR", "OBX", "OBX", "NTE", "SPM"),
            "ORM": ("PID", "PV1", "ORC", "OBR", "DG1", "ZDS"),
            "MDM": ("EVN", "PID", "PV1", "TXA", "OBX"),
            "SIU": ("SCH", "PID", "RGS", "AIS", "AIP"),
            "VXU": ("PID", "NK1", "ORC", "RXA", "RXR", "OBX"),
        }
        own = segments or tuple(self.marker.segment(name) for name in by_type[kind[:3]])
        return "".join(f"{line}\r" for line in (self.msh(kind, purpose, **more), *own)).encode()

    def to_everywhere(self) -> Iterator[bytes]:
        """To the channel of all steps."""
        mark = self.marker
        for kind in ("ADT^A01", "ADT^A40", "ORU^R01", "ORM^O01", "MDM^T02", "SIU^S12", "VXU^V04"):
            yield self.message(kind, sender="LAB" if kind[0] == "O" else "HIS")
        for purpose in ("VALIDATE", "MAP", "COMPUTE", "UNWRITABLE", "BABBLE", "COLLIDE"):
            yield self.message("ADT^A08", purpose)
        yield self.message("ADT^A08", "VALIDATE", f"PID|{mark()}||~{mark()}|{mark()}|{mark() * 30}")
        yield self.message("ADT^A08", "NORTH", f"PID|{mark()}|||||||FILTERME{mark()}")
        yield self.message("ORU^R01", "NORTH", f"PID|1||{mark()}||{mark()}", f"OBX|1|ED|{mark()}||{mark()}" * 5)
        # Refused before any step: by type, event, sender; without a control id; with one that was used.
        yield self.message("ADT^A01", control_id="")
        yield self.message("ADT^A01", control_id="AGAIN")
        yield self.message("ADT^A01", control_id="AGAIN")
        yield self.message("ADT^A01").replace(b"ADT^A01", b"BAR^P01")
        yield self.message("ADT^A01", sender="OTHER")
        # Malformed in ways that make a reader quote what it cannot understand.
        yield f"{mark()} is no message\r{mark()}".encode()
        yield f"PID|1||{mark()}\rPV1|1|{mark()}\r".encode()
        yield f"MSH{mark()}|{mark()}|{mark()}\rPID|{mark()}\r".encode()
        yield f"MSH|^~\\&#$|HIS|N|||2026||ADT^A01|BAD1|P|2.5\rPID|{mark()}\r".encode()
        yield f"MSH|^^^^|HIS|N|||2026||ADT^A01|BAD2|P|2.5\rPID|{mark()}\r".encode()
        yield self.message() + f"{mark()}\r{mark()}|{mark()}\rpid|{mark()}\r\r|{mark()}\r".encode()
        yield self.message().replace(b"\r", b"\n")
        yield self.message().replace(b"\r", b"\r\n") + mark().encode()
        yield b"FHS|^~\\&|HIS\rBHS|^~\\&|HIS\r" + self.message() + f"BTS|2|{mark()}\rFTS|1|{mark()}\r".encode()
        # Bytes that are not what MSH-18 says, for every way there is to say it.
        for charset in (
            "UNICODE UTF-8",
            "8859/1",
            "ASCII",
            "GB 18030-2000",
            "~ISO IR87",
            "UTF-16",
            "NONSENSE",
            "~" * 9,
        ):
            yield self.message("ADT^A01", charset=charset).replace(b"ZQ", b"\xfc\xffZQ", 40)
            yield self.message("ADT^A01", charset=charset).replace(b"^", b"\x1b$B~^", 9)
        yield self.message().decode().encode("utf-16")
        # Longer than the port takes.
        yield self.message("ADT^A01", "NORTH", *(mark.segment("NTE") for _ in range(80)))
        yield mark().encode() * 9000

    def to_own(self) -> Iterator[bytes]:
        """To the channel with Python of its own."""
        for purpose in ("RAISE", "CHAIN", "HOLD", "REJECT", "FILTER", "PATH", "RETURN", "EXIT", "FINE"):
            yield self.message("ADT^A01", purpose)


# -- receivers --------------------------------------------------------------------------------------


def quoting(payload: bytes) -> bytes:
    """A refusal that tells the whole patient: in MSA-3, MSA-6, and in every field of ERR."""
    lines = payload.split(b"\r")
    control_id = lines[0].split(b"|")[9]
    pid = next((line for line in lines if line.startswith(b"PID")), lines[-2])
    quoted = b" ".join(MARKER.findall(pid.decode("latin-1"))[0].encode() for _ in range(3)) if b"ZQ" in pid else b""
    code = [b"AE", b"AR", b"CE", b"CR"][len(payload) % 4]
    return (
        b"MSH|^~\\&|RIS|N|HIS|N|2026||ACK|$|P|2.5.1\r"
        b"MSA|" + code + b"|" + control_id + b"|refused $|||$^$\r"
        b"ERR|$|PID^1^5^$|$^$|E|$|$|$|$\r"
    ).replace(b"$", quoted)


def babble(payload: bytes) -> bytes:
    """What is no answer at all, and full of the patient."""
    return b"ERROR at " + payload[20:400] + VT + payload.replace(b"MSH", b"XXX") + END + b"more " + payload[-300:]


@asynccontextmanager
async def receiver(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A peer that says `answer` to every block, in a frame if it is an MSH."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = BlockDecoder()
        try:
            while data := await reader.read(65536):
                for block in decoder.feed(data):
                    said = answer(block.payload)  # type: ignore[union-attr]
                    writer.write(encode(said) if said.startswith(b"MSH") else said)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def exchange(address: tuple[str, int], payload: bytes) -> bytes:
    """Everything that comes back for one block, with stray bytes around it."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(VT + payload + END)
        writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


async def stray(address: tuple[str, int], mark: Markers) -> None:
    """Bytes between, before and instead of blocks; a block that never ends."""
    for data in (
        f"{mark()}\r\nGET /{mark()} HTTP/1.1\r\n\r\n".encode(),
        f"{mark()}".encode() + VT + f"MSH|^~\\&|HIS|N|||2026||ADT^A01|S1|P|2.5\rPID|{mark()}".encode(),
        VT + f"MSH|^~\\&|{mark()}".encode() + VT + f"{mark()}".encode() + END + mark().encode() * 9000,
    ):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(data)
            writer.write_eof()
            async with asyncio.timeout(20):
                await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()


# -- the hunt ---------------------------------------------------------------------------------------


class Seen:
    """Everything that was looked at, by where it was found."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, place: str, text: str | bytes) -> None:
        self.texts[place] = text.decode("latin-1") if isinstance(text, bytes) else text

    @property
    def leaks(self) -> list[str]:
        return [
            f"{place}: ...{text[max(0, found.start() - 60) : found.end() + 20]!r}"
            for place, text in self.texts.items()
            for found in itertools.islice(MARKER.finditer(text), 1)
        ]


def printed(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> str:
    """What a command says, on both streams."""
    capsys.readouterr()
    segmill(list(words))
    said = capsys.readouterr()
    return said.out + said.err


async def until_settled(engine: Engine) -> None:
    async with asyncio.timeout(40):
        while any(lane.queued for status in await engine.control.status() for lane in status.lanes):
            await asyncio.sleep(0.02)


@pytest.mark.timeout(400)  # a hundred and fifty commands
async def test_no_value_of_a_message_is_found_outside_the_store(
    make_site: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mail, seen = Mail(), Seen()
    sink_write = FileSink.send

    async def failing_now_and_then(self: FileSink, deliveries: Sequence[object]) -> object:
        """A defect whose exception quotes what it was working on."""
        if any(b"COLLIDE" in delivery.body for delivery in deliveries):  # type: ignore[attr-defined]
            raise ValueError(f"cannot write {deliveries!r} {deliveries[0].body!r}")  # type: ignore[attr-defined]
        return await sink_write(self, deliveries)  # type: ignore[arg-type]

    monkeypatch.setattr(FileSink, "send", failing_now_and_then)
    async with receiver(quoting) as refusing, receiver(babble) as babbling:
        site = make_site(
            {
                "all": {
                    "channel.yaml": CHANNEL.format(refusing=refusing, babbling=babbling, deaf=DEAF_S),
                    "tables/known.csv": "from,to\nA,1\n",
                    "profile.yaml": PROFILE,
                },
                "own": {"channel.yaml": OWN, "steps.py": OWN_STEPS},
            },
            "admin: {port: 0}\nconsole: {port: 0}\n",
        )
        # A file where a folder with a patient's number must be made: what the system says names it.
        everywhere = list(mail.to_everywhere())
        (site / "out").mkdir()
        for payload in everywhere[:5]:
            message = Message.parse(payload)
            (site / "out" / (message.get("PID-3.1") or "none")).write_text("in the way")
        engine = Engine(load(site, {}))
        with caplog.at_level(logging.DEBUG):
            await engine.start()
            try:
                answers = [await exchange(engine.addresses["all"], payload) for payload in everywhere]
                answers += [await exchange(engine.addresses["own"], payload) for payload in mail.to_own()]
                await stray(engine.addresses["all"], mail.marker)
                await until_settled(engine)
                assert sum(bool(answer) for answer in answers) == len(answers)
                for number, answer in enumerate(answers):
                    seen.add(f"answer {number}", answer)
                assert engine.admin_address is not None
                for page in ("metrics", "readyz", "livez"):
                    url = "http://{}:{}/{}".format(*engine.admin_address, page)
                    seen.add(page, await asyncio.to_thread(lambda url=url: urllib.request.urlopen(url).read()))
                client = ControlClient(site / "data")
                seen.add("status", json.dumps(await asyncio.to_thread(client.get, "/v1/status")))
                for place, text in await asyncio.to_thread(lambda: list(pages(engine, mail.marker()))):
                    seen.add(place, text)
                states = await commands(seen, capsys, site, mail.marker())
                assert {"processed", "held", "rejected", "filtered"} <= states
                shown = await asyncio.to_thread(
                    printed, capsys, ["messages", "1", "--show-values", "--site", str(site)]
                )
                assert len(MARKER.findall(shown)) > 100, "the markers are in the store, and are found where they are"
            finally:
                await engine.stop()
    formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")
    for number, record in enumerate(caplog.records):
        seen.add(f"log record {number}", formatter.format(record) + repr(record.args))
    assert any("went" in text or "held" in text for place, text in seen.texts.items() if place.startswith("log"))
    assert not seen.leaks, "\n".join(seen.leaks)


async def commands(seen: Seen, capsys: pytest.CaptureFixture[str], site: Path, secret: str) -> set[str]:
    """What the commands say of all that is stored; returns the states that were met."""

    async def say(*words: str) -> str:
        text = await asyncio.to_thread(printed, capsys, [*words, "--site", str(site)])
        seen.add(" ".join(words), text)
        return text

    await say("messages", "--limit", "1000")
    await say("messages", "--summary")
    listed = [json.loads(line) for line in (await say("messages", "--limit", "1000", "--json")).splitlines()]
    for message in listed:
        await say("messages", str(message["seq"]))
        await say("messages", str(message["seq"]), "--json")
    held = [str(message["seq"]) for message in listed if message["state"] == "held"]
    await say("release", *held)
    await say("release", "--all", "--plan")
    await say("replay", "1", "--yes")
    by_value = ("--where", f'PID-5.1 != "{secret}"', "--channel", "all", "--reason", "asked for", "--yes")
    await say("queue", "pause", "all", "--reason", "asked for")
    await say("replay", *[str(message["seq"]) for message in listed if message["state"] == "processed"][:5], "--yes")
    await say("queue", "list")
    for action in (["hold"], ["release"], ["retry"], ["redirect", "--to", "folder"], ["skip"]):
        words = ["queue", *action, *by_value] if action != ["release"] else ["release", "--all", *by_value]
        said = await asyncio.to_thread(printed, capsys, [*words, "--site", str(site)])
        seen.add(f"queue {action[0]}", said)
    processed = [str(message["seq"]) for message in listed if message["state"] == "processed"][:3]
    await say("replay", *processed, "--reprocess", "--plan")
    await say("replay", *processed, "--reprocess", "--as-of", "received", "--plan", "--json")
    await say("replay", *processed, "--reprocess", "--yes")
    edit = ["replay", processed[0], "--set", f"PID-5.1={secret}", "--yes"]
    seen.add("replay edited", await asyncio.to_thread(printed, capsys, [*edit, "--site", str(site)]))
    await say("queue", "resume", "--all")
    audit = await say("audit", "--limit", "1000")
    assert {"hold", "release", "retry", "redirect", "skip", "resend", "reprocess", "edit"} <= set(audit.split())
    await say("audit", "--limit", "1000", "--json")
    await say("audit", "--verify")
    shown = await asyncio.to_thread(printed, capsys, ["audit", "--show-values", "--site", str(site)])
    assert secret in shown, "what was asked for stands in the audit, and there alone"
    await say("messages", "--limit", "1000", "--json")
    await say("test")
    seen.add("check", await asyncio.to_thread(printed, capsys, ["check", str(site), "--env"]))
    return {message["state"] for message in listed}


def test_what_is_raised_over_a_message_names_places_and_no_values() -> None:
    mail, seen = Mail(), Seen()
    paths = ["PID", "PID-5.1", "PID-3[2].1.2", "OBX[3]-5", "MSH-1", "MSH-2", "MSH-18", "ZZZ-1", "PID[*]-5[*]"]
    for number, payload in enumerate([*mail.to_everywhere(), *mail.to_own()]):
        try:
            message = Message.parse(payload)
        except Hl7Error as error:
            seen.add(f"parse {number}", f"{error} {error!r}")
            continue
        seen.add(f"notices {number}", repr(message.warnings))
        secret = mail.marker()
        for path in paths:
            for value in (
                secret,
                f"{secret}\u4e2d\ud83d",
                f"{secret}\r{secret}",
                f"{secret}\x0b",
                "x" * 70_000 + secret,
            ):
                for write in ("set", "set_raw"):
                    work = message.copy()
                    try:
                        getattr(compile_path(path), write)(work, value)
                        work.to_bytes()
                    except Hl7Error as error:
                        seen.add(f"{write} {path} {number}", f"{error} {error!r}")
    assert any(place.startswith("parse") for place in seen.texts)
    assert any(place.startswith("set") for place in seen.texts)
    assert not seen.leaks, "\n".join(seen.leaks)


def test_what_an_expression_raises_over_a_message_holds_no_values() -> None:
    mail, seen = Mail(), Seen()
    table = Table.load("from,to\nA,1\n", "t.csv")[0]
    message = Message.parse(mail.message())
    texts = [
        "=date(PID-7)",
        "=number(PID-3)",
        '=date(PID-5, "%Y")',
        "=substring(PID-5, 1, 2)",
        '=table("t.csv", PID-5)',
        "=pad(PID-5, 100)",
        '=replace(PID-5, "Z", "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZ")',
        "PID-5 > 3",
        "PID-5.1 < PID-3.1",
        "number(PID-5) > 3",
    ]
    for text in texts:
        try:
            if text.startswith("="):
                compile_value(text[1:], tables={"t.csv": table})(message)
            else:
                compile_condition(text, tables={"t.csv": table})(message)
        except (ExpressionError, Hl7Error) as error:
            seen.add(text, f"{error} {error!r}")
        except Exception as error:
            seen.add(text, type(error).__name__)
    assert not seen.leaks, "\n".join(seen.leaks)
