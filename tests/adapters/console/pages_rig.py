"""Pages without a browser: asked for as one would, with forms that have the session's token."""

import http.client
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from tests.adapters.api.rig import Reply, Running, SignedIn

Fields = Mapping[str, str | Sequence[str]]


def get(running: Running, signed: SignedIn, path: str) -> Reply:
    """A page, without going where it sends on to."""
    return _ask(running, "GET", path, None, {"cookie": signed.cookie})


def post(running: Running, signed: SignedIn, path: str, fields: Fields = {}) -> Reply:  # noqa: B006 - only read
    """A form of the page."""
    body = urlencode({"csrf": signed.csrf, **fields}, doseq=True).encode()
    headers = {"cookie": signed.cookie, "content-type": "application/x-www-form-urlencoded"}
    return _ask(running, "POST", path, body, headers)


def _ask(running: Running, method: str, path: str, body: bytes | None, headers: dict[str, Any]) -> Reply:
    connection = http.client.HTTPConnection(*running.address, timeout=60)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def text(reply: Reply) -> str:
    return reply.raw.decode()
