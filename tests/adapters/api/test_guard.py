"""What stands before every handler: other sites, planted cookies, odd heads, bodies and paths."""

import contextlib
import http.client
import json
import socket
import threading
from http.cookies import SimpleCookie

import pytest

from engine.adapters import admin
from engine.adapters.admin import MAX_CONNECTIONS
from engine.adapters.api import guard
from engine.adapters.api.entries import BASE
from engine.adapters.api.guard import SECURITY_HEADERS, Places, cookie_name
from engine.adapters.api.server import MOST_STRANGERS
from engine.adapters.console.static_files import static
from engine.model.access import SITE
from tests.adapters.api.rig import GOOD_PASSWORD, Running, site

REASON = {"reason": "as the ward asked"}
PAUSE = "/lanes/adt/out/pause"


@pytest.fixture(scope="module")
def anna(shared: Running):
    return shared.user("anna", {SITE: "operator"})


@pytest.fixture(scope="module")
def analyst(shared: Running):
    return shared.token("analyst", {SITE: "analyst"})


def raw(shared: Running, *lines: str, body: bytes = b"") -> bytes:
    """What comes back for a head as it is written here."""
    with socket.create_connection(shared.address, 30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


# -- other sites --------------------------------------------------------------------------------


def test_a_change_needs_the_token_of_its_own_session(shared, anna):
    other = shared.sign_in("anna", GOOD_PASSWORD)
    for token in (None, "", "x", other.csrf, anna.csrf[:-1], anna.csrf + "x", "\u00e9"):
        headers = anna.reads | ({} if token is None else {"x-csrf-token": token.encode().decode("latin-1")})
        refused = shared.ask("POST", PAUSE, REASON, headers)
        assert (refused.status, refused.code) == (403, "E473"), token
    assert "pause" not in shared.actions()
    for act in ("pause", "resume"):
        assert shared.ask("POST", f"/lanes/adt/out/{act}", REASON, anna.changes).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://localhost.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_changes_nothing_and_cannot_sign_in(shared, anna, headers):
    refused = shared.ask("POST", PAUSE, REASON, anna.changes | headers)
    assert (refused.status, refused.code) == (403, "E473")
    refused = shared.ask("POST", "/session", {"name": "anna", "password": GOOD_PASSWORD}, headers)
    assert (refused.status, refused.code) == (403, "E473")


def test_our_own_pages_may(shared, anna):
    host, port = shared.address
    for headers in (
        {"origin": f"http://{host}:{port}", "sec-fetch-site": "same-origin"},
        {"origin": f"HTTP://{host}:{port}"},
        {"sec-fetch-site": "none"},
    ):
        assert shared.ask("POST", "/lanes/adt/out/retry", REASON, anna.changes | headers).status == 200


def test_a_token_needs_no_csrf_token_and_a_cookie_beside_it_counts_for_nothing(shared, analyst, anna):
    assert shared.ask("POST", "/lanes/adt/out/retry", REASON, analyst).status == 200
    bad = {"authorization": "Bearer segmill_bad"}
    assert shared.ask("GET", "/channels", headers=anna.reads | bad).status == 401


def test_a_form_of_another_site_is_not_json(shared, anna):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        refused = shared.ask("POST", PAUSE, json.dumps(REASON).encode(), anna.changes | {"content-type": kind})
        assert (refused.status, refused.code) == (415, "E476"), kind


# -- sessions -----------------------------------------------------------------------------------


def test_the_cookie_is_for_browsers_of_this_host_alone_and_goes_with_the_session(shared):
    planted = {"cookie": "segmill=planted"}
    reply = shared.ask("POST", "/session", {"name": "anna", "password": GOOD_PASSWORD}, planted)
    cookie = SimpleCookie(reply.headers["set-cookie"])["segmill"]
    assert cookie.value != "planted" and len(cookie.value) >= 43
    assert cookie["httponly"] and cookie["samesite"].lower() == "strict" and cookie["path"] == "/"
    assert not cookie["domain"] and not cookie["max-age"]
    headers = {"cookie": f"segmill={cookie.value}", "x-csrf-token": reply.json["csrf"]}
    assert shared.ask("GET", "/session", headers=planted).status == 401
    out = shared.ask("DELETE", "/session", headers=headers)
    assert out.status == 200 and 'segmill=""' in out.headers["set-cookie"]
    assert shared.ask("GET", "/session", headers=headers).status == 401, "the cookie opens nothing any more"


def test_with_tls_the_cookie_is_secure_and_held_to_the_host():
    assert cookie_name(True) == "__Host-segmill"


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "10.0.0.1",
        "[::2]",
        "",
        "a b",
        "127.0.0.1:8080/x",
    ],
)
def test_another_name_gets_nothing(shared, analyst, host):
    told = raw(
        shared,
        f"GET {BASE}/channels HTTP/1.1",
        f"Host: {host}",
        f"Authorization: {analyst['authorization']}",
        "Connection: close",
    )
    assert told.startswith(b"HTTP/1.1 421"), told[:100]
    assert b"adt" not in told


