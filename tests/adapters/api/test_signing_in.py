"""Who may come in: guessing, planted and old sessions, first passwords, and what is on record of it (SEC8, SEC11)."""

import ast
import asyncio
import hmac
import sys
from pathlib import Path

import pytest

import engine.adapters.api
from engine.adapters.api import access
from engine.adapters.api.access import MOST_SESSIONS
from engine.adapters.api.passwords import (
    AT_A_TIME,
    MOST_WAITING,
    TooBusy,
    WeakPassword,
    check_password,
    one_time_password,
)
from engine.adapters.api.problems import Problem
from engine.adapters.api.throttle import SLOTS, Throttle, Trickle, network_of
from engine.model.access import SITE
from engine.ports.operations import By
from tests.adapters.api.rig import GOOD_PASSWORD, Parts, by

HERE = "10.0.0.7"


async def refusal(work) -> Problem:
    with pytest.raises(Problem) as refused:
        await work
    return refused.value


# -- passwords and names ------------------------------------------------------------------------


async def test_a_wrong_name_a_wrong_password_and_a_disabled_user_look_and_cost_the_same(parts: Parts):
    await parts.user("anna")
    await parts.user("ben")
    await parts.access.set_disabled(by("the test"), "ben", True)
    told = []
    for name, password in (
        ("anna", "wrong wrong wrong"),
        ("nobody", "wrong wrong wrong"),
        ("ben", GOOD_PASSWORD),
        ("Anna\r\nx", GOOD_PASSWORD),
        ("' OR 1=1 --", GOOD_PASSWORD),
    ):
        before = parts.hasher.verified
        problem = await refusal(parts.access.sign_in(name, password, HERE))
        told.append((problem.status, problem.code, problem.detail, problem.headers, parts.hasher.verified - before))
    assert set(map(repr, told)) == {repr((401, "E481", "", {}, 1))}


async def test_a_guesser_gets_at_most_ten_attempts_a_minute_for_a_user_and_fewer_later(parts: Parts):
    await parts.user("anna")
    parts.hasher.verified = 0
    waits = []
    looked_at_after_a_minute = None
    start = parts.clock.monotonic()
    while parts.clock.monotonic() - start < 3600:
        problem = await refusal(parts.access.sign_in("anna", "guess guess", f"10.1.{len(waits) % 200}.9"))
        if problem.status == 429:
            assert problem.code == "E474"
            waits.append(int(problem.headers["retry-after"]))
            parts.clock.ahead_s += waits[-1]
        if looked_at_after_a_minute is None and parts.clock.monotonic() - start > 60:
            looked_at_after_a_minute = parts.hasher.verified
    assert looked_at_after_a_minute is not None and looked_at_after_a_minute <= 10
    assert waits[:4] == sorted(waits[:4]) and max(waits) >= 300, "the delay grows"
    assert parts.hasher.verified <= 25, "in an hour, from any number of addresses"


async def test_a_thousand_guesses_at_once_are_no_more_than_one_after_the_other(parts: Parts):
    await parts.user("anna")
    parts.hasher.verified = 0
    guesses = [parts.access.sign_in("anna", f"guess {n}", HERE) for n in range(1000)]
    ended = await asyncio.gather(*guesses, return_exceptions=True)
    assert {one.status for one in ended if isinstance(one, Problem)} <= {401, 429}
    assert parts.hasher.verified <= 4


async def test_a_crowd_of_names_from_one_address_waits_too(parts: Parts):
    ended = await asyncio.gather(
        *(parts.access.sign_in(f"user{n}", "guess", HERE) for n in range(1000)), return_exceptions=True
    )
    assert all(isinstance(one, Problem) for one in ended)
    assert parts.hasher.verified <= 21
    other = await refusal(parts.access.sign_in("another", "guess", "10.9.9.9"))
    assert other.status == 401, "another address is not held up"


async def test_while_a_user_is_guessed_at_good_passwords_wait_as_well_and_count_afterwards(parts: Parts):
    await parts.user("anna")
    for _ in range(4):
        await refusal(parts.access.sign_in("anna", "guess", "10.1.1.1"))
    problem = await refusal(parts.access.sign_in("anna", GOOD_PASSWORD, HERE))
    assert problem.status == 429, "else a guess would be told from a good one by its answer"
    parts.clock.ahead_s += float(problem.headers["retry-after"])
    await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)


