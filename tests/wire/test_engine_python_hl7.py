"""Foreign tools on both ends of a whole engine: python-hl7's asyncio client and server, and a client from npm."""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import textwrap
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import hl7
import pytest
import trustme
from hl7.mllp import open_hl7_connection, start_hl7_server

from engine.app import Engine, load
from engine.testing.peers import ReceivingPeer
from engine.testing.sites import make_site

ENCODING = "utf-8"


def channel(port: int, *, listen: str = "", sink: str = "", more: str = "") -> str:
    return textwrap.dedent(
        f"""
        listen:
          mllp: {{port: 0{listen}}}
        accept: [ADT^*, ORU^*]
        {more}
        steps:
          - set: {{MSH-5: RIS}}
        routes: [{{to: out}}]
        destinations:
          out:
            mllp: {{host: localhost, port: {port}{sink}}}
            retry: {{first: 20ms, most: 50ms}}
            window: 16
        """
    )


@asynccontextmanager
async def engine_on(folder: Path, files: Mapping[str, str | bytes]) -> AsyncIterator[Engine]:
    engine = Engine(load(make_site(folder, {"adt": files}, "admin: off\n"), {}))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop(deadline_s=5)


class ForeignServer:
    """python-hl7's server as its documentation shows it, answering with its own `create_ack`."""

    def __init__(self, *codes: str, tls: ssl.SSLContext | None = None) -> None:
        self.codes = list(codes)
        self.received: list[str] = []
        self._tls = tls
        self._done = asyncio.Event()
        self._links = 0

    async def _serve(self, reader, writer) -> None:
        self._links += 1
        try:
            while True:
                message = await reader.readmessage()
                self.received.append(str(message))
                writer.writemessage(message.create_ack(self.codes.pop(0) if self.codes else "AA"))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._links -= 1
            if not self._links:
                self._done.set()

    async def __aenter__(self) -> "ForeignServer":
        self.server = await start_hl7_server(
            self._serve, "127.0.0.1", 0, encoding=ENCODING, limit=1 << 24, ssl=self._tls
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        if self._links:
            await asyncio.wait_for(self._done.wait(), 10)
        await self.server.wait_closed()

    @property
    def port(self) -> int:
        return self.server.sockets[0].getsockname()[1]

    async def until(self, count: int) -> list[str]:
        async with asyncio.timeout(15):
            while len(self.received) < count:
                await asyncio.sleep(0.002)
        return self.received


async def send(address: tuple[str, int], payloads: list[bytes], **options) -> list[tuple[str, str]]:
    """MSA-1 and MSA-2 of each answer, as python-hl7 reads them."""
    reader, writer = await open_hl7_connection(*address, encoding=ENCODING, limit=1 << 24, **options)
    found = []
    try:
        for payload in payloads:
            writer.writemessage(hl7.parse(payload.decode()))
            await writer.drain()
            answer = await asyncio.wait_for(reader.readmessage(), 10)
            msa = answer.segment("MSA")
            found.append((str(msa[1]), str(msa[2])))
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass
    return found


async def test_its_client_feeds_the_engine_and_its_server_receives_in_order(tmp_path, adt) -> None:
    async with ForeignServer() as server, engine_on(tmp_path / "s", {"channel.yaml": channel(server.port)}) as engine:
        ids = [f"W{n}" for n in range(60)]
        found = await send(engine.addresses["adt"], [adt(control_id=i) for i in ids])
        assert found == [("AA", i) for i in ids]
        received = [hl7.parse(text) for text in await server.until(60)]
        assert [str(m.segment("MSH")[10]) for m in received] == ids
        assert {str(m.segment("MSH")[5]) for m in received} == {"RIS"}


async def test_several_of_its_clients_at_a_time_keep_each_its_order(tmp_path, adt) -> None:
    async with ForeignServer() as server, engine_on(tmp_path / "s", {"channel.yaml": channel(server.port)}) as engine:
        ids = [[f"C{client}N{n}" for n in range(25)] for client in range(6)]
        await asyncio.gather(*(send(engine.addresses["adt"], [adt(control_id=i) for i in mine]) for mine in ids))
        received = [str(hl7.parse(text).segment("MSH")[10]) for text in await server.until(150)]
        for client, mine in enumerate(ids):
            assert [i for i in received if i.startswith(f"C{client}N")] == mine


async def test_a_large_message_with_umlauts_goes_through_whole(tmp_path, oru) -> None:
    async with ForeignServer() as server, engine_on(tmp_path / "s", {"channel.yaml": channel(server.port)}) as engine:
        note = "ä" * 500_000
        big = oru(control_id="BIG", charset="UNICODE UTF-8", more=[f"NTE|1||{note}"])
        assert await send(engine.addresses["adt"], [big]) == [("AA", "BIG")]
        (text,) = await server.until(1)
        assert str(hl7.parse(text).segment("NTE")[3]) == note


async def test_what_its_server_refuses_is_held_and_what_it_cannot_take_now_is_sent_again(tmp_path, adt) -> None:
    server = ForeignServer("AR", "AE")
    async with server, engine_on(tmp_path / "s", {"channel.yaml": channel(server.port)}) as engine:
        await send(engine.addresses["adt"], [adt(control_id=i) for i in ("A1", "A2", "A3")])
        received = await server.until(4)
        assert [str(hl7.parse(text).segment("MSH")[10]) for text in received] == ["A1", "A1", "A2", "A3"]
        async with asyncio.timeout(5):
            while (await engine.control.status())[0].lanes[0].held != 1:
                await asyncio.sleep(0.005)


async def test_its_parser_reads_our_refusals(tmp_path, orm) -> None:
    async with ReceivingPeer() as peer, engine_on(tmp_path / "s", {"channel.yaml": channel(peer.address[1])}) as engine:
        assert await send(engine.addresses["adt"], [orm(control_id="O1")]) == [("AR", "O1")]


async def test_the_same_over_tls_on_both_ends(tmp_path, adt) -> None:
    authority = trustme.CA()
    ours = authority.issue_cert("localhost")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(theirs)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    authority.issue_cert("sender.example").configure_cert(trusting)
    async with ForeignServer(tls=theirs) as server:
        files = {
            "channel.yaml": channel(
                server.port,
                listen=", tls: {certificate: own.crt, key: own.key, client_ca: ca.crt}",
                sink=", tls: {ca: ca.crt}",
            ),
            "own.crt": ours.cert_chain_pems[0].bytes(),
            "own.key": ours.private_key_pem.bytes(),
            "ca.crt": authority.cert_pem.bytes(),
        }
        async with engine_on(tmp_path / "s", files) as engine:
            ids = [f"T{n}" for n in range(20)]
            payloads = [adt(control_id=i) for i in ids]
            found = await send(engine.addresses["adt"], payloads, ssl=trusting, server_hostname="localhost")
            assert found == [("AA", i) for i in ids]
            received = [str(hl7.parse(text).segment("MSH")[10]) for text in await server.until(20)]
            assert received == ids
            stranger = ssl.create_default_context()
            authority.configure_trust(stranger)
            with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
                await send(engine.addresses["adt"], payloads[:1], ssl=stranger, server_hostname="localhost")


# -- a client from npm ----------------------------------------------------------------------------

NODE_CLIENT = """
const { Client, Message, Batch } = require('node-hl7-client');
const payloads = JSON.parse(process.argv[3]);
const client = new Client({ host: '127.0.0.1' });
const answers = [];
const connection = client.createConnection({ port: Number(process.argv[2]) }, async (res) => {
  const message = res.getMessage();
  answers.push([message.get('MSA.1').toString(), message.get('MSA.2').toString()]);
  await next();
});
async function next() {
  if (answers.length === payloads.length) {
    console.log(JSON.stringify(answers));
    process.exit(0);
  }
  await connection.sendMessage(new Message({ text: payloads[answers.length] }));
}
next();
setTimeout(() => { console.log(JSON.stringify(answers)); process.exit(1); }, 20000);
"""


@pytest.fixture(scope="module")
def npm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with node-hl7-client; installed only where SEGMILL_NPM=1 allows the network."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    if os.environ.get("SEGMILL_NPM") != "1":
        pytest.skip("SEGMILL_NPM=1 is not set: nothing is fetched from npm")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "node-hl7-client@3"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    if done.returncode != 0:
        pytest.skip(f"npm could not install node-hl7-client: {done.stderr.strip()[-200:]}")
    (folder / "client.cjs").write_text(NODE_CLIENT)
    return folder


@pytest.mark.timeout(150)
async def test_a_client_from_npm_feeds_the_engine(npm_folder, tmp_path, adt) -> None:
    async with ForeignServer() as server, engine_on(tmp_path / "s", {"channel.yaml": channel(server.port)}) as engine:
        ids = [f"N{n}" for n in range(30)]
        payloads = [adt(control_id=i).decode().rstrip("\r") for i in ids]
        node = await asyncio.create_subprocess_exec(
            "node",
            "client.cjs",
            str(engine.addresses["adt"][1]),
            json.dumps(payloads),
            cwd=npm_folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await asyncio.wait_for(node.communicate(), 30)
        assert node.returncode == 0, errors.decode()[-1000:] + out.decode()[-500:]
        assert json.loads(out) == [["AA", i] for i in ids]
        assert [str(hl7.parse(text).segment("MSH")[10]) for text in await server.until(30)] == ids
