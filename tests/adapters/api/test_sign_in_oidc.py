"""Sign-in by an identity provider through the engine: the browser's way there and back, sessions, and the record."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.config import oidc as config_oidc
from engine.config.site import load_site
from engine.pipeline.registry import load_kinds
from tests.adapters.api.provider import CLIENT, SECRET, FakeProvider, provider
from tests.adapters.api.rig import Running, by, site

SETTINGS = """
admin: off
environment: test
console:
  port: 0
  url: http://localhost
  proxy: [127.0.0.1]
  oidc:
    issuer: {issuer}
    client: {client}
    secret: "{secret}"
    name: the hospital's account
    roles: {{radiology: {{results: operator}}, it: admin}}
"""


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with provider() as made:
        yield made


@pytest.fixture
def running(tmp_path: Path, fake: FakeProvider) -> Iterator[Running]:
    text = SETTINGS.format(issuer=fake.issuer, client=CLIENT, secret=SECRET)
    made = Running(site(tmp_path / "site", text))
    yield made
    made.stop()


class Browser:
    """Keeps cookies, and follows nothing by itself."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.cookies: dict[str, str] = {}
        self.told: list[str] = []

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Status, where to, and the page."""
        connection = http.client.HTTPConnection(*self.running.address, timeout=60)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request("GET", path, headers={"host": "localhost", "cookie": cookie, **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        for told in response.headers.get_all("set-cookie") or []:
            self.told.append(told)
            name, _, value = told.partition(";")[0].partition("=")
            if value.strip('"'):
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        connection.close()
        return response.status, response.headers.get("location", ""), text

    def go(self, fake: FakeProvider, to: str = "/system") -> str:
        """To the provider; the address that it sends back to."""
        status, location, _ = self.get(f"/sign-in/oidc?next={to}")
        assert status == 303 and location.startswith(f"{fake.issuer}/authorize?")
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert asked["redirect_uri"] == "http://localhost/sign-in/oidc/back"
        back = urlsplit(fake.authorize(asked))
        return f"{back.path}?{back.query}"

    def sign_in(self, fake: FakeProvider, **headers: str) -> tuple[int, str]:
        status, _, text = self.get(self.go(fake), headers)
        return status, text

    def me(self) -> Any:
        return self.running.ask("GET", "/session", headers={"cookie": f"segmill={self.cookies.get('segmill', '')}"})


def records(running: Running) -> list[tuple[str, str, str]]:
    return [(row.actor, row.action, row.ids) for row in running.queries.audit(0, 1000)]


def test_there_and_back(running: Running, fake: FakeProvider) -> None:
    browser = Browser(running)
    _, _, form = browser.get("/sign-in?next=/system")
    assert "Sign in with the hospital&#39;s account" in form and "/sign-in/oidc?next=/system" in form
    status, text = browser.sign_in(fake, **{"x-forwarded-for": "198.51.100.7"})
    assert status == 200 and 'content="0; url=/system"' in text
    assert set(browser.cookies) == {"segmill"}, "that of the sign-in is gone"
    (begun, session, ended) = browser.told
    assert "SameSite=lax" in begun and "HttpOnly" in begun and "Max-Age=600" in begun
    assert "SameSite=strict" in session and "HttpOnly" in session
    assert ended.startswith("segmill-oidc=")
    me = browser.me().json
    assert (me["name"], me["grants"], me["must_change"]) == ("anna@oidc", {"results": "operator"}, False)
    actor, action, ids = records(running)[-1]
    assert (actor, action) == ("anna@oidc from 198.51.100.7", "sign-in")
    assert ids == f"user anna@oidc, by {fake.issuer}, operator of results"
    assert browser.get("/")[0] == 200
    assert running.queries.audit_head().last == len(records(running))


def test_what_the_provider_takes_away_is_gone_with_the_next_sign_in(running: Running, fake: FakeProvider) -> None:
    assert Browser(running).sign_in(fake)[0] == 200
    fake.claims = {**fake.claims, "groups": ["it"]}
    browser = Browser(running)
    assert browser.sign_in(fake)[0] == 200
    assert browser.me().json["grants"] == {"*": "admin"}
    fake.claims = {**fake.claims, "groups": []}
    other = Browser(running)
    status, text = other.sign_in(fake)
    assert status == 403 and "E574" in text and "segmill" not in other.cookies
    assert records(running)[-1][1] == "sign-in-failed"


def test_a_name_alone_is_no_proof(running: Running, fake: FakeProvider) -> None:
    assert Browser(running).sign_in(fake)[0] == 200
    fake.claims = {**fake.claims, "sub": "somebody else of that name"}
    browser = Browser(running)
    status, text = browser.sign_in(fake)
    assert status == 403 and "E575" in text and browser.me().status == 401
    assert records(running)[-1][1:] == ("sign-in-failed", f"user anna@oidc, by {fake.issuer}")


def test_who_is_disabled_here_is_not_let_in(running: Running, fake: FakeProvider) -> None:
    browser = Browser(running)
    browser.sign_in(fake)
    running.do(running.access.set_disabled(by("the test"), "anna@oidc", True))
    assert browser.me().status == 401
    assert Browser(running).sign_in(fake)[0] == 403


def test_another_name_at_the_provider_is_the_same_person_here(running: Running, fake: FakeProvider) -> None:
    Browser(running).sign_in(fake)
    fake.claims = {**fake.claims, "preferred_username": "Anna-Maria"}
    renamed = Browser(running)
    assert renamed.sign_in(fake)[0] == 200
    assert renamed.me().json["name"] == "anna@oidc" and running.queries.user("anna-maria@oidc") is None
    running.do(running.access.set_disabled(by("the test"), "anna@oidc", True))
    assert renamed.me().status == 401
    status, text = Browser(running).sign_in(fake)
    assert status == 403 and "E575" in text and running.queries.user("anna-maria@oidc") is None
    fake.claims = {**fake.claims, "sub": "u-2", "preferred_username": "Anna"}
    assert Browser(running).sign_in(fake)[0] == 403, "the name stays taken"


def test_such_a_user_has_no_password_here(running: Running, fake: FakeProvider) -> None:
    Browser(running).sign_in(fake)
    user = running.queries.user("anna@oidc")
    for password in (user.password, "", "oidc:"):
        refused = running.ask("POST", "/session", {"name": "anna@oidc", "password": password}, {"host": "localhost"})
        assert refused.status in (401, 422, 429)
    with pytest.raises(Exception, match="no password here"):
        running.do(running.access.give_password(by("the test"), "anna@oidc"))
    with pytest.raises(Exception, match="user's name"):
        running.do(running.access.add_user(by("the test"), "ben@oidc", {}))
    assert running.queries.user("anna@oidc").password == user.password


def test_the_local_admin_stays_when_others_are_admins_by_the_provider(running: Running, fake: FakeProvider) -> None:
    fake.claims = {**fake.claims, "groups": ["it"]}
    Browser(running).sign_in(fake)
    with pytest.raises(Exception, match="last admin"):
        running.do(running.access.set_disabled(by("the test"), "admin", True))


def test_a_sign_in_is_of_one_browser_and_counts_once(running: Running, fake: FakeProvider) -> None:
    mine, theirs = Browser(running), Browser(running)
    back = mine.go(fake)
    status, _, text = theirs.get(back)
    assert status == 403 and "E572" in text and not theirs.cookies
    kept = dict(mine.cookies)
    assert mine.get(back)[0] == 200
    mine.cookies = kept
    assert mine.get(back)[0] == 403
    actor, action, ids = records(running)[-1]
    assert (actor, action) == ("somebody from 127.0.0.1", "sign-in-failed") and ids.startswith(f"by {fake.issuer}")


def test_nobody_is_led_elsewhere(running: Running, fake: FakeProvider) -> None:
    for to in ("https://evil.example.org", "//evil.example.org", "/%5Cevil.example.org", "javascript:alert(1)"):
        browser = Browser(running)
        status, _, text = browser.get(browser.go(fake, to))
        assert status == 200 and 'content="0; url=/"' in text and "evil" not in text


def test_who_guesses_waits(running: Running, fake: FakeProvider) -> None:
    browser = Browser(running)
    found = [browser.get("/sign-in/oidc/back?state=x&code=y")[0] for _ in range(25)]
    assert found[:20] == [403] * 20 and 429 in found


def test_a_provider_that_is_away_is_a_page(running: Running, fake: FakeProvider) -> None:
    fake.broken = {"/.well-known/openid-configuration": b"{}"}
    status, _, text = Browser(running).get("/sign-in/oidc")
    assert status == 502 and "E573" in text


def test_without_a_provider_there_is_no_such_page(tmp_path: Path) -> None:
    made = Running(site(tmp_path / "site"))
    try:
        browser = Browser(made)
        assert browser.get("/sign-in/oidc")[0] == browser.get("/sign-in/oidc/back")[0] == 404
        assert "Sign in with" not in browser.get("/sign-in")[2]
    finally:
        made.stop()


@pytest.mark.parametrize(
    ("oidc", "codes"),
    [
        ("{issuer: 'https://idp', client: c, roles: {a: admin}}", ["E571"]),
        ("{issuer: 'https://idp', client: c}", ["E571", "W570"]),
        ("{issuer: 'http://idp.example.org', client: c}", ["E107"]),
        ("{issuer: 'https://idp?x', client: c}", ["E107"]),
        ("{issuer: 'https://idp', client: c, roles: {a: boss}}", ["E105"]),
        ("{issuer: 'https://idp', client: c, scopes: [profile]}", ["E107"]),
        ("{client: c}", ["E103"]),
    ],
)
def test_mistakes_in_the_settings_are_found(tmp_path: Path, oidc: str, codes: list[str]) -> None:
    folder = site(tmp_path / "site", f"admin: off\nconsole: {{oidc: {oidc}}}\n")
    found = [finding.code for finding in load_site(folder, load_kinds(), {}).findings]
    assert sorted(found) == codes


def test_without_the_extra_it_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SETTINGS.format(issuer="https://idp", client="c", secret="s")
    folder = site(tmp_path / "site", text)
    assert load_site(folder, load_kinds(), {}).findings == []
    monkeypatch.setattr(config_oidc, "find_spec", lambda name: None)
    (found,) = load_site(folder, load_kinds(), {}).findings
    assert found.code == "E570" and "segmill[oidc]" in (found.hint or "")