async def test_strangers_elsewhere_do_not_keep_out_who_came_from_here_before(parts: Parts):
    await parts.user("anna")
    await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    for n in range(50):
        await refusal(parts.access.sign_in("anna", "guess", f"10.1.{n}.1"))
    made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    await parts.access.change_password(made.signed, GOOD_PASSWORD, "another good password")
    assert (await refusal(parts.access.sign_in("anna", "another good password", "10.1.1.1"))).status == 429
    parts.hasher.verified = 0
    for _ in range(50):
        await refusal(parts.access.sign_in("anna", "guess", HERE))
    assert parts.hasher.verified <= 4, "nor do they guess any faster from here"
    one_time = await parts.access.give_password(by("root"), "anna")
    parts.clock.ahead_s += 61
    for _ in range(3):
        await parts.access.sign_in("anna", one_time, HERE)


async def test_addresses_that_are_known_are_bounded_and_go_with_the_password(parts: Parts, monkeypatch):
    monkeypatch.setattr(access, "MOST_KNOWN", 2)
    await parts.user("anna")
    for n in range(4):
        await parts.access.sign_in("anna", GOOD_PASSWORD, f"10.1.1.{n}")
    assert list(parts.access._known) == [("anna", "10.1.1.2"), ("anna", "10.1.1.3")]
    await parts.access.give_password(by("root"), "anna")
    assert not parts.access._known


async def test_an_admin_ends_the_wait(parts: Parts):
    await parts.user("anna")
    for _ in range(4):
        await refusal(parts.access.sign_in("anna", "guess", HERE))
    one_time = await parts.access.give_password(by("root"), "anna")
    await parts.access.sign_in("anna", one_time, HERE)


def test_memory_for_guesses_is_bounded_and_nobody_is_pushed_out_of_it():
    throttle = Throttle(3, 1.0, 300.0)
    before = sys.getsizeof(throttle._failures) + sys.getsizeof(throttle._until)
    for _ in range(6):
        throttle.count("anna", 100.0)
    assert throttle.waits("anna", 100.0) == 8.0
    for n in range(100_000):
        throttle.count(f"name {n}", 100.0)
    assert throttle.waits("anna", 100.0) >= 8.0
    assert sys.getsizeof(throttle._failures) + sys.getsizeof(throttle._until) == before
    assert len(throttle._failures) == SLOTS
    assert throttle.waits("anna", 100.0) <= 300.0


def test_nobody_can_choose_a_name_that_shares_a_slot():
    one, other = Throttle(0, 1.0, 2.0), Throttle(0, 1.0, 2.0)
    assert [one._slot(f"{n}") for n in range(50)] != [other._slot(f"{n}") for n in range(50)]


def test_a_slot_that_was_quiet_starts_anew():
    throttle = Throttle(0, 1.0, 300.0)
    for _ in range(5):
        throttle.count("anna", 0.0)
    throttle.count("anna", 5000.0)
    assert throttle.waits("anna", 5000.0) == 2.0


def test_what_is_taken_back_leaves_the_others_counted():
    throttle = Throttle(3, 1.0, 300.0)
    for _ in range(6):
        throttle.count("anna", 5000.0)
    throttle.take_back("anna", 5010.0)
    assert throttle.waits("anna", 5010.0) == 0.0
    throttle.count("anna", 5010.0)
    assert throttle.waits("anna", 5010.0) == 8.0


async def test_attempts_that_nobody_looked_at_give_a_guesser_no_new_ones(parts: Parts, monkeypatch):
    """Whoever keeps the hashes busy would else start anew each time that he is sent away."""
    await parts.user("anna")
    parts.hasher.verified = 0

    async def busy(hash_: str | None, password: str) -> bool:
        raise TooBusy

    for n in range(20):
        await asyncio.gather(
            *(parts.access.sign_in("anna", "guess", f"10.1.{n}.{k}") for k in range(3)), return_exceptions=True
        )
        with monkeypatch.context() as patched:
            patched.setattr(parts.passwords, "is_right", busy)
            await refusal(parts.access.sign_in("anna", "guess", f"10.2.{n}.1"))
    assert parts.hasher.verified <= 4