def test_two_names_a_full_address_and_a_forwarded_name_do_not_help(shared, analyst):
    auth = f"Authorization: {analyst['authorization']}"
    told = raw(
        shared, f"GET {BASE}/channels HTTP/1.1", "Host: localhost", "Host: evil.example", auth, "Connection: close"
    )
    assert told.startswith(b"HTTP/1.1 400")
    told = raw(
        shared,
        f"GET {BASE}/channels HTTP/1.1",
        "Host: evil.example",
        "X-Forwarded-Host: localhost",
        auth,
        "Connection: close",
    )
    assert told.startswith(b"HTTP/1.1 421")
    told = raw(shared, f"GET http://localhost{BASE}/users HTTP/1.1", "Host: evil.example", auth, "Connection: close")
    assert told.startswith((b"HTTP/1.1 421", b"HTTP/1.1 404"))


def test_a_host_with_another_path_in_it_does_not_move_the_request(shared, analyst):
    """A Host such as `localhost/api/v1/health?` must not make one address look like another (CVE-2026-48710)."""
    told = raw(
        shared,
        f"GET {BASE}/users HTTP/1.1",
        f"Host: localhost{BASE}/health?",
        f"Authorization: {analyst['authorization']}",
        "Connection: close",
    )
    assert told.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400"))


@pytest.mark.parametrize(
    ("host", "url", "is_tls", "named", "is_good"),
    [
        ("127.0.0.1", None, False, "127.0.0.1:8080", True),
        ("127.0.0.1", None, False, "LOCALHOST", True),
        ("127.0.0.1", None, False, "[::1]:8080", True),
        ("127.0.0.1", None, False, "192.0.2.1", False),
        ("0.0.0.0", None, True, "192.0.2.1:8443", True),
        ("0.0.0.0", None, True, "segmill.example.org", False),
        ("0.0.0.0", "https://segmill.example.org", True, "segmill.example.org", True),
        ("segmill.lan", None, True, "segmill.lan", True),
        ("segmill.lan", None, True, "segmill.lan.evil.example", False),
    ],
)
def test_which_names_are_ours(host, url, is_tls, named, is_good):
    assert Places(host, url, is_tls=is_tls).is_ours(named) == is_good


def test_which_origins_are_ours():
    behind = Places("127.0.0.1", "https://segmill.example.org", is_tls=False)
    assert behind.is_own_origin("https://segmill.example.org", "segmill.example.org")
    assert not behind.is_own_origin("https://segmill.example.org.evil.example", "segmill.example.org")
    assert not behind.is_own_origin("https://127.0.0.1:8080", "127.0.0.1:8080"), "that port speaks no TLS"
    assert behind.is_own_origin("http://127.0.0.1:8080", "127.0.0.1:8080")
    assert not behind.is_own_origin("", "") and not behind.is_own_origin("null", "null")


# -- heads and headers --------------------------------------------------------------------------


def test_every_answer_has_the_security_headers(shared, analyst):
    for method, path, headers in (
        ("GET", "/health", {}),
        ("GET", "/users", {}),
        ("GET", "/none", {}),
        ("GET", "/channels", analyst),
        ("POST", "/orders", analyst),
        ("DELETE", "/health", {}),
        ("GET", "/messages.ndjson", analyst),
    ):
        reply = shared.ask(method, path, headers=headers)
        for name, value in SECURITY_HEADERS.items():
            assert reply.headers[name] == value, (path, name)
        assert "unsafe" not in reply.headers["content-security-policy"]
        assert not reply.headers["server"] and not reply.headers["access-control-allow-origin"]


def test_no_other_site_is_let_in_by_cors(shared, analyst):
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    reply = shared.ask("OPTIONS", "/orders", headers=asked | analyst)
    assert reply.status == 405 and not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize("broken", ["%0d%0aSet-Cookie:%20x=y", "%0aX-Evil:%201", "%E5%98%8D%E5%98%8ASet-Cookie:x"])
