"""The guard before pages: as before the API, with refusals as pages and bodies as forms."""

import http.client
import re
from urllib.parse import unquote, urlencode

import pytest
from pydantic import Field

from engine.adapters.api.entries import ApiModel
from engine.adapters.api.forms import MOST_FIELDS, PIECE, by_name, read_form
from engine.adapters.api.problems import Problem
from engine.adapters.console.pages import PAGES
from engine.adapters.console.rendering import is_own_path, is_production
from engine.model.access import ROLES, SITE
from tests.adapters.api.rig import GOOD_PASSWORD, Running, by
from tests.adapters.console.people import Person, engine_of, person

ANYBODY, SIGNED_IN = "anybody", "signed in"
EXPECTED = {
    "GET /static/{hash}/{name}": ANYBODY,
    "GET /favicon.ico": ANYBODY,
    "GET /sign-in": ANYBODY,
    "POST /sign-in": ANYBODY,
    "GET /sign-in/oidc": ANYBODY,
    "GET /sign-in/oidc/back": ANYBODY,
    "POST /theme": ANYBODY,
    "POST /sign-out": SIGNED_IN,
    "GET /one-time-codes": SIGNED_IN,
    "POST /one-time-codes": SIGNED_IN,
    "POST /one-time-codes/confirm": SIGNED_IN,
    "POST /one-time-codes/off": SIGNED_IN,
    "GET /password": SIGNED_IN,
    "POST /password": SIGNED_IN,
    "GET /": SIGNED_IN,
    "GET /docs": SIGNED_IN,
    "GET /docs/codes/{code}": SIGNED_IN,
    "GET /docs/{topic:path}": SIGNED_IN,
    "GET /live": "viewer of a channel",
    "GET /map": "viewer of a channel",
    "GET /system": "viewer of the site",
    "GET /system/support": "admin of the site",
    "POST /system/support": "admin of the site",
    "POST /system/support/file": "admin of the site",
}
"""Of the pages of this file's module; those of others stand in the tests of their own."""
OWN = ("session", "overview", "map", "system", "support", "docs", "console")
NAMES = {entry.name: entry for entry in PAGES if entry.tag in OWN}
PATHS = {
    "/static/{hash}/{name}": "/static/000000000000/console.css",
    "/docs/codes/{code}": "/docs/codes/E214",
    "/docs/{topic:path}": "/docs/lanes",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with engine_of(tmp_path_factory.mktemp("pages") / "site") as started:
        yield started


@pytest.fixture(scope="module")
def admin(running) -> Person:
    return person(running, "anna", {SITE: "admin"})


def ask(running: Running, method: str, path: str, body: bytes | None = None, headers=None):
    connection = http.client.HTTPConnection(*running.address, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def test_every_page_is_in_the_table_of_this_test_and_none_is_twice():
    assert NAMES.keys() == EXPECTED.keys()
    assert len({entry.name for entry in PAGES}) == len(PAGES)
    assert all(entry.is_page for entry in PAGES)


def test_a_refusal_leads_back_to_the_page_of_ours_that_led_there(running):
    who = _cached(running, "operator-site", {SITE: "operator"})
    sent = {"act": "pause"}
    ours = f"http://{running.address[0]}:{running.address[1]}"
    back = {
        f"{ours}/queues/adt/ris?show=held": "/queues/adt/ris?show=held",
        f"{ours}/queues/adt/ris/lane": "",
        "http://evil.example/queues": "",
        f"{ours}//evil.example/": "",
        "http://[": "",
        "": "",
    }
    for referer, path in back.items():
        shown = who.post("/queues/adt/ris/lane", sent, {"referer": referer})
        found = re.findall(r'href="([^"]*)">Back<', shown.text)
        assert shown.status in (404, 422) and found == ([path] if path else []), referer


def test_every_page_that_changes_something_takes_a_form_and_is_on_record_or_only_plans():
    for entry in PAGES:
        assert entry.method in ("GET", "POST"), entry.name
        if entry.method == "GET":
            assert entry.body is None, entry.name


@pytest.mark.parametrize("name", [name for name, who in EXPECTED.items() if who is not ANYBODY])
def test_who_is_not_signed_in_is_led_to_do_so_and_nothing_of_a_body_is_read(running, name):
    entry = NAMES[name]
    path = PATHS.get(entry.path, entry.path)
    for headers in ({}, {"cookie": "segmill=none"}, {"x-forwarded-user": "admin"}):
        status, answer, _ = ask(running, entry.method, path, b"%%%" if entry.method == "POST" else None, headers)
        assert status == 303 and answer["location"].startswith("/sign-in"), headers
        # No page is shown again from a cache, and none says where it came from.
        assert answer["cache-control"] == "no-store"
        assert answer["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("name", [name for name, who in EXPECTED.items() if " of " in who])
def test_a_page_and_every_role(running, name):
    entry = NAMES[name]
    least, _, scope = EXPECTED[name].partition(" of ")
    for role in ROLES:
        for where in (SITE, "adt"):
            user = f"{role}-{'site' if where == SITE else where}"
            who = _cached(running, user, {where: role})
            allowed = ROLES.index(role) >= ROLES.index(least) and (where == SITE or scope == "a channel")
            if entry.method == "POST":
                status, text = _posted(running, entry.path, who)
                # Of a bundle: it is begun, one is under way, none is there yet, or here it is.
                assert (status in (200, 303, 404, 409)) == allowed, (role, where, status)
            else:
                status, _, text = _first_of(running, entry.path, who)
                assert (status == 200) == allowed, (role, where, status)
            if not allowed:
                assert status == 403 and "E472" in text


def _cached(running, name, grants) -> Person:
    if not hasattr(running, "people"):
        running.people = {}
    if name not in running.people:
        running.people[name] = person(running, name, grants)
    return running.people[name]


def _posted(running, path, who: Person):
    """An empty form: its status, and what of its text can be read."""
    connection = http.client.HTTPConnection(*running.address, timeout=60)
    try:
        sent = {**who.signed.reads, "content-type": "application/x-www-form-urlencoded"}
        connection.request("POST", path, f"csrf={who.signed.csrf}".encode(), sent)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def _first_of(running, path, who: Person):
    """Its status, and its text where it has an end."""
    connection = http.client.HTTPConnection(*running.address, timeout=60)
    try:
        connection.request("GET", path, headers=who.signed.reads)
        answer = connection.getresponse()
        is_stream = answer.headers["content-type"].startswith("text/event-stream")
        return answer.status, answer.headers, "" if is_stream else answer.read().decode()
    finally:
        connection.close()


def test_the_help_of_each_page_of_the_navigation_is_a_section_of_the_docs(running, admin):
    sections = re.findall(r'id="([^"]+)"', admin.get("/docs/console").text)
    for entry in PAGES:
        if entry.nav:
            found = re.findall(r'class="help" href="/docs/console#([^"]+)"', admin.get(entry.path).text)
            assert len(found) == 1 and found[0] in sections, entry.path


def test_a_page_is_for_people_and_not_for_tokens(running):
    token = running.token("prog", {SITE: "admin"})
    status, _, text = ask(running, "GET", "/system", headers=token)
    assert status == 403 and "a token is for the API" in text


def test_a_form_needs_the_token_of_its_session_and_our_own_origin(running, admin):
    before = running.actions()
    origin = "http://{}:{}".format(*running.address)
    form = "application/x-www-form-urlencoded"
    good = f"csrf={admin.signed.csrf}&old=x&new=y&again=z".encode()
    other = person(running, "carl", {SITE: "admin"})
    for body, headers, status in (
        (b"old=x&new=y&again=z", {}, 403),
        (f"csrf={other.signed.csrf}&old=x&new=y&again=z".encode(), {}, 403),
        (b"csrf=&old=x&new=y&again=z", {}, 403),
        (f"csrf={admin.signed.csrf}&csrf={admin.signed.csrf}&old=x&new=y&again=z".encode(), {}, 400),
        (good, {"origin": "https://evil.example"}, 403),
        (good, {"origin": "null"}, 403),
        (good, {"sec-fetch-site": "cross-site"}, 403),
        (good, {"content-type": "application/json"}, 415),
        (good, {"content-type": "text/plain"}, 415),
        (good, {"content-type": "multipart/form-data; boundary=x"}, 415),
        (good, {"content-encoding": "gzip"}, 415),
        (good + b"&more=1", {}, 422),
        (good + b"&old=again", {}, 422),
        (b"%ff=%ff&" + good, {}, 400),
        (b"\xff&" + good, {}, 400),
        (good + b"&pad=" + b"x" * 20_000, {}, 413),
        (good, {"origin": origin}, 422),  # which is its own answer: not typed twice alike
    ):
        sent = {"content-type": form, **admin.signed.reads, **headers}
        got, _, text = ask(running, "POST", "/password", body, sent)
        assert got == status, (body[:60], headers, text)
        assert "old=x" not in text
    assert running.actions()[: len(before)] == before
    assert "password" not in running.actions()[len(before) + 3 :]


def test_a_refusal_is_a_page_with_its_code_and_a_way_back(running, admin):
    shown = admin.get("/no-such-page")
    assert shown.status == 404 and "E478" in shown.text and 'href="/"' in shown.text
    assert shown.headers["content-type"].startswith("text/html")
    # What was asked for is not repeated: it may be somebody's text.
    shown = admin.get("/docs/<script>alert(1)</script>")
    assert shown.status == 404 and "alert(1)" not in shown.text
    status, headers, text = ask(running, "GET", "/", headers={"host": "evil.example"})
    assert status == 421 and "E487" in text
    # What is the API's is answered as the API does.
    status, headers, _ = ask(running, "GET", "/api/v1/none", headers=admin.signed.reads)
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    status, headers, _ = ask(running, "DELETE", "/password", headers=admin.signed.changes)
    assert status == 405


@pytest.mark.parametrize(
    ("asked", "leads"),
    [
        ("/system", "/system"),
        ("/messages?channel=adt&state=held", "/messages?channel=adt&state=held"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nset-cookie: x=1", "/"),
        ("", "/"),
        ("system", "/"),
    ],
)
def test_signing_in_leads_to_a_page_of_ours_alone(running, asked, leads):
    user = "leaf"
    if not hasattr(running, "leaf"):
        running.leaf = person(running, user, {SITE: "viewer"})
    from urllib.parse import urlencode

    body = urlencode({"name": user, "password": GOOD_PASSWORD, "next": asked}).encode()
    status, headers, _ = ask(running, "POST", "/sign-in", body, {"content-type": "application/x-www-form-urlencoded"})
    assert (status, headers["location"]) == (303, leads)
    cookie = headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie


def test_a_wrong_password_shows_the_form_again_without_the_password(running):
    body = b"name=anna&password=hunter2-hunter2&next=/"
    status, _, text = ask(running, "POST", "/sign-in", body, {"content-type": "application/x-www-form-urlencoded"})
    assert status == 401 and 'value="anna"' in text and "hunter2" not in text


def test_signing_in_from_another_sites_page_is_refused(running):
    body = b"name=anna&password=x&next=/"
    sent = {"content-type": "application/x-www-form-urlencoded", "origin": "https://evil.example"}
    assert ask(running, "POST", "/sign-in", body, sent)[0] == 403
    assert ask(running, "POST", "/theme", b"theme=dark&next=/", sent)[0] == 403


def test_a_link_of_another_site_is_followed_once_more_from_a_page_of_ours(running, admin):
    """The cookie is not sent along such a link (SameSite=Strict)."""
    status, _, text = ask(running, "GET", '/system?x="><b>', headers={"sec-fetch-site": "cross-site"})
    assert status in (200, 303) and "<b>" not in text
    status, _, text = ask(running, "GET", "/system", headers={"sec-fetch-site": "cross-site"})
    assert status == 200 and '<meta http-equiv="refresh" content="0; url=/system">' in text
    # From there it is our own, and who is signed in nowhere comes to the form: it does not go round.
    status, headers, _ = ask(running, "GET", "/system", headers={"sec-fetch-site": "same-origin"})
    assert (status, headers["location"]) == (303, "/sign-in?next=/system")


def test_a_password_that_was_given_out_leads_to_where_ones_own_is_set(running):
    one_time = running.do(running.access.add_user(by("the test"), "newcomer", {SITE: "admin"}))
    who = Person(running, running.sign_in("newcomer", one_time))
    shown = who.get("/system")
    assert (shown.status, shown.location) == (303, "/password")
    assert "was given out" in who.get("/password").words
    shown = who.post("/password", {"old": one_time, "new": GOOD_PASSWORD, "again": GOOD_PASSWORD + "!"})
    assert shown.status == 422 and "twice alike" in shown.words
    shown = who.post("/password", {"old": one_time, "new": "short", "again": "short"})
    assert shown.status == 422 and "12 to 256" in shown.words
    shown = who.post("/password", {"old": one_time, "new": GOOD_PASSWORD, "again": GOOD_PASSWORD})
    assert (shown.status, shown.location) == (303, "/")
    first, second = who.get("/"), who.get("/")
    assert "Your password was changed" in first.words
    assert "Your password was changed" not in second.words, "a notice is said once"


def test_signing_out_ends_the_session_and_what_was_kept_for_it(running):
    who = person(running, "guest", {SITE: "viewer"})
    assert who.get("/system").status == 200
    shown = who.post("/sign-out")
    assert (shown.status, shown.location) == (303, "/sign-in")
    assert 'segmill="";' in shown.headers["set-cookie"]
    assert who.get("/system").location.startswith("/sign-in")
    assert running.actions()[-1] == "sign-out"


def test_the_theme_is_kept_in_a_cookie_and_nothing_else_is_taken_for_one(running, admin):
    shown = admin.post("/theme", {"theme": "dark", "next": "/system"})
    assert (shown.status, shown.location) == (303, "/system")
    cookie = shown.headers["set-cookie"]
    assert cookie.startswith("segmill_theme=dark;")
    _, _, text = ask(running, "GET", "/sign-in", headers={"cookie": "segmill_theme=dark"})
    assert '<html lang="en" data-theme="dark">' in text
    _, _, text = ask(running, "GET", "/sign-in", headers={"cookie": 'segmill_theme="><script>'})
    assert 'data-theme="auto"' in text
    assert admin.post("/theme", {"theme": "pink", "next": "/"}).status == 422


def test_a_style_sheet_is_kept_for_good_under_the_address_of_its_version_alone(running):
    _, _, text = ask(running, "GET", "/sign-in")
    address = re.search(r'href="(/static/[0-9a-f]{12}/console\.css)"', text)[1]
    status, headers, body = ask(running, "GET", address)
    assert status == 200 and headers["content-type"] == "text/css; charset=utf-8"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "--accent" in body
    _, headers, _ = ask(running, "GET", "/static/000000000000/console.css")
    assert headers["cache-control"] == "no-store"
    for path in ("/static/000000000000/none.css", "/static/000000000000/..%2Fpages.py", "/static/x/console.css"):
        assert ask(running, "GET", path)[0] == 404


def test_every_page_forbids_scripts_and_styles_but_our_own(running, admin):
    shown = admin.get("/")
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)", shown.text), "no inline script"
    assert not re.search(r"\son\w+=|\sstyle=|<style", shown.text), "no handler, no style attribute"


class Taken(ApiModel):
    name: str
    marks: list[str] = Field(default=[])
    maybe: list[int] | None = None


def test_a_form_is_read_strictly_into_its_model():
    assert read_form(b"csrf=t&name=a%0D%0Ab&marks=x", Taken) == ("t", {"name": "a\nb", "marks": ["x"]})
    assert read_form(b"name=&marks=x&marks=y", Taken) == ("", {"name": "", "marks": ["x", "y"]})
    assert read_form(b"", Taken) == ("", {})
    assert read_form(b"name=%C3%BC", Taken) == ("", {"name": "ü"})
    assert by_name([("maybe", "1")], Taken) == {"maybe": ["1"]}
    for broken in (b"name", b"name=%FF", b"\xff=x", b"name=a&&b=c"):
        with pytest.raises(Problem):
            read_form(broken, Taken)


def test_own_paths_and_names_of_production():
    assert all(is_own_path(path) for path in ("/", "/messages?x=1#y", "/channels/adt"))
    assert not any(is_own_path(path) for path in ("", "x", "//x", "/\\x", "http://x", "/a b", "/ü", "/" + "x" * 3000))
    assert all(is_production(name) for name in ("prod", "PROD", "production", "north-prod", "prod2", "live", "P"))
    assert not any(is_production(name) for name in ("test", "product-test", "staging", "reproduce", "demo", ""))


@pytest.mark.parametrize("before", range(4))
def test_a_large_form_is_decoded_in_pieces_that_split_no_escape(before):
    text = "x" * before + "ü+" * PIECE
    assert read_form(urlencode({"name": text}).encode(), Taken) == ("", {"name": text})


@pytest.mark.parametrize("odd", [b"%", b"%4", b"%zz", b"%%41", b"a%"])
def test_what_is_no_escape_stays_as_it_is_at_the_end_of_a_piece_too(odd):
    for filling in range(PIECE - 4, PIECE + 1):
        sent = b"x" * filling + odd + b"%41"
        assert read_form(b"name=" + sent, Taken)[1] == {"name": unquote(sent.decode())}


def test_a_form_of_more_fields_than_may_be_is_none():
    with pytest.raises(Problem):
        read_form(b"marks=x&" * MOST_FIELDS + b"marks=x", Taken)
