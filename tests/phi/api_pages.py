"""What the HTTP API and the pages of messages say to somebody who may see and not read, and to those they refuse."""

import http.client
import json
import re
from collections.abc import Iterator
from urllib.parse import urlencode

from engine.app import Engine

HIDDEN = "PID-5.1"


def token_of(engine: Engine) -> str:
    """Of a program that may see all and read nothing, by the control socket as the command line asks."""
    from engine.adapters.control_client import ControlClient

    client = ControlClient(engine._data)
    made = client.post("/v1/tokens", {"name": "phi", "grants": {"*": "viewer"}, "days": 1})
    return str(made["token"])


def pages(engine: Engine, secret: str) -> Iterator[tuple[str, str]]:
    """Each with its place; `secret` is sent where it is refused."""
    assert engine.console is not None and engine.console.address is not None
    address = engine.console.address
    headers = {"authorization": f"Bearer {token_of(engine)}", "content-type": "application/json"}

    def ask(method: str, path: str, body: object = None) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection(*address, timeout=60)
        try:
            connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            return reply.status, str(reply.headers), reply.read().decode("latin-1")
        finally:
            connection.close()

    listed = json.loads(ask("GET", "/messages?limit=1000")[2])["messages"]
    assert len(listed) > 50
    paths = ["/messages?limit=1000", "/messages.ndjson", "/channels", "/lanes", "/version", "/ready", "/openapi.json"]
    paths += [f"/messages/{one['seq']}" for one in listed]
    paths += [
        f"/lanes/{lane['channel']}/{lane['destination']}/queue" for lane in json.loads(ask("GET", "/lanes")[2])["lanes"]
    ]
    for path in paths:
        status, head, body = ask("GET", path)
        assert status == 200, path
        yield f"API {path}", head + body
    for method, path, sent in (
        ("POST", "/searches", {"where": f'{HIDDEN} == "{secret}"'}),
        ("GET", f"/messages?where={secret}", None),
        ("GET", f"/messages?{secret}={secret}", None),
        ("GET", f"/channels/{secret}", None),
        ("GET", "/messages/1/body", None),
        ("POST", "/plans", {"action": secret, secret: secret}),
        ("POST", "/session", {"name": secret, "password": secret}),
    ):
        status, head, body = ask(method, path, sent)
        assert status >= 400, path
        yield f"API refusal {method} {path.partition('?')[0].replace(secret, '')}", head + body
    yield from _console(engine, [one["seq"] for one in listed], secret)


def _console(engine: Engine, seqs: list[int], secret: str) -> Iterator[tuple[str, str]]:
    """Pages in the browser: lists, each message masked, exports, and where a search for a value leads."""
    from engine.adapters.control_client import ControlClient

    assert engine.console is not None and engine.console.address is not None
    address = engine.console.address
    headers: dict[str, str] = {}

    def ask(method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection(*address, timeout=60)
        try:
            form = None if fields is None else urlencode(fields)
            kind = {} if fields is None else {"content-type": "application/x-www-form-urlencoded"}
            connection.request(method, path, form, headers | kind)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read().decode("utf-8", "replace")
        finally:
            connection.close()

    made = ControlClient(engine._data).post("/v1/users", {"name": "phi", "grants": {"*": "viewer"}})
    _, head, _ = ask("POST", "/sign-in", {"name": "phi", "password": made["password"], "next": "/"})
    headers["cookie"] = str(head["set-cookie"]).partition(";")[0]
    csrf = _field(ask("GET", "/password")[2])
    own = "correct horse battery staple"
    changed = {"old": made["password"], "new": own, "again": own, "csrf": csrf}
    assert ask("POST", "/password", changed)[0] == 303
    paths = ["/messages", "/messages?before=60", "/messages/export?format=csv", "/messages/export?format=ndjson"]
    for path in [*paths, *(f"/messages/{seq}" for seq in seqs)]:
        status, head, body = ask("GET", path)
        assert status == 200, path
        yield f"page {path}", str(head) + body
    for method, path in (("POST", "/messages/1"), ("POST", "/messages/1/download"), ("POST", "/messages/1/edit")):
        status, head, body = ask(method, path, {"csrf": csrf})
        assert status == 403, path
        yield f"page refused {path}", str(head) + body
    status, head, body = ask("POST", "/messages", {"csrf": csrf, "q": f"mrn:{secret}"})
    assert status == 303
    yield "where a search leads", str(head) + body
    status, head, body = ask("GET", str(head["location"]))
    assert status == 403
    yield "a search refused", str(head) + body


def _field(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]
