"""Who asks: signing in and out, sessions, API tokens, and what admins do to users.

- A secret is shown once and kept nowhere: the store has its SHA-256, the browser has it in a cookie, a program in its
  settings. It has 256 bits, so that a plain hash of it is enough.
- Who signs in gets a new secret each time, whatever cookie came with the request: none can be planted beforehand.
- Every failure to sign in is answered alike, after the same work: nobody learns which names there are.
- What is done here is on record in the same transaction, but for failures beyond a trickle, which are counted.
"""

import asyncio
import base64
import hashlib
import hmac
import math
import secrets
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from engine.adapters.admin_app import ACTION_TIMEOUT_S, EngineCalls, EngineSilent
from engine.adapters.api.passwords import (
    Passwords,
    TooBusy,
    WeakPassword,
    check_password,
    one_time_password,
)
from engine.adapters.api.problems import Problem, not_there
from engine.adapters.api.second_factor import Enrolment, Enrolments, use_of
from engine.adapters.api.throttle import Throttle, Trickle, network_of
from engine.model.access import SITE, Grants, Principal, is_user_name
from engine.ports.access import (
    PROVIDER_SUFFIX,
    AccessEdit,
    AccessRefused,
    AddToken,
    AddUser,
    ApiToken,
    ClearSecondFactor,
    CloseSession,
    CloseSessions,
    OpenSession,
    RevokeToken,
    SeenSession,
    Session,
    SetDisabled,
    SetGrants,
    SetPassword,
    User,
    UseRecovery,
)
from engine.ports.clock import Clock
from engine.ports.control import By, Control
from engine.ports.store import StoreError, StoreQueries

T = TypeVar("T")

SECRET_BYTES: Final = 32
TOKEN_PREFIX: Final = "segmill_"  # noqa: S105 - by it scanners for leaked secrets find one
MOST_SECRET: Final = 100
MOST_SESSIONS: Final = 20
"""Of one user at a time; the oldest makes room."""
SEEN_EVERY_S: Final = 60.0
ONE_TIME_S: Final = 86_400.0
MOST_TOKEN_S: Final = 366 * 86_400.0
FIRST_USER: Final = "admin"
SECOND: Final = 1_000_000

USER_FREE, USER_FIRST_S, USER_MOST_S = 3, 1.0, 300.0
"""By these a user's password is guessed at most 8 times in the first minute, then every five (SEC8: 10 a minute)."""
ADDRESS_FREE, ADDRESS_FIRST_S, ADDRESS_MOST_S = 20, 1.0, 60.0
"""A whole house may come from one address."""
MOST_KNOWN: Final = 4096
"""Users with an address that they came from before; the oldest make room."""


@dataclass(slots=True, frozen=True)
class Signed:
    """Somebody whose secret was good. `hash` and `csrf`: of a session; empty for a token. `until_us`: its end."""

    principal: Principal
    hash: bytes = b""
    csrf: str = ""
    until_us: int = 0


@dataclass(slots=True, frozen=True)
class SignedIn:
    """A new session. `secret` is for the cookie, and nowhere else."""

    secret: str
    signed: Signed


