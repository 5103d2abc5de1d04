"""What every store keeps of users, sessions and tokens, as tests: subclass `AccessContract` beside `StoreContract`.

class TestAccessOfMyStore(AccessContract):
    @pytest.fixture
    def bench(self, tmp_path): ...  # a StoreBench
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.model.access import SITE
from engine.model.audit import broken_at
from engine.ports.access import (
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
)
from engine.ports.operations import By, Change
from engine.ports.saved_search import MOST_OF_OWNER, ChangeSearch, DropSearch, SavedSearch, SaveSearch
from engine.ports.store import Store, StoreQueries
from engine.testing.store_contract import StoreBench

ADMIN = By("root (uid 0)", "first day")
FAR_US = 4_000_000_000_000_000
ANNA = User("anna", "$argon2id$1", {"*": "viewer", "adt": "operator"}, True, FAR_US, False, 1, 2)
BEN = User("ben", "$argon2id$2", {}, False, 0, False, 3, 4)
SEARCH = SavedSearch("s1", "anna", "held results", False, "channel:results state:held", 6, 6)
TOKEN = ApiToken("monitoring", b"t" * 32, {"adt": "viewer"}, 5, "root (uid 0)", FAR_US)


def session(letter: str, user: str = "anna", created_us: int = 10, until_us: int = FAR_US) -> Session:
    return Session(letter.encode() * 32, user, created_us, created_us, until_us, "10.0.0.7")


def edit(store: Store, *edits: AccessEdit, action: str = "users") -> None:
    store.operate(Change(ADMIN, action, lanes=["user anna"], access=edits, is_always_recorded=True))


class AccessContract:
    """Every promise of `engine.ports.access`, one test each."""

    @pytest.fixture
    def bench(self) -> StoreBench:
        """Override: the store under test."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, bench: StoreBench) -> Store:
        return bench.store

    @pytest.fixture
    def queries(self, store: Store) -> Iterator[StoreQueries]:
        found = store.queries()
        yield found
        found.close()

    def test_there_is_nobody_at_first(self, queries: StoreQueries) -> None:
        assert (queries.users(), queries.tokens(), queries.sessions("anna")) == ([], [], [])
        assert queries.user("anna") is None and queries.session(b"x" * 32) is None and queries.token(b"x" * 32) is None

    def test_what_was_written_is_read(self, store: Store, queries: StoreQueries) -> None:
        edit(store, AddUser(BEN), AddUser(ANNA), AddToken(TOKEN), OpenSession(session("a"), 5))
        assert queries.users() == [ANNA, BEN]
        assert queries.user("ben") == BEN
        assert (queries.tokens(), queries.token(TOKEN.hash)) == ([TOKEN], TOKEN)
        assert (queries.session(b"a" * 32), queries.sessions("anna")) == (session("a"), [session("a")])

    def test_codes_are_kept_and_each_is_good_once(self, store: Store, queries: StoreQueries) -> None:
        factor = SecondFactor("anna", b"s" * 20, 100, (b"a" * 32, b"b" * 32), 7)
        assert queries.second_factor("anna") is None
        edit(store, AddUser(ANNA), SetSecondFactor(factor))
        assert queries.second_factor("anna") == factor and queries.second_factor("ben") is None
        with pytest.raises(AccessRefused):
            edit(store, SetSecondFactor(replace(factor, secret=b"t" * 20)))
        edit(store, UseStep("anna", 101))
        for step in (100, 101):
            with pytest.raises(AccessRefused):
                edit(store, UseStep("anna", step))
        edit(store, UseRecovery("anna", b"a" * 32))
        for user, code in (("anna", b"a" * 32), ("anna", b"x" * 32), ("ben", b"b" * 32)):
            with pytest.raises(AccessRefused):
                edit(store, UseRecovery(user, code))
        with pytest.raises(AccessRefused):
            edit(store, UseStep("ben", 101))
        assert queries.second_factor("anna") == replace(factor, last_step=101, recovery=(b"b" * 32,))
        edit(store, ClearSecondFactor("anna"), ClearSecondFactor("ben"))
        assert queries.second_factor("anna") is None

    def test_a_refused_code_leaves_nothing_of_its_change(self, store: Store, queries: StoreQueries) -> None:
        edit(store, AddUser(ANNA), SetSecondFactor(SecondFactor("anna", b"s" * 20, 100, (), 7)))
        with pytest.raises(AccessRefused):
            edit(store, OpenSession(session("a"), 5), UseStep("anna", 100))
        assert queries.session(b"a" * 32) is None

    def test_how_far_the_audit_was_sent_only_goes_on(self, store: Store, queries: StoreQueries) -> None:
        assert queries.audit_sent() == 0
        store.operate(Change(ADMIN, "", access=[AuditSent(7)]))
        store.operate(Change(ADMIN, "", access=[AuditSent(5)]))
        assert (queries.audit_sent(), queries.audit_head().last) == (7, 0)

    def test_it_is_there_after_a_kill(self, bench: StoreBench) -> None:
        edit(bench.store, AddUser(ANNA), OpenSession(session("a"), 5), AddToken(TOKEN))
        queries = bench.restart(clean=False).queries()
        assert (queries.users(), queries.sessions("anna"), queries.tokens()) == ([ANNA], [session("a")], [TOKEN])
        queries.close()

    def test_all_of_a_change_or_nothing_and_no_record_of_what_was_refused(
        self, store: Store, queries: StoreQueries
    ) -> None:
        edit(store, AddUser(ANNA))
        for last in (AddUser(ANNA), SetGrants("nobody", {}), SetDisabled("nobody", True), RevokeToken("none")):
            with pytest.raises(AccessRefused):
                edit(store, AddUser(BEN), AddToken(TOKEN), last)
        assert (queries.users(), queries.tokens()) == ([ANNA], [])
        assert [row.action for row in queries.audit()] == ["users"]

    def test_what_is_missing_is_told_from_what_is_there(self, store: Store) -> None:
        edit(store, AddUser(ANNA), AddToken(TOKEN))
        for missing in (SetGrants("no", {}), SetDisabled("no", True), SetPassword("no", "x"), RevokeToken("no")):
            with pytest.raises(AccessRefused) as refused:
                edit(store, missing)
            assert refused.value.is_missing
        for there in (AddUser(ANNA), AddToken(TOKEN), SetPassword("anna", "x", replaces="another")):
            with pytest.raises(AccessRefused) as refused:
                edit(store, there)
            assert not refused.value.is_missing

    def test_a_password_ends_the_sessions_but_the_one_it_was_changed_in(
        self, store: Store, queries: StoreQueries
    ) -> None:
        edit(store, AddUser(ANNA), AddUser(BEN))
        opened = [session("a"), session("b"), session("c", "ben")]
        edit(store, *(OpenSession(one, 5) for one in opened))
        edit(store, SetPassword("anna", "$argon2id$3", keeps=b"b" * 32, replaces=ANNA.password))
        found = queries.user("anna")
        assert found is not None and (found.password, found.must_change, found.until_us) == ("$argon2id$3", False, 0)
        assert found.changed_us > ANNA.changed_us
        assert (queries.sessions("anna"), queries.sessions("ben")) == ([opened[1]], [opened[2]])
        edit(store, SetPassword("anna", "$argon2id$4", True, FAR_US))
        assert queries.sessions("anna") == []

    def test_no_session_is_opened_by_a_password_that_is_none_any_more(
        self, store: Store, queries: StoreQueries
    ) -> None:
        edit(store, AddUser(ANNA))
        edit(store, OpenSession(session("a"), 5, ANNA.password))
        edit(store, SetPassword("anna", "$argon2id$3"))
        with pytest.raises(AccessRefused):
            edit(store, OpenSession(session("b"), 5, ANNA.password))
        edit(store, SetDisabled("anna", True))
        with pytest.raises(AccessRefused):
            edit(store, OpenSession(session("c"), 5, "$argon2id$3"))
        assert queries.sessions("anna") == []

    def test_who_is_disabled_is_signed_out(self, store: Store, queries: StoreQueries) -> None:
        edit(store, AddUser(ANNA), OpenSession(session("a"), 5))
        edit(store, SetDisabled("anna", True))
        found = queries.user("anna")
        assert found is not None and found.is_disabled and queries.sessions("anna") == []
        edit(store, SetDisabled("anna", False))
        found = queries.user("anna")
        assert found is not None and not found.is_disabled

    def test_the_last_admin_stays_one(self, store: Store, queries: StoreQueries) -> None:
        anna, ben = replace(ANNA, grants={SITE: "admin"}), replace(BEN, grants={SITE: "admin"})
        edit(store, AddUser(anna), AddUser(ben))
        # As of two admins who each looked when there were two of them.
        edit(store, SetDisabled("anna", True))
        for taken in (SetDisabled("ben", True), SetGrants("ben", {SITE: "analyst"}), SetGrants("ben", {})):
            with pytest.raises(AccessRefused) as refused:
                edit(store, taken)
            assert not refused.value.is_missing
        assert queries.users() == [queries.user("anna"), ben]
        edit(store, SetDisabled("anna", False))
        edit(store, SetGrants("ben", {SITE: "analyst"}))
        with pytest.raises(AccessRefused):
            edit(store, SetDisabled("anna", True))
        edit(store, SetGrants("anna", {"adt": "viewer"}), SetGrants("ben", {SITE: "admin"}))

    def test_grants_are_replaced(self, store: Store, queries: StoreQueries) -> None:
        edit(store, AddUser(ANNA), OpenSession(session("a"), 5))
        edit(store, SetGrants("anna", {"results": "analyst"}))
        found = queries.user("anna")
        assert found is not None and found.grants == {"results": "analyst"}
        assert queries.sessions("anna") == [session("a")], "what somebody may is asked anew with each request"

    def test_sessions_that_ended_and_too_many_are_forgotten(self, store: Store, queries: StoreQueries) -> None:
        edit(store, AddUser(ANNA), AddUser(BEN))
        edit(store, OpenSession(session("x", until_us=20), 3), OpenSession(session("y", "ben", until_us=20), 3))
        for at, letter in enumerate("abcd"):
            edit(store, OpenSession(session(letter, created_us=100 + at), 3))
        assert [one.hash[:1] for one in queries.sessions("anna")] == [b"b", b"c", b"d"]
        assert queries.sessions("ben") == [], "it had ended"

    def test_all_sessions_of_one_user_end(self, store: Store, queries: StoreQueries) -> None:
        edit(store, AddUser(ANNA), AddUser(BEN))
        edit(store, *(OpenSession(one, 5) for one in (session("a"), session("b"), session("c", "ben"))))
        edit(store, CloseSessions("anna"))
        assert (queries.sessions("anna"), queries.sessions("ben")) == ([], [session("c", "ben")])

    def test_a_session_is_seen_and_closed(self, store: Store, queries: StoreQueries) -> None:
        edit(store, AddUser(ANNA), OpenSession(session("a"), 5))
        store.operate(Change(ADMIN, "", access=[SeenSession(b"a" * 32, 77), SeenSession(b"z" * 32, 78)]))
        assert queries.session(b"a" * 32) == replace(session("a"), seen_us=77)
        assert queries.session(b"z" * 32) is None, "one that is gone does not come back by being used"
        edit(store, CloseSession(b"a" * 32))
        assert queries.session(b"a" * 32) is None

    def test_a_use_is_not_on_record_and_all_else_is(self, store: Store, queries: StoreQueries) -> None:
        edit(store, AddUser(ANNA), OpenSession(session("a"), 5), action="user-add")
        store.operate(Change(ADMIN, "", access=[SeenSession(b"a" * 32, 77)]))
        (row,) = queries.audit()
        assert (row.action, row.actor, row.reason, row.ids) == ("user-add", ADMIN.actor, ADMIN.reason, "user anna")
        head = queries.audit_head()
        assert broken_at([row], head.last, head.hash) is None

    def test_a_search_is_saved_named_and_dropped(self, store: Store, queries: StoreQueries) -> None:
        assert (queries.saved_searches("anna"), queries.saved_search("s1")) == ([], None)
        edit(store, SaveSearch(SEARCH), SaveSearch(replace(SEARCH, id="s0", name="a", text="mrn:4711")))
        assert [one.id for one in queries.saved_searches("anna")] == ["s0", "s1"], "by name"
        assert queries.saved_search("s1") == SEARCH and queries.saved_searches("ben") == []
        edit(store, ChangeSearch("s1", "for all", True))
        (shared,) = queries.saved_searches("ben")
        assert (shared.name, shared.is_shared, shared.text, shared.owner) == ("for all", True, SEARCH.text, "anna")
        assert (shared.created_us, shared.changed_us > SEARCH.changed_us) == (SEARCH.created_us, True)
        assert [one.id for one in queries.saved_searches("anna")] == ["s0", "s1"], "each once"
        edit(store, DropSearch("s1"))
        assert queries.saved_search("s1") is None

    def test_names_are_unique_among_those_of_their_owner(self, store: Store, queries: StoreQueries) -> None:
        edit(store, SaveSearch(SEARCH), SaveSearch(replace(SEARCH, id="s2", owner="ben")))
        edit(store, SaveSearch(replace(SEARCH, id="s3", name="other")))
        for refused in (SaveSearch(replace(SEARCH, id="s4")), ChangeSearch("s3", SEARCH.name, False)):
            with pytest.raises(AccessRefused):
                edit(store, refused)
        edit(store, ChangeSearch("s1", SEARCH.name, True))
        assert {one.id for one in queries.saved_searches("anna")} == {"s1", "s3"}

    def test_a_search_that_is_not_there_is_neither_changed_nor_dropped(self, store: Store) -> None:
        for refused in (ChangeSearch("s9", "x", False), DropSearch("s9")):
            with pytest.raises(AccessRefused) as caught:
                edit(store, refused)
            assert caught.value.is_missing

    def test_saved_searches_of_one_owner_are_bounded(self, store: Store, queries: StoreQueries) -> None:
        many = [replace(SEARCH, id=f"m{number}", name=f"n{number}") for number in range(MOST_OF_OWNER)]
        edit(store, *map(SaveSearch, many))
        with pytest.raises(AccessRefused):
            edit(store, SaveSearch(SEARCH))
        edit(store, SaveSearch(replace(SEARCH, owner="ben")))
        assert len(queries.saved_searches("anna")) == MOST_OF_OWNER

    def test_a_revoked_token_stays_and_its_name_stays_taken(self, store: Store, queries: StoreQueries) -> None:
        edit(store, AddToken(TOKEN))
        edit(store, RevokeToken("monitoring"))
        assert queries.token(TOKEN.hash) == replace(TOKEN, is_revoked=True)
        with pytest.raises(AccessRefused):
            edit(store, AddToken(replace(TOKEN, hash=b"u" * 32)))
