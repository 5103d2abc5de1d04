"""Users, sessions and API tokens in SQLite: written with the change that they are a part of, read on any connection."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final, assert_never

from engine.adapters.stores.saved_searches import SavedSearchReading, SavedSearchWriting
from engine.adapters.stores.sealed_shapes import ACCESS
from engine.adapters.stores.sealed_statements import Statements
from engine.adapters.stores.sealing import Sealing
from engine.adapters.stores.statements import Execute, load_statements
from engine.model.access import Grants, parse_grants
from engine.ports.access import (
    NO_ADMIN,
    AccessEdit,
    AccessRefused,
    AddToken,
    AddUser,
    ApiToken,
    AuditSent,
    ClearSecondFactor,
    CloseSession,
    CloseSessions,
    OpenSession,
    RevokeToken,
    SecondFactor,
    SeenSession,
    Session,
    SetDisabled,
    SetGrants,
    SetPassword,
    SetSecondFactor,
    User,
    UseRecovery,
    UseStep,
    has_admin,
    may_take_an_admin,
)
from engine.ports.saved_search import ChangeSearch, DropSearch, SaveSearch
from engine.ports.store import StoreError

NO_USER: Final = "there is no such user"
NO_TOKEN: Final = "there is no such token"  # noqa: S105 - a sentence
USER_THERE: Final = "there is a user of that name"
TOKEN_THERE: Final = "there is, or was, a token of that name"  # noqa: S105 - a sentence
FACTOR_THERE: Final = "there are one-time codes already"
CODE_USED: Final = "the code was used before"
PASSWORD_CHANGED: Final = "the password was changed meanwhile"  # noqa: S105 - a sentence


_SQL: Final = load_statements("access.sql")


class AccessWriting:
    """Carries edits out in the transaction that is open."""

    def __init__(self, execute: Execute, sealing: Sealing | None = None) -> None:
        self._execute = execute
        self._run = _statements(execute, sealing)
        self._sql = _SQL
        self._searches = SavedSearchWriting(execute, sealing)

    def apply(self, edits: Sequence[AccessEdit], now_us: int) -> None:
        """All of `edits`, in order. Raises AccessRefused, and the transaction is to be undone."""
        had_admin = may_take_an_admin(edits) and has_admin(self._users())
        for edit in edits:
            self._apply(edit, now_us)
        if had_admin and not has_admin(self._users()):
            raise AccessRefused(NO_ADMIN)

    def _users(self) -> list[User]:
        return [_user(*row) for row in self._execute(self._sql["users"], ()).fetchall()]

    def _apply(self, edit: AccessEdit, now_us: int) -> None:
        match edit:
            case AddUser(added):
                told = (*_told(added), added.created_us, added.changed_us)
                self._one("add_user", told, USER_THERE)
            case SetPassword():
                self._set_password(edit, now_us)
            case SetGrants(name, grants):
                self._one("set_grants", (json.dumps(dict(grants)), now_us, name), NO_USER, is_missing=True)
            case SetDisabled(name, is_disabled):
                self._one("set_disabled", (is_disabled, now_us, name), NO_USER, is_missing=True)
                self._execute(self._sql["close_sessions"], (name, b""))
            case OpenSession(session, most, password):
                if password and self._execute(self._sql["has_password"], (session.user, password)).fetchone() is None:
                    raise AccessRefused(PASSWORD_CHANGED)
                self._execute(self._sql["forget_ended_sessions"], (now_us,))
                told = (session.hash, session.user, session.created_us, session.seen_us, session.until_us)
                self._execute(self._sql["open_session"], (*told, session.address))
                self._execute(self._sql["forget_oldest_sessions"], (session.user, most))
            case SeenSession(hash_, seen_us):
                self._execute(self._sql["seen_session"], (seen_us, hash_))
            case CloseSession(hash_):
                self._execute(self._sql["close_session"], (hash_,))
            case CloseSessions(user):
                self._execute(self._sql["close_sessions"], (user, b""))
            case AddToken(token):
                self._one(
                    "add_token",
                    (
                        token.name,
                        token.hash,
                        json.dumps(dict(token.grants)),
                        token.created_us,
                        token.created_by,
                        token.until_us,
                        token.is_revoked,
                    ),
                    TOKEN_THERE,
                )
            case RevokeToken(name):
                self._one("revoke_token", (name,), NO_TOKEN, is_missing=True)
            case AuditSent(last):
                self._execute(self._sql["set_audit_sent"], (last,))
            case SetSecondFactor(factor):
                told = (factor.user, factor.secret, factor.last_step, _dumped(factor.recovery), factor.created_us)
                self._one("set_second_factor", told, FACTOR_THERE)
            case UseStep(name, step):
                self._one("use_step", (step, name, step), CODE_USED)
            case UseRecovery(name, hash_):
                row = self._run.as_stored("second_factor", (name,)).fetchone()
                left = () if row is None else _loaded(row[3])
                if hash_ not in left:
                    raise AccessRefused(CODE_USED)
                self._execute(self._sql["set_recovery"], (_dumped(one for one in left if one != hash_), name))
            case ClearSecondFactor(name):
                self._execute(self._sql["clear_second_factor"], (name,))
            case SaveSearch() | ChangeSearch() | DropSearch():
                self._searches.apply(edit, now_us)
            case _:
                assert_never(edit)

    def _set_password(self, edit: SetPassword, now_us: int) -> None:
        told = (edit.password, edit.must_change, edit.until_us, now_us, edit.user, edit.replaces, edit.replaces)
        if not self._execute(self._sql["set_password"], told).rowcount:
            is_there = self._execute(self._sql["user"], (edit.user,)).fetchone() is not None
            raise AccessRefused(PASSWORD_CHANGED if is_there else NO_USER, is_missing=not is_there)
        self._execute(self._sql["close_sessions"], (edit.user, edit.keeps))

    def _one(self, name: str, values: Sequence[object], refusal: str, *, is_missing: bool = False) -> None:
        if not self._run(name, values).rowcount:
            raise AccessRefused(refusal, is_missing=is_missing)


def _told(user: User) -> tuple[object, ...]:
    grants = json.dumps(dict(user.grants))
    return (user.name, user.password, grants, user.must_change, user.until_us, user.is_disabled)


class AccessReading(SavedSearchReading):
    """AccessQueries, on connections that `reader` lends: what SqliteQueries gets its methods from."""

    _reader: Callable[[], AbstractContextManager[sqlite3.Connection]]
    _sealing: Sealing
    _access_sql = _SQL

    def users(self) -> Sequence[User]:
        """As AccessQueries.users."""
        with self._reader() as db:
            return [_user(*row) for row in db.execute(self._access_sql["users"])]

    def user(self, name: str) -> User | None:
        """As AccessQueries.user."""
        with self._reader() as db:
            row = db.execute(self._access_sql["user"], (name,)).fetchone()
        return None if row is None else _user(*row)

    def session(self, hash_: bytes) -> Session | None:
        """As AccessQueries.session."""
        with self._reader() as db:
            row = db.execute(self._access_sql["session"], (hash_,)).fetchone()
        return None if row is None else Session(*row)

    def sessions(self, user: str) -> Sequence[Session]:
        """As AccessQueries.sessions."""
        with self._reader() as db:
            return [Session(*row) for row in db.execute(self._access_sql["sessions"], (user,))]

    def tokens(self) -> Sequence[ApiToken]:
        """As AccessQueries.tokens."""
        with self._reader() as db:
            return [_token(*row) for row in db.execute(self._access_sql["tokens"])]

    def token(self, hash_: bytes) -> ApiToken | None:
        """As AccessQueries.token."""
        with self._reader() as db:
            row = db.execute(self._access_sql["token"], (hash_,)).fetchone()
        return None if row is None else _token(*row)

    def second_factor(self, user: str) -> SecondFactor | None:
        """As AccessQueries.second_factor."""
        with self._reader() as db:
            row = _statements(db.execute, self._sealing)("second_factor", (user,)).fetchone()
        return None if row is None else SecondFactor(row[0], row[1], row[2], _loaded(row[3]), row[4])

    def audit_sent(self) -> int:
        """As AccessQueries.audit_sent."""
        with self._reader() as db:
            row = db.execute(self._access_sql["audit_sent"]).fetchone()
        return 0 if row is None else int(row[0])


def _statements(execute: Callable[..., sqlite3.Cursor], sealing: Sealing | None) -> Statements:
    return Statements(execute, _SQL, ACCESS, sealing or Sealing())


def _user(
    name: str, password: str, grants: str, must_change: int, until_us: int, disabled: int, created: int, changed: int
) -> User:
    return User(name, password, _grants(grants), bool(must_change), until_us, bool(disabled), created, changed)


def _token(
    name: str, hash_: bytes, grants: str, created_us: int, created_by: str, until_us: int, is_revoked: int
) -> ApiToken:
    return ApiToken(name, hash_, _grants(grants), created_us, created_by, until_us, bool(is_revoked))


def _dumped(hashes: Iterable[bytes]) -> str:
    return json.dumps([one.hex() for one in hashes])


def _loaded(text: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(one) for one in json.loads(text))


def _grants(text: str) -> Grants:
    """StoreError where what is stored is no grant: then nothing is given, and it is said."""
    try:
        return parse_grants(json.loads(text))
    except (ValueError, AttributeError, TypeError):
        raise StoreError("the grants of a user or token in the store cannot be read") from None
