"""The page on who may do what has every address of the API, with who may."""

import re

from engine.adapters.api.entries import Entry
from engine.adapters.api.routes import ENTRIES
from engine.config.console import ConsoleOptions
from engine.model.access import ALLOWS, ROLES

ROW = re.compile(r"^\| `([A-Z]+ /[^`]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def who(entry: Entry) -> str:
    """In the page's words."""
    if entry.need in ("public", "self"):
        return {"public": "anybody", "self": "whoever is signed in"}[entry.need]
    least = next(role for role in ROLES if entry.need in ALLOWS[role])
    return f"{least} of the {entry.scope}"


def test_the_table_of_addresses_is_the_one_that_is_served(repository):
    page = (repository / "engine" / "docs" / "security.md").read_text()
    told = {name: (may.strip(), what.strip()) for name, may, what in ROW.findall(page)}
    served = {f"{e.method} {e.path.removeprefix('/api/v1')}": (who(e), e.summary) for e in ENTRIES}
    assert told == served


def test_what_each_role_may_is_told_by_its_permissions(repository):
    page = (repository / "engine" / "docs" / "security.md").read_text()
    before: frozenset[str] = frozenset()
    for role in ROLES:
        (row,) = re.findall(rf"^\| `{role}` \| (.+) \|$", page, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) == ALLOWS[role] - before, role
        before = ALLOWS[role]


def test_the_times_are_the_defaults(repository):
    page = (repository / "engine" / "docs" / "security.md").read_text()
    options = ConsoleOptions()
    assert (options.idle, options.session) == (15 * 60, 8 * 3600)
    assert "| `15m` |" in page and "| `8h` |" in page