async def test_signing_in_oneself_gives_no_new_guesses_at_others(parts: Parts):
    await parts.user("eve")
    parts.hasher.verified = 0
    for n in range(100):
        await refusal(parts.access.sign_in(f"user{n}", "guess", HERE))
        try:
            await parts.access.sign_in("eve", GOOD_PASSWORD, HERE)
        except Problem as problem:
            assert problem.status == 429
    assert parts.hasher.verified <= 41


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("\ud800", "\ud800"),
    ],
)
def test_whom_an_address_stands_for(address, network):
    assert network_of(address) == network
    Throttle(1, 1.0, 1.0).count(network, 0.0)


async def test_hashes_wait_in_a_line_with_an_end(parts: Parts):
    many = [parts.passwords.hash("x") for _ in range(200)]
    ended = await asyncio.gather(*many, return_exceptions=True)
    made = [one for one in ended if isinstance(one, str)]
    assert AT_A_TIME + MOST_WAITING <= len(made) < 200
    assert await parts.passwords.is_right(made[0], "x"), "and afterwards it goes on"


@pytest.mark.parametrize(
    ("password", "name"),
    [
        ("short", "anna"),
        ("a" * 12, "anna"),
        ("x" * 257, "anna"),
        ("anna12345678", "anna"),
        ("abcdefghijk\ud800", "ben"),
    ],
)
def test_what_is_no_password(password, name):
    with pytest.raises(WeakPassword) as weak:
        check_password(password, name)
    assert password not in str(weak.value)


def test_one_time_passwords_are_long_and_never_the_same():
    made = {one_time_password() for _ in range(200)}
    assert len(made) == 200 and all(len(one.replace("-", "")) == 25 for one in made)


# -- first start and given passwords ------------------------------------------------------------


async def test_the_first_user_is_made_once_and_its_password_only_lets_it_be_changed(parts: Parts):
    password = await parts.access.first_password()
    assert password is not None and await parts.access.first_password() is None
    (user,) = parts.queries.users()
    assert (user.name, dict(user.grants), user.must_change) == ("admin", {SITE: "admin"}, True)
    made = await parts.access.sign_in("admin", password, HERE)
    assert made.signed.principal.must_change and not made.signed.principal.may("see")
    await parts.access.change_password(made.signed, password, GOOD_PASSWORD)
    again = await parts.access.sign_in("admin", GOOD_PASSWORD, HERE)
    assert again.signed.principal.may("administer")
    assert (await refusal(parts.access.sign_in("admin", password, HERE))).code == "E481", "it was for once"


async def test_a_given_password_and_its_session_end_after_a_day(parts: Parts):
    password = await parts.access.first_password()
    made = await parts.access.sign_in("admin", password, HERE)
    assert await parts.access.of_session(made.secret, HERE) is not None
    parts.clock.ahead_s += 86_401
    assert (await refusal(parts.access.sign_in("admin", password, HERE))).code == "E481"
    assert await parts.access.of_session(made.secret, HERE) is None


async def test_a_password_is_changed_by_who_knows_the_old_one_and_into_another(parts: Parts):
    await parts.user("anna")
    made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    for old, new, code in (
        ("wrong", "another good password", "E481"),
        (GOOD_PASSWORD, GOOD_PASSWORD, "E482"),
        (GOOD_PASSWORD, "short", "E482"),
    ):
        assert (await refusal(parts.access.change_password(made.signed, old, new))).code == code
    actions = [row.action for row in parts.queries.audit()]
    assert actions.count("password") == 1, "its first one"
    assert actions[-1] == "sign-in-failed", "a guess at the old one is one, also from within"


async def test_the_old_password_is_guessed_no_faster_from_within_a_session(parts: Parts):
    await parts.user("anna")
    made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    statuses = [
        (await refusal(parts.access.change_password(made.signed, f"guess {n}", "another good one"))).status
        for n in range(10)
    ]
    assert statuses[:3] == [422] * 3 and set(statuses[4:]) == {429}


async def test_a_changed_password_ends_all_other_sessions(parts: Parts):
    await parts.user("anna")
    first = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    second = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    await parts.access.change_password(second.signed, GOOD_PASSWORD, "another good password")
    assert await parts.access.of_session(first.secret, HERE) is None
    assert await parts.access.of_session(second.secret, HERE) is not None


