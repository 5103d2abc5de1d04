"""One's own one-time codes as a page: what is secret is shown this once, and each step is on record."""

import base64
import html
import re
import time
from collections.abc import Iterator

import pytest

from engine.adapters.console.one_time_codes import in_groups
from engine.model.access import SITE
from engine.model.totp import code_at, step_of
from tests.adapters.api.rig import GOOD_PASSWORD, Running
from tests.adapters.console.people import Person, Shown, engine_of, person

PATH = "/one-time-codes"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with engine_of(tmp_path_factory.mktemp("codes") / "site") as made:
        yield made


def begun(who: Person) -> tuple[Shown, bytes]:
    """The page with the secret, and the secret."""
    shown = who.post(PATH, {"password": GOOD_PASSWORD})
    assert shown.status == 200, shown.words
    found = re.search(r'id="secret">([A-Z2-7 ]+)<', shown.text)
    assert found is not None
    text = found[1].replace(" ", "")
    return shown, base64.b32decode(text + "=" * (-len(text) % 8))


def now_of(secret: bytes) -> str:
    return code_at(secret, step_of(time.time()))


def wrong_of(secret: bytes) -> str:
    """None of the codes that are good about now."""
    good = {code_at(secret, step_of(time.time()) + ahead) for ahead in range(-3, 4)}
    return next(code for code in ("000000", *(f"{n:06}" for n in range(1, 9))) if code not in good)


def recovery_of(shown: Shown) -> list[str]:
    return re.findall(r"<li><code>([a-z2-7-]+)</code></li>", shown.text)


def actions_of(engine: Running, name: str) -> list[str]:
    rows = engine.queries.audit(0, 100_000)
    return [row.action for row in rows if row.actor.startswith(f"{name} ") and "second" in row.action]


def test_set_up_confirmed_and_taken_off_and_all_of_it_on_record(engine):
    who = person(engine, "anna", {SITE: "viewer"})
    assert "Your password is enough" in who.get(PATH).words
    shown, secret = begun(who)
    assert shown.headers["cache-control"] == "no-store"
    uri = re.search(r'id="uri">(otpauth://[^<]+)<', shown.text)
    assert uri is not None and base64.b32encode(secret).decode() in html.unescape(uri[1])
    assert "anna" in uri[1]
    assert "Your password is enough" in who.get(PATH).words, "nothing has changed until a code was given"
    again = who.post(f"{PATH}/confirm", {"code": wrong_of(secret)})
    assert again.status == 422 and "The one-time code is wrong" in again.words
    assert in_groups(base64.b32encode(secret).decode()) not in again.words, "the secret is shown once"
    code = now_of(secret)
    done = who.post(f"{PATH}/confirm", {"code": f" {code[:3]} {code[3:]} "})
    codes = recovery_of(done)
    assert done.status == 200 and len(set(codes)) == 10 and done.headers["cache-control"] == "no-store"
    shown = who.get(PATH)
    assert "Recovery codes left: 10" in shown.words and not recovery_of(shown)
    twice = who.post(f"{PATH}/confirm", {"code": now_of(secret)})
    assert twice.status == 409 and not recovery_of(twice)
    assert who.post(PATH, {"password": GOOD_PASSWORD}).status == 409, "there are some already"
    refused = who.post(f"{PATH}/off", {"password": GOOD_PASSWORD, "code": wrong_of(secret)})
    assert refused.status == 422 and "The one-time code is wrong" in refused.words
    assert "Recovery codes left: 10" in who.get(PATH).words
    off = who.post(f"{PATH}/off", {"password": GOOD_PASSWORD, "code": codes[0]})
    assert (off.status, off.location) == (303, PATH)
    assert "no one-time code any more" in who.get(PATH).words
    wanted = ["second-factor-begin", "second-factor-on", "second-factor-off"]
    assert actions_of(engine, "anna") == wanted
    text = str(list(engine.queries.audit(0, 100_000)))
    assert codes[0] not in text and base64.b32encode(secret).decode() not in text


def test_it_takes_the_password(engine):
    who = person(engine, "ben", {SITE: "viewer"})
    shown = who.post(PATH, {"password": "not this one at all"})
    assert shown.status == 422 and "The password is wrong." in shown.words and "secret" not in shown.text
    assert actions_of(engine, "ben") == []


def test_what_was_not_begun_is_not_confirmed(engine):
    shown = person(engine, "cleo", {SITE: "viewer"}).post(f"{PATH}/confirm", {"code": "123456"})
    assert shown.status == 409 and "Nothing was begun" in shown.words


def test_the_sign_in_page_shows_the_field_to_whom_it_concerns(engine):
    who = person(engine, "dora", {SITE: "viewer"})
    _, secret = begun(who)
    assert recovery_of(who.post(f"{PATH}/confirm", {"code": now_of(secret)}))
    person(engine, "erik", {SITE: "viewer"})
    nobody = Person(engine, who.signed)

    def sign_in(name: str, password: str, code: str = "") -> Shown:
        return nobody.post("/sign-in", {"name": name, "password": password, "code": code})

    field = '<details class="more" open>'
    told = {name: sign_in(name, "not this one at all") for name in ("dora", "erik", "nobody-of-ours")}
    assert all(shown.status == 401 and field not in shown.text for shown in told.values())
    assert len({shown.text.replace(f'value="{name}"', "") for name, shown in told.items()}) == 1, (
        "nobody is told who has one"
    )
    asked = sign_in("dora", GOOD_PASSWORD)
    assert asked.status == 401 and field in asked.text and "Give the password again, with the code" in asked.words
    wrong = sign_in("dora", GOOD_PASSWORD, wrong_of(secret))
    assert wrong.status == 401 and field in wrong.text
    assert sign_in("erik", GOOD_PASSWORD).status == 303
