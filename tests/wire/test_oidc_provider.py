"""Sign-in by somebody else's identity provider: the `oidc-provider-mock` program, which is Authlib's server."""

import http.client
import json
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.adapters.api.rig import Running, site
from tests.adapters.api.test_sign_in_oidc import Browser
from tests.ports import free_port

pytestmark = pytest.mark.skipif(
    find_spec("oidc_provider_mock") is None, reason="oidc-provider-mock is not installed (it is of the test extra)"
)

SETTINGS = """
admin: off
console:
  port: 0
  url: http://localhost
  oidc:
    issuer: http://127.0.0.1:{port}
    client: segmill
    secret: any
    roles: {{radiology: {{results: operator}}}}
"""


class Mock:
    """The program, and somebody in front of it."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "oidc_provider_mock", "--port", str(self.port)], stdout=out, stderr=out
            )

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body or None, {"content-type": kind})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.headers.get("location", "")

    def wait(self) -> None:
        for _ in range(3000):
            try:
                if self.ask("GET", "/.well-known/openid-configuration")[0] == 200:
                    return
            except OSError:
                assert self._process.poll() is None, "it ended"
                threading.Event().wait(0.02)
        raise AssertionError("it does not answer")

    def sign_in(self, location: str, sub: str) -> str:
        """As the person who types it; where the browser is sent back to."""
        parts = urllib.parse.urlsplit(location)
        form = urllib.parse.urlencode({"sub": sub}).encode()
        status, back = self.ask("POST", f"{parts.path}?{parts.query}", form, "application/x-www-form-urlencoded")
        assert status in (302, 303), status
        return back.removeprefix("http://localhost")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Mock]:
    made = Mock(tmp_path / "provider.log")
    made.wait()
    yield made
    made.stop()


def test_somebody_signs_in_and_somebody_else_does_not(mock: Mock, tmp_path: Path) -> None:
    anna = {"preferred_username": "Anna", "groups": ["radiology"]}
    assert mock.ask("PUT", "/users/u-1", json.dumps(anna).encode())[0] in (200, 201, 204)
    assert mock.ask("PUT", "/users/u-2", json.dumps({"preferred_username": "ben"}).encode())[0] in (200, 201, 204)
    running = Running(site(tmp_path / "site", SETTINGS.format(port=mock.port)))
    try:
        browser = Browser(running)
        _, location, _ = browser.get("/sign-in/oidc?next=/")
        status, _, text = browser.get(mock.sign_in(location, "u-1"))
        assert status == 200, text
        me = browser.me().json
        assert (me["name"], me["grants"]) == ("anna@oidc", {"results": "operator"})
        other = Browser(running)
        _, location, _ = other.get("/sign-in/oidc")
        status, _, text = other.get(mock.sign_in(location, "u-2"))
        assert status == 403 and "E574" in text
    finally:
        running.stop()
