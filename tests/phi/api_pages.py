"""What the HTTP API says to somebody who may see and not read, and to those whom it refuses."""

import http.client
import json
from collections.abc import Iterator

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
