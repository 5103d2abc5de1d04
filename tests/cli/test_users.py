"""`segmill users` and `segmill tokens`, by the control socket of an engine without a console."""

import pytest


def test_users_are_added_shown_granted_disabled_and_all_of_it_is_on_record(segmill, running):
    where = ("--site", running.folder)
    assert "No users" in segmill("users", "list", *where).err
    made = segmill("users", "add", "anna", "operator", "adt=analyst", *where, "--reason", "new")
    assert made.code == 0 and made.out.count("-") == 4 and "anna may: operator adt=analyst" in made.err
    password = made.out.strip()
    listed = segmill("users", "list", *where)
    assert "anna" in listed.out and "operator adt=analyst" in listed.out and "to change the password" in listed.out
    again = segmill("users", "passwd", "anna", *where, "--json").json
    assert again["name"] == "anna" and again["password"] != password
    assert segmill("users", "grant", "anna", "viewer", *where).code == 0
    assert segmill("users", "disable", "anna", *where).code == 0
    (user,) = segmill("users", "list", *where, "--json").lines
    assert (user["grants"], user["disabled"], user["must_change"]) == ({"*": "viewer"}, True, True)
    assert segmill("users", "disable", "anna", "--undo", *where).code == 0
    assert segmill("users", "grant", "anna", "--nothing", *where).code == 0
    rows = segmill("audit", *where, "--json").lines
    assert [(row["action"], row["ids"]) for row in rows] == [
        ("user-add", "user anna, operator of the site, analyst of adt"),
        ("user-passwd", "user anna"),
        ("user-grant", "user anna, viewer of the site"),
        ("user-disable", "user anna"),
        ("user-enable", "user anna"),
        ("user-grant", "user anna"),
    ]
    assert rows[0]["reason"] == "new" and "(uid " in rows[0]["actor"]
    assert password not in segmill("audit", *where, "--json", "--show-values").out


def test_tokens_are_made_shown_once_and_revoked(segmill, running):
    where = ("--site", running.folder)
    assert "No tokens" in segmill("tokens", "list", *where).err
    made = segmill("tokens", "add", "monitoring", "viewer", "--days", 30, *where)
    token = made.out.strip()
    assert made.code == 0 and token.startswith("segmill_") and len(token) > 45
    assert segmill("tokens", "add", "monitoring", "viewer", *where).code == 1, "the name is taken"
    (listed,) = segmill("tokens", "list", *where, "--json").lines
    assert (listed["grants"], listed["revoked"]) == ({"*": "viewer"}, False) and "(uid " in listed["created_by"]
    assert segmill("tokens", "revoke", "monitoring", *where).code == 0
    shown = segmill("tokens", "list", *where)
    assert "revoked" in shown.out and token not in shown.out
    assert segmill("tokens", "revoke", "none", *where).code == 1
    (store,) = (running.folder / "data").glob("segmill.db")
    assert token.encode() not in store.read_bytes() + store.with_name("segmill.db-wal").read_bytes()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("users", "add", "anna"), 2),
        (("users", "add", "anna", "king"), 2),
        (("users", "add", "anna", "adt=king"), 2),
        (("users", "add", "anna", "viewer", "operator"), 2),
        (("users", "add", "anna", "../x=viewer"), 2),
        (("users", "add", "Anna", "viewer"), 1),
        (("users", "grant", "anna"), 2),
        (("users", "grant", "nobody", "viewer"), 1),
        (("users", "passwd", "nobody"), 1),
        (("tokens", "add", "x"), 2),
        (("tokens", "add", "x", "viewer", "--days", "400"), 2),
    ],
)
def test_what_cannot_be(segmill, running, words, code):
    said = segmill(*words, "--site", running.folder)
    assert said.code == code and said.err and not said.out


def test_without_an_engine_nothing_is_changed_and_69_says_so(segmill, site):
    assert segmill("users", "add", "anna", "viewer", "--site", site).code == 69


def test_reloads_and_a_word_on_the_clock_are_on_record(segmill, running):
    where = ("--site", running.folder)
    table = running.folder / "channels" / "adt" / "tables" / "wards.csv"
    table.write_text(table.read_text() + "NEW7,W07,new\n")
    assert segmill("reload", running.folder).code == 0
    segmill("retention", "--confirm", *where)
    segmill("retention", *where)
    assert [row["action"] for row in segmill("audit", *where, "--json").lines] == ["reload", "retention-confirm"]