def test_line_ends_in_what_is_asked_stay_out_of_the_headers(shared, analyst, broken):
    for path in (f"/channels/{broken}", f"/messages?cursor={broken}", f"/messages?{broken}=1", f"/{broken}"):
        reply = shared.ask("GET", path, headers=analyst)
        assert reply.status in (404, 422)
        assert not reply.headers["set-cookie"] and not reply.headers["x-evil"]


def test_requests_smuggled_in_a_request_are_refused(shared):
    for lines in (
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: xchunked",),
        ("Content-Length: -1",),
        ("Content-Length: 1e3",),
    ):
        told = raw(
            shared,
            f"POST {BASE}/session HTTP/1.1",
            "Host: localhost",
            *lines,
            "Connection: close",
            body=b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        )
        assert told.startswith((b"HTTP/1.1 400", b"HTTP/1.1 415", b"HTTP/1.1 501")), (lines, told[:80])
        assert told.count(b"HTTP/1.1 ") == 1, lines


def test_a_head_without_an_end_takes_no_memory(shared):
    with socket.create_connection(shared.address, 30) as connection:
        connection.sendall(f"GET {BASE}/health HTTP/1.1\r\nHost: localhost\r\n".encode())
        try:
            for _ in range(200):
                connection.sendall(b"X-A: " + b"a" * 1000 + b"\r\n")
            told = connection.recv(1000)
        except OSError:
            told = b""
    assert told.startswith(b"HTTP/1.1 4") or told == b""


# -- bodies -------------------------------------------------------------------------------------


def test_nothing_of_a_body_is_read_before_it_is_known_who_sends_it(shared):
    """The answer comes while not one byte of the body was sent (CVE-2023-43208 read it first)."""
    with socket.create_connection(shared.address, 30) as connection:
        head = f"POST {BASE}/orders HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: 1000000\r\n\r\n".encode())
        assert connection.recv(200).startswith(b"HTTP/1.1 401")


def test_bodies_have_a_bound(shared, analyst):
    reply = shared.ask("POST", "/plans", b'{"action": "' + b"x" * (1 << 20) + b'"}', analyst)
    assert (reply.status, reply.code) == (413, "E477")
    reply = shared.ask("POST", "/session", b'{"name": "' + b"x" * 20_000 + b'"}')
    assert (reply.status, reply.code) == (413, "E477")
    reply = shared.ask("GET", f"/messages?control_id={'x' * 9000}", headers=analyst)
    assert reply.status in (414, 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 50_000, 400),
        (b"\xff\xfe", 400),
        (b'{"reason": NaN}', 400),
        (b'{"reason": "\\ud800"}', 400),
        (b'{"reason": 1}', 422),
        (b'{"reason": null}', 422),
        (b'{"reason": "a\\u0000b"}', 422),
        (b'{"reason": "a\\r\\nb"}', 422),
        (b'{"reason": "' + b"x" * 501 + b'"}', 422),
        (b'{"__class__": 1}', 422),
        (b"[]", 422),
        (b"null", 422),
        (b'"x"', 422),
        (b"9" * 5000, 400),
    ],
)
def test_a_body_that_is_none(shared, analyst, body, status):
    before = len(shared.actions())
    reply = shared.ask("POST", PAUSE, body, analyst)
    assert (reply.status, reply.code) == (status, "E476"), reply.raw
    assert len(shared.actions()) == before


def test_a_compressed_body_is_not_taken(shared, analyst):
    reply = shared.ask("POST", PAUSE, b"\x1f\x8b", analyst | {"content-encoding": "gzip"})
    assert reply.status == 415


def test_what_was_sent_is_not_repeated(shared, analyst):
    secret = "MUELLER-4711"
    for method, path, body in (
        ("POST", PAUSE, {"reason": 1, secret: secret}),
        ("POST", PAUSE, {"reason": [secret]}),
        ("POST", "/plans", {"action": secret, "what": {"search": {"where": secret}}}),
        ("POST", "/searches", {"where": f'PID-3.1 == "{secret}'}),
        ("GET", f"/messages?where=PID-3.1%20%3D%3D%20%22{secret}", None),
        ("GET", f"/messages?{secret}={secret}", None),
        ("GET", f"/messages?since={secret}", None),
        ("GET", f"/channels/{secret}", None),
    ):
        reply = shared.ask(method, path, body, analyst)
        assert reply.status in (404, 422) and secret.encode() not in reply.raw, (path, reply.raw)


