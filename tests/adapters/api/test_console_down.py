"""A console that cannot start keeps nobody's messages waiting (ADR 42, E500)."""

import asyncio
import logging
import socket
import threading

import pytest

import engine.console
from engine.adapters.api.server import ApiServer
from engine.adapters.mllp_connection import Target
from engine.adapters.sender import Sender
from engine.testing.messages import adt
from tests.adapters.api.rig import Running, site
from tests.runtime.parts import until


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(engine.console, "RETRY_S", 0.02)


def wait_until(running: Running, condition) -> None:
    running.do(until(condition))


def metric(running: Running) -> str:
    _, page = running.engine.meter.render()
    return next(line for line in page.decode().splitlines() if line.startswith("segmill_console_up"))


def test_where_the_port_is_taken_messages_are_taken_all_the_same(tmp_path, caplog):
    with socket.create_server(("127.0.0.1", 0)) as other, caplog.at_level(logging.WARNING):
        port = other.getsockname()[1]
        folder = site(tmp_path / "site", f"admin: off\nconsole: {{port: {port}}}\n")
        running = Running(folder)
        try:
            assert running.address is None
            host, to = running.engine.addresses["adt"]
            sent = running.do(Sender(Target(host, to), [adt(ward="WARD1")]).run())
            assert sent.is_clean and sent.accepted == 1
            is_ready, told = running.do(running.engine.control.ready())
            assert (
                is_ready and f"nobody reaches the console: cannot open the console's address 127.0.0.1:{port}" in told
            )
            assert metric(running).endswith(" 0.0")
            assert running.announced == [], "a password for a page that nobody reaches is of no use"
            other.close()
            wait_until(running, lambda: running.announced)
            assert running.ask("GET", "/health").status == 200
            assert metric(running).endswith(" 1.0")
            assert running.do(running.engine.control.ready()) == (True, "")
        finally:
            running.stop()
    told = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == 1 and told[0].startswith("E500 "), "once, however often it is tried"


def test_where_the_certificate_is_none_too_and_it_goes_once_it_is_put_right(tmp_path, caplog):
    import trustme

    folder = site(tmp_path / "site", "admin: off\nconsole: {port: 0, tls: {certificate: c.pem, key: k.pem}}\n")
    (folder / "c.pem").write_text("no certificate")
    (folder / "k.pem").write_text("no key")
    running = Running(folder)
    try:
        assert running.address is None
        assert "E500 the console's TLS: " in caplog.text
        made = trustme.CA().issue_cert("localhost")
        made.private_key_pem.write_to_path(folder / "k.pem")
        made.cert_chain_pems[0].write_to_path(folder / "c.pem")
        wait_until(running, lambda: running.address)
        assert running.engine.console.url.startswith("https://")
    finally:
        running.stop()


def test_a_server_that_ended_is_started_again(tmp_path):
    running = Running(site(tmp_path / "site"))
    try:
        first = running.engine.console._server
        first.stop()
        wait_until(running, lambda: running.engine.console._server not in (first, None))
        assert running.ask("GET", "/health").status == 200
    finally:
        running.stop()


def test_what_is_opened_while_the_engine_stops_is_closed_again(tmp_path, monkeypatch):
    opened, stopping = [], threading.Event()
    start = ApiServer.start

    def start_late(server: ApiServer) -> None:
        opened.append(server)
        stopping.wait(60)
        start(server)

    running = Running(site(tmp_path / "site"))
    monkeypatch.setattr(ApiServer, "start", start_late)
    running.engine.console._server.stop()
    wait_until(running, lambda: opened)
    stop = running.engine.console.stop

    async def stop_and_tell() -> None:
        await stop()
        stopping.set()

    monkeypatch.setattr(running.engine.console, "stop", stop_and_tell)
    running.stop()
    asyncio.run(until(lambda: opened[0].address is not None and not opened[0].is_alive))


def test_without_a_console_there_is_no_metric_of_it(tmp_path):
    running = Running(site(tmp_path / "site", "admin: off\n"))
    try:
        assert b"segmill_console_up" not in running.engine.meter.render()[1]
    finally:
        running.stop()
