"""One-time codes beside passwords: asked for, good once, set up with the password, and lost without despair."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.adapters.api import second_factor
from engine.adapters.api.access import Signed
from engine.adapters.api.problems import Problem
from engine.model.totp import STEP_S, code_at, step_of
from tests.adapters.api.rig import GOOD_PASSWORD, Parts, Running, by, site

HERE = "10.0.0.1"


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    made = Parts()
    await made.user("anna")
    yield made
    made.close()


class Phone:
    """An authenticator app."""

    def __init__(self, parts: Parts, secret: str) -> None:
        self.parts = parts
        self.secret = base64.b32decode(secret + "=" * (-len(secret) % 8))

    def code(self, ahead: int = 0) -> str:
        return code_at(self.secret, step_of(self.parts.clock.now_us() / 1e6) + ahead)

    def later(self) -> str:
        """The code of a step that was not used yet."""
        self.parts.clock.ahead_s += 2 * STEP_S
        return self.code()


async def sign_in(parts: Parts, code: str = "", password: str = GOOD_PASSWORD, address: str = HERE) -> Signed:
    return (await parts.access.sign_in("anna", password, address, code=code)).signed


async def refused(parts: Parts, code: str = "", password: str = GOOD_PASSWORD, address: str = HERE) -> str:
    with pytest.raises(Problem) as problem:
        await sign_in(parts, code, password, address)
    return problem.value.code


async def set_up(parts: Parts) -> tuple[Phone, list[str], Signed]:
    signed = await sign_in(parts)
    begun = await parts.access.begin_second_factor(signed, GOOD_PASSWORD, "Segmill")
    phone = Phone(parts, begun.secret)
    codes = await parts.access.end_second_factor(signed, phone.code())
    return phone, codes, signed


def words(parts: Parts) -> list[str]:
    return [row.action for row in parts.queries.audit(0, 1000)]


async def test_the_password_alone_is_not_enough_any_more(parts: Parts) -> None:
    phone, _, _ = await set_up(parts)
    assert await refused(parts) == "E578"
    assert await refused(parts, "000000" if phone.code() != "000000" else "000001") == "E579"
    assert (await sign_in(parts, phone.later())).principal.name == "anna"
    assert words(parts)[-3:] == ["second-factor-on", "sign-in-failed", "sign-in"]


async def test_without_the_password_a_code_is_nothing(parts: Parts) -> None:
    phone, _, _ = await set_up(parts)
    assert await refused(parts, phone.later(), "wrong password here") == "E481"
    await sign_in(parts, phone.code())


async def test_a_code_is_good_once(parts: Parts) -> None:
    phone, _, _ = await set_up(parts)
    assert await refused(parts, phone.code()) == "E579", "it was used to set it up"
    code = phone.later()
    await sign_in(parts, f" {code[:3]} {code[3:]} ")
    assert await refused(parts, code) == "E579"
    assert await refused(parts, phone.code(-1)) == "E579", "and so is what came before it"


async def test_of_two_that_use_a_code_at_the_same_moment_one_is_let_in(parts: Parts) -> None:
    phone, _, _ = await set_up(parts)
    code = phone.later()
    found = await asyncio.gather(*(sign_in(parts, code) for _ in range(2)), return_exceptions=True)
    assert sorted(isinstance(one, Problem) for one in found) == [False, True]


async def test_a_recovery_code_is_good_once_and_kept_as_a_hash(parts: Parts) -> None:
    _, codes, _ = await set_up(parts)
    assert len(set(codes)) == second_factor.RECOVERY_CODES
    await sign_in(parts, codes[0].upper())
    assert await refused(parts, codes[0]) == "E579"
    await sign_in(parts, codes[1].replace("-", ""))
    factor = parts.queries.second_factor("anna")
    assert len(factor.recovery) == len(codes) - 2 and all(len(kept) == 32 for kept in factor.recovery)
    assert "by a recovery code" in list(parts.queries.audit(0, 1000))[-1].ids
    told = " ".join(f"{row}" for row in parts.queries.audit(0, 1000))
    assert not any(code in told for code in codes)


async def test_guessing_codes_slows_down_as_guessing_passwords_does(parts: Parts) -> None:
    phone, _, _ = await set_up(parts)
    wrong = "000000" if phone.later() != "000000" else "000001"
    found = [await refused(parts, wrong) for _ in range(6)]
    assert found[:3] == ["E579"] * 3 and found[-1] == "E474"


async def test_asking_for_the_code_costs_a_house_nothing(parts: Parts) -> None:
    phone, _, _ = await set_up(parts)
    for _ in range(30):
        assert await refused(parts) == "E578"
        await sign_in(parts, phone.later())


async def test_it_is_set_up_with_the_password_and_counts_with_the_first_code(parts: Parts) -> None:
    signed = await sign_in(parts)
    with pytest.raises(Problem, match="password is wrong"):
        await parts.access.begin_second_factor(signed, "not the password", "Segmill")
    with pytest.raises(Problem, match="nothing was begun"):
        await parts.access.end_second_factor(signed, "123456")
    begun = await parts.access.begin_second_factor(signed, GOOD_PASSWORD, "Segmill")
    await sign_in(parts)  # it does not count yet
    again = await parts.access.begin_second_factor(signed, GOOD_PASSWORD, "Segmill")
    assert again.secret != begun.secret
    with pytest.raises(Problem):
        await parts.access.end_second_factor(signed, Phone(parts, begun.secret).code())
    parts.clock.ahead_s += second_factor.PENDING_S + 1
    with pytest.raises(Problem, match="too long ago"):
        await parts.access.end_second_factor(signed, Phone(parts, again.secret).code())
    assert parts.queries.second_factor("anna") is None


async def test_it_is_set_up_once(parts: Parts) -> None:
    _, _, signed = await set_up(parts)
    with pytest.raises(Problem, match="already"):
        await parts.access.begin_second_factor(signed, GOOD_PASSWORD, "Segmill")


async def test_it_is_turned_off_with_password_and_code(parts: Parts) -> None:
    phone, codes, signed = await set_up(parts)
    for password, code, why in (
        ("wrong password here", phone.later(), "E481"),
        (GOOD_PASSWORD, "", "E578"),
        (GOOD_PASSWORD, "wrong", "E579"),
    ):
        with pytest.raises(Problem) as problem:
            await parts.access.drop_second_factor(signed, password, code)
        assert problem.value.code == why
    parts.clock.ahead_s += 400
    await parts.access.drop_second_factor(signed, GOOD_PASSWORD, codes[0])
    await sign_in(parts)
    assert words(parts).count("second-factor-off") == 1
    with pytest.raises(Problem, match="no one-time codes"):
        await parts.access.drop_second_factor(signed, GOOD_PASSWORD, "123456")


async def test_whoever_has_a_session_and_the_password_does_not_guess_the_code_either(parts: Parts) -> None:
    _, _, signed = await set_up(parts)
    found = []
    for _ in range(6):
        with pytest.raises(Problem) as problem:
            await parts.access.drop_second_factor(signed, GOOD_PASSWORD, "wrong")
        found.append(problem.value.code)
    assert found[0] == "E579" and found[-1] == "E474"


async def test_a_new_password_of_an_admin_begins_anew(parts: Parts) -> None:
    await set_up(parts)
    one_time = await parts.access.give_password(by("root (uid 0)"), "anna")
    signed = await sign_in(parts, password=one_time)
    with pytest.raises(Problem) as problem:
        await parts.access.begin_second_factor(signed, one_time, "Segmill")
    assert problem.value.code == "E475"


async def test_what_is_under_way_has_a_bound() -> None:
    made = second_factor.Enrolments()
    for number in range(second_factor.MOST_PENDING + 10):
        made.begin(number.to_bytes(32), "anna", "Segmill", 0)
    assert len(made._pending) == second_factor.MOST_PENDING


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(site(tmp_path / "site"))
    yield made
    made.stop()


def test_by_the_api_and_the_console(running: Running) -> None:
    anna = running.user("anna", {"*": "viewer"})
    assert running.ask("GET", "/session/second-factor", headers=anna.reads).json == {"on": False, "recovery_left": 0}
    begun = running.ask("POST", "/session/second-factor", {"password": GOOD_PASSWORD}, anna.changes)
    assert begun.status == 200 and begun.json["uri"].startswith("otpauth://totp/Segmill%20test%3Aanna?")
    secret = base64.b32decode(begun.json["secret"])
    step = step_of(running.engine._clock.now_us() / 1e6)
    made = running.ask("PUT", "/session/second-factor", {"code": code_at(secret, step)}, anna.changes)
    assert made.status == 200 and len(made.json["codes"]) == 10
    assert running.ask("GET", "/session/second-factor", headers=anna.reads).json == {"on": True, "recovery_left": 10}
    login = {"name": "anna", "password": GOOD_PASSWORD}
    assert running.ask("POST", "/session", login).code == "E578"
    assert running.ask("POST", "/session", {**login, "code": made.json["codes"][0]}).status == 200
    off = {"password": GOOD_PASSWORD, "code": made.json["codes"][1]}
    assert running.ask("POST", "/session/second-factor/off", off, anna.changes).status == 200
    assert running.ask("POST", "/session", login).status == 200
    token = running.token("program", {"*": "admin"})
    assert running.ask("GET", "/session/second-factor", headers=token).json == {"on": False, "recovery_left": 0}
    assert running.ask("POST", "/session/second-factor", {"password": GOOD_PASSWORD}, token).status == 409
    assert "second-factor-on" in running.actions() and "second-factor-off" in running.actions()