# -- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "channel",
    [
        "..",
        "%2e%2e",
        "..%2f..%2fetc",
        "%2fetc",
        "adt%2f..%2fresults",
        "adt%00",
        "adt%5c..",
        ".",
        "~root",
        "adt/../results",
        "%c0%ae%c0%ae",
    ],
)
def test_a_channel_is_a_name_and_no_path(shared, analyst, channel):
    row = {"table": "tables/wards.csv", "cells": ["X1", "Y1"]}
    for method, path, body in (("POST", f"/channels/{channel}/rows", row), ("GET", f"/channels/{channel}", None)):
        assert shared.ask(method, path, body, analyst).status in (404, 405)


@pytest.mark.parametrize(
    "table",
    [
        "../../segmill.yaml",
        "../results/tables/wards.csv",
        "tables/../../results/tables/wards.csv",
        "/etc/passwd.csv",
        "tables/link.csv",
        "away/wards.csv",
        "tables/none.csv",
        "tables",
        "tables/wards.csv\u0000.csv",
        "tables\\wards.csv",
        "channel.yaml",
    ],
)
def test_a_table_is_one_of_the_channel(shared, analyst, tmp_path, table):
    secret = tmp_path / "secret.csv"
    secret.write_text("from,to\na,b\n")
    root = shared.folder / "channels" / "adt"
    for link, to in ((root / "tables" / "link.csv", secret), (root / "away", root.parent / "results" / "tables")):
        link.unlink(missing_ok=True)
        link.symlink_to(to)
    reply = shared.ask("POST", "/channels/adt/rows", {"table": table, "cells": ["X1", "Y1"]}, analyst)
    assert reply.status in (404, 422), reply.raw
    assert secret.read_text() == "from,to\na,b\n"
    assert "X1" not in (root.parent / "results" / "tables" / "wards.csv").read_text()


def test_what_goes_wrong_within_is_told_to_nobody_and_logged_without_its_text(shared, analyst, monkeypatch, caplog):
    secret = "MUELLER-4711"

    def broken(*asked: object, **more: object) -> object:
        raise RuntimeError(secret)

    monkeypatch.setattr(type(shared.queries), "messages", broken)
    reply = shared.ask("GET", "/messages", headers=analyst)
    assert (reply.status, reply.code) == (500, "E488")
    assert secret.encode() not in reply.raw and secret not in caplog.text
    assert "RuntimeError" in caplog.text, "the kind and the place are there"


@pytest.mark.parametrize("mark", ["\n", "\x1b[2J", "\x9b2J", "\x85", "\u2028", "\u202e", "\u2066"])
def test_a_reason_is_one_line_that_changes_no_terminal(shared, analyst, mark):
    body = {"reason": f"new ward{mark}root did this"}
    assert shared.ask("POST", "/channels/adt/pause", body, analyst).status == 422
    row = {"table": "tables/wards.csv", "cells": [f"K{mark}", "W"]}
    assert shared.ask("POST", "/channels/adt/rows", row, analyst).status == 422


def test_clients_that_speak_no_http_do_not_fill_the_log(shared, caplog):
    for _ in range(5):
        assert b"400" in raw(shared, "\x16\x03\x01 what", "")
    assert not caplog.records


def test_strangers_who_do_not_end_their_bodies_keep_nobody_out(shared, analyst, patient):
    head = [
        "POST /api/v1/session HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        "Content-Length: 9000",
    ]
    with contextlib.ExitStack() as crowd:
        for _ in range(2 * MAX_CONNECTIONS):
            slow = crowd.enter_context(socket.create_connection(shared.address, 30))
            slow.sendall("\r\n".join([*head, "", "{"]).encode())
        for _ in range(3):
            assert shared.ask("GET", "/lanes", headers=analyst).status == 200


def test_strangers_who_do_not_read_keep_nobody_out(shared, analyst, patient):
    """Each asks for more than the kernel keeps for it, and takes none of it."""
    asked = f"GET {static('console.css')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    a_moment = threading.Event()
    connections = shared.engine.console._server._server.server_state.connections
    with contextlib.ExitStack() as crowd:
        for number in range(MAX_CONNECTIONS):
            deaf = crowd.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.bind((f"127.0.1.{number + 1}", 0))  # of one address there may not be so many
            deaf.connect(shared.address)
            deaf.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                deaf.send(asked * 1000)
        # One place is that of the request before this test, or of nobody.
        while sum(one.flow.write_paused for one in list(connections)) < MAX_CONNECTIONS - 1:
            a_moment.wait(0.02)
        for _ in range(3):
            assert shared.ask("GET", "/lanes", headers=analyst).status == 200


