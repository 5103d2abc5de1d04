"""People with a browser and no script: pages of a running engine, asked for and sent as forms are."""

import http.client
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

from engine.model.access import Role
from tests.adapters.api.rig import Running, SignedIn, site


@dataclass(slots=True)
class Shown:
    """`text`: as markup; `words`: without it."""

    status: int
    location: str
    text: str
    headers: http.client.HTTPMessage

    @property
    def words(self) -> str:
        return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", self.text)))

    def field(self, name: str) -> str:
        """The value of an input, or the text of a textarea."""
        if (found := re.search(rf'<input[^>]*name="{name}"[^>]*value="([^"]*)"', self.text)) is not None:
            return unescape(found[1])
        found = re.search(rf'<textarea[^>]*name="{name}"[^>]*>\n?(.*?)</textarea>', self.text, re.DOTALL)
        assert found is not None, name
        return unescape(found[1])


@dataclass(slots=True)
class Person:
    engine: Running
    signed: SignedIn

    def get(self, path: str) -> Shown:
        return self._ask("GET", path, None, {})

    def post(
        self,
        path: str,
        fields: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Shown:
        pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
        body = urlencode([("csrf", self.signed.csrf), *pairs]).encode()
        sent = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        return self._ask("POST", path, body, sent)

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Shown:
        connection = http.client.HTTPConnection(*self.engine.address, timeout=120)
        try:
            connection.request(method, path, body, {**self.signed.reads, **headers})
            answer = connection.getresponse()
            text = answer.read().decode()
            return Shown(answer.status, answer.headers.get("location", ""), text, answer.headers)
        finally:
            connection.close()


@contextmanager
def engine_of(folder: Path) -> Iterator[Running]:
    """An engine with two channels, whose site is in `folder`."""
    started = Running(site(folder))
    try:
        yield started
    finally:
        started.stop()


def person(engine: Running, name: str, grants: Mapping[str, Role]) -> Person:
    return Person(engine, engine.user(name, grants))
