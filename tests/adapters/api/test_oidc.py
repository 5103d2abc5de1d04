"""Sign-in by an identity provider: who it says somebody is, and every answer that must not be believed."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.adapters.api import oidc
from engine.adapters.api.oidc import Begun, Identity, Provider
from engine.adapters.api.problems import Problem
from engine.config.oidc import OidcOptions
from tests.adapters.api.provider import CLIENT, SECRET, FakeProvider, provider
from tests.runtime.parts import SetClock

URL = "https://segmill.example.org"


def options(issuer: str, **more: Any) -> OidcOptions:
    roles = {"radiology": {"results": "operator"}, "it": "admin", "ward": {"results": "viewer", "adt": "viewer"}}
    values = {"issuer": issuer, "client": CLIENT, "secret": SECRET, "roles": roles, **more}
    return OidcOptions.model_validate(values)


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with provider() as made:
        yield made


@pytest.fixture
async def ours(fake: FakeProvider) -> AsyncIterator[Provider]:
    made = Provider(options(fake.issuer), Path(), URL, SetClock())
    yield made
    await made.close()


def at_the_provider(fake: FakeProvider, begun: Begun) -> dict[str, str]:
    """What the browser comes back with."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.location).query).items()}
    back = urlsplit(fake.authorize(asked))
    assert back._replace(query="").geturl() == f"{URL}/sign-in/oidc/back"
    return {name: values[0] for name, values in parse_qs(back.query).items()}


async def sign_in(ours: Provider, fake: FakeProvider) -> Identity:
    begun = await ours.begin("/queues")
    identity, to = await ours.end(begun.cookie, at_the_provider(fake, begun))
    assert to == "/queues"
    return identity


async def test_who_the_provider_says_it_is_has_the_roles_of_the_files(ours: Provider, fake: FakeProvider) -> None:
    identity = await sign_in(ours, fake)
    assert (identity.name, dict(identity.grants)) == ("anna@oidc", {"results": "operator"})
    assert identity.issuer == fake.issuer and identity.mark.startswith("oidc:") and "u-1" not in identity.mark
    fake.claims = {**fake.claims, "groups": ["ward", "it", "nothing of ours"]}
    assert dict((await sign_in(ours, fake)).grants) == {"results": "viewer", "adt": "viewer", "*": "admin"}
    assert fake.asked.count("/.well-known/openid-configuration") == 1 and fake.asked.count("/keys") == 1


async def test_the_same_person_has_the_same_mark_and_another_has_another(ours: Provider, fake: FakeProvider) -> None:
    first = await sign_in(ours, fake)
    fake.claims = {**fake.claims, "preferred_username": "Anna Maria@example.org"}
    second = await sign_in(ours, fake)
    assert second.mark == first.mark and second.name == "anna-maria@oidc"
    fake.claims = {**fake.claims, "sub": "u-2"}
    assert (await sign_in(ours, fake)).mark != first.mark


async def test_who_has_no_role_is_not_let_in(ours: Provider, fake: FakeProvider) -> None:
    for groups in ([], ["other"], "other", None, {"radiology": 1}, [["radiology"]]):
        fake.claims = {**fake.claims, "groups": groups}
        assert await refusal(ours, fake) == "E574"
    del fake.claims["groups"]
    assert await refusal(ours, fake) == "E574"


async def refusal(ours: Provider, fake: FakeProvider, **changed: str) -> str:
    """The code that a sign-in ends with."""
    begun = await ours.begin("/")
    given = {**at_the_provider(fake, begun), **changed}
    with pytest.raises(Problem) as refused:
        await ours.end(begun.cookie, given)
    assert "u-1" not in refused.value.detail and "anna" not in refused.value.detail.lower()
    return refused.value.code


LIES: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example.org"},
    "for another client": {"aud": "another"},
    "for many, and not by us": {"aud": [CLIENT, "another"]},
    "authorised for another": {"azp": "another"},
    "of another sign-in": {"nonce": "x" * 43},
    "no nonce": {"nonce": None},
    "expired": {"exp": int(time.time()) - 61},
    "never expires": {"exp": None},
    "expires by a word": {"exp": "tomorrow"},
    "of tomorrow": {"iat": int(time.time()) + 86_400},
    "not yet": {"nbf": int(time.time()) + 86_400},
    "nobody": {"sub": ""},
    "somebody who is a number": {"sub": 7},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_token_that_is_not_for_this_sign_in_is_refused(
    ours: Provider, fake: FakeProvider, lie: dict[str, Any]
) -> None:
    fake.lie = lambda claims: claims.update(lie)
    assert await refusal(ours, fake) == "E572"


async def test_a_token_of_a_clock_that_is_off_a_little_is_good(ours: Provider, fake: FakeProvider) -> None:
    now = int(time.time())
    fake.lie = lambda claims: claims.update({"iat": now + 30, "exp": now + 330})
    await sign_in(ours, fake)
    fake.lie = lambda claims: claims.update({"iat": now - 300, "exp": now - 30})
    await sign_in(ours, fake)