def test_strangers_who_do_not_read_take_no_place_of_who_is_signed_in(shared, anna, patient):
    idle = kept(shared, anna)
    asked_for = f"GET {static('console.css')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    connections = shared.engine.console._server._server.server_state.connections
    a_moment = threading.Event()
    with contextlib.ExitStack() as crowd:
        for number in range(MAX_CONNECTIONS):
            deaf = crowd.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.bind((f"127.0.4.{number + 1}", 0))
            deaf.connect(shared.address)
            deaf.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                deaf.send(asked_for * 1000)
        while sum(one.flow.write_paused for one in list(connections)) < MAX_CONNECTIONS - 2:
            a_moment.wait(0.02)
        for _ in range(3):
            assert shared.ask("GET", "/lanes", headers=anna.reads).status == 200
        assert asked(idle, anna) == 200
    idle.close()


@pytest.fixture
def patient(shared, monkeypatch):
    """No connection ends by itself, however slow the machine is."""
    monkeypatch.setattr(admin, "HEAD_TIMEOUT_S", 600.0)
    monkeypatch.setattr(admin, "BODY_TIMEOUT_S", 600.0)
    monkeypatch.setattr(shared.engine.console._server._server.config, "timeout_keep_alive", 600)


def trickles(shared, source: str, *, body: bool) -> socket.socket:
    """A connection that has begun a head, or a body, and does not end it."""
    begun = "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    slow = socket.create_connection(shared.address, 30, (source, 0))
    slow.sendall(begun.encode() + (b"Content-Length: 9000\r\n\r\n{" if body else b""))
    return slow


def kept(shared, anna) -> http.client.HTTPConnection:
    """A connection that stays open after its first request was signed."""
    connection = http.client.HTTPConnection(*shared.address, timeout=60)
    connection.connect()
    assert asked(connection, anna) == 200
    return connection


def asked(connection: http.client.HTTPConnection, anna) -> int:
    """By the same socket: a connection that was cut is not opened again."""
    assert connection.sock is not None, "it was closed"
    connection.auto_open = 0
    connection.request("GET", f"{BASE}/lanes", headers=anna.reads)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def strangers(shared) -> list[str]:
    """Where those come from who are on the server and not signed in."""
    connections = shared.engine.console._server._server.server_state.connections
    return [one._network for one in list(connections) if not one._is_signed]


@pytest.mark.parametrize("body", [False, True], ids=["heads", "bodies"])
def test_one_slow_stranger_takes_a_few_places_and_none_of_who_is_signed_in(shared, anna, patient, body):
    idle = kept(shared, anna)
    a_moment = threading.Event()
    with contextlib.ExitStack() as crowd:
        slow = [crowd.enter_context(trickles(shared, "127.0.2.1", body=body)) for _ in range(2 * MAX_CONNECTIONS)]
        for one in slow:
            with contextlib.suppress(OSError):  # its place is another's by now
                one.sendall(b"x")
        # Answered when all who came before it are in.
        assert shared.ask("GET", "/lanes", headers=anna.reads).status == 200
        while len(strangers(shared)) > MOST_STRANGERS + 1:  # the one that has just asked may still be there
            a_moment.wait(0.01)
        assert strangers(shared).count("127.0.2.1") == MOST_STRANGERS
        assert asked(idle, anna) == 200
    idle.close()


def test_strangers_of_many_networks_drive_out_each_other_and_not_who_is_signed_in(shared, anna, patient):
    idle = [kept(shared, anna) for _ in range(3)]
    with contextlib.ExitStack() as crowd:
        for number in range(2 * MAX_CONNECTIONS):
            crowd.enter_context(trickles(shared, f"127.0.3.{number + 1}", body=bool(number % 2)))
        for _ in range(3):
            assert shared.ask("GET", "/lanes", headers=anna.reads).status == 200
        assert [asked(one, anna) for one in idle] == [200] * 3
        assert len(strangers(shared)) <= MAX_CONNECTIONS - len(idle)
    for one in idle:
        one.close()


