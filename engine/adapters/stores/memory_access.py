"""Users, sessions and API tokens of a store in memory: the same rules as in SQLite."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, assert_never

from engine.adapters.stores.access import (
    CODE_USED,
    FACTOR_THERE,
    NO_TOKEN,
    NO_USER,
    PASSWORD_CHANGED,
    TOKEN_THERE,
    USER_THERE,
)
from engine.adapters.stores.saved_searches import MemorySavedSearches
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
from engine.ports.saved_search import ChangeSearch, DropSearch, SavedSearch, SaveSearch

if TYPE_CHECKING:
    from engine.adapters.stores.memory_rows import MemoryRows


@dataclass(slots=True)
class MemoryAccess:
    """What is kept. Whoever reads or writes it holds the rows' lock."""

    users: dict[str, User] = field(default_factory=dict)
    sessions: dict[bytes, Session] = field(default_factory=dict)
    tokens: dict[str, ApiToken] = field(default_factory=dict)
    audit_sent: int = 0
    factors: dict[str, SecondFactor] = field(default_factory=dict)
    searches: MemorySavedSearches = field(default_factory=MemorySavedSearches)

    def apply(self, edits: Sequence[AccessEdit], now_us: int) -> None:
        """All of `edits`, or nothing of them. Raises AccessRefused."""
        draft = MemoryAccess(
            dict(self.users),
            dict(self.sessions),
            dict(self.tokens),
            self.audit_sent,
            dict(self.factors),
            self.searches.copy(),
        )
        for edit in edits:
            draft._apply(edit, now_us)
        if may_take_an_admin(edits) and has_admin(self.users.values()) and not has_admin(draft.users.values()):
            raise AccessRefused(NO_ADMIN)
        self.users, self.sessions, self.tokens = draft.users, draft.sessions, draft.tokens
        self.audit_sent, self.factors, self.searches = draft.audit_sent, draft.factors, draft.searches

    def _apply(self, edit: AccessEdit, now_us: int) -> None:
        match edit:
            case AddUser(user):
                if user.name in self.users:
                    raise AccessRefused(USER_THERE)
                self.users[user.name] = user
            case SetPassword():
                user = self._user(edit.user)
                if edit.replaces and user.password != edit.replaces:
                    raise AccessRefused(PASSWORD_CHANGED)
                self.users[user.name] = replace(
                    user,
                    password=edit.password,
                    must_change=edit.must_change,
                    until_us=edit.until_us,
                    changed_us=now_us,
                )
                self._close(user.name, edit.keeps)
            case SetGrants(name, grants):
                self.users[name] = replace(self._user(name), grants=dict(grants), changed_us=now_us)
            case SetDisabled(name, is_disabled):
                self.users[name] = replace(self._user(name), is_disabled=is_disabled, changed_us=now_us)
                self._close(name, b"")
            case OpenSession(session, most, password):
                if password and not self._has_password(session.user, password):
                    raise AccessRefused(PASSWORD_CHANGED)
                self._open(session, most, now_us)
            case SeenSession(hash_, seen_us):
                if hash_ in self.sessions:
                    self.sessions[hash_] = replace(self.sessions[hash_], seen_us=seen_us)
            case CloseSession(hash_):
                self.sessions.pop(hash_, None)
            case CloseSessions(name):
                self._close(name, b"")
            case AddToken(token):
                if token.name in self.tokens:
                    raise AccessRefused(TOKEN_THERE)
                self.tokens[token.name] = token
            case RevokeToken(name):
                if name not in self.tokens:
                    raise AccessRefused(NO_TOKEN, is_missing=True)
                self.tokens[name] = replace(self.tokens[name], is_revoked=True)
            case AuditSent(last):
                self.audit_sent = max(self.audit_sent, last)
            case SetSecondFactor(factor):
                if factor.user in self.factors:
                    raise AccessRefused(FACTOR_THERE)
                self.factors[factor.user] = factor
            case UseStep(name, step):
                found = self.factors.get(name)
                if found is None or found.last_step >= step:
                    raise AccessRefused(CODE_USED)
                self.factors[name] = replace(found, last_step=step)
            case UseRecovery(name, hash_):
                found = self.factors.get(name)
                if found is None or hash_ not in found.recovery:
                    raise AccessRefused(CODE_USED)
                self.factors[name] = replace(found, recovery=tuple(one for one in found.recovery if one != hash_))
            case ClearSecondFactor(name):
                self.factors.pop(name, None)
            case SaveSearch() | ChangeSearch() | DropSearch():
                self.searches.apply(edit, now_us)
            case _:
                assert_never(edit)

    def _user(self, name: str) -> User:
        if name not in self.users:
            raise AccessRefused(NO_USER, is_missing=True)
        return self.users[name]

    def _has_password(self, name: str, password: str) -> bool:
        user = self._user(name)
        return user.password == password and not user.is_disabled

    def _close(self, user: str, but: bytes) -> None:
        self.sessions = {h: s for h, s in self.sessions.items() if s.user != user or h == but}

    def _open(self, session: Session, most: int, now_us: int) -> None:
        self.sessions = {h: s for h, s in self.sessions.items() if s.until_us > now_us}
        self.sessions[session.hash] = session
        own = [s for s in self.sessions.values() if s.user == session.user]
        own.sort(key=lambda s: (-s.created_us, s.hash))
        for old in own[most:]:
            del self.sessions[old.hash]


class MemoryAccessReading:
    """AccessQueries, on the rows: what MemoryQueries gets its methods from."""

    _rows: "MemoryRows"

    def users(self) -> Sequence[User]:
        """As AccessQueries.users."""
        with self._rows.lock:
            return [user for _, user in sorted(self._rows.access.users.items())]

    def user(self, name: str) -> User | None:
        """As AccessQueries.user."""
        with self._rows.lock:
            return self._rows.access.users.get(name)

    def session(self, hash_: bytes) -> Session | None:
        """As AccessQueries.session."""
        with self._rows.lock:
            return self._rows.access.sessions.get(hash_)

    def sessions(self, user: str) -> Sequence[Session]:
        """As AccessQueries.sessions."""
        with self._rows.lock:
            found = [s for s in self._rows.access.sessions.values() if s.user == user]
        return sorted(found, key=lambda s: (s.created_us, s.hash))

    def tokens(self) -> Sequence[ApiToken]:
        """As AccessQueries.tokens."""
        with self._rows.lock:
            return [token for _, token in sorted(self._rows.access.tokens.items())]

    def token(self, hash_: bytes) -> ApiToken | None:
        """As AccessQueries.token."""
        with self._rows.lock:
            return next((t for t in self._rows.access.tokens.values() if t.hash == hash_), None)

    def second_factor(self, user: str) -> SecondFactor | None:
        """As AccessQueries.second_factor."""
        with self._rows.lock:
            return self._rows.access.factors.get(user)

    def saved_searches(self, owner: str) -> Sequence[SavedSearch]:
        """As AccessQueries.saved_searches."""
        with self._rows.lock:
            return self._rows.access.searches.of(owner)

    def saved_search(self, id_: str) -> SavedSearch | None:
        """As AccessQueries.saved_search."""
        with self._rows.lock:
            return self._rows.access.searches.get(id_)

    def audit_sent(self) -> int:
        """As AccessQueries.audit_sent."""
        with self._rows.lock:
            return self._rows.access.audit_sent