async def test_many_audiences_are_good_where_it_is_authorised_for_us(ours: Provider, fake: FakeProvider) -> None:
    fake.lie = lambda claims: claims.update({"aud": ["another", CLIENT], "azp": CLIENT})
    await sign_in(ours, fake)


@pytest.mark.parametrize(
    "forged", ["none", "public key as secret", "our secret", "stranger", "own key", "empty", "cut"]
)
async def test_a_token_that_the_provider_did_not_sign_is_refused(
    ours: Provider, fake: FakeProvider, forged: str
) -> None:
    fake.sign = {
        "none": fake.unsigned,
        "public key as secret": lambda claims: fake.by_shared_secret(claims, fake.public_pem()),
        "our secret": lambda claims: fake.by_shared_secret(claims, SECRET.encode()),
        "stranger": fake.by_a_stranger,
        "own key": fake.with_its_own_key,
        "empty": lambda claims: "",
        "cut": lambda claims: fake.signed(claims)[:-10],
    }[forged]
    assert await refusal(ours, fake) == "E572"


async def test_a_shared_secret_among_its_keys_signs_nothing(ours: Provider, fake: FakeProvider) -> None:
    fake.extra_keys = [{"kty": "oct", "kid": fake.key.kid, "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}]
    fake.sign = lambda claims: fake.by_shared_secret(claims, b"secret-secret-secret-secret")
    assert await refusal(ours, fake) == "E572"


async def test_a_provider_that_offers_no_asymmetric_signature_is_not_believed(
    ours: Provider, fake: FakeProvider
) -> None:
    for offered in (["HS256", "none"], [], None):
        fake.document = {"id_token_signing_alg_values_supported": offered}
        ours._read_at = -1e9
        assert await refusal(ours, fake) == "E573"


async def test_keys_that_changed_are_read_anew_but_not_at_everybodys_word(ours: Provider, fake: FakeProvider) -> None:
    await sign_in(ours, fake)
    ours._clock.ahead_s += oidc.REFRESH_S + 1  # type: ignore[attr-defined]
    fake.rotate()
    await sign_in(ours, fake)
    read = fake.asked.count("/keys")
    fake.sign = fake.by_a_stranger
    for _ in range(5):
        assert await refusal(ours, fake) == "E572"
    assert fake.asked.count("/keys") == read


async def test_a_code_is_redeemed_once(ours: Provider, fake: FakeProvider) -> None:
    begun = await ours.begin("/")
    given = at_the_provider(fake, begun)
    await ours.end(begun.cookie, given)
    with pytest.raises(Problem, match="used before"):
        await ours.end(begun.cookie, given)
    again = await ours.begin("/")
    asked = {**at_the_provider(fake, again), "code": given["code"]}
    with pytest.raises(Problem) as refused:
        await ours.end(again.cookie, asked)
    assert refused.value.code == "E572"


async def test_a_code_that_somebody_else_began_is_refused(ours: Provider, fake: FakeProvider) -> None:
    """A stolen code, and one that is foisted on somebody: PKCE, nonce and the browser's cookie each are in the way."""
    theirs, mine = await ours.begin("/"), await ours.begin("/")
    stolen = at_the_provider(fake, theirs)
    for cookie, given in (
        ("", stolen),
        (mine.cookie, stolen),
        (mine.cookie, {**at_the_provider(fake, mine), "code": stolen["code"]}),
        (theirs.cookie[:-4] + "AAAA", stolen),
        ("e30=.x", stolen),
        (theirs.cookie, {**stolen, "state": ""}),
        (theirs.cookie, {"code": stolen["code"]}),
    ):
        with pytest.raises(Problem) as refused:
            await ours.end(cookie, given)
        assert refused.value.code == "E572"


async def test_who_takes_too_long_begins_again(ours: Provider, fake: FakeProvider) -> None:
    begun = await ours.begin("/")
    given = at_the_provider(fake, begun)
    ours._clock.ahead_s += oidc.PENDING_S + 1  # type: ignore[attr-defined]
    with pytest.raises(Problem, match="too long ago"):
        await ours.end(begun.cookie, given)


async def test_an_answer_of_another_provider_is_not_taken_for_this_ones(ours: Provider, fake: FakeProvider) -> None:
    assert await refusal(ours, fake, iss="https://evil.example.org") == "E572"
    fake.tells_iss = True
    other = Provider(options(fake.issuer), Path(), URL, SetClock())
    await sign_in(other, fake)
    begun = await other.begin("/")
    given = at_the_provider(fake, begun)
    del given["iss"]
    with pytest.raises(Problem, match="another provider"):
        await other.end(begun.cookie, given)
    await other.close()


async def test_what_the_provider_says_of_an_error_is_not_repeated(ours: Provider, fake: FakeProvider) -> None:
    begun = await ours.begin("/")
    state = at_the_provider(fake, begun)["state"]
    with pytest.raises(Problem) as refused:
        await ours.end(begun.cookie, {"state": state, "error": "<script>ZQ12345QZ"})
    assert refused.value.detail == "the provider says: an error"
    begun = await ours.begin("/")
    state = at_the_provider(fake, begun)["state"]
    with pytest.raises(Problem, match="the provider says: access_denied"):
        await ours.end(begun.cookie, {"state": state, "error": "access_denied"})


DOCUMENTS: dict[str, dict[str, Any]] = {
    "of another issuer": {"issuer": "https://evil.example.org"},
    "no token endpoint": {"token_endpoint": None},
    "a token endpoint in plain text": {"token_endpoint": "http://idp.example.org/token"},
    "keys that are a file": {"jwks_uri": "file:///etc/passwd"},
    "an address with a password": {"authorization_endpoint": "https://a:b@idp.example.org/"},
    "no code flow": {"response_types_supported": ["id_token"]},
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
async def test_a_document_that_is_not_right_is_refused(
    ours: Provider, fake: FakeProvider, document: dict[str, Any]
) -> None:
    fake.document = document
    with pytest.raises(Problem) as refused:
        await ours.begin("/")
    assert refused.value.code == "E573"


@pytest.mark.parametrize("sent", [b"", b"[]", b"{", b"[" * 100_000, b"x" * (oidc.MOST_ANSWER + 1)])
async def test_answers_that_are_none_are_refused(ours: Provider, fake: FakeProvider, sent: bytes) -> None:
    fake.broken = {"/.well-known/openid-configuration": sent}
    with pytest.raises(Problem) as refused:
        await ours.begin("/")
    assert refused.value.code == "E573"


@pytest.mark.parametrize("keys", [b'{"keys": []}', b'{"keys": [7, {"kty": "oct", "k": "AA"}]}', b'{"keys": "x"}'])
async def test_a_provider_without_keys_is_not_believed(ours: Provider, fake: FakeProvider, keys: bytes) -> None:
    fake.broken = {"/keys": keys}
    assert await refusal(ours, fake) == "E573"


async def test_an_answer_that_trickles_is_not_waited_for() -> None:
    a_moment = threading.Event()

    def trickle(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):  # until the other end has gone
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            while True:
                connection.sendall(b" ")
                a_moment.wait(0.01)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        thread = threading.Thread(target=trickle, args=(listening,))
        thread.start()
        ours = Provider(options(f"http://{host}:{port}", timeout="200ms"), Path(), URL, SetClock())
        with pytest.raises(Problem) as refused:
            await ours.begin("/")
        assert refused.value.code == "E573"
        await ours.close()
        await asyncio.to_thread(thread.join)


async def test_what_it_said_before_counts_while_it_is_away(ours: Provider, fake: FakeProvider) -> None:
    await ours.begin("/")
    fake.broken = {"/.well-known/openid-configuration": b"down"}
    ours._clock.ahead_s += oidc.KNOWN_S + 1  # type: ignore[attr-defined]
    await ours.begin("/")


async def test_claims_that_stand_at_the_userinfo_endpoint_alone_are_asked_for_there(fake: FakeProvider) -> None:
    fake.claims = {"sub": "u-1"}
    fake.userinfo = {"sub": "u-1", "preferred_username": "ben", "groups": ["it"], "iss": "https://evil.example.org"}
    ours = Provider(options(fake.issuer), Path(), URL, SetClock())
    identity = await sign_in(ours, fake)
    assert (identity.name, dict(identity.grants)) == ("ben@oidc", {"*": "admin"})
    fake.userinfo = {**fake.userinfo, "sub": "u-2"}
    assert await refusal(ours, fake) == "E572"
    await ours.close()


async def test_a_claim_may_stand_within_another(fake: FakeProvider) -> None:
    fake.claims = {"sub": "u-1", "preferred_username": "c", "realm_access": {"roles": ["it"]}}
    ours = Provider(options(fake.issuer, claim="realm_access.roles"), Path(), URL, SetClock())
    assert dict((await sign_in(ours, fake)).grants) == {"*": "admin"}
    await ours.close()


async def test_a_wrong_secret_of_ours_is_a_sentence(fake: FakeProvider) -> None:
    ours = Provider(options(fake.issuer, secret="wrong"), Path(), URL, SetClock())
    assert await refusal(ours, fake) == "E572"
    await ours.close()


async def test_more_than_may_be_remembered_are_refused(
    ours: Provider, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "MOST_USED", 2)
    for _ in range(2):
        await sign_in(ours, fake)
    assert await refusal(ours, fake) == "E480"
    ours._clock.ahead_s += oidc.PENDING_S + 1  # type: ignore[attr-defined]
    fake.lie = lambda claims: claims.update({"exp": claims["exp"] + oidc.PENDING_S})
    await sign_in(ours, fake)