def test_connections_that_a_browser_opens_at_once_do_not_drive_out_each_other(shared, anna, patient):
    """All places are idle ones of who is signed in, and six more come before the first of them asks."""
    with contextlib.ExitStack() as opened:
        for _ in range(MAX_CONNECTIONS):
            opened.callback(kept(shared, anna).close)
        fresh = []
        for _ in range(6):
            fresh.append(http.client.HTTPConnection(*shared.address, timeout=60))
            fresh[-1].connect()
            opened.callback(fresh[-1].close)
        assert [asked(one, anna) for one in fresh] == [200] * 6


def test_who_has_signed_out_is_a_stranger_again(shared, patient):
    signed = shared.user("short", {SITE: "viewer"})
    connection = kept(shared, signed)
    here = connection.sock.getsockname()[1]

    def is_signed() -> bool:
        connections = shared.engine.console._server._server.server_state.connections
        (found,) = [one for one in list(connections) if one.client[1] == here]
        return bool(found._is_signed)

    assert is_signed()
    connection.request("DELETE", f"{BASE}/session", headers=signed.changes)
    assert connection.getresponse().read()
    assert asked(connection, signed) == 401
    assert not is_signed()
    connection.close()


def of_socket(shared, connection: http.client.HTTPConnection):
    """The server's side of it."""
    here = connection.sock.getsockname()[1]
    (found,) = [
        one for one in list(shared.engine.console._server._server.server_state.connections) if one.client[1] == here
    ]
    return found


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (f"{BASE}/lanes", {"authorization": "Bearer guessed"}, 401),
        (f"{BASE}/lanes", {"authorization": "Basic YTpi"}, 401),
        (f"{BASE}/lanes", {"host": "rebound.example"}, 421),
        (f"{BASE}/no-such-thing", {}, 404),
    ],
    ids=["a token that is none", "another kind", "another host", "what is not there"],
)
def test_who_was_signed_in_and_now_shows_nothing_good_is_a_stranger(shared, anna, patient, path, headers, status):
    connection = kept(shared, anna)
    assert of_socket(shared, connection)._is_signed
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == status
    server_side = of_socket(shared, connection)
    a_moment = threading.Event()
    while server_side._is_in_request or server_side._is_signed:  # what comes after the answer's last byte
        a_moment.wait(0.01)
    assert asked(connection, anna) == 200 and of_socket(shared, connection)._is_signed
    connection.close()


@pytest.mark.parametrize(("may_take_s", "status"), [(-1.0, 401), (3600.0, 200)], ids=["a slow one", "a quick one"])
def test_whose_body_was_slow_is_asked_again_who_he_is(shared, patient, monkeypatch, may_take_s, status):
    """A body may take minutes: who has signed out meanwhile, or lost the right, does nothing by it any more."""
    monkeypatch.setattr(guard, "SLOW_BODY_S", may_take_s)
    signed = shared.user(f"sends{status}", {SITE: "viewer"})
    body = b'{"limit": 1}'
    connection = http.client.HTTPConnection(*shared.address, timeout=60)
    connection.putrequest("POST", f"{BASE}/searches")
    for name, value in {**signed.changes, "content-type": "application/json", "content-length": len(body)}.items():
        connection.putheader(name, value)
    connection.endheaders(body[:5])
    a_moment = threading.Event()
    connections, here = shared.engine.console._server._server.server_state.connections, connection.sock.getsockname()[1]
    while not any(one.client[1] == here and one._is_signed for one in list(connections)):
        a_moment.wait(0.01)
    assert shared.ask("DELETE", "/session", headers=signed.changes).status == 200
    connection.send(body[5:])
    answer = connection.getresponse()
    assert (answer.status, answer.read() != b"") == (status, True)
    connection.close()


@pytest.mark.parametrize("path", ["/api/v1/session", "/api/v1/plans"], ids=["is read", "nobody reads it"])
def test_a_body_has_its_time_as_a_whole_however_it_trickles(tmp_path, monkeypatch, path):
    monkeypatch.setattr(admin, "BODY_TIMEOUT_S", 0.3)
    running = Running(site(tmp_path / "site"))
    a_moment = threading.Event()
    try:
        with socket.create_connection(running.address, 60) as slow:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            slow.sendall(head.encode() + b"Content-Length: 1000000\r\n\r\n")
            with pytest.raises(OSError):
                for _ in range(900_000):
                    slow.sendall(b" ")
                    a_moment.wait(0.005)
    finally:
        running.stop()