async def test_who_signs_in_while_the_password_is_changed_is_not_in(parts: Parts, monkeypatch):
    """Else whoever has the old one and tries without a pause keeps a session beyond the change."""
    await parts.user("anna")
    real = parts.passwords.is_right

    async def slow(hash_: str | None, password: str) -> bool:
        found = await real(hash_, password)
        await parts.access.give_password(by("root"), "anna")
        return found

    monkeypatch.setattr(parts.passwords, "is_right", slow)
    assert (await refusal(parts.access.sign_in("anna", GOOD_PASSWORD, HERE))).code == "E481"
    assert parts.queries.sessions("anna") == []


# -- sessions -----------------------------------------------------------------------------------


async def test_a_session_ends_when_nobody_uses_it_and_in_any_case(parts: Parts):
    await parts.user("anna")
    made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    parts.clock.ahead_s += 899
    assert await parts.access.of_session(made.secret, HERE) is not None, "and that was a use"
    parts.clock.ahead_s += 899
    assert await parts.access.of_session(made.secret, HERE) is not None
    parts.clock.ahead_s += 901
    assert await parts.access.of_session(made.secret, HERE) is None
    busy = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    for _ in range(31):
        parts.clock.ahead_s += 899
        assert await parts.access.of_session(busy.secret, HERE) is not None
    parts.clock.ahead_s += 950
    assert await parts.access.of_session(busy.secret, HERE) is None, "8 hours are over, however busy"


async def test_the_store_is_written_to_once_a_minute_by_a_session_that_is_used(parts: Parts):
    await parts.user("anna")
    made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    seen = set()
    for _ in range(20):
        parts.clock.ahead_s += 20
        await parts.access.of_session(made.secret, HERE)
        seen.add(parts.queries.sessions("anna")[-1].seen_us)
    assert len(seen) in (6, 7)


async def test_only_hashes_of_secrets_are_kept(parts: Parts):
    await parts.user("anna")
    made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    token = await parts.access.add_token(by("root"), "program", {SITE: "viewer"}, 60)
    one_time = await parts.access.add_user(by("root"), "ben", {})
    kept = repr((parts.store._rows.access, parts.store._rows.audit))
    for secret in (made.secret, made.signed.csrf, token, GOOD_PASSWORD, one_time):
        assert secret not in kept


async def test_a_planted_session_is_not_taken_over(parts: Parts):
    await parts.user("anna")
    for planted in ("planted", "x" * 43, "x" * 5000, "\u00e9"):
        made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE, planted)
        assert made.secret != planted and await parts.access.of_session(planted, HERE) is None


async def test_the_session_that_one_signs_in_over_ends(parts: Parts):
    await parts.user("anna")
    first = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    second = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE, first.secret)
    assert first.secret != second.secret
    assert await parts.access.of_session(first.secret, HERE) is None


async def test_sessions_of_one_user_are_bounded(parts: Parts):
    await parts.user("anna")
    made = [await parts.access.sign_in("anna", GOOD_PASSWORD, HERE) for _ in range(MOST_SESSIONS + 3)]
    assert len(parts.queries.sessions("anna")) == MOST_SESSIONS
    assert await parts.access.of_session(made[-1].secret, HERE) is not None


async def test_grants_and_disabling_count_at_once(parts: Parts):
    await parts.user("anna")
    made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    await parts.access.set_grants(by("root"), "anna", {"adt": "analyst"})
    found = await parts.access.of_session(made.secret, HERE)
    assert found is not None and found.principal.may("engineer", "adt") and not found.principal.may("see")
    await parts.access.set_disabled(by("root"), "anna", True)
    assert await parts.access.of_session(made.secret, HERE) is None


async def test_a_token_ends_is_revoked_and_is_no_session(parts: Parts):
    token = await parts.access.add_token(by("root"), "program", {"adt": "viewer"}, 60)
    found = await parts.access.of_token(token, HERE)
    assert found is not None and found.principal.name == "token program" and found.csrf == ""
    assert await parts.access.of_session(token, HERE) is None
    for other in (token[:-1], token + "x", token.upper(), token.removeprefix("segmill_"), "", "segmill_"):
        assert await parts.access.of_token(other, HERE) is None
    parts.clock.ahead_s += 61
    assert await parts.access.of_token(token, HERE) is None
    second = await parts.access.add_token(by("root"), "second", {"adt": "viewer"}, 60)
    await parts.access.revoke_token(by("root"), "second")
    assert await parts.access.of_token(second, HERE) is None


