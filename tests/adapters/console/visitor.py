"""A console to click on without a browser: forms are filled in as they stand on the page, and sent."""

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.client import HTTPConnection
from urllib.parse import urlencode

from tests.adapters.api.rig import Reply, Running, SignedIn


class _Forms(HTMLParser):
    """The forms of a page: where they go, and what stands in their fields."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(given.get("action", "").partition("#")[0], given.get("method", "get"))
            self.forms.append(self._open)
        if self._open is None:
            return
        name = given.get("name", "")
        if tag == "input" and name:
            kind = given.get("type", "text")
            if kind in ("checkbox", "radio") and "checked" not in given:
                self._open.choices.append((name, given.get("value", "on")))
            else:
                self._open.fields.append((name, given.get("value", "")))
        if tag == "select":
            self._select = name
        if tag == "option" and self._select:
            self._open.choices.append((self._select, given.get("value", "")))
        if tag == "button" and name:
            self._open.buttons.append((name, given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        if tag == "select":
            self._select = ""


@dataclass
class Form:
    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    choices: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Shown:
    """A page as it came."""

    status: int
    text: str
    location: str
    path: str

    @property
    def forms(self) -> list[Form]:
        parser = _Forms()
        parser.feed(self.text)
        return parser.forms

    def form(self, end: str) -> Form:
        """The first whose address ends so."""
        return next(one for one in self.forms if one.action.endswith(end))

    @property
    def words(self) -> str:
        """Its text, as a person reads it."""
        without = re.sub(r"<(style|script)\b.*?</\1>|<[^>]+>", " ", self.text, flags=re.S)
        return " ".join(html.unescape(without).split())


class Visitor:
    """Somebody who is signed in."""

    def __init__(self, running: Running, signed: SignedIn) -> None:
        self._running, self._signed = running, signed

    def open(self, path: str) -> Shown:
        return self._ask("GET", path)

    def send(self, shown: Shown, end: str, *more: tuple[str, str], without: str = "") -> Shown:
        """Fill in the form whose address ends with `end`, send it, and follow to where it leads."""
        form = shown.form(end)
        named = {name for name, _ in more}
        fields = [(name, value) for name, value in form.fields if name not in named and name != without]
        return self.post(form.action, *fields, *more)

    def post(self, path: str, *fields: tuple[str, str]) -> Shown:
        answer = self._ask("POST", path, urlencode(fields))
        return self.open(answer.location) if answer.status == 303 else answer

    def forged(self, path: str, *fields: tuple[str, str]) -> Shown:
        """With the right token, but not following."""
        return self._ask("POST", path, urlencode([("csrf", self._signed.csrf), *fields]))

    def _ask(self, method: str, path: str, body: str | None = None) -> Shown:
        connection = HTTPConnection(*self._running.address, timeout=60)
        try:
            headers = {"cookie": self._signed.cookie}
            if body is not None:
                headers["content-type"] = "application/x-www-form-urlencoded"
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            raw = response.read()
            assert response.status != 500, raw
            return Shown(response.status, raw.decode(), response.headers.get("location", ""), path)
        finally:
            connection.close()


__all__ = ["Form", "Reply", "Shown", "Visitor"]
