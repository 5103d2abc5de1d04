"""What a first start opens, and to whom (reliability.md SEC11)."""

import re
import socket

import pytest

from engine.config.site import load_site
from engine.failures import ConfigurationError
from engine.pipeline.registry import load_kinds
from tests.adapters.api.rig import Running, site

ONE_TIME = re.compile(r"^ {4}([a-z2-9]{5}(?:-[a-z2-9]{5}){4})$", re.MULTILINE)


def test_without_console_there_is_no_port_no_user_and_nothing_is_said(tmp_path):
    running = Running(site(tmp_path / "site", "admin: off\n"))
    try:
        assert running.address is None and running.announced == []
        assert running.queries.users() == [] and running.actions() == []
    finally:
        running.stop()


def test_the_first_start_makes_one_user_and_says_its_password_once(tmp_path, caplog):
    folder = site(tmp_path / "site")
    passwords = []
    for start in range(2):
        running = Running(folder)
        try:
            host, port = running.address
            assert host == "127.0.0.1"
            assert len(running.announced) == (1 if start == 0 else 0)
            if start == 0:
                (password,) = ONE_TIME.findall(running.announced[0])
                passwords.append(password)
                assert f"http://127.0.0.1:{port}" in running.announced[0]
                for path in ("/users", "/channels", "/messages"):
                    signed = running.sign_in("admin", password)
                    refused = running.ask("GET", path, headers=signed.reads)
                    assert (refused.status, refused.code) == (403, "E475")
            assert [user.name for user in running.queries.users()] == ["admin"]
        finally:
            running.stop()
    assert passwords[0] not in caplog.text, "not in the log"
    kept = b"".join(file.read_bytes() for file in (folder / "data").iterdir() if file.is_file())
    assert passwords[0].encode() not in kept, "nor in any file"


def test_where_nothing_can_be_shown_the_engine_starts_all_the_same(monkeypatch, caplog):
    from engine.console import to_the_terminal

    for broken in (None, type("Closed", (), {"write": lambda self, text: (_ for _ in ()).throw(OSError())})()):
        monkeypatch.setattr("sys.stderr", broken)
        to_the_terminal("secret-password")
    assert "users passwd admin" in caplog.text and "secret-password" not in caplog.text


def test_two_sites_share_no_password(tmp_path):
    told = []
    for name in ("one", "two"):
        running = Running(site(tmp_path / name))
        told += running.announced
        running.stop()
    assert ONE_TIME.findall(told[0]) != ONE_TIME.findall(told[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "segmill.example.org"])
def test_beyond_this_machine_only_with_tls_or_in_so_many_words(tmp_path, host):
    folder = site(tmp_path / "site", f"admin: off\nconsole: {{host: '{host}', port: 0}}\n")
    found = load_site(folder, load_kinds(), {})
    assert [(one.code, one.line) for one in found.findings if one.is_error] == [("E470", 2)]
    from engine.app import Engine

    with pytest.raises(ConfigurationError):
        Engine(found)
    (folder / "segmill.yaml").write_text(f"console: {{host: '{host}', port: 0, insecure: true}}\n")
    assert not [one for one in load_site(folder, load_kinds(), {}).findings if one.is_error]


@pytest.mark.parametrize(
    ("console", "code"),
    [
        ("{url: ftp://x}", "E107"),
        ("{url: 'https://a@b'}", "E107"),
        ("{url: 'https://b/path'}", "E107"),
        ("{url: 'https://b:99999'}", "E107"),
        ("{idle: 5s}", "E106"),
        ("{port: 0, tls: {certificate: no.crt, key: no.key}}", "E132"),
        ("{prot: 1}", "E101"),
    ],
)
def test_settings_that_cannot_be(tmp_path, console, code):
    folder = site(tmp_path / "site", f"admin: off\nconsole: {console}\n")
    found = {one.code for one in load_site(folder, load_kinds(), {}).findings if one.is_error}
    assert code in found


def test_over_tls_the_cookie_is_secure_and_plain_text_gets_nothing(tmp_path):
    import http.client
    import json
    import ssl

    import trustme

    folder = site(tmp_path / "site", "admin: off\nconsole: {port: 0, tls: {certificate: c.pem, key: c.key}}\n")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "c.pem")
    issued.private_key_pem.write_to_path(folder / "c.key")
    running = Running(folder)
    try:
        context = ssl.create_default_context()
        ca.configure_trust(context)
        port = running.address[1]
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=60)
        (password,) = ONE_TIME.findall(running.announced[0])
        body = json.dumps({"name": "admin", "password": password})
        connection.request("POST", "/api/v1/session", body, {"content-type": "application/json"})
        reply = connection.getresponse()
        cookie = reply.headers["set-cookie"]
        assert reply.status == 200 and cookie.startswith("__Host-segmill=")
        assert "; Secure" in cookie and "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
        assert reply.headers["strict-transport-security"]
        connection.close()
        with socket.create_connection(("127.0.0.1", port), 30) as plain:
            plain.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                assert b"200" not in plain.recv(100)
            except ConnectionError:
                pass
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.configure_trust(old)
        old.set_ciphers("AES256-SHA")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("localhost", port), 30) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
            old.wrap_socket(plain, server_hostname="localhost")
    finally:
        running.stop()


def test_who_comes_by_tls_and_says_nothing_takes_no_descriptors_and_keeps_nobody_out(tmp_path):
    import contextlib
    import http.client
    import os
    import ssl
    import threading
    import time

    import trustme

    from engine.adapters.admin import MAX_CONNECTIONS

    folder = site(tmp_path / "site", "admin: off\nconsole: {port: 0, tls: {certificate: c.pem, key: c.key}}\n")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "c.pem")
    issued.private_key_pem.write_to_path(folder / "c.key")
    running = Running(folder)
    try:
        before = len(os.listdir("/proc/self/fd"))
        with contextlib.ExitStack() as silent:
            crowd, pause = 8 * MAX_CONNECTIONS, threading.Event()
            for _ in range(crowd):
                silent.enter_context(socket.create_connection(running.address, 60))
            end = time.monotonic() + 60
            # The crowd's own ends are of this process as well.
            while len(os.listdir("/proc/self/fd")) > before + crowd + MAX_CONNECTIONS + 8:
                assert time.monotonic() < end, "the engine's descriptors are the crowd's"
                pause.wait(0.01)
            context = ssl.create_default_context()
            ca.configure_trust(context)
            connection = http.client.HTTPSConnection("localhost", running.address[1], context=context, timeout=60)
            connection.request("GET", "/api/v1/health")
            assert connection.getresponse().status == 200
            connection.close()
    finally:
        running.stop()


def test_a_console_that_ended_of_itself_refuses_and_the_engine_goes_on(tmp_path, monkeypatch, caplog):
    from engine.adapters.quiet_server import QuietServer

    async def fails(self):
        raise RuntimeError("a defect")

    monkeypatch.setattr(QuietServer, "main_loop", fails)
    running = Running(site(tmp_path / "site"))
    try:
        server = running.engine.console._server
        server._thread.join(60)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(running.address, 60)
        assert "the engine goes on without it" in caplog.text
        assert running.do(running.engine.control.ready())[0]
    finally:
        running.stop()


def test_its_port_is_nobody_elses(tmp_path):
    folder = site(tmp_path / "site", "admin: {port: 8080}\nconsole: {port: 8080}\n")
    found = [(one.code, one.line) for one in load_site(folder, load_kinds(), {}).findings if one.is_error]
    assert found == [("E142", 2)]
