"""Answers in every mode, with python-hl7 as the sender, as the destination, and as the one we connect back to."""

import asyncio
from pathlib import Path

import hl7
import pytest
from hl7.mllp import open_hl7_connection, start_hl7_server

from engine.app import Engine, load
from engine.testing.sites import make_site

ENCODING = "utf-8"


class System:
    """python-hl7's server; `reply` makes what it answers, a message or None."""

    def __init__(self, reply) -> None:
        self.reply = reply
        self.received: list[hl7.Message] = []
        self.links = 0
        self.gone = asyncio.Event()

    async def _serve(self, reader, writer) -> None:
        self.links += 1
        try:
            while True:
                message = await reader.readmessage()
                self.received.append(message)
                for answer in self.reply(message):
                    writer.writemessage(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.links -= 1
            if not self.links:
                self.gone.set()

    async def __aenter__(self) -> "System":
        self.server = await start_hl7_server(self._serve, "127.0.0.1", 0, encoding=ENCODING)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        if self.links:
            await asyncio.wait_for(self.gone.wait(), 10)
        await self.server.wait_closed()

    async def until(self, count: int) -> list[hl7.Message]:
        async with asyncio.timeout(10):
            while len(self.received) < count:
                await asyncio.sleep(0.002)
        return self.received


def response(kind: str, code: str = "AA"):
    def reply(message: hl7.Message) -> list[hl7.Message]:
        control_id = str(message.segment("MSH")[10])
        text = f"MSH|^~\\&|RIS|N|HIS|N|20260102||{kind}|R{control_id}|P|2.5.1\rMSA|{code}|{control_id}\rQAK|1|OK\r"
        return [hl7.parse(text)]

    return reply


def acknowledged(*codes: str):
    return lambda message: [message.create_ack(code) for code in codes]


async def engine_with(folder: Path, more: str, port: int) -> Engine:
    text = (
        f"listen: {{mllp: {{port: 0}}}}\naccept: ['*']\n{more}\nroutes: [{{to: ris}}]\n"
        f"destinations: {{ris: {{mllp: {{host: 127.0.0.1, port: {port}}}, retry: {{first: 20ms, most: 50ms}}}}}}\n"
    )
    engine = Engine(load(make_site(folder, {"q": text}, "admin: off\n"), {}))
    await engine.start()
    return engine


class Sender:
    """python-hl7's client."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, engine: Engine) -> "Sender":
        return cls(*await open_hl7_connection(*engine.addresses["q"], encoding=ENCODING))

    async def ask(self, payload: bytes, answers: int = 1) -> list[hl7.Message]:
        self.writer.writemessage(hl7.parse(payload.decode()))
        await self.writer.drain()
        return [await asyncio.wait_for(self.reader.readmessage(), 10) for _ in range(answers)]

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass


def said(message: hl7.Message) -> tuple[str, str, str]:
    """MSH-9.1, MSA-1 and MSA-2."""
    return str(message.segment("MSH")[9]).split("^")[0], str(message.segment("MSA")[1]), str(message.segment("MSA")[2])


@pytest.mark.parametrize("kind", ["RSP^K11^RSP_K11", "ORR^O02", "ORL^O22", "MFK^M01"])
async def test_a_functional_answer_of_its_server_comes_back_to_its_client(tmp_path, adt, kind) -> None:
    async with System(response(kind)) as ris:
        engine = await engine_with(tmp_path / "s", "ack: {when: delivered(ris)}", ris.port)
        sender = await Sender.to(engine)
        for number in range(20):
            (answer,) = await sender.ask(adt(control_id=f"Q{number}"))
            assert said(answer) == (kind[:3], "AA", f"Q{number}")
            assert str(answer.segment("QAK")[2]) == "OK"
        (again,) = await sender.ask(adt(control_id="Q7"))
        assert str(again.segment("MSH")[10]) == "RQ7" and len(ris.received) == 20
        await sender.close()
        await engine.stop(deadline_s=5)


@pytest.mark.parametrize("code", ["AA", "AE"])
async def test_its_plain_acknowledgement_becomes_ours(tmp_path, adt, code) -> None:
    async with System(acknowledged(code)) as ris:
        engine = await engine_with(tmp_path / "s", "ack: {when: delivered(ris)}", ris.port)
        sender = await Sender.to(engine)
        (answer,) = await sender.ask(adt(control_id="Q1"))
        assert said(answer) == ("ACK", code, "Q1")
        assert str(answer.segment("MSH")[3]) == "SEGMILL"
        await sender.close()
        await engine.stop(deadline_s=5)


async def test_its_server_takes_application_acknowledgements_over_a_connection_of_our_own(tmp_path, adt) -> None:
    async with System(acknowledged("AA")) as ris, System(acknowledged("CA")) as his:
        back = f"ack: {{app_ack: connect-back, connect_back: {{host: 127.0.0.1, port: {his.port}}}}}"
        engine = await engine_with(tmp_path / "s", back, ris.port)
        sender = await Sender.to(engine)
        for number in range(10):
            (answer,) = await sender.ask(adt(control_id=f"Q{number}", accept_ack="AL", application_ack="AL"))
            assert said(answer) == ("ACK", "CA", f"Q{number}")
        assert [said(m) for m in await his.until(10)] == [("ACK", "AA", f"Q{n}") for n in range(10)]
        await sender.close()
        await engine.stop(deadline_s=5)
        assert len(his.received) == 10


async def test_its_client_gets_both_levels_on_one_connection(tmp_path, adt) -> None:
    async with System(acknowledged("CA", "AA")) as ris:
        engine = await engine_with(tmp_path / "s", "ack: {when: delivered(ris)}", ris.port)
        sender = await Sender.to(engine)
        first, second = await sender.ask(adt(control_id="Q1", accept_ack="AL", application_ack="AL"), 2)
        assert [said(first)[1:], said(second)[1:]] == [("CA", "Q1"), ("AA", "Q1")]
        await sender.close()
        await engine.stop(deadline_s=5)


async def test_two_engines_speak_release_2_with_each_other(tmp_path, adt) -> None:
    """Ours on both ends: each message and each answer is committed, and nothing is processed twice."""
    async with System(acknowledged("AA")) as ris:
        behind = await engine_with(tmp_path / "b", "", ris.port)
        text = (tmp_path / "b/channels/q/channel.yaml").read_text()
        await behind.stop(deadline_s=5)
        strict = "{port: 0, release: 2, answers_committed: require}"
        (tmp_path / "b/channels/q/channel.yaml").write_text(text.replace("{port: 0}", strict))
        behind = Engine(load(tmp_path / "b", {}))
        await behind.start()
        front_text = text.replace(f"port: {ris.port}", f"port: {behind.addresses['q'][1]}, release: 2")
        front = Engine(load(make_site(tmp_path / "f", {"q": front_text}, "admin: off\n"), {}))
        await front.start()
        sender = await Sender.to(front)
        for number in range(30):
            (answer,) = await sender.ask(adt(control_id=f"Q{number}"))
            assert said(answer)[1:] == ("AA", f"Q{number}")
        assert [str(m.segment("MSH")[10]) for m in await ris.until(30)] == [f"Q{n}" for n in range(30)]
        await sender.close()
        await front.stop(deadline_s=5)
        await behind.stop(deadline_s=5)