@pytest.mark.parametrize(
    ("name", "grants", "lasts_s"),
    [("X Y", {"adt": "viewer"}, 60), ("a", {}, 60), ("a", {"adt": "viewer"}, 4e7), ("a", {"adt": "viewer"}, 0)],
)
async def test_a_token_that_cannot_be(parts: Parts, name, grants, lasts_s):
    assert (await refusal(parts.access.add_token(by("root"), name, grants, lasts_s))).code == "E489"


async def test_the_last_admin_stays_one(parts: Parts):
    await parts.user("anna", {SITE: "admin"})
    assert (await refusal(parts.access.set_disabled(by("root"), "anna", True))).status == 409
    assert (await refusal(parts.access.set_grants(by("root"), "anna", {SITE: "analyst"}))).status == 409
    await parts.user("ben", {SITE: "admin"})
    await parts.access.set_disabled(by("root"), "anna", True)
    assert (await refusal(parts.access.set_grants(by("root"), "ben", {}))).status == 409


@pytest.mark.parametrize("name", ["", "Anna", "a b", "a\r\nb", "../x", "-a", "a" * 65, "\u0430nna", "a/b", "a;b"])
async def test_what_is_no_name(parts: Parts, name):
    assert (await refusal(parts.access.add_user(By("root"), name, {}))).status == 422


# -- the record ---------------------------------------------------------------------------------


async def test_who_signed_in_and_who_failed_is_on_record_with_the_address(parts: Parts):
    await parts.user("anna")
    made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    await refusal(parts.access.sign_in("anna", "guess", "10.6.6.6"))
    await refusal(parts.access.sign_in("mypassword123", "guess", "10.6.6.6"))
    await parts.access.sign_out(made.signed)
    rows = [(row.action, row.actor, row.ids) for row in parts.queries.audit()][-4:]
    assert rows == [
        ("sign-in", f"anna from {HERE}", "user anna"),
        ("sign-in-failed", "somebody from 10.6.6.6", "user anna"),
        ("sign-in-failed", "somebody from 10.6.6.6", "no user of ours"),
        ("sign-out", f"anna from {HERE}", "user anna"),
    ]


async def test_a_flood_of_failures_is_counted_and_does_not_fill_the_record(parts: Parts):
    for n in range(500):
        await refusal(parts.access.sign_in(f"u{n}", "guess", f"10.{n // 200}.{n % 200}.1"))
    rows = parts.queries.audit(0, 10_000)
    assert 60 <= len(rows) <= 65
    parts.clock.ahead_s += 60
    await refusal(parts.access.sign_in("last", "guess", "10.77.1.1"))
    last = parts.queries.audit(len(rows), 10)[-1]
    assert last.scope == f"{500 - len(rows)} more failures before this one"


def test_a_trickle():
    trickle = Trickle(2, 60)
    assert [trickle.take(0.0) for _ in range(4)] == [0, 0, None, None]
    assert (trickle.take(1.0), trickle.take(1.0)) == (2, None)


# -- comparing secrets --------------------------------------------------------------------------


async def test_secrets_are_compared_in_constant_time(parts: Parts, monkeypatch):
    await parts.user("anna")
    made = await parts.access.sign_in("anna", GOOD_PASSWORD, HERE)
    token = await parts.access.add_token(by("root"), "program", {SITE: "viewer"}, 60)
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(1) or real(a, b))
    await parts.access.of_session(made.secret, HERE)
    await parts.access.of_token(token, HERE)
    assert len(compared) == 2


def test_no_secret_is_compared_by_equality():
    """`==` on what is secret ends at the first byte that differs, and by its time tells which."""
    secret = {"csrf", "secret", "hash", "hash_", "password", "token", "sent"}
    for path in Path(engine.adapters.api.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                sides = [node.left, *node.comparators]
                names = {n.attr if isinstance(n, ast.Attribute) else getattr(n, "id", "") for n in sides}
                assert not names & secret, f"{path.name}:{node.lineno}"


def test_a_csrf_token_is_of_its_session_and_tells_nothing_of_it():
    from engine.adapters.api.access import _csrf

    assert _csrf("a" * 43) != _csrf("b" * 43)
    assert "a" * 10 not in _csrf("a" * 43)