class Access:
    """Signs in, and says who a secret belongs to. Used by one loop; what admins do, by any."""

    def __init__(
        self,
        control: Control,
        calls: EngineCalls,
        queries: StoreQueries,
        clock: Clock,
        *,
        idle_s: float,
        session_s: float,
        passwords: Passwords | None = None,
    ) -> None:
        self._control = control
        self._calls = calls
        self._queries = queries
        self._clock = clock
        self._idle_us = int(idle_s * SECOND)
        self._session_us = int(session_s * SECOND)
        self._seen_every_us = int(min(SEEN_EVERY_S, idle_s / 4) * SECOND)
        self.passwords = passwords or Passwords()
        self._by_user = Throttle(USER_FREE, USER_FIRST_S, USER_MOST_S)
        # Of a user at an address he signed in from before: strangers elsewhere cannot keep him out.
        self._by_known = Throttle(USER_FREE, USER_FIRST_S, USER_MOST_S)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._by_address = Throttle(ADDRESS_FREE, ADDRESS_FIRST_S, ADDRESS_MOST_S)
        self._failures = Trickle(60, 10)
        self._enrolments = Enrolments()

    # -- signing in and out ---------------------------------------------------------------------

    async def sign_in(self, name: str, password: str, address: str, before: str = "", code: str = "") -> SignedIn:
        """Raises Problem. `before`: the secret that came with the request, whose session ends. `code`: one-time."""
        now_s, network = self._clock.monotonic(), network_of(address)
        by_user, slot = self._waits_of(name, network)
        if (wait := max(by_user.waits(slot, now_s), self._by_address.waits(network, now_s))) > 0:
            seconds = math.ceil(wait)
            raise Problem(429, "E474", f"try again in {seconds} s", {"retry-after": str(seconds)})
        by_user.count(slot, now_s)
        self._by_address.count(network, now_s)
        user = await asyncio.to_thread(self._queries.user, name) if is_user_name(name) else None
        now_us = self._clock.now_us()
        is_open = user is not None and not user.is_disabled and not (user.must_change and user.until_us <= now_us)
        is_open = is_open and user is not None and not user.is_by_provider
        try:
            is_right = await self.passwords.is_right(user.password if user is not None and is_open else None, password)
        except TooBusy:
            by_user.take_back(slot, now_s)
            self._by_address.take_back(network, now_s)
            raise Problem(503, "E480", "many sign in at this moment", {"retry-after": "2"}) from None
        if user is None or not is_right:
            await self._note_failure(user, address, now_s)
            raise Problem(401, "E481")
        second = await self._second_of(user, code, address)
        by_user.forgive(slot)
        self._by_address.take_back(network, now_s)
        self._known[name, network] = None
        self._known.move_to_end((name, network))
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        secret = secrets.token_urlsafe(SECRET_BYTES)
        session = Session(_hash(secret), user.name, now_us, now_us, now_us + self._session_us, address)
        edits: list[Any] = [CloseSession(_hash(before))] if _is_secret(before) else []
        principal = _principal(user, address)
        edits += [*second, OpenSession(session, MOST_SESSIONS, user.password)]
        about = [f"user {name}", *("by a recovery code" for edit in second if isinstance(edit, UseRecovery))]
        try:
            await self._ask(self._control.put_on_record(By(principal.actor), "sign-in", about=about, edits=edits))
        except AccessRefused:
            # Another was set, or the user disabled, while this one was looked at; or the code was used at that moment.
            raise Problem(401, "E481") from None
        return SignedIn(secret, Signed(principal, session.hash, _csrf(secret), session.until_us))

    def _waits_of(self, name: str, network: str) -> tuple[Throttle, str]:
        """What an attempt for this user from there waits by."""
        return (self._by_known, f"{name} {network}") if (name, network) in self._known else (self._by_user, name)

    async def _note_failure(self, user: User | None, address: str, now_s: float) -> None:
        untold = self._failures.take(now_s)
        if untold is None:
            return
        # A name that is no user's is not kept: people type their password there.
        about = f"user {user.name}" if user is not None else "no user of ours"
        scope = f"{untold} more failures before this one" if untold else ""
        await self._record(By(f"somebody from {address}", scope=scope), "sign-in-failed", [about])

    async def _second_of(self, user: User, code: str, address: str) -> list[AccessEdit]:
        """What the code of somebody whose password was right comes to. Raises Problem; the attempt stays counted."""
        factor = await asyncio.to_thread(self._queries.second_factor, user.name)
        if factor is None:
            return []
        if not code:
            # The password was right, and whoever comes back with a code is counted anew.
            self._by_address.take_back(network_of(address), self._clock.monotonic())
            raise Problem(401, "E578")
        edit = use_of(factor, code, self._clock.now_us())
        if edit is None:
            await self._note_failure(user, address, self._clock.monotonic())
            raise Problem(401, "E579")
        return [edit]

    async def begin_second_factor(self, signed: Signed, password: str, issuer: str) -> Enrolment:
        """A secret for an app, shown this once. Raises Problem."""
        await self._proven(signed, password)
        name = signed.principal.name
        if await asyncio.to_thread(self._queries.second_factor, name) is not None:
            raise Problem(409, "E485", "there are one-time codes already: turn them off first")
        self._forgive(signed)
        await self._record(By(signed.principal.actor), "second-factor-begin", [f"user {name}"])
        return self._enrolments.begin(signed.hash, name, issuer, self._clock.now_us())

    async def end_second_factor(self, signed: Signed, code: str) -> list[str]:
        """It counts from now on; the recovery codes, shown this once. Raises Problem."""
        name = signed.principal.name
        edit, codes = self._enrolments.end(signed.hash, name, code, self._clock.now_us())
        await self._record(By(signed.principal.actor), "second-factor-on", [f"user {name}"], edit)
        return codes

    async def drop_second_factor(self, signed: Signed, password: str, code: str) -> None:
        """The password is enough from now on. Raises Problem."""
        user = await self._proven(signed, password)
        edits = await self._second_of(user, code, signed.principal.address)
        if not edits:
            raise Problem(409, "E485", "there are no one-time codes to turn off")
        self._forgive(signed)
        about = [f"user {user.name}"]
        await self._record(By(signed.principal.actor), "second-factor-off", about, *edits, ClearSecondFactor(user.name))

    async def _proven(self, signed: Signed, password: str) -> User:
        """Whoever has the session knows the password, too; guesses are slowed as at sign-in. Raises Problem.

        The attempt counts as failed until `_forgive`: what is asked for beside the password is not guessed at either.
        """
        if signed.principal.must_change:
            raise Problem(403, "E475")
        name, address = signed.principal.name, signed.principal.address
        now_s = self._clock.monotonic()
        by_user, slot = self._waits_of(name, network_of(address))
        if (wait := by_user.waits(slot, now_s)) > 0:
            seconds = math.ceil(wait)
            raise Problem(429, "E474", f"try again in {seconds} s", {"retry-after": str(seconds)})
        by_user.count(slot, now_s)
        user = await asyncio.to_thread(self._queries.user, name)
        if user is None or user.is_by_provider or not await self._is_right(user.password, password):
            await self._note_failure(user, address, now_s)
            raise Problem(422, "E481", "the password is wrong")
        return user

    def _forgive(self, signed: Signed) -> None:
        by_user, slot = self._waits_of(signed.principal.name, network_of(signed.principal.address))
        by_user.forgive(slot)

    async def sign_in_by_provider(
        self, name: str, mark: str, grants: Grants, issuer: str, address: str, before: str = ""
    ) -> SignedIn:
        """Who was proven by the identity provider: `mark` says who for ever, `grants` what they may now.

        `before` as in `sign_in`. Raises Problem where the name is another's here, or the user was disabled.
        """
        users = await asyncio.to_thread(self._queries.users)
        # Whoever is called otherwise there by now is the same person here: nobody leaves what was disabled by a name.
        same = [one for one in users if hmac.compare_digest(one.password, mark)]
        same.sort(key=lambda one: (not one.is_disabled, one.name != name))
        user = same[0] if same else next((one for one in users if one.name == name), None)
        name = user.name if user is not None else name
        if user is not None and (user.is_disabled or not same):
            await self.note_refusal(address, [f"user {name}", f"by {issuer}"])
            raise Problem(403, "E575")
        secret, now_us = secrets.token_urlsafe(SECRET_BYTES), self._clock.now_us()
        session = Session(_hash(secret), name, now_us, now_us, now_us + self._session_us, address)
        edits: list[Any] = [CloseSession(_hash(before))] if _is_secret(before) else []
        about = [f"user {name}", f"by {issuer}"]
        if user is None:
            user = User(name, mark, dict(grants), False, 0, False, now_us, now_us)
            edits.append(AddUser(user))
            about += _told(grants)
        elif dict(user.grants) != dict(grants):
            user = replace(user, grants=dict(grants))
            edits.append(SetGrants(name, dict(grants)))
            about += _told(grants)
        edits.append(OpenSession(session, MOST_SESSIONS, mark))
        principal = _principal(user, address)
        try:
            await self._ask(self._control.put_on_record(By(principal.actor), "sign-in", about=about, edits=edits))
        except AccessRefused:
            raise Problem(403, "E575") from None  # somebody else took the name, or it was disabled, meanwhile
        return SignedIn(secret, Signed(principal, session.hash, _csrf(secret), session.until_us))

    def begin_attempt(self, address: str) -> None:
        """Somebody comes back from the provider: counts as failed until it is known to be good. Raises Problem."""
        now_s, network = self._clock.monotonic(), network_of(address)
        if (wait := self._by_address.waits(network, now_s)) > 0:
            seconds = math.ceil(wait)
            raise Problem(429, "E474", f"try again in {seconds} s", {"retry-after": str(seconds)})
        self._by_address.count(network, now_s)

    def end_attempt(self, address: str) -> None:
        """It was a good one."""
        self._by_address.take_back(network_of(address), self._clock.monotonic())

    async def note_refusal(self, address: str, about: Sequence[str]) -> None:
        """Put on record that somebody was not let in, but for what floods."""
        untold = self._failures.take(self._clock.monotonic())
        if untold is not None:
            scope = f"{untold} more failures before this one" if untold else ""
            await self._record(By(f"somebody from {address}", scope=scope), "sign-in-failed", about)

    async def sign_out(self, signed: Signed) -> None:
        """The session ends."""
        principal = signed.principal
        await self._record(By(principal.actor), "sign-out", [f"user {principal.name}"], CloseSession(signed.hash))

    async def change_password(self, signed: Signed, old: str, new: str) -> None:
        """One's own. All other sessions end. Raises Problem."""
        name = signed.principal.name
        now_s = self._clock.monotonic()
        by_user, slot = self._waits_of(name, network_of(signed.principal.address))
        if (wait := by_user.waits(slot, now_s)) > 0:
            seconds = math.ceil(wait)
            raise Problem(429, "E474", f"try again in {seconds} s", {"retry-after": str(seconds)})
        by_user.count(slot, now_s)
        user = await asyncio.to_thread(self._queries.user, name)
        if user is None or not await self._is_right(user.password, old):
            await self._note_failure(user, signed.principal.address, now_s)
            raise Problem(422, "E481", "the old password is wrong")
        by_user.forgive(slot)
        try:
            check_password(new, name)
        except WeakPassword as weak:
            raise Problem(422, "E482", str(weak)) from None
        if hmac.compare_digest(new.encode(), old.encode()):
            raise Problem(422, "E482", "it is the password that there is now")
        edit = SetPassword(name, await self._hashed(new), keeps=signed.hash, replaces=user.password)
        await self._record(By(signed.principal.actor), "password", [f"user {name}"], edit)

    async def _is_right(self, hash_: str, password: str) -> bool:
        try:
            return await self.passwords.is_right(hash_, password)
        except TooBusy:
            raise Problem(503, "E480", "many sign in at this moment", {"retry-after": "2"}) from None

    async def _hashed(self, password: str) -> str:
        try:
            return await self.passwords.hash(password)
        except TooBusy:
            raise Problem(503, "E480", "many sign in at this moment", {"retry-after": "2"}) from None

    # -- who asks -------------------------------------------------------------------------------

    async def of_session(self, secret: str, address: str) -> Signed | None:
        """Who has this cookie; None where it opens nothing, or not any more."""
        if not _is_secret(secret):
            return None
        hash_, now_us = _hash(secret), self._clock.now_us()
        found = await asyncio.to_thread(self._session, hash_)
        if found is None or not self._is_open(*found, now_us):
            return None
        session, user = found
        if now_us - session.seen_us >= self._seen_every_us:
            seen = SeenSession(hash_, now_us)
            try:
                await self._ask(self._control.put_on_record(By(), "", edits=[seen], is_silent=True))
            except (StoreError, EngineSilent):
                pass  # who looks while the disk is full must not be shut out; the session ends the sooner for it
        return Signed(_principal(user, address), hash_, _csrf(secret), session.until_us)

    async def still(self, signed: Signed) -> Signed | None:
        """Who has a session that was good, with what is granted by now; None where it has ended.

        That it is asked is no use of the session: a page that is only left open does not keep anybody signed in.
        """
        found = await asyncio.to_thread(self._session, signed.hash)
        if found is None or not self._is_open(*found, self._clock.now_us()):
            return None
        return replace(signed, principal=_principal(found[1], signed.principal.address))

    def _is_open(self, session: Session, user: User, now_us: int) -> bool:
        is_idle = now_us - session.seen_us > self._idle_us
        if is_idle or session.until_us <= now_us or now_us < session.created_us - self._session_us or user.is_disabled:
            return False
        return not (user.must_change and user.until_us <= now_us)

    def _session(self, hash_: bytes) -> tuple[Session, User] | None:
        session = self._queries.session(hash_)
        user = None if session is None else self._queries.user(session.user)
        if session is None or user is None or not hmac.compare_digest(session.hash, hash_):
            return None
        return session, user

    async def of_token(self, secret: str, address: str) -> Signed | None:
        """Which program has this token."""
        if not secret.startswith(TOKEN_PREFIX) or not _is_secret(secret):
            return None
        hash_ = _hash(secret)
        token = await asyncio.to_thread(self._queries.token, hash_)
        if token is None or not hmac.compare_digest(token.hash, hash_):
            return None
        if token.is_revoked or token.until_us <= self._clock.now_us():
            return None
        return Signed(Principal(f"token {token.name}", token.grants, address, is_token=True), until_us=token.until_us)

    # -- what admins do -------------------------------------------------------------------------

    async def first_password(self) -> str | None:
        """Of the first user, where there is none yet: it is for signing in once, within a day (SEC11)."""
        if await asyncio.to_thread(self._queries.users):
            return None
        return await self.add_user(By("the engine", "first start"), FIRST_USER, {SITE: "admin"})

    async def add_user(self, by: By, name: str, grants: Grants) -> str:
        """The one-time password. Raises Problem."""
        if not is_user_name(name) or name.endswith(PROVIDER_SUFFIX):
            detail = "a user's name has at most 64 small letters, digits, and . _ @ -, and begins with no sign"
            raise Problem(422, "E476", detail)
        password, now_us = one_time_password(), self._clock.now_us()
        until_us = now_us + int(ONE_TIME_S * SECOND)
        user = User(name, await self._hashed(password), dict(grants), True, until_us, False, now_us, now_us)
        about = [f"user {name}", *_told(grants)]
        await self._record(by, "user-add", about, AddUser(user))
        return password

    async def give_password(self, by: By, name: str) -> str:
        """A new one-time password; all sessions of the user end. Raises Problem."""
        user = await asyncio.to_thread(self._queries.user, name)
        if user is not None and user.is_by_provider:
            raise Problem(409, "E485", "this user signs in at the identity provider, and has no password here")
        password = one_time_password()
        until_us = self._clock.now_us() + int(ONE_TIME_S * SECOND)
        hash_ = await self._hashed(password)
        # Whoever lost the telephone begins anew.
        edits = SetPassword(name, hash_, True, until_us), ClearSecondFactor(name)
        await self._record(by, "user-passwd", [f"user {name}"], *edits)
        self._by_user.forgive(name)
        for known in [pair for pair in self._known if pair[0] == name]:
            del self._known[known]  # that password was another's, perhaps
            self._by_known.forgive(" ".join(known))
        return password

    async def set_grants(self, by: By, name: str, grants: Grants) -> None:
        """What the user may from now on. Raises Problem; the last admin stays one."""
        await self._record(by, "user-grant", [f"user {name}", *_told(grants)], SetGrants(name, dict(grants)))

    async def set_disabled(self, by: By, name: str, is_disabled: bool) -> None:
        """Raises Problem; the last admin stays one."""
        action = "user-disable" if is_disabled else "user-enable"
        await self._record(by, action, [f"user {name}"], SetDisabled(name, is_disabled))

    async def end_sessions(self, by: By, name: str) -> None:
        """Wherever the user is signed in, he is not any more. Raises Problem."""
        if await asyncio.to_thread(self._queries.user, name) is None:
            raise not_there("there is no such user")
        await self._record(by, "sessions-end", [f"user {name}"], CloseSessions(name))

    async def add_token(self, by: By, name: str, grants: Grants, lasts_s: float) -> str:
        """The token's secret, which is not shown again. Raises Problem."""
        if not is_user_name(name) or not grants or not 0 < lasts_s <= MOST_TOKEN_S:
            raise Problem(422, "E489", "it needs a name as a user's, a role, and an end within a year")
        secret, now_us = TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES), self._clock.now_us()
        until_us = now_us + int(lasts_s * SECOND)
        token = ApiToken(name, _hash(secret), dict(grants), now_us, by.actor, until_us)
        await self._record(by, "token-add", [f"token {name}", *_told(grants)], AddToken(token))
        return secret

    async def revoke_token(self, by: By, name: str) -> None:
        """It opens nothing any more."""
        await self._record(by, "token-revoke", [f"token {name}"], RevokeToken(name))

    async def _record(self, by: By, action: str, about: Sequence[str], *edits: Any) -> None:
        try:
            await self._ask(self._control.put_on_record(by, action, about=about, edits=edits))
        except AccessRefused as refused:
            if refused.is_missing:
                raise not_there(refused.sentence) from None
            raise Problem(409, "E485", refused.sentence) from None

    async def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        return await self._calls.ask(question, ACTION_TIMEOUT_S)


def _principal(user: User, address: str) -> Principal:
    return Principal(user.name, user.grants, address, user.must_change)


def _told(grants: Grants) -> list[str]:
    return [f"{role} of {'the site' if channel == SITE else channel}" for channel, role in sorted(grants.items())]


def _is_secret(text: str) -> bool:
    return 0 < len(text) <= MOST_SECRET and text.isascii()


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _csrf(secret: str) -> str:
    """Of a session: nobody can make it who does not have the cookie, and it says nothing of the cookie."""
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), b"csrf", "sha256")).rstrip(b"=").decode()
